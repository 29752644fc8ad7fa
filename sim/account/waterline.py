"""The waterline of a network on a machine, as a record: its kernels, each under its own roof, and the whole."""

from refconv.elements import element
from refconv.graph.model import Model
from refconv.problem.conv import is_integer
from sim.account.kernel_costs import block_costs, file_costs, layer_costs
from sim.account.records import Record, record
from sim.account.simulated_costs import simulated_costs, simulated_file_costs
from sim.analysis.waterline import waterline
from sim.machine.record import Machine, load_machine

COMPULSORY, SIMULATED = "compulsory", "simulated"
FUSED, APART = "fused, a kernel a block", "layer by layer"
FUSED_HERE = "fused where this project has a kernel for the block, else layer by layer"


@record
class KernelAccount(Record):
    """A kernel: its operations and bytes, and what the machine makes of it at best. attainable_efficiency: of 1; limited_by: memory or compute."""

    name: str
    macs: int
    bytes: int
    intensity: float
    attainable_efficiency: float
    limited_by: str
    ideal_s: float
    latency_s: float

    JSON = "name", "macs", "bytes", "intensity", "attainable_efficiency", "limited_by", "ideal_s", "latency_s"


@record
class WaterlineAccount(Record):
    """The waterline of a network.

    kernels_are: FUSED, FUSED_HERE or APART. traffic: whose bytes: COMPULSORY or SIMULATED. waterline_efficiency: what is attainable of the peak,
    kernel after kernel; roofline_efficiency: of the whole at once; memory_bound_share: of latency_s, what memory-bound kernels take; all of 1.
    latency_s: of the whole batch, at least. left_out: what of a file was not modelled, in words, None where nothing was.
    """

    name: str
    kernels_are: str
    traffic: str
    dtype: str
    batch: int | None
    size: int | None
    peak_flop_per_s: float
    bandwidth_bytes_per_s: float
    balance_flop_per_byte: float
    macs: int
    bytes: int
    ideal_s: float
    latency_s: float
    waterline_efficiency: float
    roofline_efficiency: float
    memory_bound_share: float
    kernels: tuple[KernelAccount, ...]
    left_out: str | None

    OPTIONAL = "batch", "size", "left_out"
    JSON = (
        *("name", "kernels_are", "traffic", "dtype", "batch", "size", "peak_flop_per_s", "bandwidth_bytes_per_s", "balance_flop_per_byte"),
        *("macs", "flops", "bytes", "intensity", "ideal_s", "latency_s", "waterline_efficiency", "roofline_efficiency", "memory_bound_share"),
        *("kernels", "left_out"),
    )

    @property
    def flops(self):
        """Operations: a multiply-add is two."""
        return 2 * self.macs

    @property
    def intensity(self):
        """FLOP for each byte moved, of all kernels together."""
        return self.flops / self.bytes

    @property
    def memory_bound(self):
        """The kernels that memory limits: those under water."""
        return tuple(kernel for kernel in self.kernels if kernel.limited_by == "memory")


def network_waterline(network, machine="host", *, fused=False, batch=None, size=None, dtype="float32", simulated=None):
    """The WaterlineAccount of a Network of refconv.networks, or of a Model (refconv.graph.read.read_model).

    machine: a sim.Machine, "host", a preset's name or a YAML path; rates are all that is needed of it. fused: a kernel a block of the network,
    else a kernel a layer (sim/account/kernel_costs.py). batch: images (None: 1); size: rows and columns of the input (None: the network's own);
    both are in a Model already. dtype: of the tensors. simulated: None for compulsory bytes; a dict of jobs and limit of sim.simulate_model,
    which may be empty, for what runs on the machine's caches move (sim/account/simulated_costs.py): of convolutions, and with fused = True of the
    fused kernels that this project has; blocks without one are then run layer by layer.

    ValueError says what is illegal: also fused = True with a Model, which has no blocks, and a dtype that the machine has no peak for.
    """
    machine, dtype = machine if isinstance(machine, Machine) else load_machine(machine), element(dtype)
    peak = machine.peak_of(dtype)
    if isinstance(model := network, Model):
        if fused:
            raise ValueError(
                f"fused = True: {model.path} is a list of layers, which says nothing of blocks: must be False; legal with a network by name"
            )
        if batch is not None or size is not None:
            raise ValueError(f"batch = {batch!r}, size = {size!r}: must be None with {model.path}, which has been read for its own")
        if not model.layers:
            raise ValueError(f"model = {model.path}: must have a layer that there is a kernel for; left out: {left_out(model)}")
        if simulated is not None:
            costs = simulated_file_costs(model, machine.checked(), dtype, **simulated)
        else:
            costs = file_costs(model, dtype.itemsize)
        name, missing = model.path, left_out(model)
    else:
        batch = 1 if batch is None else batch
        if not is_integer(batch) or batch < 1:
            raise ValueError(f"batch = {batch!r}: must be an integer of 1 or more")
        if simulated is not None:
            costs = simulated_costs(network, batch, size, machine.checked(), dtype, fused=fused, **simulated)
        else:
            costs = (block_costs if fused else layer_costs)(network, batch, size, dtype.itemsize)
        name, size, missing = network.name, network.size if size is None else size, None
    result = waterline(costs, peak, machine.bandwidth_bytes_per_s)
    return WaterlineAccount(
        name=name,
        kernels_are=APART if not fused else FUSED if simulated is None else FUSED_HERE,
        traffic=COMPULSORY if simulated is None else SIMULATED,
        dtype=str(dtype),
        batch=batch,
        size=size,
        peak_flop_per_s=peak,
        bandwidth_bytes_per_s=machine.bandwidth_bytes_per_s,
        balance_flop_per_byte=result.balance_flop_per_byte,
        macs=result.macs,
        bytes=result.bytes,
        ideal_s=result.ideal_s,
        latency_s=result.latency_s,
        waterline_efficiency=result.efficiency,
        roofline_efficiency=result.roofline_efficiency,
        memory_bound_share=result.submerged_share,
        kernels=tuple(map(_kernel, result.kernels)),
        left_out=missing,
    )


def left_out(model):
    """What of a Model was not modelled, in words: kinds of nodes, and their share of the elements moved where known; None where nothing was."""
    nodes = [node for node in model.others if node.elements != 0]
    if not nodes:
        return None
    kinds = ", ".join(dict.fromkeys(node.op for node in nodes))
    unknown = sum(node.elements is None for node in nodes)
    text = f"{len(nodes)} node{'s' if len(nodes) > 1 else ''} ({kinds}), {100 * (1 - model.modelled_share):.1f} % of the elements that all nodes move"
    return text + (f", those of {unknown} nodes not known" if unknown else "")


def _kernel(line):
    return KernelAccount(
        name=line.cost.name,
        macs=line.cost.macs,
        bytes=line.cost.bytes,
        intensity=line.intensity,
        attainable_efficiency=line.efficiency,
        limited_by="memory" if line.under_water else "compute",
        ideal_s=line.ideal_s,
        latency_s=line.latency_s,
    )
