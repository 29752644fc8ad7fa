"""What accounts of networks say: of layers each alone (sim/account/network.py), and of the schedule that runs (network_run.py)."""

from sim.account.records import Dram, LayerAccount, Record, Traffic, record


@record
class NetworkLayerAccount(LayerAccount):
    """The account of a layer of a network; op: the nodes that it was in the file."""

    op: str

    JSON = (*LayerAccount.JSON, "op")


@record
class LeftOut(Record):
    """A node of a network that was not modelled: its elements, and their share of all that nodes move (None where a shape is not known).

    macs: its multiply-adds, None where they are not known.
    """

    name: str
    op: str
    elements: int | None
    remark: str
    macs: int | None
    share: float | None

    JSON = "name", "op", "elements", "remark", "macs", "share"


@record
class NetworkTotals(Traffic, Record):
    """The layers' accounts added up, one after another, and what was not modelled.

    workspace_bytes: the largest of a layer. bound_bytes: the sum of the layers' own. attainable_efficiency: operations over those possible
    while the layers run, each under its own roof. modelled_share: of all elements that nodes move.
    """

    file: str
    macs: int
    dram: Dram
    flushed_bytes: int
    compulsory_bytes: int
    bound_bytes: int
    workspace_bytes: int
    attainable_efficiency: float
    elements: int
    modelled_share: float
    not_modelled: tuple[LeftOut, ...]
    notes: tuple[str, ...]

    @property
    def macs_not_modelled(self):
        """Multiply-adds of the nodes that were not modelled, as far as they are known."""
        return sum(node.macs or 0 for node in self.not_modelled)

    @property
    def nodes_of_unknown_macs(self):
        """How many of the nodes that were not modelled have an unknown number of multiply-adds."""
        return sum(node.macs is None for node in self.not_modelled)

    @property
    def nodes_of_unknown_size(self):
        """How many of the nodes that were not modelled move an unknown number of elements."""
        return sum(node.elements is None for node in self.not_modelled)

    JSON = (
        *("file", "macs", "flops", "dram", "flushed_bytes", "compulsory_bytes", "traffic_ratio", "bound_bytes", "bound_ratio"),
        *("workspace_bytes", "intensity", "attainable_efficiency", "elements", "modelled_share", "macs_not_modelled"),
        *("nodes_of_unknown_macs", "not_modelled", "notes"),
    )


@record
class NetworkAccount(Record):
    """The account of a network: its totals, and its layers in the order of the file."""

    totals: NetworkTotals
    layers: tuple[NetworkLayerAccount, ...]

    JSON = "model", "layers"

    @property
    def model(self):
        """`totals`, by its key in JSON."""
        return self.totals


@record
class KindBytes(Dram):
    """What moves of all buffers of a kind (sim/account/network_steps.py); bytes: their size; bound_bytes: what any program moves of them at least."""

    bytes: int
    bound_bytes: int

    JSON = ("bytes", *Dram.JSON, "bound_bytes")


@record
class StepAccount(NetworkLayerAccount):
    """The account of one call of a network's schedule, from when the call before it ended until it ends.

    output: sizes of the tensor that it makes. kinds: {kind: Dram} of the buffers that have moved, those driven out by it among them.
    """

    output: tuple[int, ...]
    kinds: dict[str, Dram]

    JSON = (*NetworkLayerAccount.JSON, "output", "kinds")


@record
class NetworkRunAccount(LayerAccount):
    """The account of a network's schedule: its numbers are the sums of its steps'.

    compulsory_bytes: what each call alone must move, added up; bound_bytes: what any program must move of inputs, parameters and outputs.
    arena_bytes, workspace_bytes: of memory beside weights; peak_bytes: both; weight_bytes: of weights as they are packed, biases and constants.
    kinds: {kind: KindBytes}. not_modelled: the nodes that cannot be run. notes: what had to be assumed of the file.
    """

    inputs: dict[str, tuple[int, ...]]
    arena_bytes: int
    peak_bytes: int
    weight_bytes: int
    kinds: dict[str, KindBytes]
    steps: tuple[StepAccount, ...]
    not_modelled: tuple[LeftOut, ...]
    notes: tuple[str, ...]

    OPTIONAL = ("energy",)
    JSON = (
        *(key for key in LayerAccount.JSON if key not in ("descriptor", "kernel", "tiling", "stores", "cores", "cores_wanted", "workspace_bytes")),
        *("inputs", "arena_bytes", "workspace_bytes", "peak_bytes", "weight_bytes", "kinds", "not_modelled", "notes", "steps"),
    )

    @property
    def attainable_efficiency(self):
        """The part of peak that memory allows the calls one after another, each under its own roof."""
        return self.flops / sum(step.possible_flops for step in self.steps)
