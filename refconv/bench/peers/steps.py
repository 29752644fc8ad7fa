"""A residual block in the operations of a peer: its graph of steps (refconv/problem/steps.py) walked on the peer's tensors."""

LAST = " channels last"
"""The ending of a tensor's name where its channels come last."""


class PeerBlock:
    """A block as the cases have it (stride 1, odd kernels) in the operations of a peer.

    A subclass provides them, on its own tensors, NCHW unless said otherwise; weight and bias are names of arrays of the record, bias None where
    there is none: conv(x, weight, bias, groups), matrix(x, weight, bias), partial_conv(x, weight, bias), norm(x, weight, bias, eps) with channels
    last, activation(x, kind), scaled(x, weight), shifted(x, bias), response(x, weight, eps), mean(x), multiply(x, gates), add(x, y), to_last(x),
    to_first(x).
    """

    def settle(self, record, linear=False):
        """Keep the calls that `forward` makes: [(operation, names of tensors, other arguments, name of what it makes)].

        linear: whether matrix products, too, take tensors whose channels come last; elementwise operations take either kind.
        """
        graph, self.calls, places = record.graph, [], {}
        for step in graph.steps:
            operation, arguments = _CALLS[step.op](graph, step)
            either = step.op in ("activation", "scale", "shift")
            last = places[step.sources[0]] if either else operation == "norm" or (linear and operation == "matrix")
            sources = tuple(self._placed(source, places.get(source, False), last) for source in step.sources)
            places[step.name] = last
            self.calls.append((operation, sources, arguments, step.name + LAST * last))
        self.output = self._placed(step.name, last, False)

    def _placed(self, name, is_last, wants_last):
        """The name of a tensor with channels where they are wanted; a call that moves them there is added where they are elsewhere."""
        wanted = name + LAST * wants_last
        if is_last != wants_last and all(made != wanted for *_, made in self.calls):
            self.calls.append(("to_last" if wants_last else "to_first", (name + LAST * is_last,), (), wanted))
        return wanted

    def forward(self, x):
        """The block's output tensor."""
        tensors = {"input": x}
        for operation, sources, arguments, made in self.calls:
            tensors[made] = getattr(self, operation)(*[tensors[source] for source in sources], *arguments)
        return tensors[self.output]


def _names(graph, step):
    """The names of a step's weight and bias, None for one that the graph does not have."""
    return tuple(name if name in graph.parameters else None for name in step.parameters.values())


def _conv(graph, step):
    if graph.array(step, "weight").ndim == 2:
        return "matrix", _names(graph, step)
    return "conv", (*_names(graph, step), step.attributes["groups"])


_CALLS = {
    "conv": _conv,
    "partial_conv": lambda graph, step: ("partial_conv", _names(graph, step)),
    "norm": lambda graph, step: ("norm", (*_names(graph, step), step.attributes["eps"])),
    "activation": lambda graph, step: ("activation", (step.attributes["kind"],)),
    "scale": lambda graph, step: ("scaled", _names(graph, step)),
    "shift": lambda graph, step: ("shifted", _names(graph, step)),
    "response": lambda graph, step: ("response", (*_names(graph, step), step.attributes["eps"])),
    "mean": lambda graph, step: ("mean", ()),
    "multiply": lambda graph, step: ("multiply", ()),
    "add": lambda graph, step: ("add", ()),
}
"""(operation, its arguments beside tensors) of a step, by op."""
