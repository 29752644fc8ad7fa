"""Whole networks on simulated caches: the same counts as the calls made by hand in one memory, sums, bounds, and what cannot be run."""

import functools

import numpy as np
import pytest
from networks import network, onnx, whole
from problems import few_shapes

import refconv
import sim
from refconv import Conv2d, FFNBlock
from refconv.elements import element
from refconv.graph.calls import MISSING
from refconv.graph.network import NetworkInput, input_shapes
from refconv.schedule import block_schedule, layer_schedule
from sim.account.block import fused_account
from sim.account.layer import call_kernel
from sim.account.network_steps import KINDS, Ready
from sim.machine.record import load_machine, make_level
from sim.trace.run import Run

ZEN4 = load_machine("zen4")
LINE = 64


def machine(*levels, inclusion="nine"):
    """zen4 with caches (bytes, ways, and more as of make_level; lines of 64 bytes)."""
    made = [make_level(f"L{i + 1}", size, ways, *(more or (LINE,))) for i, (size, ways, *more) in enumerate(levels)]
    return ZEN4._replace(levels=tuple(made), inclusion=inclusion).checked()


TINY = machine((2048, 4), (8192, 8))
ONE_SET = machine((2048, 32), (8192, 128))
"""Fully associative, so that nothing depends on where buffers lie."""

BODY = """
    c1 = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)
    r1 = Relu (c1)
    c2 = Conv (r1, w2)
    s = Add (c2, r1)
    p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (s)
    g = GlobalAveragePool (p)
    f = Flatten (g)
    m = MatMul (f, fc)
    y = Softmax (m)
"""
ARRAYS = {"w1": whole((16, 16, 3, 3)), "b1": whole(16), "w2": whole((16, 16, 1, 1)), "fc": whole((16, 16))}


@functools.cache
def small():
    """A residual block of 16 channels, pools and a classifier."""
    return refconv.load(network("float[N,16,8,8] x", "float[a,b] y", BODY, ARRAYS), fuse=False)


@functools.cache
def small_account(machine=TINY, **options):
    with few_shapes("float32"):
        return sim.simulate_network(small(), machine, **options)


def totals(accounts):
    """[(counters of a level, ...) of all levels, bytes read, bytes written] of accounts added up."""
    levels = zip(*(one.levels for one in accounts), strict=True)
    names = "loads", "stores", "load_misses", "store_misses", "writebacks", "flushed"
    counts = [[sum(getattr(level, name) for level in of_level) for name in names] for of_level in levels]
    return counts, sum(one.dram.read_bytes for one in accounts), sum(one.dram.write_bytes for one in accounts)


class ByHand:
    """The calls of a schedule, made on one buffer that all tensors lie in: what moves is known, but not of which tensor."""

    def __init__(self, schedule, machine):
        self.schedule, self.machine, self.moved = schedule, machine, []
        self.made = [(call, call.kernel_calls[0] if call.kernel_calls else None) for call in schedule.calls]
        target, buffers, places = machine.target, {"arena": schedule.arena_bytes // 4, "nothing": 0}, {}
        for made, call in self.made:
            if call is not None:
                biased = made.step.parameters.get("bias") in schedule.parameters
                tensors = layer_schedule(call.problem, element("float32"), target, kernel=call.kernel.name, bias=biased).tensors
                buffers |= {f"{role} of {made.out}": tensors[role] for role in ("weight", "bias") if tensors[role]}
                for place, elements in zip(call.places, call.sizes, strict=True):
                    places[place] = max(places.get(place, 0), elements)
        buffers |= places
        self.run = Run(machine, [(str(key), elements, 4) for key, elements in buffers.items()])
        self.buffers = dict(zip(buffers, self.run.buffers, strict=True))

    def tensor(self, name):
        tensor = self.schedule.tensors[name]
        arena = self.buffers["arena"]
        return arena._replace(address=arena.address + self.schedule.offsets[tensor.buffer], size=tensor.nbytes // 4)

    def lines(self, name):
        tensor = self.tensor(name)
        return [(tensor.address + at) // LINE for at in range(0, 4 * tensor.size, LINE)]

    def stream(self, sources, made):
        """Load each source's lines, store those of what is made, in step: written out as fractions of each."""
        operands = [(self.lines(name), 0) for name in sources] + [(self.lines(made), 1)]
        longest = max(len(lines) for lines, _ in operands)
        done, events = [0] * len(operands), []
        for share in range(longest):
            for i, (lines, store) in enumerate(operands):
                while (done[i] + 1) * longest <= (share + 1) * len(lines):
                    events.append(lines[done[i]] << 1 | store)
                    done[i] += 1
        self.run.stream(np.array(events))

    def all(self):
        """(counts, dram) of every call."""
        for made, call in self.made:
            if call is not None:
                nothing = self.buffers["nothing"]
                roles = {"input": self.tensor(made.sources[0]), call.out: self.tensor(made.out)}
                roles |= {role: self.buffers.get(f"{role} of {made.out}", nothing) for role in ("weight", "bias")}
                roles |= {"residual": self.tensor(made.sources[1]) if len(made.sources) > 1 else nothing}
                roles |= {place: self.buffers[place]._replace(size=elements) for place, elements in zip(call.places, call.sizes, strict=True)}
                call_kernel(self.run, call, [roles[key] for key in call.keys])
            else:
                self.stream([name for name in made.sources if name], made.out)
            self.moved.append(self.run.moved(last=made is self.schedule.calls[-1]))
        return self.moved


@pytest.mark.parametrize("caches", [TINY, ONE_SET, ZEN4], ids=["tiny", "one set", "zen4"])
def test_the_counts_are_those_of_the_calls_made_by_hand(caches):
    """In one memory, in which a tensor lies where others did: every call, every level, every counter."""
    with few_shapes("float32"):
        schedule = small().schedule_on(caches.target, (1, 16, 8, 8))
        account = small_account(caches)
        moved = ByHand(schedule, caches).all()
    assert len(account.steps) == len(schedule.calls) == len(moved)
    assert len(set(schedule.offsets.values())) < len(schedule.offsets), "places are used again"
    for step, (counts, dram) in zip(account.steps, moved, strict=True):
        read, written, flushed = (LINE * dram.sum(axis=0)).tolist()
        assert totals([step]) == (counts.sum(axis=1).tolist(), read, written + flushed), step.name


@pytest.mark.parametrize("options", [{}, {"warm": True}, {"batch": 3}], ids=str)
def test_the_network_is_the_sum_of_its_steps(options):
    account = small_account(**options)
    assert totals([account]) == totals(account.steps)
    assert account.macs == sum(step.macs for step in account.steps) == options.get("batch", 1) * (64 * 16 * 16 * 10 + 16 * 16)
    for one in (account, *account.steps):
        assert sum(kind.read_bytes for kind in one.kinds.values()) == one.dram.read_bytes == sum(t.read_bytes for t in one.tensors.values())
        assert sum(kind.write_bytes for kind in one.kinds.values()) == one.dram.write_bytes == sum(t.write_bytes for t in one.tensors.values())
    assert account.compulsory_bytes == sum(step.compulsory_bytes for step in account.steps)
    assert account.peak_bytes == account.arena_bytes + account.workspace_bytes
    assert [step.start for step in account.steps[1:]] == ["warm"] * (len(account.steps) - 1)


@pytest.mark.parametrize("caches", [TINY, ZEN4], ids=["tiny", "zen4"])
@pytest.mark.parametrize("warm", [False, True])
def test_no_traffic_is_below_its_bound(caches, warm):
    account = small_account(caches, warm=warm)
    for one in (account, *account.steps):
        assert one.moved_bytes >= one.bound_bytes, one.name
    if not warm:
        for kind, moved in account.kinds.items():
            assert moved.moved_bytes >= moved.bound_bytes, kind
        parameters = sum(4 * array.size for array in ARRAYS.values())
        assert account.bound_bytes == 4 * (16 * 64 + 16) + parameters


def test_what_fits_moves_once():
    """On caches that hold all of it: inputs and parameters are read, every line of the arena that is stored is filled and at the end written."""
    account = small_account(ZEN4)
    assert account.kinds["input"].read_bytes == 4 * 16 * 64
    assert account.kinds["weight"].read_bytes == sum(4 * array.size for array in ARRAYS.values())
    assert account.kinds["weight"].write_bytes == 0
    again = small_account(ZEN4, warm=True)
    assert again.dram.read_bytes == 0
    assert again.dram.write_bytes == account.dram.write_bytes
    assert again.steps[0].intensity.simulated == float("inf")
    assert again.steps[0].as_json()["intensity"]["simulated"] is None


@pytest.mark.parametrize("caches", [ONE_SET, ZEN4], ids=["one set", "zen4"])
def test_a_network_of_one_layer_is_that_layer(caches):
    """Where it does not matter where buffers lie."""
    net = refconv.load(network("float[1,16,8,8] x", "float[a,b,c,d] y", "y = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)", ARRAYS))
    with few_shapes("float32"):
        account = sim.simulate_network(net, caches)
        layer = sim.simulate(None, Conv2d(1, 16, 8, 8, 16, 3, 3, 1, 1, 1, 1, 1, 1), caches, bias=True)
    (step,) = account.steps
    assert (step.kernel, step.tiling, step.descriptor) == (layer.kernel, layer.tiling, layer.descriptor)
    assert totals([step]) == totals([account]) == totals([layer])
    assert (account.macs, account.bound_bytes, account.compulsory_bytes) == (layer.macs, layer.compulsory_bytes, layer.compulsory_bytes)
    assert account.workspace_bytes == layer.workspace_bytes
    assert (account.kinds["weight"].moved_bytes) == layer.tensors["weight"].moved_bytes + layer.tensors["bias"].moved_bytes


FFN = """
    e = Conv (x, up)
    r = Relu (e)
    p = Conv (r, down)
    y = Add (x, p)
"""


def test_a_block_is_the_run_of_its_fused_kernel():
    """As sim.simulate_block makes it; without fusing, its hidden layer is a tensor, and what is computed is the same."""
    arrays = {"up": whole((24, 8, 1, 1)), "down": whole((8, 24, 1, 1))}
    model = network("float[1,8,9,7] x", "float[a,b,c,d] y", FFN, arrays)
    up, down = (array[:, :, 0, 0] for array in arrays.values())
    record = FFNBlock(expand_weight=up, expand_bias=None, project_weight=down, project_bias=None, activation="relu")
    schedule = block_schedule(record, 1, 9, 7, element("float32"), ONE_SET.target)
    alone = fused_account(schedule, record, (1, 9, 7), ONE_SET)
    account, apart = (sim.simulate_network(model, ONE_SET, fuse=fuse) for fuse in ("always", False))
    (step,) = account.steps
    assert (step.op, step.kernel) == ("FFNBlock", "ffn")
    assert totals([step]) == totals([account]) == totals([alone])
    assert (account.macs, account.bound_bytes, account.workspace_bytes) == (alone.macs, alone.bound_bytes, alone.workspace_bytes)
    assert account.macs == apart.macs and len(apart.steps) == 2
    assert apart.peak_bytes > account.peak_bytes and apart.moved_bytes > account.moved_bytes


def test_what_calls_of_a_block_leave_for_each_other_has_its_place():
    """Of an MBConvBlock with squeeze-excitation: every buffer as the block's own schedule has it, gates and hidden layer in the arena."""
    built = refconv.networks.build("efficientnet_b0", size=64, fuse="always")
    ready = Ready(built.net.schedule_on(ZEN4.target, (1, 3, 64, 64)), ZEN4.target)
    several = [step for step in ready.steps if len(step.call.kernel_calls) > 1]
    assert several
    for step in several:
        own = step.call.block.buffers
        for call, one in zip(step.call.kernel_calls, step.passes, strict=False):
            assert [operand.bytes for operand in one.operands] == [
                (call.sizes[call.places.index(key)] if key in call.places else own[key].elements) * own[key].itemsize for key in call.keys
            ]
            taken = {key: operand.number for key, operand in zip(call.keys, one.operands, strict=True) if operand.bytes}
            assert len(set(taken.values())) == len(taken), "no two in one place"
        for tensor in step.call.between.values():
            assert tensor in [ready.every[number][0] for number in step.begins]


@pytest.mark.parametrize("body", ["y = Slice (x, first, last, axes)", "y, z = Split <axis = 3> (x, sizes)"])
def test_of_what_takes_a_part_the_lines_of_that_part_are_read(body):
    """16 of 64 floats of each row: one line of four; a tensor of its own is written."""
    sizes = {"first": [0], "last": [16], "axes": [3], "sizes": [16, 48]}
    arrays = {name: np.array(value) for name, value in sizes.items() if name in body}
    account = sim.simulate_network(network("float[1,2,5,64] x", "float[a,b,c,d] y", body, arrays), ZEN4)
    assert account.steps[0].tensors["x"].read_bytes == account.steps[0].tensors["y"].write_bytes == 10 * LINE
    assert account.steps[0].compulsory_bytes >= account.bound_bytes >= 2 * 10 * LINE


def test_tensors_begin_on_the_longest_lines():
    caches = machine((2048, 4), (16384, 8, 256))
    account = small_account(caches)
    assert totals([account]) == totals(account.steps)
    ready = Ready(small().schedule_on(caches.target, (1, 16, 8, 8), line_bytes=256), caches.target)
    assert all(at % 256 == 0 for *_, at in ready.overlaid)
    assert {*KINDS} >= {*ready.kinds}


MISSING_BODY = "r = Conv (x, w2)  l = GlobalLpPool <p = 2> (r)  s = mine.Strange (l)  t = Relu (s)  y = Relu (l)"


def unknown_operators():
    model = network("float[1,16,4,4] x", "float[a,b,c,d] y", "y = Relu (x)", ARRAYS)
    helper = onnx.helper
    del model.graph.node[:]
    nodes = [("Conv", ["x", "w2"], "r"), ("GlobalLpPool", ["r"], "l"), ("Strange", ["l"], "s"), ("Relu", ["s"], "t"), ("Relu", ["l"], "y")]
    domain = {"Strange": "mine"}
    model.graph.node.extend(helper.make_node(op, names, [made], domain=domain.get(op, "")) for op, names, made in nodes)
    model.graph.output.append(helper.make_tensor_value_info("t", 1, None))
    model.opset_import.append(helper.make_opsetid("mine", 1))
    return model


def test_what_cannot_be_run_is_named_and_the_rest_counted():
    """An operator whose result has known sizes, one whose has not, and what needs these."""
    with few_shapes("float32"):
        account = sim.simulate_network(unknown_operators(), ZEN4)
    assert [(step.name, step.kernel != "stream") for step in account.steps] == [("r", True), ("y", False)]
    why = [(node.op, node.elements, node.macs, node.remark) for node in account.not_modelled]
    lacks = "there is no such operator"
    assert why == [
        ("GlobalLpPool", 16 * 16 + 16, None, lacks),
        ("mine.Strange", None, None, lacks),
        ("activation", None, None, "needs the sizes of s, which is missing"),
    ]
    with pytest.raises(ValueError, match=r"operators that there are not: GlobalLpPool .*; mine\.Strange"):
        sim.simulate_network(unknown_operators(), ZEN4, strict=True)
    net = refconv.load(unknown_operators(), strict=False)
    steps = Ready(net.schedule_on(ZEN4.target, (1, 16, 4, 4), strict=False), ZEN4.target).steps
    assert set(steps[1].reads) <= set(steps[1].begins), "what nobody makes begins where it is read"
    with pytest.raises(ValueError, match=r"cannot be run: .*there is no such operator"):
        net(whole((1, 16, 4, 4)))
    assert [call.kernel for call in net.schedule_on(ZEN4.target, (1, 16, 4, 4), strict=False).calls].count(MISSING) == 1
    with pytest.raises(ValueError, match="cannot be run"):
        sim.simulate_network(network("float[2,3] x", "float[a] y", "y = NonZero (x)"), ZEN4)


def test_a_schedule_for_another_cpu_has_its_tilings():
    """This computer's own target gives this computer's schedule, as nothing has been measured."""
    here, net = refconv.host.target(), small()
    calls = lambda schedule: [(call.out, call.kernel, call.call and call.call.tiling) for call in schedule.calls]
    own = net.schedule_for((2, 16, 8, 8), threads=1)
    other = net.schedule_on(here._replace(threads=1), (2, 16, 8, 8))
    assert calls(own) == calls(other)
    assert (own.offsets, own.peak_bytes) == (other.offsets, other.peak_bytes)
    narrow = net.schedule_on(load_machine("textbook-45nm").target, (2, 16, 8, 8))
    lanes = here.lanes(4)
    if lanes != load_machine("textbook-45nm").target.lanes(4):
        assert calls(narrow) != calls(own)


def inputs(**sizes):
    return [NetworkInput(name, size, np.dtype(np.float32)) for name, size in sizes.items()]


def test_sizes_that_a_file_leaves_open():
    two = inputs(x=("N", 3, "H", "W"), mask=("N", "H"))
    assert input_shapes(two, (), {"x": (2, 3, 8, 9)}) == {"x": (2, 3, 8, 9), "mask": (2, 8)}
    assert input_shapes(inputs(x=("N", 3), z=("N", 5)), (), {}, 4) == {"x": (4, 3), "z": (4, 5)}
    assert input_shapes(inputs(x=("", 3)), (), {}) == {"x": (1, 3)}
    for given_sizes, batch, words in (
        ({}, None, r"input_shapes: lacks sizes of x \[N, 3, H, W\]; legal: NAME:SIZES"),
        ({"z": (1,)}, None, "input_shapes = z: no such input; legal: x"),
        ({"x": (2, 3, 8, 9)}, 2, "batch = 2: no input has a first size that is left open"),
    ):
        with pytest.raises(ValueError, match=words):
            input_shapes(two, (), given_sizes, batch)
    with pytest.raises(ValueError, match=r"batch = 8: no input has .* x \[1, 3\]"):
        input_shapes(inputs(x=(1, 3)), (), {}, 8)
    with pytest.raises(ValueError, match=r"depend on the values of x \[3\]; legal: an array"):
        input_shapes(inputs(x=(3,)), {"x"}, {"x": (3,)})
