"""What has been measured, on disk: read by other processes, never half written, and nothing that is wrong with it ends a call or is said twice."""

import json
import os
import pathlib
import re
import subprocess
import sys
import warnings

import numpy as np
import pytest
from problems import OF_EACH_KERNEL, call, operands
from test_tune import another, own_folder, subject  # noqa: F401

import refconv
from refconv import code_cache, host
from refconv.tiling import measured
from refconv.tiling.measured import Measured, keep, look_up, read

ROOT = pathlib.Path(__file__).parent.parent


def kept(name="pointwise"):
    """(a Subject, what is kept of it, its file)."""
    about = subject(name)
    keep(about, Measured(another(about), 0.9, 3, True))
    return about, look_up(about), measured._path(about)


def changed(**fields):
    """A file's text with other fields."""
    return lambda text: json.dumps({**json.loads(text), **fields})


def without(name):
    """A file's text without a field."""
    return lambda text: json.dumps({field: value for field, value in json.loads(text).items() if field != name})


def tiling(**numbers):
    """A file's text with other numbers of its tiling."""
    return lambda text: changed(tiling={**json.loads(text)["tiling"], **numbers})(text)


NO_JSON = "the file is no JSON that can be read: must be an object as refconv.tune keeps it"
AN_INTEGER = "must be an integer from 1 to"
DAMAGE = {
    "truncated": (lambda text: text[: len(text) // 2], NO_JSON),
    "empty": (lambda text: "", NO_JSON),
    "no json": (lambda text: "tiling", NO_JSON),
    "no text": (lambda text: b"\xff\xfe\x00", NO_JSON),
    "deep": (lambda text: "[" * 100_000, NO_JSON),
    "many digits": (lambda text: text.replace("0.9", "9" * 5000), NO_JSON),
    "another document": (lambda text: "[1, 2]", "the file holds [1, 2]: must be an object as refconv.tune keeps it"),
    "a long one": (lambda text: json.dumps("a" * 1000), f"the file holds '{'a' * 79} ...: must be an object"),
    "a field less": (without("ratio"), "ratio is missing: must be a number above 0, at most 1"),
    "another problem": (changed(subject="conv2d of another"), "subject = 'conv2d of another': must be 'pointwise Conv2d"),
    "another CPU": (changed(cpu="Z80"), f"cpu = 'Z80': must be {host.processor()!r}, this CPU"),
    "an infinite ratio": (lambda text: text.replace("0.9", "Infinity"), "ratio = inf: must be a number above 0, at most 1"),
    "no ratio": (lambda text: text.replace("0.9", "NaN"), "ratio = nan: must be a number above 0"),
    "a ratio below 0": (changed(ratio=-1.0), "ratio = -1.0: must be a number above 0"),
    "a ratio that is true": (changed(ratio=True), "ratio = True: must be a number above 0"),
    "nothing tried": (changed(tried=0), "tried = 0: must be an integer from 1"),
    "half a try": (changed(tried=1.5), "tried = 1.5: must be an integer from 1"),
    "settled in words": (changed(settled="yes"), "settled = 'yes': must be true or false"),
    "no tiling": (changed(tiling=[7, 1, 1]), "tiling = [7, 1, 1]: must be an object of rows, vectors, tail, pixels, channels, ahead"),
    "an illegal tiling": (tiling(channels=17), "tiling.channels = 17: must be a multiple of"),
    "words": (tiling(rows="14"), f"tiling.rows = '14': {AN_INTEGER}"),
    "a part of a row": (tiling(rows=7.5), f"tiling.rows = 7.5: {AN_INTEGER}"),
    "a row that is true": (tiling(rows=True), f"tiling.rows = True: {AN_INTEGER}"),
    "no rows": (tiling(rows=0), f"tiling.rows = 0: {AN_INTEGER}"),
    "no number": (tiling(pixels=None), f"tiling.pixels = None: {AN_INTEGER}"),
    "less than nothing": (tiling(ahead=-1), "tiling.ahead = -1: must be an integer from 0 to"),
    "another kernel's": (tiling(lines=3), "tiling.lines: is unknown: must have rows, vectors, tail, pixels, channels, ahead"),
    "a number less": (changed(tiling={"rows": 1}), "tiling.vectors: is missing: must have rows, vectors"),
    "beyond the registers": (tiling(rows=28, vectors=1, tail=1), "tiling.tile.rows = 28: must be "),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_said_once_and_the_rule_is_taken(damage):
    about, _, path = kept()
    make, reason = DAMAGE[damage]
    text = make(path.read_text())
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.warns(RuntimeWarning, match=re.escape(f"{path.name}: is ignored, and the rule's tiling taken: {reason}")) as said:
        assert look_up(about) is None
        assert refconv.choose(about.problem).tiling == about.rule
        x, weight, bias = operands(about.problem)
        call(about.problem, x, weight, bias, threads=1)
    assert len(said) == 1
    assert "\n" not in str(said[0].message)
    keep(about, Measured(about.rule, 1.0, 1, True))
    assert look_up(about).tried == 1, "measured anew, it is whole again"


def test_each_damaged_file_is_said():
    for name in ("pointwise", "grouped"):
        about, _, path = kept(name)
        path.write_text("")
        with pytest.warns(RuntimeWarning, match=path.name) as said:
            assert [read(about), read(about)] == [None, None]
        assert len(said) == 1


def test_a_file_that_cannot_be_read_is_said_with_the_reason_of_the_disk():
    about, _, path = kept()
    path.unlink()
    path.mkdir()
    with pytest.warns(RuntimeWarning, match=f"{path.name}: cannot be read, so the rule's tiling is taken: "):
        assert look_up(about) is None


def test_a_folder_that_takes_nothing_is_said_once_and_this_process_has_its_result(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "tuned", None):
        monkeypatch.setattr(measured, "_TOLD", [])
        monkeypatch.setattr(measured, "_UNKEPT", {})
        monkeypatch.setattr(measured, "folder", lambda place=place: place)
        about, other = subject("grouped"), subject("conv2d")
        with pytest.warns(RuntimeWarning, match="cannot be kept, so it holds for this process alone: ") as said:
            keep(about, Measured(another(about), 0.9, 3, True))
            keep(other, Measured(other.rule, 1.0, 3, True))
        assert len(said) == 1
        assert measured.lost()
        assert look_up(about) == Measured(another(about), 0.9, 3, True)


def test_the_switch(monkeypatch):
    about, found, _ = kept()
    for value, taken in (("0", None), ("1", found), ("", found)):
        monkeypatch.setenv("REFCONV_TUNED", value)
        assert look_up(about) == taken
    monkeypatch.delenv("REFCONV_TUNED")
    assert look_up(about) == found == read(about)


def test_what_tells_one_measurement_from_another():
    """Kernel, problem, element type, threads and a block's mode."""
    about = subject("conv2d")
    others = [
        about._replace(threads=2),
        about._replace(element=refconv.elements.element("float16")),
        about._replace(problem=about.problem._replace(n=3)),
        about._replace(squeeze="spill"),
        subject("spread"),
    ]
    assert len({measured._path(one) for one in (about, *others)}) == 6


def test_the_folder_is_that_of_this_cpu_these_sources_and_caches(monkeypatch, tmp_path):
    monkeypatch.undo()  # the folder of the other tests
    monkeypatch.setenv("REFCONV_CACHE_DIR", str(tmp_path))

    def folder():
        measured._folder.cache_clear()
        return measured.folder()

    first = folder()
    assert first == folder()
    assert first.parent == tmp_path
    assert code_cache.FOLDER.fullmatch(first.name), "so that it is removed when no run has used it for long"
    with monkeypatch.context() as patched:
        patched.setattr(host, "processor", lambda: "another")
        assert folder() != first
    with monkeypatch.context() as patched:
        patched.setattr(host, "target", lambda: host.Target(64, 32, 1 << 14, 1 << 20))
        assert folder() != first
    with monkeypatch.context() as patched:
        patched.setitem(code_cache._SOURCES, "refconv", "edited")
        assert folder() != first
    assert folder() == first


WRITER = """
import sys
sys.path.insert(0, "tests")
from refconv.tiling.measured import Measured, keep, look_up
from test_tune import subject
about = subject("pointwise")
for i in range(200):
    keep(about, Measured(about.rule, 1.0, i + 1, True))
    assert 1 <= look_up(about).tried <= 200
"""


def python(code, folder):
    """A new interpreter whose cache is in `folder`."""
    environment = {**os.environ, "REFCONV_CACHE_DIR": str(folder), "REFCONV_TUNED": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-W", "error", "-c", code], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)


def test_processes_that_keep_the_same_at_once_never_see_half_a_file(tmp_path):
    writers = [python(WRITER, tmp_path) for _ in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert [path.suffix for path in tmp_path.glob("tuned-*/*")] == [".json"], "no draft is left"


def test_another_process_takes_it_and_one_that_only_imports_touches_nothing(tmp_path):
    code = "import refconv; print(refconv.choose('mb1ic7ih3iw2oc20kh1kw1'))"
    assert python("import refconv", tmp_path / "none").wait() == 0
    assert not (tmp_path / "none").exists()
    keeping = WRITER.replace("range(200)", "range(1)")
    assert "measured" not in python(code, tmp_path).communicate()[0]
    assert python(keeping, tmp_path).wait() == 0
    assert "measured: the rule's is the fastest of 1 tiling" in python(code, tmp_path).communicate()[0]


def test_what_is_kept_is_not_taken_by_numbers_alone():
    """A warning is an error here: reading what was written says nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in OF_EACH_KERNEL.keys() - {"few_outputs"}:  # which has no other tiling
            about, found, _ = kept(name)
            assert found.tiling == another(about)
            assert type(found.tiling) is type(about.rule)
            assert [type(value) for value in found.tiling] == [type(value) for value in about.rule]
    assert np.isfinite(found.ratio)
