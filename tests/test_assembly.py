"""What LLVM emits: innermost loops keep their accumulators in registers, for every tile the rules can choose.

For this CPU in every run of the tests; for AVX2, AVX-512 and plain x86-64, which any host can emit, with --other-targets.
"""

import json
import os
import pathlib
import platform
import subprocess
import sys

import pytest
from assembly import innermost_loops, products, stack_moves

import refconv
from refconv.elements import element
from refconv.host import Target
from refconv.schedule import layer_schedule
from refconv.tiling.layers import most_rows
from refconv.tiling.shapes import tile_of

pytestmark = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the assembly of x86-64")
TARGETS = {"haswell": (32, 16), "skylake-avx512": (64, 32), "x86-64": (16, 16)}
"""CPUs whose code is read, with the bytes and the number of their vector registers."""
WITH_ONE_IN_MEMORY = {"haswell": "7x2", "skylake-avx512": "7x4"}
"""The tiles whose first vector of weights stays in memory."""


THIS = {name: os.environ[name] for name in ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES") if name in os.environ}
"""The target of these tests themselves."""


def emitted(kind, **environment):
    """What tests/emitted.py prints."""
    environment = {**{name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}, **environment}
    script = pathlib.Path(__file__).parent / "emitted.py"
    done = subprocess.run([sys.executable, script, kind], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout), done.stderr


@pytest.mark.parametrize("cpu", ["this CPU", *(pytest.param(cpu, marks=pytest.mark.other_target) for cpu in TARGETS)])
def test_no_innermost_loop_moves_a_vector_to_or_from_the_stack(cpu):
    """Sums in float32 and float64, with and without a prefetch; slides; whole kernels. One process has them all, since each starts a compiler,
    and one function the four sums of a tile, since each costs more to be typed than to be compiled.

    A tile that is too large does spill: the reader of assembly can see it.
    """
    found, _ = emitted("loops", **({"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": ""} if cpu in TARGETS else THIS))
    tiles, strips, kernels = (found[kind] for kind in ("tiles", "strips", "kernels"))
    assert len(tiles) >= 20
    if cpu in TARGETS:
        assert {WITH_ONE_IN_MEMORY[cpu]} <= set(tiles) if cpu in WITH_ONE_IN_MEMORY else not {"7x2", "7x4"} & set(tiles)
    for shape, loops in tiles.items():
        rows, vectors = map(int, shape.split("x"))
        assert len(loops) >= 4, shape  # one at least of each sum
        assert all(made % (rows * vectors) == 0 and moves == 0 for made, moves in loops), (shape, loops)
    assert any(moves > 0 for _, moves in found["too large"])
    assert len(strips) >= 25
    assert set(kernels) == {"conv2d", "pointwise", "partial", "depthwise", "grouped", "ffn"}
    for name, loops in (strips | kernels).items():
        assert loops, name
        assert all(moves == 0 for _, moves in loops), (name, loops)


LISTING = """
f:
	pushq	%rbp
.LBB0_1:
	vmovups	(%rdi), %ymm0
	vmovups	%ymm9, 32(%rsp)
.LBB0_2:
	vfmadd231ps	(%rbp,%rax), %ymm0, %ymm1
	vmovups	%ymm1, 64(%rsp)
	movq	8(%rsp), %rax
	jne	.LBB0_2
	vmovaps	96(%rsp), %ymm4
	decq	%rcx
	jne	.LBB0_1
.LBB0_3:
	vmulps	%ymm0, %ymm1, %ymm2
	jmp	.LBB0_4
.LBB0_4:
	jne	.LBB0_3
	retq
"""


def test_reader_finds_innermost_loops_and_what_they_move():
    """A loop around another is not innermost; what is relative to %rbp is on the stack where a frame begins with it, and not elsewhere."""
    first, second = sorted(innermost_loops(LISTING), key=lambda lines: "vmulps" in lines[0])
    assert [line.split()[0] for line in first] == ["vfmadd231ps", "vmovups", "movq", "jne"]
    assert [products(first), products(second)] == [1, 1]
    assert stack_moves(first, LISTING) == ["vmovups\t%ymm1, 64(%rsp)"]
    assert stack_moves(second, LISTING) == []
    assert len(stack_moves(first, LISTING.replace("pushq\t%rbp", "movq\t%rsp, %rbp"))) == 2


def test_a_tile_that_cannot_be_kept_is_refused_with_the_reason():
    problem = refconv.Conv2d.parse("mb1ic64ih14oc64kh3ph1")
    target = Target(32, 16, 32 << 10, 256 << 10)
    rule = refconv.choose(problem, target=target).tiling
    tiling = rule._replace(tile=tile_of(7, 2, 64, 8), channels=64)
    text = "tiling.tile.rows = 7: must be at most 6 for 2 vectors: the sums of a step and its operands take 17 vector registers of 16"
    with pytest.raises(ValueError, match=text):
        layer_schedule(problem, element("float32"), target, tiling=tiling)


def test_a_vector_of_weights_may_stay_in_memory():
    """With fused multiply-adds whose operands can be in memory: of several vectors one, which takes the place of a register."""
    for vector_bytes, registers, vectors, rows, without in ((32, 16, 2, 7, 6), (64, 32, 4, 7, 6), (32, 16, 3, 4, 4), (32, 16, 1, 14, 14)):
        target = Target(vector_bytes, registers, 32 << 10, 256 << 10, memory_operands=True)
        assert most_rows(vectors, target) == rows
        assert most_rows(vectors, target._replace(memory_operands=False)) == without
        assert most_rows(vectors, target._replace(fused=False)) <= without


def test_a_strip_that_cannot_be_kept_is_refused_with_the_reason():
    target = Target(32, 16, 32 << 10, 256 << 10)
    for text, rows, taken in (("g64mb1ic64ih14oc64kh7ph3", 14, 22), ("g4mb1ic16ih28oc16kh3ph1", 7, 38)):
        rule = refconv.choose(text, target=target).tiling
        tiling = rule._replace(strip=rule.strip._replace(rows=rows))
        if hasattr(tiling, "pixels"):
            tiling = tiling._replace(pixels=rows)
        with pytest.raises(ValueError, match=f"strip.rows = {rows}: must be at most .* take {taken} vector registers of 16"):
            layer_schedule(refconv.Conv2d.parse(text), element("float32"), target, tiling=tiling)


def test_tiles_are_made_for_what_the_compiler_emits():
    """With NUMBA_CPU_NAME alone Numba adds this CPU's features: tiles follow, and a warning says so; with features too it is the CPU named."""
    (name, vector_bytes, registers, _), errors = emitted("target", NUMBA_CPU_NAME="haswell", NUMBA_CPU_FEATURES="")
    assert (name, vector_bytes, registers) == ("haswell", *TARGETS["haswell"])
    assert "NUMBA_CPU_NAME" not in errors
    (_, own_bytes, *_), _ = emitted("target")
    (name, vector_bytes, *_), errors = emitted("target", NUMBA_CPU_NAME="haswell")
    assert (name, vector_bytes) == ("haswell", own_bytes)
    assert "NUMBA_CPU_NAME=haswell alone" in errors
