"""Tilings that have been measured on this CPU: a small file for each problem, in the user's cache folder.

`refconv.tune` writes them; `refconv.conv2d` and the others take them where a plan is made, in place of the rule's. They hold for one CPU,
one compiler's target, these sources and one number of threads; the folder is named by a hash of the first three, and the name of a file is
one of the rest. Nothing that is wrong with the disk ends a call, and no tiling changes a result: a file that cannot be read, or that has a
field which is not legal, is named in one warning with that field, and the rule's tiling is taken.
"""

import functools
import hashlib
import json
import os
from typing import Any, NamedTuple

from refconv import host
from refconv.code_cache import code_folder, said, user_cache, write_whole
from refconv.messages import warn_caller
from refconv.tiling.checked import as_numbers, checked, with_numbers

SWITCH = "REFCONV_TUNED"
"""The environment variable that, set to 0, keeps calls to the rules."""

_TOLD = []
"""What has been said: of a file once what is wrong in it, and once that the disk refuses, for it mostly refuses the next file, too."""
MOST_QUOTED = 80
"""Characters of a field that is not legal."""
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
        return _parsed(_document(path.read_bytes()), subject)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        _tell(f"{path}: cannot be read, so the rule's tiling is taken: {said(error)}", "disk")
    except ValueError as error:
        _tell(f"{path}: is ignored, and the rule's tiling taken: {error}", path)
    return None


def _document(data):
    """What a file holds, a dict; ValueError where it is not that."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):  # no text, no JSON, an integer of thousands of digits
        raise ValueError("the file is no JSON that can be read: must be an object as refconv.tune keeps it") from None
    if not isinstance(document, dict):
        raise ValueError(f"the file holds {_short(document)}: must be an object as refconv.tune keeps it")
    return document


def _parsed(document, subject):
    """The Measured of a file on a Subject; ValueError names the first field that is missing or not legal, its value and what is legal."""
    rule, processor, is_number = subject.rule, host.processor(), lambda value: type(value) in (int, float)
    legal = {
        "subject": (lambda value: value == str(subject), repr(str(subject))),
        "cpu": (lambda value: value == processor, f"{processor!r}, this CPU"),
        "ratio": (lambda value: is_number(value) and 0 < value <= 1, "a number above 0, at most 1"),
        "tried": (lambda value: type(value) is int and value > 0, "an integer from 1"),
        "settled": (lambda value: type(value) is bool, "true or false"),
        "tiling": (lambda value: isinstance(value, dict), f"an object of {', '.join(as_numbers(rule))}"),
    }
    for name, (is_legal, rule_text) in legal.items():
        if name not in document:
            raise ValueError(f"{name} is missing: must be {rule_text}")
        if not is_legal(document[name]):
            raise ValueError(f"{name} = {_short(document[name])}: must be {rule_text}")
    tiling = checked(with_numbers(rule, document["tiling"]), rule, subject.problem, subject.lanes, subject.target)
    return Measured(tiling, float(document["ratio"]), document["tried"], document["settled"])


def _short(value):
    """A value of JSON as text, its beginning where it is long."""
    text = repr(value)
    return text if len(text) <= MOST_QUOTED else f"{text[:MOST_QUOTED]} ..."


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
        _tell(f"{path or 'what has been measured'}: cannot be kept, so it holds for this process alone: {said(error)}", "disk")
    for forget in _FORGET:
        forget()


def lost():
    """Whether there is something that this process has measured and could not keep."""
    return bool(_UNKEPT)


def _path(subject):
    place = folder()
    return place and place / f"{subject.kernel.name}-{hashlib.sha256(str(subject).encode()).hexdigest()[:20]}.json"


def _tell(text, about):
    """Warn, once about a file, and once about the disk."""
    if about not in _TOLD:
        warn_caller(text)
        _TOLD.append(about)
