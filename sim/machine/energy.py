"""What a multiply-add and an access cost in energy, as a machine file may say; plain data.

energy:
  source: Horowitz, ISSCC 2014           # a line of text
  mac: {float32: 4.6 pJ, float16: 1.5 pJ} # a multiply-add of numbers of that type; sums of halves are float32 in this project's kernels
  access: {L1: 20 pJ, L2: 80 pJ, DRAM: 5200 pJ}

access: of every cache of the file by its name, and of DRAM. An access of the first level is one load or store as the simulator counts it, one
vector at most; of every other level, and of DRAM, one line read or written.
"""

from typing import NamedTuple

from sim.machine.quantities import parse_energy

DRAM = "DRAM"
"""The key of memory among the accesses."""
NUMBERS = ("float64", "float32", "float16", "bfloat16", "int8")
"""Types of numbers that a machine file may state a rate or an energy for."""
KEYS = {"source", "mac", "access"}


class Energy(NamedTuple):
    """mac_pj: {type of numbers: pJ of a multiply-add}; access_pj: {level or "DRAM": pJ of an access}, nearest first."""

    mac_pj: dict
    access_pj: dict
    source: str


def read_energy(value, levels):
    """The Energy in a document's value, for caches of these names, nearest first; ValueError names the key and what is legal."""
    if not isinstance(value, dict) or set(value) != KEYS:
        raise ValueError(f"must be a mapping with the keys {', '.join(sorted(KEYS))}")
    source = value["source"]
    if not isinstance(source, str) or not source.isprintable() or not source:
        raise ValueError(f"source: {source!r}: must be a line of text")
    names = [*levels, DRAM]
    access = _table("access", value["access"], names)
    missing = [name for name in names if name not in access]
    if missing:
        raise ValueError(f"access: {missing[0]}: is missing; needed: {', '.join(names)}")
    mac = _table("mac", value["mac"], NUMBERS)
    if not mac:
        raise ValueError(f"mac: must have at least one of {', '.join(NUMBERS)}")
    return Energy(mac, {name: access[name] for name in names}, source)


def _table(key, table, legal):
    if not isinstance(table, dict):
        raise ValueError(f"{key}: must be a mapping with keys out of {', '.join(legal)}")
    for name in table:
        if name not in legal:
            raise ValueError(f"{key}: {name}: unknown key; legal: {', '.join(legal)}")
    result = {}
    for name, text in table.items():
        try:
            result[name] = parse_energy(text)
        except ValueError as error:
            raise ValueError(f"{key}: {name}: {error}") from None
    return result
