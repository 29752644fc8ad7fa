"""Compiled code on disk: what it is named after, and that nothing which is wrong with the disk ends a call."""

import os
import pathlib
import re
import resource
import shutil
import subprocess
import sys
import warnings

import numba
import numpy as np
import pytest

from refconv import code_cache
from refconv.jit import compiling, kernel
from refconv.kernels import KERNELS
from refconv.problem.conv import Conv2d
from refconv.static import Static

ROOT = pathlib.Path(__file__).parent.parent


def add_one(x):
    """What the tests compile."""
    x[0] += 1


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty cache folder, and a process that has said nothing of it yet."""
    monkeypatch.setenv("REFCONV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(code_cache, "_LOST", [])
    return tmp_path / "cache"


def call(function=add_one):
    """(kernels compiled, warnings) of a call of a new dispatcher, as in a new process; the result is right."""
    x, before = np.zeros(1), compiling.kernels
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        kernel(function)(x)
    assert x[0] == 1
    return compiling.kernels - before, [str(warning.message) for warning in said if warning.category is RuntimeWarning]


def files(place):
    return sorted(place.rglob("*.nbc"))


def test_code_is_compiled_once_and_then_read(place):
    assert call() == (1, [])
    assert len(files(place)) == 1
    assert call() == (0, [])


DAMAGE = {
    "emptied": lambda data: b"",
    "a few bytes": lambda data: data[:10],
    "truncated": lambda data: data[: len(data) // 2],
    "its last byte gone": lambda data: data[:-1],
    "longer": lambda data: data + b"x",
    "a bit flipped in the code": lambda data: data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :],
    "something else": lambda data: b"hello" * 100,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_named_and_replaced(place, damage):
    call()
    (file,) = files(place)
    good = file.read_bytes()
    file.write_bytes(DAMAGE[damage](good))
    compiled, (text,) = call()
    assert compiled == 1
    assert str(file) in text
    assert "damaged" in text
    assert call() == (0, [])


def test_a_file_with_a_good_checksum_of_something_else(place):
    """As a bug might write it: unpickling may raise anything."""
    call()
    (file,) = files(place)
    payload = b"\x80\x04not a pickle"
    file.write_bytes(code_cache.hashlib.sha256(payload).digest() + payload)
    compiled, (text,) = call()
    assert compiled == 1
    assert str(file) in text
    assert call() == (0, [])


def test_code_for_other_types_that_look_alike_is_not_taken(place, monkeypatch):
    """Two NamedTuples of one name have types of one text; the file keeps the types themselves."""
    from typing import NamedTuple

    call()
    (file,) = files(place)
    monkeypatch.setattr(code_cache.KernelCache, "_place", lambda self, signature, codegen: (file, NamedTuple))
    assert call() == (1, [])


def test_a_full_disk_loses_the_code_and_not_the_result(place):
    """A limit on the size of files, which fails as a full disk does: in the middle of writing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 10, hard))
    try:
        compiled, (text,) = call()
        assert call() == (1, [])  # said once
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert compiled == 1
    assert re.match(rf"{place}/code-[0-9a-f]{{20}}/.*\.nbc: cannot be kept, so every process compiles anew: ", text)
    assert [path for path in place.rglob("*") if path.is_file()] == []  # nothing half written either


def test_a_place_that_is_no_folder(place):
    place.write_text("a file")
    compiled, (text,) = call()
    assert compiled == 1
    assert str(place) in text


def test_without_a_home_folder(place, monkeypatch):
    monkeypatch.setattr(code_cache, "user_cache", lambda: None)
    compiled, (text,) = call()
    assert compiled == 1
    assert "REFCONV_CACHE_DIR" in text


def test_no_home_is_no_cache_folder(monkeypatch):
    for name in ("REFCONV_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def nobody(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(pathlib.Path, "expanduser", nobody)
    assert code_cache.user_cache() is None


READ_ONLY = """
import os, sys
place = os.environ["REFCONV_CACHE_DIR"]
def deny(event, arguments):
    writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if (writes or event in ("os.mkdir", "os.rename", "os.remove", "os.utime")) and str(arguments[0]).startswith(place):
        raise OSError(30, "Read-only file system", arguments[0])
sys.addaudithook(deny)
"""
CALL = """
import sys, warnings
sys.path.insert(0, "tests")
import numpy as np
from test_code_cache import add_one
from refconv.jit import compiling, kernel
for dtype in sys.argv[1:]:
    x = np.zeros(1, dtype)
    kernel(add_one)(x)
    assert x[0] == 1
print(compiling.kernels)
"""


def process(code, place, *arguments):
    """(stdout, stderr) of a new process."""
    environment = {**os.environ, "REFCONV_CACHE_DIR": str(place), "COLUMNS": "1000"}
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr


def test_a_read_only_folder_of_good_code_is_read(place):
    """Another process, in which every attempt to write there fails: what is there is read, and the rest costs one warning."""
    assert process(CALL, place, "float32") == ("1", "")
    assert process(READ_ONLY + CALL, place, "float32") == ("0", "")
    out, err = process(READ_ONLY + CALL, place, "float32", "float64", "int32")
    assert out == "2"
    assert err.count("cannot be kept") == 1
    assert "Read-only file system" in err


def test_warnings_name_the_line_of_the_call(place, tmp_path):
    """Of a user's script, not one of this project or of Numba."""
    script = tmp_path / "mine.py"
    script.write_text(
        "import numpy as np, refconv\nrefconv.conv2d(np.ones((1, 1, 3, 3), np.float32), np.ones((1, 1, 1, 1), np.float32), threads=1)\n"
    )
    place.parent.mkdir(exist_ok=True)
    place.write_text("a file where the folder should be")
    _, err = process("import runpy, sys; runpy.run_path(sys.argv[1])", place, str(script))
    assert err.startswith(f"{script}:2: RuntimeWarning: {place}/code-")


def test_a_kernel_from_a_file_that_changed_is_compiled_again(place, tmp_path):
    """A kernel of one's own, outside both packages, is kept under the hash of its file."""
    code = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np, mine
from refconv.jit import compiling
x = np.zeros(1)
mine.add(x)
print(int(x[0]), compiling.kernels)
"""
    results = []
    for step in (1, 1, 2):
        (tmp_path / "mine.py").write_text(f"from refconv.jit import kernel\nSTEP = {step}\n\n\n@kernel\ndef add(x):\n    x[0] += STEP\n")
        results.append(process(code, place, str(tmp_path))[0])
    assert results == ["1 1", "1 0", "2 1"]


def test_kernels_of_one_name_in_two_files_are_kept_apart(place, tmp_path):
    """And their parallel forms, which are one source."""
    body = "from refconv.jit import kernel\n\n\n@kernel\ndef same(operands, out, work, problem, tiling, part):\n"
    for name, value in (("one", 1), ("two", 2)):
        (tmp_path / f"{name}.py").write_text(f"{body}    out[part.slot] = {value}\n")
    code = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np, one, two
from refconv.jit import parallel
for module in (one, two):
    x = np.zeros(2)
    parallel(module.same)((x,), x, (x,), 0, 0, 2, 2)
    print(*map(int, x))
"""
    for _ in range(2):
        assert process(code, place, str(tmp_path))[0].split() == ["1", "1", "2", "2"]


def test_folders_of_other_sources_go_after_thirty_days_and_nothing_else(place):
    call()
    (kept,) = place.iterdir()
    stale, fresh, foreign = (place / name for name in (f"code-{'0' * 20}", f"code-{'1' * 20}", "code-samples"))
    for folder in (stale, fresh, foreign):
        folder.mkdir()
        (folder / "file").write_text("")
    for folder in (stale, foreign, kept):
        os.utime(folder, (0, 0))
    code_cache._use.cache_clear()
    call()
    assert sorted(place.iterdir()) == sorted([kept, fresh, foreign])


def test_code_for_arrays_does_not_depend_on_sim_and_traced_code_does(place, monkeypatch):
    """By the types of the arguments, also within tuples; sim says itself where it lies."""
    from sim.trace.traced import Traced

    buffer = Traced(0, 8, Static(4), Static(64), Static(6), 0)
    array, problem = np.zeros(1, np.float32), Conv2d.parse("mb1ic1ih3oc1kh3ph1")
    packages = {
        name: code_cache._packages(KERNELS["conv2d"].source, [numba.typeof(argument) for argument in arguments])
        for name, arguments in {"arrays": (array, (array, array), problem), "traced": (buffer,), "within": (array, ((array, buffer),))}.items()
    }
    assert packages == {"arrays": ("refconv",), "traced": ("refconv", "sim"), "within": ("refconv", "sim")}
    assert code_cache._SOURCES["sim"] == code_cache.source_hash(ROOT / "sim")
    before = [code_cache.code_folder(names) for names in (("refconv",), ("refconv", "sim"))]
    monkeypatch.setitem(code_cache._SOURCES, "sim", "edited")
    after = [code_cache.code_folder(names) for names in (("refconv",), ("refconv", "sim"))]
    assert before[0] == after[0]
    assert before[1] != after[1]


def test_a_foreign_package_called_sim_is_not_hashed(tmp_path):
    """Beside refconv, as in site-packages: it is not ours, whatever it is called, so an edit of it changes nothing."""
    shutil.copytree(ROOT / "refconv", tmp_path / "refconv", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "sim").mkdir()
    code = "from refconv import code_cache; import sim; print(code_cache.code_folder(('refconv',)), sorted(code_cache._SOURCES))"
    seen = set()
    for text in ("a = 1\n", "a = 2\n"):
        (tmp_path / "sim/__init__.py").write_text(text)
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": ""}, capture_output=True, text=True, check=True
        )
        seen.add(done.stdout)
    assert len(seen) == 1
    assert seen.pop().endswith("['refconv']\n")


def test_sources_that_cannot_be_hashed_keep_nothing(tmp_path, monkeypatch):
    """In a zip file, say: code under no hash would be served after any edit."""
    assert code_cache.source_hash(tmp_path) is None
    monkeypatch.setitem(code_cache._SOURCES, "refconv", None)
    assert code_cache.code_folder(("refconv",)) is None
