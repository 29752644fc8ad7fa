"""What follows a convolution or product element by element, and alone takes it, joins it: an addition of another tensor, then an activation.

add(conv(x), y)              conv(x, y)
activation(conv(x [, y]))    conv(x [, y]) with `activation`
add(activation(conv(x)), y)  conv(x, y) with `before_sum`, once the activation has joined
"""

from refconv.graph.network import with_attributes

PRODUCERS = ("conv", "product")
SUMS = ("Add", "Sum")


def alone(step, takers):
    """Whether one step, and no output, takes what a step makes."""
    return len(takers[step.name]) == 1 and takers[step.name] != [None]


def join_residuals(network):
    """Additions of whatever has its sizes, or is broadcast to them; where the sum turns out to be larger, the schedule takes the two apart."""
    takers, makers, steps, labels = network.takers(), network.makers, {}, {}
    for step in network.steps:
        if step.op not in SUMS or len(step.sources) != 2:
            continue
        for name, other in (step.sources, step.sources[::-1]):
            before = steps.get(name, makers.get(name))
            if name == other or other in network.parameters or before is None or before.op not in PRODUCERS:
                continue
            if alone(before, takers) and len(before.sources) == 1:
                attributes = {"before_sum" if key == "activation" else key: value for key, value in before.attributes.items()}
                steps[step.name] = before._replace(name=step.name, sources=(*before.sources, other), attributes=attributes)
                labels[step.name] = network.label_of_both(before, step, labels)
                break
    return network.changed(steps, labels=labels)


def join_activations(network):
    """Activations."""
    takers, makers, steps, labels = network.takers(), network.makers, {}, {}
    for step in network.steps:
        before = makers.get(step.sources[0]) if step.op == "activation" else None
        if before is not None and before.op in PRODUCERS and "activation" not in before.attributes and alone(before, takers):
            steps[step.name] = with_attributes(before, activation=step.attributes["kind"])._replace(name=step.name)
            labels[step.name] = network.label_of_both(before, step, labels)
    return network.changed(steps, labels=labels)
