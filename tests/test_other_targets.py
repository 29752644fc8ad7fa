"""The tests of what differs between targets, again, for AVX2 and for generic x86-64 (SSE2, no FMA): shorter vectors, fewer registers.

Lanes and registers decide tiles, packed orders and which kernel runs. That logic is the same Python source on every target, and runs as it stands,
without the compiler, for every kernel, element type and block. What the compiler makes of it differs in the instructions, whose tests run whole,
and in how they meet in a kernel: each kernel is compiled in every type for a few shapes, and in float32 for real layers, for fused blocks and
traced. A loop over threads is the same around any kernel: it stays with the host's own target, as does what knows no vectors.
"""

import os
import pathlib
import platform
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.other_target,
    pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="other targets of x86-64"),
    pytest.mark.skipif("NUMBA_CPU_NAME" in os.environ, reason="already under another target"),
]
ROOT = pathlib.Path(__file__).parent.parent
TARGETS = {"haswell": "", "x86-64": ""}
"""CPUs, and the features that Numba is told beside their own."""


def run_tests(target, wanted, files, **environment):
    """Run those of the files' tests that the expression names in a process of their own, for that target."""
    target = {"NUMBA_CPU_NAME": target, "NUMBA_CPU_FEATURES": TARGETS[target], "HYPOTHESIS_PROFILE": "other-target"}
    options = ["-q", "-x", "-n0", "-p", "no:cacheprovider", "-k", wanted]
    command = [sys.executable, "-m", "pytest", *options, *(f"tests/test_{name}.py" for name in files)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **target, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:]


@pytest.mark.parametrize("target", TARGETS)
def test_kernels_compiled_for_other_targets(target):
    wanted = "instructions or activations or exact_on_integers or (float32 and (real_data or machines_agree or every_fused_kernel))"
    run_tests(target, wanted, ("instructions", "activations", "ops", "machines", "fused"))


@pytest.mark.parametrize("target", TARGETS)
def test_plain_kernels_of_other_targets(target):
    """All tests of tilings, nests and fused blocks, but those of threads and of one kernel in hundreds of tilings."""
    wanted = "tilings or kernel_nests or (fused and not rows_kept and not threads) or exact_on_integers"
    run_tests(target, wanted, ("tilings", "kernel_nests", "fused", "ops"), NUMBA_DISABLE_JIT="1")
