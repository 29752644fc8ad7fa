"""A level of the simulated hierarchy as a command line writes it: --cache L1=32KiB,8,64,fifo."""

import re

from sim.machine.level import POLICIES, make_level

RULES = {policy: ("policy", policy) for policy in POLICIES} | {
    "write-back": ("write", "back"),
    "write-through": ("write", "through"),
    "allocate": ("allocate", True),
    "no-allocate": ("allocate", False),
}
"""What may follow the line bytes, and seed=N."""


def parse_cache(text):
    """A Level from `L1=32KiB,8,64` (size, ways, line bytes), and words such as `fifo,write-through,no-allocate`; ValueError says what is legal."""
    name, equals, rest = text.partition("=")
    size, ways, line, *words = [*rest.split(","), "", ""]
    if not equals or not name or "" in (size, ways, line) or len(words) < 2:
        raise ValueError(f"--cache {text!r}: must be NAME=SIZE,WAYS,LINE[,POLICY...], such as L1=32KiB,8,64")
    rules = {}
    for word in words[:-2]:
        key, value = ("seed", word[5:]) if word.startswith("seed=") else RULES.get(word, (None, None))
        if key is None or key in rules:
            raise ValueError(f"--cache {text!r}: {word!r}: must be one each of {', '.join(RULES)} or seed=N")
        rules[key] = int(value) if key == "seed" and re.fullmatch(r"[0-9]{1,19}", value) else value
    try:
        return make_level(name, size, int(ways) if ways.strip().isdecimal() else ways, line, **rules)
    except ValueError as error:
        raise ValueError(f"--cache {text!r}: {error}") from None
