"""What a run costs in energy on a machine that says so (sim/machine/energy.py): arithmetic, each cache level, DRAM; by tensor; with its delay.

    energy = multiply-adds * pJ each + sum over levels of accesses * pJ each + lines moved to and from DRAM * pJ each

Accesses of a level are those that the simulator counts there: loads and stores of vectors at the first, of lines below; what a miss brings in is
part of the access below. A line of DRAM is one of the first level's. Arithmetic: multiply-adds in the type of sums alone; leakage, the core itself
and whatever moves between registers cost nothing here, so totals are for comparing traffic, not for predicting a meter. Derived here.
"""

from sim.account.records import Record, record
from sim.machine.energy import DRAM

ARITHMETIC = "arithmetic"


@record
class EnergyAccount(Record):
    """Picojoules of a run: by level ("arithmetic", caches by name, "DRAM"), by tensor (all levels and DRAM) and in all.

    delay_s: the least time that the run can take under the machine's roof; delay_product_js: energy-delay product, in joule seconds.
    """

    by_level_pj: dict[str, float]
    by_tensor_pj: dict[str, float]
    delay_s: float
    source: str

    JSON = "by_level_pj", "by_tensor_pj", "total_pj", "delay_s", "delay_product_js", "source"

    @property
    def total_pj(self):
        """Of all levels, DRAM and arithmetic."""
        return sum(self.by_level_pj.values())

    @property
    def delay_product_js(self):
        """Energy times delay."""
        return self.total_pj * 1e-12 * self.delay_s


def energy_of(account, machine, dtype, *, recomputed_macs=0, possible_flops=None):
    """The EnergyAccount of an Account on a Machine, for tensors of an Element; None where the machine says nothing of energy for it.

    recomputed_macs: beyond the account's own. possible_flops: operations that the peak makes in the least time of the run, where that is not the
    account's own: kernels one after another each have a roof of their own.
    """
    if machine.energy is None or dtype.work.name not in machine.energy.mac_pj:
        return None
    access, line = machine.energy.access_pj, machine.line_bytes
    levels = {level.name: level.accesses * access[level.name] for level in account.levels}
    macs = account.macs + recomputed_macs
    by_level = {ARITHMETIC: macs * machine.energy.mac_pj[dtype.work.name], **levels, DRAM: account.moved_bytes // line * access[DRAM]}
    by_tensor = {name: _of_tensor(tensor, machine) for name, tensor in account.tensors.items()}
    flops = max(2 * macs, account.possible_flops) if possible_flops is None else possible_flops
    delay = flops / (account.balance_flop_per_byte * machine.bandwidth_bytes_per_s)
    return EnergyAccount(by_level_pj=by_level, by_tensor_pj=by_tensor, delay_s=delay, source=machine.energy.source)


def _of_tensor(tensor, machine):
    access = machine.energy.access_pj
    caches = sum(counts.accesses * access[level.name] for level, counts in zip(machine.levels, tensor.levels, strict=True))
    return caches + tensor.moved_bytes // machine.line_bytes * access[DRAM]
