"""A kernel's row and file are the only places that know the kernel: what sim says of it is derived, and the words for a choice are its own."""

import io
import pathlib
import re
import token
import tokenize

import pytest
from problems import OF_EACH_KERNEL

import refconv
import sim
from refconv import Conv2d, kernels
from refconv.host import Target
from refconv.networks.layers import PRESETS
from refconv.problem.loops import DIMENSIONS
from refconv.tiling.candidates import candidates
from refconv.weights.packed import order_of
from sim.account.trace_cost import estimated_accesses
from sim.machine.record import load_machine

AVX512, ZEN4 = Target(64, 32, 32 << 10, 1 << 20), load_machine("zen4")
NAMES = re.compile(rf"\b({'|'.join(kernels.KERNELS)})\b")
PERMITTED = (
    "functools.partial",
    "op.spread",  # an instruction, not the kernel
    "def spread",
    "return spread",
    "python -m sim.capacity --layer conv2d",  # as a user types it: a preset
    "depthwise Conv2d",  # a layer of that kind, as are those that follow
    "partial convolution",
    "depthwise convolution",
    "pointwise one",
    "grouped one",
    "grouped    g fixed",
    "pointwise  T = 1",
    "4.5 depthwise",
    "depthwise 3x3",
    "depthwise {taps}",
)
"""Words of sim that are names of kernels and mean something else."""


def named(text):
    """Kernels named in the code and strings of a source; comments may say what they like."""
    for words in PERMITTED:
        text = text.replace(words, "")
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    kinds = token.NAME, token.STRING, getattr(token, "FSTRING_MIDDLE", token.STRING)  # of Python 3.12 on
    return [match[0] for each in tokens if each.type in kinds and (match := NAMES.search(each.string))]


def test_no_file_of_sim_names_a_kernel():
    files = sorted(pathlib.Path(sim.__file__).parent.rglob("*.py"))
    assert len(files) > 30
    assert {str(path): found for path in files if (found := named(path.read_text()))} == {}


NAMING = (
    'if row.name == "pointwise":',
    "from refconv.kernels import gated",
    'LOOPS = {"conv2d": 1}',
    'f"{name} of pointwise"',
    "def f():\n    'of mbconv'\n",
)


@pytest.mark.parametrize("text", NAMING)
def test_a_file_that_names_a_kernel_is_found(text):
    assert len(named(text)) == 1
    assert named("x = conv2d_like  # of conv2d") == []


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_loops_cover_the_dimensions_of_their_problem_with_whole_steps(name, lanes):
    """Tiles of at least one index, and as many multiply-adds a step as the tile inside of all loops has, in vectors."""
    problem, target = PRESETS[name].problem, AVX512._replace(vector_bytes=4 * lanes)
    for kernel in kernels.legal(problem, lanes):
        row = kernels.KERNELS[kernel]
        loops = row.loops(problem, row.tiling(problem, 4, target), lanes)
        conv = getattr(loops.problem, "conv", loops.problem)
        tile = dict(zip("NGKCPQRS", (conv.n, conv.groups, conv.k_group, conv.c_group, conv.p, conv.q, conv.r, conv.s), strict=True))
        for loop in loops.loops:
            assert loop.dim in DIMENSIONS
            assert type(loop.tile) is int
            assert loop.tile > 0
            tile[loop.dim] = loop.tile
        macs = tile["N"] * tile["G"] * tile["K"] * tile["C"] * tile["P"] * tile["Q"] * tile["R"] * tile["S"]
        assert macs <= loops.products * lanes
        if order_of(problem.weight_shape, problem.groups, lanes) == "dense" == row.order:
            assert macs == loops.products * lanes
        assert 0 < loops.loads <= 2 * loops.products


def test_accesses_of_a_layer_by_hand():
    """8 x 8 pixels, 16 channels: a step loads `rows` pixels and a vector of weights for `rows` products; then inputs, weights, outputs, 16 a line."""
    for problem, steps, weights in ((Conv2d(1, 16, 8, 8, 16, 1, 1), 64 * 16, 256), (Conv2d(1, 16, 8, 8, 16, 1, 1, groups=16), 64, 16)):
        tiling = refconv.choose(problem, target=ZEN4.target).tiling
        rows = int((tiling.strip if problem.groups > 1 else tiling.tile).rows)
        assert estimated_accesses(problem, ZEN4) == steps * (rows + 1) // rows + (1024 + weights + 1024) // 16


def test_a_choice_states_the_bytes_that_the_kernel_declares():
    """Of a dilated window, the ring holds the rows that it reaches over, not only those that it touches."""
    problem = Conv2d.parse("g4mb1ic12ih9oc20kh3ph1dh2")
    choice = refconv.choose(problem, target=AVX512)
    assert choice.kernel == "spread"
    held = kernels.KERNELS["spread"].workspace(problem, choice.tiling, 16, False).strip
    assert f"spread strip {held * 4 / 1024:.1f} KiB" in choice.explanation


@pytest.mark.parametrize("name", OF_EACH_KERNEL)
def test_every_kernels_tiling_has_candidates_of_its_own(name):
    problem, row = OF_EACH_KERNEL[name], kernels.KERNELS[name]
    rule = row.tiling(problem, 4, AVX512)
    found = list(candidates(rule, problem, 16, AVX512))
    assert rule in found
    assert {type(tiling) for tiling in found} == {type(rule)}
    for tiling in found:
        assert row.checked(tiling, rule, problem, 16) == tiling
    with pytest.raises(TypeError, match=r"must be a tiling of refconv.tiling.layers"):
        next(candidates(tuple(rule), problem, 16, AVX512))
