"""Tilings that have been measured on this CPU: a small file for each problem, in the user's cache folder.

`refconv.tune` writes them; `refconv.conv2d` and the others take them where a plan is made, in place of the rule's. They hold for one CPU,
one compiler's target, these sources and one number of threads; the folder is named by a hash of the first three, and the name of a file is
one of the rest. Nothing that is wrong with the disk ends a call, and no tiling changes a result: a file that cannot be read, or whose tiling
is not legal, is named in one warning, and the rule's tiling is taken.
"""

import functools
import hashlib
import json
import math
import os
from typing import Any, NamedTuple

from refconv import host
from refconv.code_cache import code_folder, said, user_cache, write_whole
from refconv.messages import warn_caller
from refconv.tiling.checked import as_numbers, check_registers, checked, with_numbers

SWITCH = "REFCONV_TUNED"
"""The environment variable that, set to 0, keeps calls to the rules."""

_TOLD = []
"""What was wrong with a file, said once: what is wrong with one is mostly wrong with the next."""
_UNKEPT = {}
"""{subject: Measured} of this process where the disk did not take it."""


_FORGET = []
"""What forgets the plans that are made already."""


class Measured(NamedTuple):
    """The fastest tiling found for a problem, or the rule's where none was faster.

    ratio: its time over that of the rule's tiling, 1.0 where it is the rule's; tried: tilings measured, the rule's included; settled: whether the
    search came to its end, and not only its time.
    """

    tiling: Any
    ratio: float
    tried: int
    settled: bool

    def __str__(self):
        """What refconv.choose says of it."""
        searched = f"{self.tried} tiling{'s' * (self.tried != 1)}" + ("" if self.settled else ", not all that were to be tried")
        if self.ratio == 1:
            return f"measured: the rule's is the fastest of {searched}"
        return f"measured: {self.ratio:.2f} of the rule's time, the fastest of {searched}"


class Subject(NamedTuple):
    """What a tiling has been measured for.

    kernel: its row of the table; element: of the tensors; threads: that a call may use; squeeze: a block's mode of squeeze-excitation.
    """

    kernel: Any
    problem: Any
    element: Any
    threads: int = 1
    squeeze: str | None = None

    @property
    def target(self):
        """The Target of its calls."""
        return host.target()._replace(threads=self.threads)

    @property
    def lanes(self):
        """Of a vector of sums."""
        return self.target.lanes(self.element.work.itemsize)

    @property
    def rule(self):
        """The rule's tiling."""
        return self.kernel.tiling(self.problem, self.element.work.itemsize, self.target)

    def __str__(self):
        modes = f" squeeze={self.squeeze}" if self.squeeze else ""
        return f"{self.kernel.name} {self.problem!r} {self.element.name} threads={self.threads}{modes}"


def when_measured(forget):
    """From now on call `forget` whenever this process has measured a tiling: of whatever keeps plans from call to call."""
    _FORGET.append(forget)


def folder():
    """The folder of what has been measured on this CPU; None where there is no place for it."""
    return _folder(user_cache())


@functools.cache
def _folder(place):
    """As `folder`, found once for each place of the user's cache: to ask LLVM for the CPU's features takes two milliseconds."""
    return code_folder(("refconv",), "tuned", host.processor(), host.target())


def look_up(subject):
    """What has been measured for a Subject, or None; None too where REFCONV_TUNED is 0."""
    return None if os.environ.get(SWITCH) == "0" else read(subject)


def read(subject):
    """What has been measured for a Subject, whether calls take it or not; None if nothing has."""
    name = str(subject)
    if name in _UNKEPT:
        return _UNKEPT[name]
    path = _path(subject)
    if path is None:
        return None
    try:
        return _parsed(json.loads(path.read_bytes()), subject)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        _tell(f"{path}: cannot be read, so the rule's tiling is taken: {said(error)}")
        return None


def _parsed(document, subject):
    if document["subject"] != str(subject):
        raise ValueError("the file is of another problem")
    ratio, tried, settled = document["ratio"], document["tried"], document["settled"]
    if not (isinstance(ratio, float) and math.isfinite(ratio) and ratio > 0 and type(tried) is int and type(settled) is bool):
        raise ValueError("the file is damaged")
    rule = subject.rule
    tiling = checked(with_numbers(rule, document["tiling"]), rule, subject.problem, subject.lanes)
    check_registers(tiling, subject.target)
    return Measured(tiling, ratio, tried, settled)


def keep(subject, measured):
    """Keep what has been measured for a Subject: on disk, or where that is not possible, which is said once, for this process.

    The next call on its problem takes it.
    """
    path, document = _path(subject), {"subject": str(subject), **measured._asdict(), "tiling": as_numbers(measured.tiling), "cpu": host.processor()}
    _UNKEPT.pop(str(subject), None)
    try:
        if path is None:
            raise OSError("there is no home folder; set REFCONV_CACHE_DIR")
        write_whole(path, json.dumps(document, indent=1).encode())
    except OSError as error:
        _UNKEPT[str(subject)] = measured
        _tell(f"{path or 'what has been measured'}: cannot be kept, so it holds for this process alone: {said(error)}")
    for forget in _FORGET:
        forget()


def lost():
    """Whether there is something that this process has measured and could not keep."""
    return bool(_UNKEPT)


def _path(subject):
    place = folder()
    return place and place / f"{subject.kernel.name}-{hashlib.sha256(str(subject).encode()).hexdigest()[:20]}.json"


def _tell(text):
    if not _TOLD:
        warn_caller(text)
    _TOLD.append(text)
