"""What the papers measured beside what is computed here: Lavin's rows under their waterlines, and what ranks published latencies how well."""

from typing import NamedTuple

from refconv.networks import names, network
from refconv.published import fasternet, isynet, lavin
from sim.account.amounts import network_amounts
from sim.account.waterline import network_waterline
from sim.analysis.matrix_efficiency import measure
from sim.analysis.ranking import kendall_tau


class UnderWaterline(NamedTuple):
    """A row of Lavin's results and its bounds. size: of the input; as_run: the WaterlineAccount layer by layer, or fused where the paper fused.

    apart, fused: both of them.
    """

    row: lavin.LavinRow
    size: int
    apart: object
    fused: object

    @property
    def as_run(self):
        """The bound of the program that the paper timed: ConvFirst ran fused, the others by PyTorch Inductor, layer by layer as we take it."""
        return self.fused if is_fused(self.row) else self.apart

    @property
    def share_of_waterline(self):
        """The measured share of the peak over that of the waterline: below 1 where the bound holds."""
        return self.row.peak_percent / 100 / self.as_run.waterline_efficiency


class Measured(NamedTuple):
    """A published latency of one network, in seconds, and how it was run."""

    network: str
    latency_s: float
    size: int | None
    fused: bool


class Setting(NamedTuple):
    """Published latencies that hold for one machine, batch and dtype."""

    title: str
    machine: str
    batch: int
    dtype: str
    rows: tuple


def is_fused(row):
    """Whether the paper ran the network of a row of Lavin's results by block fusion."""
    return row.network.startswith("convfirstnet")


def lavin_waterlines():
    """The UnderWaterlines of Lavin's 15 rows, on "a5000" in float16 at batch 128."""
    result = []
    for row in lavin.ROWS:
        known = network(row.network)
        same = {"batch": lavin.BATCH, "dtype": lavin.DTYPE, "size": row.size or known.size}
        apart, fused = (network_waterline(known, "a5000", fused=fused, **same) for fused in (False, True))
        result.append(UnderWaterline(row, same["size"], apart, fused))
    return result


def settings():
    """The Settings of what is published, of networks that refconv.networks has."""

    def table3(latency):
        rows = [(row, latency(row)) for row in fasternet.NETWORKS if row.network in names()]
        return tuple(Measured(row.network, seconds, fasternet.SIZE, False) for row, seconds in rows if seconds is not None)

    gpu = table3(lambda row: fasternet.GPU_BATCH / row.gpu_images_per_s)
    return (
        Setting(
            "ISyNet's README, Ascend 310",
            "ascend310",
            isynet.BATCH,
            isynet.DTYPE,
            tuple(Measured(row.network, row.latency_ms * 1e-3 * isynet.BATCH, isynet.SIZE, False) for row in isynet.ROWS),
        ),
        Setting("FasterNet's Table 3, RTX 2080Ti", "rtx2080ti", fasternet.GPU_BATCH, "float32", gpu),
        Setting("FasterNet's Table 3, i9-9900X", "i9-9900x", 1, "float32", table3(lambda row: row.cpu_ms * 1e-3)),
        Setting("FasterNet's Table 3, Cortex-A72", "cortex-a72", 1, "float32", table3(lambda row: row.arm_ms and row.arm_ms * 1e-3)),
        Setting(
            "Lavin's results, A5000",
            "a5000",
            lavin.BATCH,
            lavin.DTYPE,
            tuple(Measured(row.network, row.latency_s, row.size, is_fused(row)) for row in lavin.ROWS),
        ),
    )


PREDICTORS = ("MACs", "parameters", "compulsory bytes", "-MEM", "MACs / MEM", "waterline")
"""What is held against latencies. -MEM: a network that fits the matrix unit less should be slower; MACs / MEM: the work that MEM weighs."""


def predictions(setting):
    """{predictor: a number for each row} of a Setting; all but the parameters at its batch, sizes and dtype."""
    found = {name: [] for name in PREDICTORS}
    for row in setting.rows:
        known = network(row.network)
        bound = network_waterline(known, setting.machine, fused=row.fused, batch=setting.batch, size=row.size, dtype=setting.dtype)
        amounts = network_amounts(known, setting.batch, row.size)
        mem = measure(amounts)
        values = bound.macs, known.parameters, bound.bytes, -mem, amounts.matrix / mem, bound.latency_s
        for name, value in zip(PREDICTORS, values, strict=True):
            found[name].append(value)
    return found


def rankings(setting):
    """{predictor: Kendall's tau against the measured latencies} of a Setting."""
    measured = [row.latency_s for row in setting.rows]
    return {name: kendall_tau(values, measured) for name, values in predictions(setting).items()}
