"""What the account of a whole network's run says."""

from sim.account.records import Dram, LayerAccount, LeftOut, NetworkLayerAccount, Record, record


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


__all__ = ["KindBytes", "NetworkRunAccount", "Record", "StepAccount"]
