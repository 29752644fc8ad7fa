"""The schedule: from a problem or a block, an element type and a target to kernel calls in order, their tilings, and every buffer that they touch.

It is data, and the one owner of that sequence: `refconv.plan` adds entry points and memory and makes the calls on arrays, `sim` makes the very
same calls on traced buffers. A layer is one call, and so is a block, but for squeeze-excitation, whose gates need the whole map before
anything is projected (Hu et al.); both ways are derived here:

    squeeze = "recompute"   mbconv (only its sums)      -> squeeze_excite (gates) -> mbconv, gated: the hidden layer made twice
    squeeze = "spill"       mbconv (hidden_layer, sums) -> squeeze_excite (gates) -> gated: it is written and read once
"""

from typing import Any, NamedTuple

from refconv.elements import Element
from refconv.kernels import FUSED, KERNELS, choose, choose_fused
from refconv.weights.blocks import block_problem, gate_problem, packed_elements
from refconv.weights.packed import packed_size

OPERANDS = ("input", "weight", "bias", "output")
"""What a kernel takes, in order."""


class Buffer(NamedTuple):
    """A buffer of a schedule: the name it is counted under, its elements, and their bytes each."""

    name: str
    elements: int
    itemsize: int


class Call(NamedTuple):
    """One call of a kernel.

    kernel: its row of the tables; units: independent pieces of work, split over `threads`; workspace: {name: elements} of one thread, in the
    kernel's order. operands: (input, weight, bias, output) as keys of Schedule.buffers; of a block's kernel weight and bias are tuples of keys.
    """

    kernel: Any
    problem: Any
    tiling: Any
    units: int
    threads: int
    workspace: dict
    operands: tuple = OPERANDS

    @property
    def places(self):
        """A key for each workspace buffer: buffers of equal keys lie in the same memory, whichever calls they are of.

        The i-th buffers of all kernels do; but a kernel that reads another's workspace has its own apart from it.
        """
        return tuple((self.kernel.from_work, i) for i in range(len(self.workspace)))

    @property
    def sizes(self):
        """Elements of each workspace buffer, for all threads."""
        return tuple(elements * self.threads for elements in self.workspace.values())


class Schedule(NamedTuple):
    """Calls in order, for tensors of `element`.

    tensors: {name: elements} of what the calls take and make, of that type, as they lie in memory one after another: "input", "output", weights,
    biases, what one call makes for another, and "nothing", which is empty. halo, squeeze: the modes of a block, None where it has no choice.
    """

    element: Element
    calls: tuple
    tensors: dict
    halo: str | None = None
    squeeze: str | None = None

    @property
    def buffers(self):
        """{key: Buffer} in the order they lie in memory: the tensors, by name, then the workspace of all calls, by place.

        Weights and biases are called "weight" and "bias".
        """
        tensors = {key: Buffer(key.partition(".")[0], elements, self.element.itemsize) for key, elements in self.tensors.items()}
        return {**tensors, **workspace_of(self.calls, self.element)}


def workspace_of(calls, element):
    """{place: Buffer} of the workspace of calls one after another, of the type of sums: where several share a buffer, it is as large as the largest.

    It is called as its users call it, workspace of other kernels than the first with the kernel's name in front, with + between
    several names; who has no elements in it is no user.
    """
    names, sizes = {}, {}
    for call in calls:
        for place, name, elements in zip(call.places, call.workspace, call.sizes, strict=True):
            own = name if call.kernel.name == calls[0].kernel.name else f"{call.kernel.name}_{name}"
            names.setdefault(place, {})[own] = elements
            sizes[place] = max(sizes.get(place, 0), elements)
    called = {place: "+".join([name for name, elements in users.items() if elements] or list(users)[:1]) for place, users in names.items()}
    return {place: Buffer(called[place], elements, element.work.itemsize) for place, elements in sizes.items()}


def prepared(kernel, problem, element, target, tiling=None, operands=OPERANDS):
    """The Call of a kernel on a problem: the tiling asked for, checked, or the rule's for the target, and at most target.threads threads.

    ValueError or TypeError says what the kernel needs, or what is illegal about the tiling.
    """
    lanes, itemsize = target.lanes(element.work.itemsize), element.work.itemsize
    kernel.check(problem, lanes)
    chosen = kernel.tiling(problem, itemsize, target)
    chosen = chosen if tiling is None else kernel.checked(tiling, chosen, problem, lanes)
    units = kernel.units(problem, chosen)
    return Call(kernel, problem, chosen, units, min(target.threads, units), kernel.workspace(problem, chosen, lanes, element.half), operands)


def kernel_called(name):
    """The row of a kernel of layers or of blocks."""
    return KERNELS.get(name) or FUSED[name]


def layer_kernel(name, problem, lanes):
    """The row of the kernel called `name`, of the one that is chosen for the problem if that is None; ValueError for an unknown name."""
    if name is not None and name not in KERNELS:
        raise ValueError(f"kernel {name!r}: must be {', '.join(KERNELS)}")
    return choose(problem, lanes) if name is None else KERNELS[name]


def weight_elements(kernel, problem, lanes):
    """Elements of the weight of a layer as a kernel takes it."""
    return packed_size(problem.weight_shape, problem.groups, kernel.order, lanes)


def layer_schedule(problem, element, target, *, kernel=None, tiling=None, bias=False):
    """The Schedule of a checked Conv2d or PartialConv2d on an Element and a host.Target, on at most target.threads threads.

    kernel: its name, or None for the one that is chosen; tiling: one of its own, or None for the rule's; bias: whether there is one.
    """
    lanes = target.lanes(element.work.itemsize)
    call = prepared(layer_kernel(kernel, problem, lanes), problem, element, target, tiling)
    sizes = {**problem.tensors, "weight": weight_elements(call.kernel, problem, lanes), "bias": problem.weight_shape[0] if bias else 0}
    return Schedule(element, (call,), {name: sizes[name] for name in OPERANDS})


def block_schedule(block, n, h, w, element, target, *, tiling=None, halo="auto", squeeze="auto"):
    """The Schedule of a record's fused kernel on n images of h x w pixels, on at most target.threads threads.

    Of the record only shapes count, of its arrays' type not even that: `element` is that of the tensors. tiling: of the record's kernel, else the
    rule's; halo, squeeze: as of refconv.fused_block. ValueError or TypeError names what is illegal.
    """
    row, lanes = choose_fused(block), target.lanes(element.work.itemsize)
    check_modes(block, halo=halo, squeeze=squeeze)
    problem, packed = block_problem(block, n, h, w, lanes), packed_elements(block, lanes)
    call = prepared(row, problem, element, target, _tiling_for(row, problem, element, tiling, halo, target))
    sizes = parameters(packed)
    pixels = problem.n * problem.p * problem.q
    weights, biases = (tuple(f"{name}.{i}" for i in range(len(packed.weights))) for name in ("weight", "bias"))
    without_gates = *biases, *["nothing"] * (row.operands[1] - len(biases))
    call = call._replace(operands=("input", weights, without_gates, "output"))
    tensors = {"input": problem.n * problem.h * problem.w * problem.c, "nothing": 0, **sizes}
    halo = halo_of(call.tiling) if has_choice("halo", block) else None
    if not problem.gated:
        return Schedule(element, (call,), {**tensors, "output": pixels * problem.k}, halo)
    spill = _squeeze_for(problem, element, squeeze, target) == "spill"
    made = {"hidden_layer": pixels * problem.hidden} if spill else {}
    first = call._replace(problem=problem._replace(pool=2 if spill else 1), operands=(*call.operands[:3], "hidden_layer" if spill else "nothing"))
    of_gates = tuple(tuple(f"{name}.{i}" for i in range(len(weights), len(weights) + 2)) for name in ("weight", "bias"))
    gating = gate_problem(block, problem.n, first.threads, problem.p * problem.q)
    pooled = first.places[list(first.workspace).index("pooled")]
    gates = prepared(FUSED["squeeze_excite"], gating, element, target._replace(threads=1), None, (pooled, *of_gates, "gates"))
    if spill:
        operands = "hidden_layer", weights[-1:], (biases[-1], "gates", "input"), "output"
        last = prepared(FUSED["gated"], problem, element, target, None, operands)
    else:
        last = call._replace(operands=("input", weights, (*biases, "gates"), "output"))
    tensors |= {**made, "gates": problem.n * problem.hidden, "output": pixels * problem.k}
    return Schedule(element, (first, gates, last), tensors, halo, "spill" if spill else "recompute")


def parameters(packed):
    """{name: array, or number of elements} of the weights and biases of a PackedBlock, numbered through, those of its gates last."""
    gates = packed.gates or ((), ())
    numbered = (("weight", (*packed.weights, *gates[0])), ("bias", (*packed.biases, *gates[1])))
    return {f"{name}.{i}": array for name, arrays in numbered for i, array in enumerate(arrays)}


MODES = {"halo": ("auto", "recompute", "cache"), "squeeze": ("auto", "recompute", "spill")}
"""What can be chosen about a block, by argument: the modes, of which the first is the default and legal for every block."""


def has_choice(name, block):
    """Whether a record has more than the default of a mode of MODES: computed rows that neighbouring steps share, squeeze-excitation."""
    return choose_fused(block).recomputed_macs is not None if name == "halo" else getattr(block, "se", None) is not None


def check_modes(block=None, **modes):
    """ValueError unless the modes are of MODES, and what the record has where they are not the default; None: some block's."""
    for name, mode in modes.items():
        if not isinstance(mode, str) or mode not in MODES[name]:
            raise ValueError(f"{name} = {mode!r}: must be one of {', '.join(MODES[name])}")
        if block is not None and mode != MODES[name][0] and not has_choice(name, block):
            lacks = {"halo": "computed rows that steps share", "squeeze": "squeeze-excitation"}[name]
            raise ValueError(f"{name} = {mode!r} for a {type(block).__name__} without {lacks}: must be {MODES[name][0]!r}")


def halo_of(tiling):
    """The mode of a tiling: where a unit of `lines` rows has several steps of `step` rows, the halo between steps is kept."""
    return "cache" if tiling.step < tiling.lines else "recompute"


def _squeeze_for(problem, element, squeeze, target):
    """The mode of squeeze-excitation: "auto" spills the hidden layer where all of it stays in the L2, and makes it twice where it would leave.

    Halves are always made twice: spilled, they are rounded once more, and a result must not depend on the host's caches nor on the batch.
    """
    if squeeze != "auto":
        return squeeze
    if element.half:
        return "recompute"
    hidden_bytes = problem.n * problem.p * problem.q * problem.hidden * element.itemsize
    return "spill" if hidden_bytes <= target.l2_bytes else "recompute"


def _tiling_for(row, problem, element, wanted, halo, target):
    """The tiling asked for, that of a halo mode, or None for the rule's; ValueError for both a halo mode and a tiling."""
    if halo == MODES["halo"][0]:
        return wanted
    if wanted is not None:
        raise ValueError(f"halo = {halo!r} with a tiling: must be 'auto', since the tiling's lines and step say what happens to the halo")
    return row.tiling(problem, element.work.itemsize, target, halo)
