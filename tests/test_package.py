"""What a user meets before the first number: import time, the disk cache of compiled code, threads from outside."""

import os
import pathlib
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from problems import integers

import refconv
from refconv.code_cache import source_hash

ROOT = pathlib.Path(__file__).parent.parent


def python(code, cwd=ROOT, **environment):
    """stdout of a new interpreter that imports the packages from `cwd`."""
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_compiles_nothing():
    """Counts compilations, and what is imported beside numpy and numba."""
    code = """
from numba.core import dispatcher
calls = []
real = dispatcher._FunctionCompiler.compile
dispatcher._FunctionCompiler.compile = lambda *a, **k: calls.append(1) or real(*a, **k)
import refconv, sys
print(len(calls), [name for name in ("sim", "scipy.signal", "matplotlib", "rich", "onnx") if name in sys.modules])
"""
    assert python(code) == "0 []"


def test_editing_a_helper_in_another_module_changes_the_next_result(tmp_path):
    """Both for a value that a kernel computes and for a count of the simulator; and going back finds the old code again."""
    for package in ("refconv", "sim"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    code = """
import numpy as np, refconv, sim
x, weight = np.ones((1, 16, 3, 3), np.float32), np.ones((16, 1, 3, 3), np.float32)
layer = sim.simulate(None, "g16mb1ic16ih3oc16kh3ph1", "textbook")
print(int(refconv.conv2d(x, weight, padding=1, groups=16, threads=1).sum()), layer.levels[0].loads + layer.levels[0].stores)
"""
    run = lambda: [int(word) for word in python(code, tmp_path, REFCONV_CACHE_DIR=str(tmp_path / "cache"), PYTHONPATH=str(tmp_path)).split()]
    value, count = run()
    assert value == 16 * 49
    helper = tmp_path / "refconv/parts/strips.py"
    original = helper.read_text()
    edited = original.replace("conv.pad_top, 0, conv.r\n", "conv.pad_top, 0, conv.r - 1\n")
    assert edited != original
    helper.write_text(edited)
    less_value, less_count = run()
    assert less_value < value
    assert less_count < count
    helper.write_text(original)
    folders = len(list((tmp_path / "cache").glob("code-*")))
    assert run() == [value, count]
    assert len(list((tmp_path / "cache").glob("code-*"))) == folders == 4  # of each source: code for arrays, for traced buffers


def test_the_hash_sees_every_source_file(tmp_path):
    for package in ("refconv", "sim"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    packages = tmp_path / "refconv", tmp_path / "sim"
    seen = {source_hash(*packages)}
    for path in sorted(tmp_path.rglob("*.py")):
        path.write_text(path.read_text() + "# edited\n")
        seen.add(source_hash(*packages))
    assert len(seen) == 1 + len(list(tmp_path.rglob("*.py")))


def test_without_the_jit_kernels_are_plain_python():
    code = """
import numpy as np, refconv
x = np.arange(2 * 3 * 4 * 4, dtype=np.float32).reshape(2, 3, 4, 4)
w = np.ones((5, 3, 3, 3), np.float32)
y = refconv.conv2d(x, w, padding=1, threads=1)
assert (y == refconv.reference.conv2d(x, w, padding=(1, 1, 1, 1))).all()
print(type(refconv.kernels.conv2d.conv2d).__name__)
"""
    assert python(code, NUMBA_DISABLE_JIT="1") == "function"


def test_calls_from_several_python_threads():
    """Kernels release the GIL; each Python thread has a workspace of its own."""
    rng = np.random.default_rng(0)
    weight = refconv.pack(integers(rng, (16, 8, 3, 3)))
    images = [integers(rng, (1, 8, 20, 20)) for _ in range(16)]
    run = lambda x: refconv.conv2d(x, weight, padding=1, threads=1)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(run, images))
    for x, y in zip(images, results, strict=True):
        np.testing.assert_array_equal(y, run(x))
