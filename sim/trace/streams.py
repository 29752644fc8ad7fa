"""A pass over whole tensors that no kernel of the table makes, as accesses to lines: what NumPy, copies and pools do between kernels.

The model: each source is read once and the output written once, every line of them, in the order in which they lie in memory and in step with each
other: when a third of the output is written, a third of each source has been read. What NumPy makes in between is left out, and so is what it reads
again while that is near, as windows that overlap and operands that are broadcast.
"""

import numpy as np

MOST_AT_ONCE = 1 << 15
"""Shares whose events exist at a time."""


def lines_of(buffer, size_bytes):
    """The lines of the first size_bytes of a traced buffer, as a range of line numbers, tensor bits included."""
    first = buffer.address >> int(buffer.line_shift)
    return range(first, first + -(-size_bytes // (1 << int(buffer.line_shift))))


def line_events(sources, made):
    """Yield the events of a pass, int64 arrays of line << 1 | is_store, one after another.

    sources, made: line numbers, each a range or an int64 array. They are cut into as many shares as the longest has lines; of each share the
    lines of every source are loaded, then those of `made` stored.
    """
    operands = [*((lines, 0) for lines in sources), (made, 1)]
    shares = max(len(lines) for lines, _ in operands)
    for first in range(0, shares, MOST_AT_ONCE):
        last, events, when = min(shares, first + MOST_AT_ONCE), [], []
        for lines, store in operands:
            begin, end = len(lines) * first // shares, len(lines) * last // shares
            if begin < end:
                chosen = lines[begin:end]
                numbers = np.arange(chosen.start, chosen.stop) if isinstance(chosen, range) else chosen
                events.append(numbers << 1 | store)
                when.append((np.arange(begin + 1, end + 1) * shares - 1) // len(lines))  # the share that ends beyond line `begin`, ...
        yield np.concatenate(events)[np.argsort(np.concatenate(when), kind="stable")]
