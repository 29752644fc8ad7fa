"""Quantities with units as people write them: "32 KiB", "118 GFLOP/s", "25 GB/s"; and as reports print them."""

import re

BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "KB": 10**3, "MB": 10**6, "GB": 10**9}
RATES = {f"{prefix}{unit}/s": scale for unit in ("FLOP", "B") for prefix, scale in (("K", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12))}
ENERGIES = {"pJ": 1, "nJ": 1e3}
QUANTITY = re.compile(r"\s*(\d{1,18}(?:\.\d{1,18})?)\s*([A-Za-z/]*)\s*")


def parse_bytes(value):
    """Bytes in an int or in text such as "32 KiB"; ValueError says what is legal."""
    number, unit = _split(value, BYTES, "a size such as 32 KiB, 1MiB or 4096")
    exact = number * BYTES[unit or "B"]
    if exact != int(exact):
        raise ValueError(f"{value!r}: must be a whole number of bytes")
    return int(exact)


def parse_rate(value, unit):
    """A rate in `unit`/s ("FLOP" or "B") from text such as "118 GFLOP/s"."""
    number, given = _split(value, RATES, f"a rate such as 25 G{unit}/s")
    if not given.endswith(f"{unit}/s") or number <= 0:
        raise ValueError(f"{value!r}: must be a rate such as 25 G{unit}/s")
    return number * RATES[given]


def parse_energy(value):
    """Picojoules in text such as "3.7 pJ"."""
    number, unit = _split(value, ENERGIES, "an energy such as 3.7 pJ or 1.3 nJ")
    if not unit or number <= 0:
        raise ValueError(f"{value!r}: must be an energy such as 3.7 pJ or 1.3 nJ, above 0")
    return number * ENERGIES[unit]


def _split(value, units, legal):
    match = QUANTITY.fullmatch(str(value)) if not isinstance(value, bool) else None
    if not match or (match[2] and match[2] not in units):
        raise ValueError(f"{value!r}: must be {legal}")
    return float(match[1]) if "." in match[1] else int(match[1]), match[2]


def show_bytes(count):
    """Bytes for a table: exact below 10 KiB, else in KiB or MiB with the exact count left to JSON."""
    for unit, scale in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= 10 * scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} B"


def show_size(count):
    """Bytes where room is short: three digits, 1.67 MiB."""
    for unit, scale in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}" if count < 1000 * scale else f"{count // scale} {unit}"
    return f"{count:.3g} B"


def show_time(seconds):
    """A time with three digits after the point: in ms, or in us below 1 ms."""
    return f"{1e3 * seconds:,.3f} ms" if seconds >= 1e-3 else f"{1e6 * seconds:.3f} us"


def show_count(count, unit=""):
    """A count with a decimal prefix: 115.6 M."""
    for prefix, scale in (("T", 10**12), ("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= scale:
            return f"{count / scale:.4g} {prefix}{unit}"
    return f"{count} {unit}".rstrip()
