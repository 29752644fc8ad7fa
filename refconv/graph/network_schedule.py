"""From a network whose sizes are known to its schedule: calls, buffers shared where that is possible, all of them placed in one arena."""

from refconv.elements import element
from refconv.graph import orders
from refconv.graph.arena import Lifetime, placed
from refconv.graph.calls import ACTIVATED, GATED, NORMED, NUMPY, NetworkSchedule
from refconv.graph.lower import Calls
from refconv.operators import IN_PLACE
from refconv.weights.packed import LINE_BYTES


def network_schedule(sized, threads, target=None, line_bytes=LINE_BYTES, strict=True):
    """The NetworkSchedule of a Sized network, each kernel on at most so many threads; ValueError lists every step that cannot be run, and why.

    target: the host.Target to choose kernels and tilings for, by rule; None: this computer, whose measured tilings count. line_bytes: buffers
    begin on lines of that many bytes. strict: else a step that cannot be run is among `missing`, and so is what needs the sizes of its result.
    """
    builder = Calls(sized, threads, target)
    builder.build(strict)
    calls, tensors = builder.calls, builder.tensors
    outputs = tuple(name for name in sized.network.outputs if name in tensors)  # all of them where strict
    _share(calls, tensors, outputs)
    lives = _lifetimes(calls, tensors, [given.name for given in sized.network.inputs], outputs)
    offsets, arena_bytes = placed(lives, line_bytes)
    places = {}
    for made in calls:
        for call in made.kernel_calls:
            itemsize = element(tensors[made.out].dtype).work.itemsize
            for place, elements in zip(call.places, call.sizes, strict=True):
                places[place] = max(places.get(place, 0), elements * itemsize)
    inputs = tuple(given.name for given in sized.network.inputs)
    taken = dict.fromkeys(name for made in calls if made.call is not None for name in made.step.parameters.values())
    parameters = {name: sized.network.parameters[name] for name in taken if name in sized.network.parameters}
    workspace_bytes = sum(places.values())
    return NetworkSchedule(
        *(tuple(calls), tensors, builder.constants, inputs, outputs, offsets, arena_bytes, workspace_bytes, parameters, tuple(builder.missing))
    )


def _last_uses(calls, tensors, outputs):
    """{buffer: number of the last call that reads or writes it}; of an output one beyond all."""
    last = {}
    for i, call in enumerate(calls):
        for name in (*filter(None, call.sources), *call.between.values(), call.out):
            last[tensors[name].buffer] = i
    return last | {tensors[name].buffer: len(calls) for name in outputs}


def _share(calls, tensors, outputs):
    """Let what is computed element by element take the memory of the source that nobody reads after it, in place; and a kernel's output that of its
    residual, of which each element is read just before the one in its place is stored."""
    last, into = _last_uses(calls, tensors, outputs), {}
    owner = lambda name: into.get(tensors[name].buffer, tensors[name].buffer)
    for i, call in enumerate(calls):
        summed = call.call is not None and len(call.sources) > 1
        if not summed and call.kernel not in (ACTIVATED, GATED, NORMED) and not (call.kernel == NUMPY and call.step.op in IN_PLACE):
            continue
        out, named = tensors[call.out], [name for name in call.sources if name]
        for name in named if len(named) == 2 else named[:1]:
            if summed and name == call.sources[0]:  # windows of it are read all along
                continue
            source = tensors[name]
            free = source.buffer is not None and last[owner(name)] == i and (source.shape, source.dtype) == (out.shape, out.dtype)
            apart = all(other == name or owner(other) != owner(name) for other in named)
            if free and apart and orders.same(source.order, out.order, out.shape):
                into[out.buffer] = owner(name)
                last[owner(name)] = last[out.buffer]
                break
    for name, tensor in tensors.items():
        if tensor.buffer in into:
            tensors[name] = tensor._replace(buffer=into[tensor.buffer])


def _lifetimes(calls, tensors, inputs, outputs):
    """{buffer: Lifetime}; inputs live from before the first call on, outputs until after the last."""
    last, first = _last_uses(calls, tensors, outputs), dict.fromkeys(inputs, -1)
    for i, call in enumerate(calls):
        for name in (call.out, *call.between.values()):
            first.setdefault(tensors[name].buffer, i)
    return {name: Lifetime(tensors[name].nbytes, at, last.get(name, -1)) for name, at in first.items()}
