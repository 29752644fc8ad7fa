"""Warnings that name the user's own line, however deep within a package something went wrong."""

import sys
import warnings


def warn_caller(text, *packages):
    """A RuntimeWarning at the innermost line of the stack that belongs to none of refconv, Numba and the packages."""
    inside = {"refconv", "numba", *packages}
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in inside:
        frame, level = frame.f_back, level + 1
    warnings.warn(text, RuntimeWarning, stacklevel=level)
