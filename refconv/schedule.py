"""The schedule: from a problem or a block, an element type and a target to kernel calls in order, their tilings, and every buffer that they touch.

It is data, and the one owner of that sequence: `refconv.plan` adds entry points and memory and makes the calls on arrays, `sim` makes the very
same calls on traced buffers. A layer is one call, and so is a block, but for squeeze-excitation, whose gates need the whole map before
anything is projected (Hu et al.); both ways are derived here:

    squeeze = "recompute"   mbconv (only its sums)      -> squeeze_excite (gates) -> mbconv, gated: the hidden layer made twice
    squeeze = "spill"       mbconv (hidden_layer, sums) -> squeeze_excite (gates) -> gated: it is written and read once

and the kernels separable and fused_mbconv instead of mbconv.
"""

from typing import Any, NamedTuple

from refconv.elements import Element
from refconv.kernels import KERNELS, kernel_for, kernel_for_block
from refconv.problem.activations import NO_ACTIVATION
from refconv.problem.fused import POOLED, SPILLED
from refconv.tiling.measured import Subject
from refconv.weights.blocks import block_problem, gate_problem, packed_elements
from refconv.weights.packed import packed_size

OPERANDS = ("input", "weight", "bias", "residual", "output")
"""The tensors that the kernel of a layer takes, in order; every other buffer is workspace."""


class Buffer(NamedTuple):
    """A buffer of a schedule: the name it is counted under, its elements, and their bytes each."""

    name: str
    elements: int
    itemsize: int


class Call(NamedTuple):
    """One call of a kernel.

    kernel: its row of the table; units: independent pieces of work, split over `threads`; workspace: elements of each buffer of one thread,
    in the kernel's record. inputs, out: keys of Schedule.buffers, the inputs in the order of the kernel's record. statics: its last fields, which the
    compiler knows: of a layer its Activations. measured: what refconv.tune has kept of the tiling, a Measured, or None.
    """

    kernel: Any
    problem: Any
    tiling: Any
    units: int
    threads: int
    workspace: Any
    inputs: tuple = OPERANDS[:-1]
    out: str = OPERANDS[-1]
    statics: tuple = ()
    measured: Any = None

    @property
    def places(self):
        """A key for each workspace buffer: buffers of equal keys lie in the same memory, whichever calls they are of.

        The i-th buffers of all kernels do; but a kernel that reads another's workspace has its own apart from it.
        """
        return tuple((bool(self.kernel.from_workspace), i) for i in range(len(self.workspace)))

    @property
    def sizes(self):
        """Elements of each workspace buffer, for all threads."""
        return tuple(elements * self.threads for elements in self.workspace)

    @property
    def keys(self):
        """Of all its buffers: inputs, output, workspace."""
        return (*self.inputs, self.out, *self.places)

    def operands(self, arrays):
        """The kernel's record of its inputs, in order."""
        return self.kernel.operands._make((*arrays, *self.statics))

    def arguments(self, buffers):
        """(operands, out, work, problem, tiling) of the kernel on buffers in the order of `keys`."""
        count = len(self.inputs)
        out, work = buffers[count], type(self.workspace)._make(buffers[count + 1 :])
        return self.operands(buffers[:count]), out, work, self.problem, self.tiling


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

    Its name is the one that its users have for it, with the kernel's name in front for every kernel but the first, and + between several
    names. A call that has no elements in it is not a user.
    """
    names, sizes = {}, {}
    for call in calls:
        for place, name, elements in zip(call.places, call.workspace._fields, call.sizes, strict=True):
            own = name if call.kernel.name == calls[0].kernel.name else f"{call.kernel.name}_{name}"
            names.setdefault(place, {})[own] = elements
            sizes[place] = max(sizes.get(place, 0), elements)
    called = {place: "+".join([name for name, elements in users.items() if elements] or list(users)[:1]) for place, users in names.items()}
    return {place: Buffer(called[place], elements, element.work.itemsize) for place, elements in sizes.items()}


def prepared(kernel, problem, element, target, tiling=None, inputs=OPERANDS[:-1], out=OPERANDS[-1]):
    """The Call of a kernel on a problem: the tiling asked for, checked, or the rule's for the target, and at most target.threads threads.

    ValueError or TypeError says what the kernel needs, or what is illegal about the tiling.
    """
    lanes, itemsize = target.lanes(element.work.itemsize), element.work.itemsize
    kernel.check(problem, lanes)
    chosen = kernel.tiling(problem, itemsize, target)
    if tiling is not None:
        chosen = kernel.checked(tiling, chosen, problem, lanes, target)
    units = kernel.units(problem, chosen)
    workspace = kernel.workspace(problem, chosen, lanes, element.half)
    return Call(kernel, problem, chosen, units, min(target.threads, units), workspace, inputs, out, kernel.statics)


def weight_elements(kernel, problem, lanes):
    """Elements of the weight of a layer as a kernel takes it."""
    return packed_size(problem.weight_shape, problem.groups, kernel.order, lanes)


def layer_schedule(problem, element, target, *, kernel=None, tiling=None, bias=False, residual=False, activations=NO_ACTIVATION):
    """The Schedule of a checked Conv2d or PartialConv2d on an Element and a host.Target, on at most target.threads threads.

    kernel: its name, or None for the one that is chosen; tiling: one of its own, or None for the rule's; bias, residual: whether there is one.
    """
    lanes = target.lanes(element.work.itemsize)
    call = prepared(kernel_for(problem, lanes, kernel), problem, element, target, tiling)._replace(statics=(activations,))
    besides = {"bias": problem.weight_shape[0] if bias else 0, "residual": problem.tensors["output"] if residual else 0}
    sizes = {**problem.tensors, "weight": weight_elements(call.kernel, problem, lanes), **besides}
    return Schedule(element, (call,), {name: sizes[name] for name in OPERANDS})


def block_schedule(block, n, h, w, element, target, *, tiling=None, halo="auto", squeeze="auto"):
    """The Schedule of a record's fused kernel on n images of h x w pixels, on at most target.threads threads.

    Of the record only the shapes count, not the type of its arrays: `element` is the type of the tensors. tiling: of the record's kernel, else the
    rule's; halo, squeeze: as of refconv.fused_block. ValueError or TypeError names what is illegal.
    """
    row, lanes = kernel_for_block(block), target.lanes(element.work.itemsize)
    check_modes(block, halo=halo, squeeze=squeeze)
    problem, packed = block_problem(block, n, h, w, lanes), packed_elements(block, lanes)
    call = prepared(row, problem, element, target, _tiling_for(row, problem, element, tiling, halo, target))
    sizes = parameters(packed)
    pixels = problem.n * problem.p * problem.q
    weights, biases = (tuple(f"{name}.{i}" for i in range(len(packed.weights))) for name in ("weight", "bias"))
    own = "input", *weights, *biases
    call = call._replace(inputs=own + ("nothing",) * (len(row.operands._fields) - len(own)))  # no gates
    tensors = {"input": problem.n * problem.h * problem.w * problem.c, "nothing": 0, **sizes}
    halo = halo_of(call.tiling) if has_choice("halo", block) else None
    if not problem.gated:
        return Schedule(element, (call,), {**tensors, "output": pixels * problem.k}, halo)
    spill = _squeeze_for(problem, element, squeeze, target) == "spill"
    made = {"hidden_layer": pixels * problem.hidden} if spill else {}
    first = call._replace(problem=problem._replace(result=SPILLED if spill else POOLED), out="hidden_layer" if spill else "nothing")
    of_gates = (f"{name}.{i}" for name in ("weight", "bias") for i in range(len(weights), len(weights) + 2))
    gating = gate_problem(block, problem.n, first.threads, problem.p * problem.q)
    pooled = first.places[first.workspace._fields.index("pooled")]
    gates = prepared(KERNELS["squeeze_excite"], gating, element, target._replace(threads=1), None, (pooled, *of_gates), "gates")
    if spill:
        last = prepared(KERNELS["gated"], problem, element, target, None, ("hidden_layer", weights[-1], biases[-1], "gates", "input"))
    else:
        last = call._replace(inputs=(*own, "gates"))
    tensors |= {**made, "gates": problem.n * problem.hidden, "output": pixels * problem.k}
    return Schedule(element, (first, gates, last), tensors, halo, "spill" if spill else "recompute")


def subject_of(schedule, threads):
    """The Subject under which the tiling of a block's Schedule for so many threads is measured (refconv/tiling/measured.py)."""
    first, last = schedule.calls[0], schedule.calls[-1]  # the last is given the block's problem as it is, the first a result for the gates
    return Subject(first.kernel, last.problem, schedule.element, threads, schedule.squeeze)


def parameters(packed):
    """{name: array, or number of elements} of the weights and biases of a PackedBlock, numbered consecutively, those of its gates last."""
    gates = packed.gates or ((), ())
    numbered = (("weight", (*packed.weights, *gates[0])), ("bias", (*packed.biases, *gates[1])))
    return {f"{name}.{i}": array for name, arrays in numbered for i, array in enumerate(arrays)}


MODES = {"halo": ("auto", "recompute", "cache"), "squeeze": ("auto", "recompute", "spill")}
"""What can be chosen about a block, by argument: the modes, of which the first is the default and legal for every block."""


def has_choice(name, block):
    """Whether a record has a choice of a mode of MODES: of halo with computed rows that steps share, of squeeze with squeeze-excitation."""
    return kernel_for_block(block).halo if name == "halo" else getattr(block, "se", None) is not None


def check_modes(block=None, **modes):
    """ValueError unless each mode is one of MODES and, where it is not the default, the record has that choice (None: any block)."""
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
    """The mode of squeeze-excitation: "auto" spills the hidden layer where all of it stays in the L2, or where a dense convolution makes it, whose
    R * S * C multiply-adds an element take longer than to move that; elsewhere it makes the hidden layer twice.

    Halves are always made twice: spilled, they are rounded once more, and a result must not depend on the host's caches nor on the batch.
    """
    if squeeze != "auto":
        return squeeze
    if element.half:
        return "recompute"
    hidden_bytes = problem.n * problem.p * problem.q * problem.hidden * element.itemsize
    return "spill" if hidden_bytes <= target.l2_bytes or problem.groups == 1 else "recompute"


def _tiling_for(row, problem, element, wanted, halo, target):
    """The tiling asked for, that of a halo mode, or None for the rule's; ValueError for both a halo mode and a tiling."""
    if halo == MODES["halo"][0]:
        return wanted
    if wanted is not None:
        raise ValueError(f"halo = {halo!r} with a tiling: must be 'auto', since the tiling's lines and step say what happens to the halo")
    return row.tiling(problem, element.work.itemsize, target, halo)
