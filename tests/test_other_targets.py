"""The tests of what differs between targets, again, compiled for AVX2 and for generic x86-64."""

import os
import pathlib
import platform
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent

TARGETS = {"haswell": "", "x86-64": ""}


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="other targets of x86-64")
@pytest.mark.skipif("NUMBA_CPU_NAME" in os.environ, reason="already under another target")
@pytest.mark.parametrize("target", TARGETS)
def test_kernels_under_other_targets(target):
    """A selection of tests again, compiled for AVX2 and for generic x86-64 (SSE2, no FMA).

    What differs between targets is the instructions, whose tests run whole, and the tiles that fit: kernels of layers on few problems, traced
    in float32 alone, fused ones on tiny tiles, and no kernel in parallel, which is a loop around the serial one.
    """
    environment = {**os.environ, "NUMBA_CPU_NAME": target, "NUMBA_CPU_FEATURES": TARGETS[target], "HYPOTHESIS_PROFILE": "other-target"}
    files = [f"tests/test_{name}.py" for name in ("ops", "instructions", "activations", "machines")]
    files.append("tests/test_fused.py::test_every_fused_kernel_in_every_element_type")
    once = "not threads_layouts and not (bfloat16 and real_data) and not (float16 and machines) and not (fused_kernel and (bfloat16 or float64))"
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n0", "-p", "no:cacheprovider", "-k", once, *files]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:]
