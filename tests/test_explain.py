"""Counts explained: the formulas beside the simulated counts, equal where a layer fits; what --explain prints."""

import re

import pytest
from commands import run

import sim
from refconv.networks.layers import PRESETS
from sim.account.explain import layer_explanation, layer_nest, tensor_counts, whole_vectors
from sim.analysis.closed_form import boundaries
from sim.machine.record import Level, load_machine

ZEN4, LARGE = load_machine("zen4"), load_machine("skylake-sp")


def explained(name, machine, **options):
    """({(tensor, direction): TensorCount}, nest) of a preset."""
    problem = PRESETS[name].problem
    record = sim.simulate(None, problem, machine, **options)
    nest = layer_nest(record, problem, machine)
    itemsize = record.tensors["input"].bytes // problem.tensors["input"]
    moved = boundaries(nest, itemsize, write_allocate=True)[0].moved
    from refconv import kernels

    packed = whole_vectors(kernels.KERNELS[record.kernel], problem, machine.target.lanes(max(4, itemsize)))
    return {(line.tensor, line.direction): line for line in tensor_counts(record, moved, packed)}, nest


@pytest.mark.parametrize(("name", "dtype"), [*((name, "float32") for name in PRESETS), ("dwconv3", "float16"), ("pointwise", "bfloat16")])
def test_formulas_are_the_counts_of_a_layer_that_fits(name, dtype):
    """Whole lines of them, weights packed, halves widened."""
    lines, nest = explained(name, LARGE, dtype=dtype, bias=True)
    assert {("input", "read"), ("weight", "read"), ("bias", "read"), ("output", "read"), ("output", "written")} <= set(lines)
    assert nest.memories[0].at == 0
    for (tensor, _), line in lines.items():
        assert line.simulated_bytes == -(-line.closed_bytes // 64) * 64, tensor
        assert f"= {line.closed_bytes:,} B; simulated {line.simulated_bytes:,} B" in str(line)


def test_a_weight_that_goes_round_is_explained():
    """256 KiB of LRU: pixels stay for all their channels, each block of pixels reads all weights; some of them are still there the next time."""
    machine = ZEN4._replace(levels=(ZEN4.levels[0], Level("L2", 256 << 10, 4096, 64)))
    lines, nest = explained("pointwise", machine)
    weight = lines["weight", "read"]
    assert re.search(r"turns of Q/\d+", str(weight))
    assert weight.closed_bytes > 5 * 4 * PRESETS["pointwise"].problem.tensors["weight"]
    assert 0.8 < weight.simulated_bytes / weight.closed_bytes <= 1
    for key in (("input", "read"), ("output", "read"), ("output", "written")):
        assert lines[key].simulated_bytes == lines[key].closed_bytes
    assert nest.memories[0].at > 0


def test_explain_prints_loops_memories_and_formulas():
    status, out, err = run("--layer", "conv2d", "--machine", "zen4", "--explain")
    assert (status, err) == (0, "")
    assert "The conv2d kernel's loops, outer to inner (refconv/kernels/conv2d.py)" in out
    for text in ("[L3 32.0 MiB] holds input", "[L1 32.0 KiB] holds", "  C/1  input channels of a group, 1 at a time", "Lower bound"):
        assert text in out
    assert "  input read: 64 input channels x 56 rows x 56 columns x 4 B = 802,816 B; simulated 802,816 B\n" in out
    assert "  weight read: 64 output channels x 64 input channels x 3 kernel rows x 3 kernel columns x 4 B = 147,456 B; simulated 147,456 B\n" in out
    assert out.index("[L3") < out.index("[L2") < out.index("[L1")


def test_an_output_stored_past_the_caches_is_explained_without_a_fill():
    for layer, elements in (("conv2d", "64 output channels x 56 rows x 56 columns"), ("ffn", "301,056 elements once")):
        status, out, _ = run("--layer", layer, "--machine", "zen4", "--explain", "--stores", "nontemporal")
        assert status == 0
        assert "  output read" not in out
        size = 802_816 if layer == "conv2d" else 1_204_224
        assert f"  output written: {elements} x 4 B = {size:,} B; simulated {size:,} B\n" in out


def test_a_layer_too_large_to_trace_has_its_closed_form(monkeypatch):
    """At once, with the formulas that it has where it is traced."""
    traced, untraced = (run("--layer", "conv2d", "--machine", "zen4", "--explain", "--bias", *limit)[1] for limit in ((), ("--limit", "1000")))
    assert "Not traced: layer conv2d: tracing it takes about" in untraced
    formulas = [line for line in traced.splitlines() if "; simulated" in line]
    assert len(formulas) >= 4
    for line in formulas:
        assert line.partition("; simulated")[0] + "\n" in untraced
    status, out, err = run("--layer", "mb1ic4096ih4096oc4096kh3ph1", "--machine", "zen4", "--explain")
    assert (status, err) == (0, "")
    assert "input read: 64 turns of K/64 x 4,096 input channels x 12,286 rows of 4096 tiles of P/1 x 4,096 columns x 4 B" in out
    monkeypatch.setattr("sim.machine.calibrate.host_rates", lambda: (1e11, 1e10))  # which says on stderr when it measures
    status, out, err = run("--layer", "conv2d", "--cache", "L1=64B,1,64", "--explain")
    assert (status, out, err) == (2, "", err.partition("\n")[0] + "\n")
    assert "capacity of 64 bytes: must be at least" in err


def test_explain_prints_a_block_by_its_chain():
    status, out, _ = run("--layer", "ffn", "--machine", "zen4", "--explain")
    assert status == 0
    assert re.search(r"input read: 301,056 elements once x 4 B = 1,204,224 B; simulated 1,204,224 B\n", out)


def test_explain_is_no_form_of_json_and_needs_a_memory():
    status, out, err = run("--layer", "conv2d", "--machine", "zen4", "--explain", "--json")
    assert (status, out) == (2, "")
    assert "not allowed with" in err
    for options, text in (
        (("--warm",), "--explain: its formulas are those of a cold start"),
        (("--cache", "L3=32MiB,16,64,no-allocate"), "--explain: L3 is LRU, write-back, no-write-allocate: the last level must be"),
        (("--cache", "L3=32MiB,16,64,write-through"), "--explain: L3 is LRU, write-through, write-allocate: the last level must be"),
    ):
        status, out, err = run("--layer", "conv2d", "--machine", "zen4", "--explain", *options)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert text in err
    problem = PRESETS["conv2d"].problem
    record, tiny = sim.simulate(None, problem, ZEN4), ZEN4._replace(levels=(Level("L1", 64, 1, 64),))
    with pytest.raises(ValueError, match="capacity of 64 bytes: must be at least"):
        layer_explanation(record, problem, tiny)
