"""Threads under every threading layer that Numba can load here: forked processes, several Python threads, without the compiler.

Each case is a process of its own with a time limit: what is tested for ends a process, or hangs it.
"""

import os
import pathlib
import subprocess
import sys

import numba
import numpy as np
import pytest

from refconv.jit import kernel
from refconv.threads import Split

ROOT = pathlib.Path(__file__).parent.parent
LIBRARIES = {"LD_LIBRARY_PATH": f"{sys.prefix}/lib:{os.environ.get('LD_LIBRARY_PATH', '')}"}
"""Where pip puts TBB."""
LIMIT_S = 300
START = """
import multiprocessing, sys, warnings
from concurrent.futures import ThreadPoolExecutor
import numba, numpy as np
import refconv
x = np.random.default_rng(0).integers(-4, 5, (2, 16, 12, 12)).astype(np.float32)
w = np.random.default_rng(1).integers(-4, 5, (16, 1, 3, 3)).astype(np.float32)
def call(threads=2):
    return refconv.depthwise_conv2d(x, w, padding=1, threads=threads)
"""


def loads(layer):
    """Whether Numba can load a threading layer here: tbb needs the package `tbb` (extra: threads)."""
    code = "from numba.np.ufunc import parallel; parallel._launch_threads()"
    environment = {**os.environ, **LIBRARIES, "NUMBA_THREADING_LAYER": layer}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False).returncode == 0


LAYERS = [pytest.param(name, marks=pytest.mark.skipif(not loads(name), reason=f"no {name} here")) for name in ("omp", "workqueue", "tbb")]


def run(code, layer, **environment):
    """(status, stdout, stderr) of a new interpreter on that threading layer, two threads."""
    threads = {"NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": "2"}
    command = [sys.executable, "-c", START + code]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **LIBRARIES, **threads, **environment}, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    return done.returncode, done.stdout.split(), done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("layer", LAYERS)
def test_a_forked_pool_computes_the_same_bits(layer):
    """After a call with threads in the parent; for shapes that the parent has met and for others; and the parent goes on."""
    code = """
def other(threads):
    return refconv.depthwise_conv2d(x[:, :, :9], w, padding=1, threads=threads)
def work(i):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        results = call(), call(), other(2), call(None)
    return *results, [str(warning.message) for warning in said if warning.category is RuntimeWarning]
expected = call()
with multiprocessing.get_context("fork").Pool(2) as pool:
    results = pool.map(work, range(4), chunksize=1)
first, again, another, default, _ = results[0]
for result in results:
    for value, right in zip(result, (expected, expected, other(1), expected)):
        assert value.tobytes() == right.tobytes()
assert (call() == expected).all()
said = [text for result in results for text in result[-1]]
print(numba.threading_layer(), len(said) <= 2, any("spawn" in text for text in said))
"""
    status, out, err = run(code, layer)
    assert status == 0, err
    assert out == [layer, "True", str(layer == "omp")]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("layer", LAYERS)
def test_a_fork_before_any_threads_keeps_them(layer):
    """A call on one thread starts no layer: the child starts its own, and warns of nothing."""
    code = """
def work(i):
    warnings.simplefilter("error", RuntimeWarning)
    return call(2), numba.threading_layer()
expected = call(1)
from refconv import threads
assert threads.layer() is None
with multiprocessing.get_context("fork").Pool(1) as pool:
    result, layer = pool.map(work, [0])[0]
assert (result == expected).all()
print(layer)
"""
    status, out, err = run(code, layer)
    assert (status, out) == (0, [layer]), err


@kernel
def sums(operands, out, work, problem, tiling, part):
    """What a kernel may do that depends on the shares: a sum for each, as squeeze-excitation's."""
    x = operands[0]
    total = x[0] * 0
    for i in range(part.first, part.last):
        total += x[i]
    out[part.slot] = total


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("threads", [2, 3])
def test_shares_one_after_another_are_those_of_the_threads(threads, monkeypatch):
    """Also in squeeze-excitation, then, the bits do not depend on whether a process was forked."""
    x = np.random.default_rng(0).standard_normal(100).astype(np.float32)
    operands, rest = (x, x), ((x, x), 1, 2)
    by_threads, alone = np.zeros(threads, np.float32), np.zeros(threads, np.float32)
    split = Split(sums, [numba.typeof(argument) for argument in (operands, x, *rest)])
    split(operands, by_threads, *rest, 100, threads)
    monkeypatch.setattr("refconv.threads._FORKED", [None])
    with pytest.warns(RuntimeWarning, match="forked"):
        split(operands, alone, *rest, 100, threads)
    assert alone.tobytes() == by_threads.tobytes()
    assert len(set(alone)) == threads
    split(operands, alone, *rest, 100, threads)  # said once: a second warning would be an error here


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_while_another_thread_computes_and_compiles():
    """The child is left no lock that nobody holds any more."""
    code = """
import os, threading
over = threading.Event()
def busy():
    refconv.depthwise_conv2d(x, np.ones((16, 1, 2, 2), np.float32), threads=None)  # compiled or read during the first forks
    while not over.is_set():
        call(None)
thread = threading.Thread(target=busy)
call()
thread.start()
failed = 0
warnings.simplefilter("ignore")
for i in range(40):
    child = os.fork()
    if not child:
        call(None)
        refconv.depthwise_conv2d(x[:, :, :8], w, threads=2)
        os._exit(0)
    failed += os.waitpid(child, 0)[1] != 0
over.set()
thread.join()
print(failed)
"""
    status, out, err = run(code, "workqueue")
    assert (status, out) == (0, ["0"]), err


@pytest.mark.parametrize("layer", LAYERS)
def test_calls_with_threads_from_several_python_threads(layer):
    """workqueue would abort the process."""
    code = """
expected = call(1)
images = [(x + i).astype(np.float32) for i in range(64)]
def work(image):
    return refconv.depthwise_conv2d(image, w, padding=1, threads=2)
with ThreadPoolExecutor(4) as pool:
    for _ in range(8):
        results = list(pool.map(work, images))
for image, result in zip(images, results):
    assert (result == refconv.depthwise_conv2d(image, w, padding=1, threads=1)).all()
print(numba.threading_layer())
"""
    status, out, err = run(code, layer)
    assert (status, out) == (0, [layer]), err


def test_threads_without_the_compiler():
    """The shares are a plain loop; halves are what the caller gave, not their bits."""
    code = """
assert (call(2) == call(1)).all()
half = refconv.depthwise_conv2d(x[:1, :, :5, :5].astype(np.float16), w.astype(np.float16), padding=1, threads=2)
assert (half == refconv.reference.conv2d(x[:1, :, :5, :5], w, padding=(1, 1, 1, 1), groups=16)).all()
print("same")
"""
    status, out, err = run(code, "omp", NUMBA_DISABLE_JIT="1")
    assert (status, out) == (0, ["same"]), err
