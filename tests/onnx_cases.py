"""The node test cases of the onnx wheel."""

import functools
import warnings

import pytest

pytest.importorskip("onnx", reason="extra: test")


@functools.cache
def node_cases():
    """All of them: onnx's collector makes a case as its module is first imported and then never again, so a process can ask it once only.

    Making them warns of what they are about, such as overflows.
    """
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tuple(collect_testcases(None))
