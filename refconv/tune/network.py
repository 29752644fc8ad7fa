"""What of networks is tuned: each distinct layer and block that their schedules call."""

import functools
from collections import Counter

from refconv.elements import element
from refconv.schedule import subject_of
from refconv.tiling.measured import Subject
from refconv.tune.search import task


def network_tasks(schedules, threads, usual):
    """{name: function that makes its Task} of each Subject that calls of NetworkSchedules on so many threads look up.

    Activations and residuals are no part of a Subject: layers that differ in them alone are measured once, without. usual: the Element that
    names do not mention.
    """
    made, known, names = {}, set(), Counter()
    for schedule in schedules:
        for call in schedule.calls:
            if not call.kernel_calls:
                continue
            stored = element(schedule.tensors[call.out].dtype)
            subject, name, make = _block(call, threads) if call.block else _layer(call, stored, threads)
            if subject in known:
                continue
            known.add(subject)
            name += "" if stored == usual else f" {stored.name}"
            names[name] += 1
            made[name if names[name] == 1 else f"{name} ({names[name]})"] = make
    return made


def _layer(call, stored, threads):
    """(Subject, name, function that makes its Task) of a NetworkCall of a layer."""
    problem = call.call.problem
    return Subject(call.call.kernel, problem, stored, threads), str(problem), functools.partial(task, problem, None, stored.dtype, threads)


def _block(call, threads):
    """The same of a block."""
    record, subject = call.step.attributes["record"], subject_of(call.block, threads)
    about = subject.problem
    make = functools.partial(task, record, (about.n, about.h, about.w), threads=threads)
    conv = f" {about.r}x{about.s} groups {about.groups}" if about.r else ""
    stride = f" stride {about.stride_h}x{about.stride_w}" if (about.stride_h, about.stride_w) != (1, 1) else ""
    channels = f"{about.c}-{about.k}" if about.k != about.c else about.c
    images = f" mb {about.n}" if about.n > 1 else ""
    return subject, f"{type(record).__name__} {channels}@{about.h}x{about.w} hidden {about.hidden}{conv}{stride}{images}", make
