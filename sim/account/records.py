"""What an account says: records of numbers, never changed, each with `as_json()`. Derived numbers are properties, so that each has one definition.

Bytes are those of whole cache lines; "moved" is read and written together.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

from refconv.schedule import OPERANDS

NO_CHOICE = "none"
"""The mode of a run that has no such choice: halo where its steps share no computed rows, squeeze where there is no squeeze-excitation."""

record = dataclass(frozen=True, kw_only=True)
"""A class of records: built by keyword, compared by value."""


class Record:
    """What all records share. JSON: the attributes that are its keys, in order; OPTIONAL: those of them left out where they are None."""

    JSON: ClassVar[tuple] = ()
    OPTIONAL: ClassVar[tuple] = ()

    def as_json(self):
        """The record as dicts, lists and scalars."""
        values = {key: getattr(self, key) for key in self.JSON}
        return {key: _plain(value) for key, value in values.items() if value is not None or key not in self.OPTIONAL}


def _plain(value):
    if isinstance(value, Record):
        return value.as_json()
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if value == math.inf:  # which JSON does not have
        return None
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


class Moved:
    """What has read_bytes and write_bytes."""

    @property
    def moved_bytes(self):
        """Bytes read and written."""
        return self.read_bytes + self.write_bytes


@record
class Dram(Moved, Record):
    """Bytes read from and written to DRAM, those flushed at the end among the written."""

    read_bytes: int
    write_bytes: int

    JSON = "read_bytes", "write_bytes"


@record
class Counters(Record):
    """Lines that a cache level counts, of one tensor or of all; the three classes of misses are None where they are not told apart."""

    loads: int
    stores: int
    load_misses: int
    store_misses: int
    writebacks: int
    flushed: int
    compulsory_misses: int | None = None
    capacity_misses: int | None = None
    conflict_misses: int | None = None

    OPTIONAL = CLASSES = "compulsory_misses", "capacity_misses", "conflict_misses"
    JSON = ("loads", "stores", "load_misses", "store_misses", "writebacks", "flushed", *CLASSES)

    @property
    def accesses(self):
        """Loads and stores."""
        return self.loads + self.stores

    @property
    def misses(self):
        """Of loads and of stores."""
        return self.load_misses + self.store_misses

    @property
    def classified(self):
        """Whether the classes of misses are told apart."""
        return self.conflict_misses is not None


@record
class LevelCounters(Counters):
    """A level's counters over all tensors."""

    name: str
    line_bytes: int

    JSON = ("name", *Counters.JSON, "line_bytes")


@record
class TensorBytes(Moved, Record):
    """A tensor: its size, what of it moves to and from DRAM, what any program must move of it, and its Counters in each level, nearest first."""

    bytes: int
    read_bytes: int
    write_bytes: int
    compulsory_bytes: int
    levels: tuple[Counters, ...]

    JSON = "bytes", "read_bytes", "write_bytes", "compulsory_bytes", "levels"


@record
class TensorSize(Record):
    """A tensor of a layer that was not traced."""

    bytes: int

    JSON = ("bytes",)


@record
class Intensity(Record):
    """FLOP for each byte moved: at compulsory traffic, and as simulated."""

    compulsory: float
    simulated: float

    JSON = "compulsory", "simulated"


class Traffic:
    """What follows from macs, dram, compulsory_bytes and bound_bytes, of a layer, a block or a network."""

    @property
    def flops(self):
        """Floating-point operations: a multiply-add is two."""
        return 2 * self.macs

    @property
    def moved_bytes(self):
        """DRAM bytes read and written."""
        return self.dram.moved_bytes

    @property
    def traffic_ratio(self):
        """Bytes moved over those that are compulsory: the less, the better."""
        return self.moved_bytes / self.compulsory_bytes

    @property
    def bound_ratio(self):
        """Bytes moved over the lower bound: the less, the better; None where the bound is 0."""
        return self.moved_bytes / self.bound_bytes if self.bound_bytes else None

    @property
    def intensity(self):
        """The Intensity; 0 of what computes nothing, infinite of what computes and finds all that it touches in the caches."""
        simulated = self.flops / self.moved_bytes if self.moved_bytes else math.inf
        return Intensity(compulsory=self.flops / self.compulsory_bytes, simulated=simulated if self.flops else 0.0)


@record
class Account(Traffic, Record):
    """What a run moves, by level and by tensor, and what follows from it.

    macs: those that are work (nothing computed twice). flushed_bytes: those of dram.write_bytes that were dirty at the end. bound_bytes,
    bound_source: a lower bound on the bytes moved, and why. balance_flop_per_byte: of the cores that ran.
    """

    macs: int
    dram: Dram
    flushed_bytes: int
    levels: tuple[LevelCounters, ...]
    tensors: dict[str, TensorBytes]
    compulsory_bytes: int
    workspace_bytes: int
    balance_flop_per_byte: float
    bound_bytes: int
    bound_source: str

    JSON = (
        *("macs", "flops", "dram", "flushed_bytes", "levels", "tensors", "compulsory_bytes", "traffic_ratio", "workspace_bytes", "intensity"),
        *("balance_flop_per_byte", "limited_by", "attainable_efficiency", "bound_bytes", "bound_ratio", "bound_source"),
    )

    @property
    def limited_by(self):
        """ "memory" where the intensity as simulated is below the balance, else "compute"."""
        return "memory" if self.intensity.simulated < self.balance_flop_per_byte else "compute"

    @property
    def attainable_efficiency(self):
        """The part of peak that memory allows, of 1."""
        return min(1.0, self.intensity.simulated / self.balance_flop_per_byte)

    @property
    def possible_flops(self):
        """Operations that the peak makes in the time that this takes at least: under the roof, no faster than memory."""
        return max(self.flops, self.moved_bytes * self.balance_flop_per_byte)


@record
class LayerAccount(Account):
    """The account of one kernel's run.

    tiling: {field: value}. start: "cold" or "warm". cores: the Dram of each of several cores, None where one ran. cores_wanted: how many were
    asked for, where the kernel has fewer units of work than that and each runs on a core; else None. energy: an EnergyAccount
    (sim/account/energy.py), None where the machine says nothing of it. simulation_s: seconds it took.
    """

    name: str
    descriptor: str
    kernel: str
    tiling: dict[str, int]
    dtype: str
    stores: str
    start: str
    cores: tuple[Dram, ...] | None = None
    cores_wanted: int | None = None
    energy: Record | None = None
    simulation_s: float

    OPTIONAL = "cores", "cores_wanted", "energy"
    JSON = ("name", "descriptor", "kernel", "tiling", "dtype", "stores", "start", *Account.JSON, *OPTIONAL, "simulation_s")
    halo = squeeze = NO_CHOICE
    recomputed_macs = 0

    @property
    def runs(self):
        """This account, and those of other runs that it holds."""
        return (self,)

    @property
    def number_of_cores(self):
        """Cores that ran."""
        return len(self.cores) if self.cores else 1


@record
class LayerByLayerAccount(LayerAccount):
    """The account of a block's layers run one after another.

    hidden_share: the hidden layers' part of the DRAM bytes of all tensors between layers, input and output among them. layers: a LayerAccount
    for each step.
    """

    hidden_share: float
    layers: tuple[LayerAccount, ...]

    JSON = (*LayerAccount.JSON, "halo", "squeeze", "recomputed_macs", "hidden_share", "layers")

    @property
    def attainable_efficiency(self):
        """The part of peak that memory allows the layers one after another, each under its own roof."""
        return self.flops / sum(layer.possible_flops for layer in self.layers)


@record
class BlockAccount(LayerAccount):
    """The account of a block fused into one kernel, and of its layers one after another.

    halo, squeeze: the modes that ran, or NO_CHOICE. recomputed_macs: beyond `macs`; flops and intensity do not count them.
    """

    halo: str
    squeeze: str
    recomputed_macs: int
    layer_by_layer: LayerByLayerAccount

    JSON = (*LayerAccount.JSON, "halo", "squeeze", "recomputed_macs", "unfused")

    @property
    def unfused(self):
        """`layer_by_layer`, by its key in JSON."""
        return self.layer_by_layer

    @property
    def runs(self):
        """The fused run, then the layers one after another."""
        return self, self.layer_by_layer


@record
class UntracedLayer(Record):
    """What is known of a layer before anything runs; untraced: why nothing did."""

    name: str
    descriptor: str
    kernel: str
    tiling: dict[str, int]
    dtype: str
    stores: str
    macs: int
    tensors: dict[str, TensorSize]
    workspace_bytes: int
    untraced: str

    JSON = "name", "descriptor", "kernel", "tiling", "dtype", "stores", "macs", "flops", "tensors", "workspace_bytes", "untraced"
    flops = Traffic.flops
    cores = cores_wanted = None


def by_operand(tensors):
    """{input, weight, bias, residual, output, workspace: Dram} of {name: TensorBytes or Dram}: what is none of the first five is workspace."""
    groups = {name: [] for name in (*OPERANDS, "workspace")}
    for name, tensor in tensors.items():
        groups[name if name in OPERANDS else "workspace"].append(tensor)
    return {
        name: Dram(read_bytes=sum(tensor.read_bytes for tensor in group), write_bytes=sum(tensor.write_bytes for tensor in group))
        for name, group in groups.items()
    }


def numbers_by_name(buffers, listed=lambda number: True):
    """{name: numbers of its buffers} of [(name, elements, itemsize)] that are not empty, and listed: buffers of one name are one tensor."""
    numbers = {}
    for i, (name, elements, _) in enumerate(buffers):
        if elements and listed(i):
            numbers.setdefault(name, []).append(i)
    return numbers
