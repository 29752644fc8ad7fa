"""Machines as plain data: read without the compiler, their line sizes in files, and what levels may be below each other."""

import subprocess
import sys

import pytest

from sim.machine.level import Level, make_level
from sim.machine.record import load_machine, machine_from

ZEN4 = load_machine("zen4")
DOCUMENT = {"line": "64 B", "vector": "64 B", "registers": 32, "peak": "100 GFLOP/s", "bandwidth": "25 GB/s"}


def test_reading_a_machine_loads_neither_the_compiler_nor_the_simulator():
    code = (
        "import sys, sim.machine.record as record; record.load_machine('zen4').checked().record(); "
        "print([name for name in sys.modules if name.split('.')[0] in ('numba', 'llvmlite', 'numpy') or name.startswith('sim.hierarchy')])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_package_s_names_are_there_when_asked_for():
    import sim

    assert {name: getattr(sim, name).__name__ for name in sim.__all__} == {name: name for name in sim.__all__}
    with pytest.raises(AttributeError, match="module 'sim' has no attribute 'simulte'"):
        sim.simulte  # noqa: B018


def test_a_level_of_a_file_may_have_lines_of_its_own():
    caches = [{"name": "L1", "size": "4 KiB", "ways": 4, "line": "16 B"}, {"name": "L2", "size": "64 KiB", "ways": 8}]
    machine = machine_from({**DOCUMENT, "caches": caches}, "a.yaml")
    assert [level.line_bytes for level in machine.levels] == [16, 64]
    assert machine.line_bytes == 16
    assert [cache.units for cache in machine.caches] == [1, 4]
    with pytest.raises(ValueError, match=r"a.yaml: caches\[0\]: line = '24 B': must be a power of two from 4 to 1048576 bytes"):
        machine_from({**DOCUMENT, "caches": [{**caches[0], "line": "24 B"}]}, "a.yaml")


@pytest.mark.parametrize(
    ("levels", "inclusion", "text"),
    [
        (
            (("L1", "4KiB", 4, 64), ("L2", "64KiB", 4, 32)),
            "nine",
            "L1: 64, L2: 32: a level's must be the same as that of the level above",
        ),
        (
            (("L1", "4KiB", 4, 32), ("L2", "64KiB", 4, 64, "lru", "through")),
            "nine",
            "L2: LRU, write-through, write-allocate: must be write-back and write-allocate where lines are longer than those of L1",
        ),
        ((("L1", "4KiB", 4, 32), ("L2", "64KiB", 4, 64, "lru", "back", False)), "inclusive", "L2: LRU, write-back, no-write-allocate: must be"),
        ((("L1", "4KiB", 4, 32), ("L2", "64KiB", 4, 64)), "exclusive", "L1: 32, L2: 64: must be the same where the hierarchy is exclusive"),
    ],
)
def test_levels_that_have_no_meaning_below_each_other_are_refused(levels, inclusion, text):
    with pytest.raises(ValueError, match=text):
        ZEN4._replace(levels=tuple(make_level(*level) for level in levels), inclusion=inclusion).checked()


@pytest.mark.parametrize("write", [("through", True), ("through", False), ("back", False)])
def test_a_first_level_writes_as_it_likes_above_longer_lines(write):
    levels = Level("L1", 4096, 4, 4, "lru", *write), Level("L2", 65536, 4, 64), Level("L3", 1 << 20, 4, 64, "lru", "through")
    assert ZEN4._replace(levels=levels).checked().line_bytes == 4
