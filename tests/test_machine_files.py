"""Machines: presets, files, levels built by hand, sizes and rates with their units."""

import accounts
import pytest
from commands import GOOD

from sim.cli.cache_option import parse_cache
from sim.machine.quantities import parse_bytes, parse_rate
from sim.machine.record import Level, load_machine, machine_from, presets, read_machine, with_levels

ZEN4 = load_machine("zen4")


def test_machines_built_by_hand_are_checked():
    for levels, text in (
        ((), "must be at least one cache"),
        ((Level("L1", 100, 3, 64),), "must be a multiple of ways"),
        (
            (Level("L1", 1 << 15, 8, 64), Level("L2", 1 << 20, 8, 32)),
            "L1: 64, L2: 32: a level's must be",
        ),
    ):
        with pytest.raises(ValueError, match=text):
            accounts.simulate(None, "dwconv3", ZEN4._replace(levels=levels))


def test_levels_keep_their_order_and_names_number_it():
    near = ZEN4._replace(levels=(Level("near", 1 << 15, 8, 64), Level("far", 1 << 20, 8, 64)))
    assert [level.name for level in with_levels(near, [parse_cache("far=2MiB,8,64")], build=False).levels] == ["near", "far"]
    assert [level.name for level in with_levels(ZEN4, [parse_cache("L10=64MiB,16,64")], build=False).levels] == ["L1", "L2", "L3", "L10"]


def test_without_sysfs_a_preset_stands_in_with_a_warning(monkeypatch):
    monkeypatch.setattr("refconv.host.caches", lambda: ())
    with pytest.warns(RuntimeWarning, match="those of zen4 stand in"):
        assert load_machine("host").levels == ZEN4.levels


@pytest.mark.parametrize("name", presets())
def test_presets_are_read(name):
    machine = load_machine(name)
    assert machine.name == name
    if not machine.levels:  # rates alone
        assert set(machine.record()) == {"name", "source", "peak_flop_per_s", "bandwidth_bytes_per_s", "peaks_flop_per_s"}
        return
    assert machine.record()["levels"][0]["sets"] * machine.levels[0].ways * machine.line_bytes == machine.levels[0].size_bytes


def test_skylake_sets_are_no_power_of_two():
    assert load_machine("skylake-sp").levels[2].sets == 40960


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"speed": 1}, "speed: unknown key; legal: bandwidth"),
        ({"line": "63 B"}, r"caches\[0\]: line = 63: must be a power of two"),
        ({"line": "a line"}, "line: 'a line': must be a size such as 32 KiB"),
        ({"vector": 24}, "vector: 24 bytes: must be 8, 16"),
        ({"registers": "many"}, "registers: 'many': must be an integer"),
        ({"peak": "1 GB/s"}, "peak: '1 GB/s': must be a rate such as 25 GFLOP/s"),
        ({"bandwidth": "fast"}, "bandwidth: 'fast'"),
        ({"bandwidth": "0 GB/s"}, "bandwidth: '0 GB/s'"),
        ({"caches": []}, "caches: must be a list of at least one"),
        ({"caches": [{"name": "L1", "size": "32 KiB"}]}, r"caches\[0\]: must have the keys name, size, ways"),
        ({"caches": [{"name": "L1", "size": "32 KiB", "ways": 0}]}, r"caches\[0\]: ways = 0"),
        ({"caches": [{"name": "L1", "size": "10 B", "ways": 1}]}, r"caches\[0\]: size = '10 B': must be a multiple"),
        ({"caches": [{"name": "L1", "size": "0.3 B", "ways": 1}]}, r"caches\[0\]: '0.3 B': must be a whole number"),
        ({"caches": [{**GOOD["caches"][0], "policy": "mru"}]}, r"caches\[0\]: policy = 'mru': must be lru, fifo, plru, random"),
        ({"caches": [{**GOOD["caches"][0], "policy": []}]}, r"caches\[0\]: policy = \[\]: must be lru"),
        ({"caches": [{**GOOD["caches"][0], "policy": "plru", "ways": 128}]}, r"caches\[0\]: ways = 128: must be a power of two"),
        ({"caches": [{**GOOD["caches"][0], "write": "around"}]}, r"caches\[0\]: write = 'around': must be back or through"),
        ({"caches": [{**GOOD["caches"][0], "allocate": "maybe"}]}, r"caches\[0\]: allocate = 'maybe': must be yes or no"),
        ({"caches": [{**GOOD["caches"][0], "seed": 1.5}]}, r"caches\[0\]: seed = 1.5: must be an integer from 0"),
        ({"caches": [{**GOOD["caches"][0], "mode": 1}]}, r"caches\[0\]: must have the keys name, size, ways, and may have allocate"),
        ({"inclusion": "some"}, "caches: inclusion = 'some': must be nine, inclusive, exclusive"),
        ({"inclusion": ["nine"]}, r"caches: inclusion = \['nine'\]: must be nine"),
        ({"caches": GOOD["caches"] * 2}, "caches: levels: names must differ"),
        ({"caches": [{"name": "[red]", "size": "32 KiB", "ways": 8}]}, r"caches\[0\]: name = '\[red\]': must be up to 32 letters"),
        ({"caches": [{"name": "L1", "size": "64 GiB", "ways": 1}]}, "caches: levels hold 8589934592 lines together .*: must be at most"),
        ({"peak": f"1{'0' * 400} GFLOP/s"}, "peak: '10+ GFLOP/s': must be a rate"),
        ({"name": None}, "name: None: must be a line of text"),
    ],
)
def test_machine_files_are_refused_by_key(change, text):
    with pytest.raises(ValueError, match=f"my.yaml: {text}"):
        machine_from({**GOOD, **change}, "my.yaml")


def test_machine_files_that_are_none(tmp_path):
    assert machine_from(GOOD, "my.yaml").name == "my"
    for key in GOOD:
        with pytest.raises(ValueError, match=f"{key}: missing; such as {key}: "):
            machine_from({name: value for name, value in GOOD.items() if name != key}, "my.yaml")
    for content in (b"", b"- a\n- b", b"\xff\xfe\x00", b"a: [1", b"&a [*a]", b"a: !!python/object:os.system {}", b"line: 8 B\nline: 16 B"):
        path = tmp_path / "bad.yaml"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"bad\.yaml") as caught:
            read_machine(path)
        assert "\n" not in str(caught.value)


def test_units():
    assert [parse_bytes(text) for text in ("32 KiB", "1MiB", 64, "1.5 KiB", "2 GB")] == [32768, 1 << 20, 64, 1536, 2 * 10**9]
    assert parse_rate("118 GFLOP/s", "FLOP") == 118e9
    assert parse_cache("L2=1.25MiB,20,64").sets == 1024
    for wrong in ("32 kib", "-1", "", "1 KiB KiB", True, None):
        with pytest.raises(ValueError, match="must be"):
            parse_bytes(wrong)
