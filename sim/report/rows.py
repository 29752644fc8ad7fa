"""Accounts as flat rows of scalars, for CSV."""

from refconv.graph.model import sizes_text
from refconv.schedule import MODES
from sim.account.records import Dram, by_operand


def account_rows(account):
    """A row for each run of a layer or a block: the layer; or the block fused, then its layers one after another."""
    return [_account_row(run, by_operand(run.tensors)) for run in account.runs]


def network_rows(account):
    """A row for each call of a NetworkRunAccount, in order; columns by kind of buffer, instead of by operand."""
    nothing = Dram(read_bytes=0, write_bytes=0)
    return [
        {"op": step.op, "output": sizes_text(step.output), **_account_row(step, {kind: step.kinds.get(kind, nothing) for kind in account.kinds})}
        for step in account.steps
    ]


def capacity_rows(account):
    """A row for each size of each run of a CapacityAccount."""
    return [_capacity_row(one.run, one.touched_bytes, point) for one in account.runs for point in one.points]


def _account_row(account, moved):
    """The scalars of an account; moved: {name: Dram} of its columns of what moves."""
    row = {key: getattr(account, key) for key in ("name", "descriptor", "kernel", "dtype", "stores", "start", "macs", "flops")}
    row["cores"] = account.number_of_cores
    row |= {key: getattr(account, key) for key in (*MODES, "recomputed_macs")}
    row["tiling"] = " ".join(f"{name}={value}" for name, value in account.tiling.items())
    row |= {f"dram_{key}": value for key, value in account.dram.as_json().items()} | {"flushed_bytes": account.flushed_bytes}
    for level in account.levels:
        row |= {f"{level.name}_{key}": value for key, value in level.as_json().items() if key != "name"}
    row |= _columns(moved)
    row |= {key: getattr(account, key) for key in ("compulsory_bytes", "traffic_ratio", "bound_bytes", "bound_ratio", "bound_source")}
    row["workspace_bytes"] = account.workspace_bytes
    row |= {f"intensity_{key}": value for key, value in account.intensity.as_json().items()}
    row |= {key: getattr(account, key) for key in ("balance_flop_per_byte", "limited_by")}
    if energy := account.energy:
        row |= {f"energy_{level}_pj": value for level, value in energy.by_level_pj.items()}
        row |= {"energy_pj": energy.total_pj, "energy_delay_product_js": energy.delay_product_js}
    return row


def _capacity_row(account, touched_bytes, point):
    row = {key: getattr(account, key) for key in ("name", "descriptor", "kernel", "dtype", "macs", "compulsory_bytes")}
    row["touched_bytes"] = touched_bytes
    row |= {key: getattr(point, key) for key in ("capacity_bytes", "read_bytes", "write_bytes", "flushed_bytes", "bound_bytes")}
    return row | {"caches": " ".join(point.caches)} | _columns(by_operand(point.tensors))


def _columns(moved):
    return {f"{name}_{key}": value for name, dram in moved.items() for key, value in dram.as_json().items()}
