"""Passes as streams of lines, and buffers that take each other's place in memory."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.machine.record import load_machine, make_level
from sim.trace.run import Run
from sim.trace.streams import line_events

ZEN4 = load_machine("zen4")
LINE = 64


def machine(*levels, inclusion="nine"):
    """zen4 with caches (bytes, ways, and more as of make_level; lines of 64 bytes)."""
    made = [make_level(f"L{i + 1}", size, ways, *(more or (LINE,))) for i, (size, ways, *more) in enumerate(levels)]
    return ZEN4._replace(levels=tuple(made), inclusion=inclusion).checked()


@given(st.lists(st.integers(0, 40), max_size=3), st.integers(1, 40))
def test_a_stream_goes_through_its_tensors_in_step(sources, made):
    """Each line once, in order; no operand is ahead of another by more than a line of the longest's share, and reads come first."""
    counts = [*sources, made]
    operands = [range(100 * i, 100 * i + count) for i, count in enumerate(counts)]
    (events,) = line_events(operands[:-1], operands[-1])
    done, longest = [0] * len(counts), max(counts)
    for event in events.tolist():
        whose, line = divmod(event >> 1, 100)
        assert line == done[whose] and (event & 1) == (whose == len(sources))
        share = -(-(line + 1) * longest // counts[whose])  # the share that this line ends in
        for other, count in enumerate(counts):
            before = share if other < whose else share - 1
            assert done[other] >= count * before // longest
        done[whose] += 1
    assert done == counts


def test_long_streams_come_in_pieces(monkeypatch):
    whole_piece = list(line_events([range(50), np.arange(100, 117)], range(200, 223)))
    monkeypatch.setattr("sim.trace.streams.MOST_AT_ONCE", 7)
    pieces = list(line_events([range(50), np.arange(100, 117)], range(200, 223)))
    assert len(pieces) == 8 and np.array_equal(np.concatenate(pieces), *whole_piece)


HIERARCHIES = {
    "lru": ((512, 2), (2048, 4)),
    "others": ((512, 2, LINE, "plru"), (2048, 4, LINE, "random")),
    "exclusive": ((512, 2), (2048, 4)),
    "inclusive": ((512, 2), (2048, 4)),
    "long lines": ((512, 2), (4096, 4, 256)),
}


@pytest.mark.parametrize("name", HIERARCHIES)
@settings(max_examples=25)
@given(st.data())
def test_memory_handed_over_is_the_same_memory(name, data):
    """Two buffers that lie in one place at different times, and one beside: caches behave as if all were one, and each line is somebody's."""
    caches = machine(*HIERARCHIES[name], inclusion=name if name in ("exclusive", "inclusive") else "nine")
    overlaid = [("one", 16 * LINE, 1, 0), ("two", 24 * LINE, 1, 0), ("beside", 16 * LINE, 1, 32 * LINE)]
    alone, apart = Run(caches, [("arena", 64 * LINE, 1)]), Run(caches, [("arena", 64 * LINE, 1)], overlaid=overlaid)
    first, now = [buffer.address // LINE for buffer in apart.buffers], 1
    for _ in range(data.draw(st.integers(1, 6))):
        accesses = data.draw(st.lists(st.tuples(st.booleans(), st.integers(0, 15), st.booleans()), max_size=60))
        places = [(32 * beside + line, store) for beside, line, store in accesses]
        alone.stream(np.array([place << 1 | store for place, store in places], np.int64))
        numbers = [(first[3 if beside else now] + line) << 1 | store for beside, line, store in accesses]
        apart.stream(np.array(numbers, np.int64))
        if data.draw(st.booleans()):
            now = 3 - now
            apart.hand_over(now)
            counts, dram = apart.moved()
            ours = alone.moved()
            assert np.array_equal(counts.sum(axis=1), ours[0].sum(axis=1)) and np.array_equal(dram.sum(axis=0), ours[1].sum(axis=0))
            others = [0, 3 - now]
            apart.stream(np.array([first[3] << 1], np.int64))
            alone.stream(np.array([32 << 1], np.int64))
            counts, dram = apart.moved()
            alone.moved()
            assert not counts[:, others].any() and not dram[others].any(), "of what lies there no more nothing moves"
    counts, dram = apart.moved(last=True)
    ours = alone.moved(last=True)
    assert np.array_equal(counts.sum(axis=1), ours[0].sum(axis=1)) and np.array_equal(dram.sum(axis=0), ours[1].sum(axis=0))
