"""Networks in the benchmark: ours beside the peers on the same ONNX graph, of the same weights."""

import functools
import importlib.util
from typing import Any, NamedTuple

import numpy as np

from refconv import networks
from refconv.bench.entry import Entry, WrongResult
from refconv.bench.measure import Contest
from refconv.bench.peers import peer
from refconv.graph.model import sizes_text
from refconv.graph.onnx_file import loaded
from refconv.graph.onnx_shapes import shapes_of
from refconv.graph.read import is_file
from refconv.networks import BUILT_SIZE
from refconv.ops.network import load

PAIRS = "convfirst"
SETS = {
    "light": (
        *("fasternet_t0", "fasternet_s", "convnext_atto", "convnext_nano", "convnext_tiny", "mobilenetv2", "mobilenetv3_small"),
        *("efficientnet_b0", "efficientnetv2_s", "regnety_008"),
    ),
    "resnet": ("resnet18", "resnet50"),
    PAIRS: tuple(f"{family}_{size}" for size in ("pico", "nano", "tiny", "small") for family in ("convfirstnet", "convnext")),
}
"""Networks that are measured as one, with random weights; PAIRS: Lavin's pairs, of about one accuracy each (arXiv 2404.03617)."""
PAIRED_SIZES = {"convfirstnet": 256, "convnext": 288}
"""Rows and columns of the images of pairs: for ConvNeXt those of the paper, for ConvFirstNet those of this project's reconstruction."""
MODELS = "models"
"""What those given by --model are called as a set."""
LAYOUT = "NCHW"
"""Of images, as graphs have them; this project brings them to NHWC itself."""
PRODUCTS = ("Conv", "Gemm", "MatMul")
ROUNDING = float(np.finfo(np.float32).eps)
PER_LAYER = 1
"""Roundings of float32 a layer that are legal, relative to the largest output: 0.2 were seen."""


def set_cases(name, size=None, n=None):
    """The cases of a set; size: of every image, instead of the networks' own; n images."""
    sizes = {source: PAIRED_SIZES[source.partition("_")[0]] for source in SETS[PAIRS]} if name == PAIRS else {}
    return [Case(source, size or sizes.get(source, BUILT_SIZE), n) for source in SETS[name]]


class Case(NamedTuple):
    """A network that is measured. source: a name of refconv.networks, or an ONNX file; size: of a named one's image; n: images."""

    source: str
    size: int = BUILT_SIZE
    n: Any = None

    name = property(lambda self: self.source, doc="As it was asked for.")

    def checked(self):
        """The case; ValueError where there is no such network."""
        if not is_file(self.source):
            networks.network(self.source).steps(self.n or 1, self.size)
        elif not self.source.lower().endswith(".onnx"):
            raise ValueError(f"{self.source}: must be an ONNX graph (.onnx) or a network by name")
        return self

    def model(self):
        """The onnx.ModelProto, its sizes fixed; ValueError says what is wrong with a file."""
        if not is_file(self.source):
            return networks.build(self.source, size=self.size, batch=self.n or 1).model
        try:
            return _sized(loaded(self.source, weights=True), self.n)
        except OSError as error:
            raise ValueError(f"{self.source}: {error.strerror or error}") from None
        except ValueError as error:
            raise ValueError(f"{self.source}: {error}") from None


def _sized(model, n):
    """A model with one input and one output of float32, for n images where it leaves their number open (None: one)."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if (len(inputs), len(model.graph.output)) != (1, 1):
        raise ValueError(f"has {len(inputs)} inputs and {len(model.graph.output)} outputs: must have one of each to be measured")
    (given,) = inputs
    first, *others = given.type.tensor_type.shape.dim
    if first.dim_value < 1:
        first.dim_value = n or 1
    elif n not in (None, first.dim_value):
        raise ValueError(f"batch = {n}: must be {first.dim_value}, as the graph")
    if given.type.tensor_type.elem_type != 1 or any(dim.dim_value < 1 for dim in others):
        raise ValueError(f"input {given.name}: must be float32, of sizes that are known but for the first, to be measured")
    return model


def loaded_case(case, threads):
    """(model, Net, input) of a case."""
    model = case.model()
    net = load(model, threads=threads)
    shape = next(sizes for name, sizes in shapes_of(model.graph).items() if name == net.inputs[0])
    return model, net, np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def network_contests(cases, peers, threads):
    """Yield the Contest of each case, after every form of every contender has been checked against the graph in float64.

    WrongResult names a contender that disagrees, ValueError what is wrong with a file.
    """
    for case in cases:
        model, net, x = loaded_case(case, threads)
        run = functools.partial(net, x)
        entries = {f"refconv {LAYOUT}": Entry(run, run)}
        for name in peers:
            entries |= {f"{name} {form}": entry for form, entry in peer(name).network_entries(model, x, threads).items()}
        agree(case, entries, exact(model, x, threads), sum(node.op_type in PRODUCTS for node in model.graph.node))
        yield Contest(case.name, f"{case.name} {sizes_text(x.shape)}", 2 * net.schedule.macs, entries)


def exact(model, x, threads=1):
    """The output in float64, by torch; None where there is no torch, or it lacks an operator."""
    if importlib.util.find_spec("torch") is None:
        return None
    torch = peer("torch")
    try:
        return torch.network_result(model, x, threads)
    except torch.NotInTorch:
        return None


def agree(case, entries, expected, layers):
    """WrongResult unless each entry's result is the expected one, or without it the first entry's, within PER_LAYER roundings a layer.

    Errors are relative to the largest output: a network's outputs are sums of terms of that size.
    """
    legal = PER_LAYER * ROUNDING * layers
    for name, entry in entries.items():
        result = np.array(entry.result())
        expected = result if expected is None else expected
        if result.shape != expected.shape:
            raise WrongResult(f"{name}: {case.name} gives {result.shape}; should be {expected.shape}")
        error = np.abs(result - expected).max() / np.abs(expected).max()
        if not error <= legal:
            raise WrongResult(f"{name}: {case.name} is off by {error:.1e} of its largest output; at most {legal:.0e} is legal")
