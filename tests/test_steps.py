"""The graph of steps of a block: it is the definition, its sizes, what is let go, a peer's walk over it."""

import numpy as np
import pytest
from block_problems import BLOCKS, STRIDED, blocks, build, gates, normal
from definitions import by_channel, make
from hypothesis import given
from hypothesis import strategies as st

import refconv
from refconv import reference
from refconv.bench.blocks import CASES, Case, weights
from refconv.bench.peers.steps import PeerBlock
from refconv.networks import network
from refconv.ops.steps import run_graph
from refconv.problem.steps import Graph, Step, max_pool


@pytest.mark.parametrize("kind", BLOCKS)
def test_the_graph_is_the_definition(kind):
    """Walked with the definitions of its ops it is the definition of the block, and every tensor has the size that is inferred."""

    @given(blocks(kind, normal))
    def check(case):
        record, x = case
        n, _, h, w = x.shape
        apply, sized, seen = make(record.graph), record.sized(n, h, w), []

        def noted(step, tensors):
            out = apply(step, tensors)
            assert sized[step.name].shape == (out.shape[0], *out.shape[2:], out.shape[1])
            seen.append(step.name)
            return out

        np.testing.assert_allclose(record.graph.run(x, noted), reference.block(x, record), rtol=1e-12, atol=1e-12)
        assert seen == list(sized)
        assert {name for step in record.graph.steps for name in step.parameters.values()} >= set(record.arrays), "every array is of some step"

    check()


def test_a_tensor_is_let_go_after_its_last_use():
    steps = tuple(Step(f"s{i}", "activation", (f"s{i - 1}" if i else "input",), attributes={"kind": "relu"}) for i in range(9))
    graph, alive = Graph((*steps, Step("sum", "add", ("s8", "s0"))), {}), set()

    class Tensor:
        def __init__(self, name):
            self.name = name
            alive.add(name)

        def __del__(self):
            alive.discard(self.name)

    most = []

    def apply(step, tensors):
        made = Tensor(step.name)
        most.append(len(alive))
        return made

    assert graph.run(Tensor("x"), apply).name == "sum"
    assert max(most) == 4, "x, which the caller holds, s0, the source of the step, what it makes"
    assert alive == set()


@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.parametrize("stride", [1, 2])
def test_merged_steps_take_every_array_and_tensor_once(kind, stride):
    changed = ({"stride": stride} if kind in STRIDED else {}) | gates(kind)
    record = build(kind, **changed)
    merged = record.graph.merged(2, 6, 5, record.c)
    assert sorted(name for step in merged for name in step.parameters) == sorted(record.arrays)
    stored = ["input", *(step.name for step in merged)]
    for i, step in enumerate(merged):
        assert {step.source, *step.besides} <= set(stored[: i + 1]), "what a step reads was stored before"
    assert {name for step in merged for name in (step.source, *step.besides)} == set(stored[:-1]), "nothing is stored in vain"


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 7), st.integers(1, 7), st.integers(0, 99))
def test_a_max_pool_is_the_largest_of_each_window(size, stride, h, w, seed):
    """The step run on arrays, its definition, and the definition once more, window by window."""
    x = normal(np.random.default_rng(seed), (2, h, w, 3))
    graph = Graph((max_pool("pool", "input", size, stride),), {})
    (pool,) = graph.sized(2, h, w, 3).values()
    out = run_graph(graph, x)
    assert out.dtype == x.dtype
    assert out.shape == pool.shape == (2, -(-h // stride), -(-w // stride), 3)
    top = (size - 1) // 2
    for p, q in np.ndindex(*out.shape[1:3]):
        rows, columns = (slice(max(0, at * stride - top), at * stride - top + size) for at in (p, q))
        np.testing.assert_array_equal(out[:, p, q], x[:, rows, columns].max(axis=(1, 2)))
    attributes = pool.step.attributes
    defined = reference.max_pool(x.transpose(0, 3, 1, 2), size, stride, attributes["pads"])
    np.testing.assert_array_equal(out, defined.transpose(0, 2, 3, 1))


@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenetv3_small", "efficientnetv2_s", "convnext_atto", "fasternet_t0", "isynet_n1", "convfirstnet_pico"]
)
def test_sizes_of_a_network_are_those_of_the_definitions(name):
    """Walked with the definitions of its ops, every step of a network makes the tensor that is inferred; here from its zeros."""
    known = network(name)
    size, seen = 32, []
    sized, apply = known.steps(1, size), make(known.graph)

    def noted(step, tensors):
        out = apply(step, tensors)
        assert sized[step.name].shape == (out.shape[0], *out.shape[2:], out.shape[1])
        seen.append(step.name)
        return out

    assert known.graph.run(np.zeros((1, 3, size, size)), noted).shape == (1, 1000, 1, 1)
    assert seen == list(sized)


class NumPyPeer(PeerBlock):
    """The definitions as a peer's operations, float64."""

    def __init__(self, record, linear):
        self.arrays, self.linear = record.arrays, linear
        self.settle(record, linear)

    def conv(self, x, weight, bias, groups):
        size = self.arrays[weight].shape[2] // 2
        return reference.conv2d(x, self.arrays[weight], self.arrays.get(bias), padding=(size,) * 4, groups=groups)

    def matrix(self, x, weight, bias):
        if self.linear:
            return x @ self.arrays[weight].T.astype(np.float64) + self.arrays.get(bias, 0)
        return reference.pointwise_conv2d(x, self.arrays[weight][:, :, None, None], self.arrays.get(bias))

    def partial_conv(self, x, weight, bias):
        return reference.partial_conv2d(x, self.arrays[weight], self.arrays.get(bias))

    def norm(self, x, weight, bias, eps):
        return self.to_last(reference.layer_norm(self.to_first(x), self.arrays[weight], self.arrays.get(bias), eps))

    def activation(self, x, kind):
        return reference.activate(x, kind)

    def scaled(self, x, weight):
        return x * (self.arrays[weight] if self.linear else by_channel(self.arrays[weight]))

    def shifted(self, x, bias):
        return x + (self.arrays[bias] if self.linear else by_channel(self.arrays[bias]))

    def response(self, x, weight, eps):
        return reference.response_gates(x, self.arrays[weight], eps)

    def mean(self, x):
        return x.mean(axis=(2, 3), keepdims=True)

    def multiply(self, x, gates):
        return x * gates

    def add(self, x, y):
        return x + y

    def to_last(self, x):
        return x.transpose(0, 2, 3, 1)

    def to_first(self, x):
        return x.transpose(0, 3, 1, 2)


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("kind", BLOCKS)
def test_a_peer_walks_the_graph(kind, linear):
    """With matrices on channels first, and on channels last, where the layout changes no more often than it must."""
    if linear and kind not in (refconv.FFNBlock, refconv.ConvNeXtBlock):
        pytest.skip("linear layers are for blocks of matrices on the whole")
    cases = [*CASES, Case(refconv.ConvNeXtV2Block, 8, 7, 4, "gelu", 7)]
    case = next(case for case in cases if case.kind is kind)._replace(c=8, size=7)
    record, x = weights(case, np.float64), np.random.default_rng(0).standard_normal((2, 8, 7, 7))
    peer = NumPyPeer(record, linear)
    np.testing.assert_allclose(peer.forward(x), reference.block(x, record), rtol=1e-12, atol=1e-12)
    moves = [name for name, *_ in peer.calls if name.startswith("to_")]
    assert moves == (["to_last", "to_first"] if linear or kind in (refconv.ConvNeXtBlock, refconv.ConvNeXtV2Block) else [])
