"""Networks read from files: ONNX graphs and SCALE-Sim topologies, for their shapes alone."""

import os

from refconv.graph.onnx_file import read_onnx
from refconv.graph.scalesim import read_topology

ONNX = ".onnx"
SUFFIXES = (ONNX, ".csv")
"""Of the files that are read."""
MOST_FILE_BYTES = 1 << 31
"""No protobuf message is larger; weights beyond it lie in files of their own, which are not read."""


def is_file(text):
    """Whether a text that may also be the name of a network names a file that is read."""
    return os.path.splitext(text)[1].lower() in SUFFIXES


def read_model(path, input_shapes=(), batch=None):
    """The Model in a .onnx or .csv file, for `batch` images (None: as many as the file says).

    input_shapes: texts such as "x:1x3x224x224" instead of an ONNX graph's own. ValueError names the file, what is wrong in it or with an
    argument, and what is legal.
    """
    if not is_file(path):
        raise ValueError(f"{path}: must be an ONNX graph (.onnx) or a SCALE-Sim topology (.csv)")
    try:
        size = os.path.getsize(path)
        if not os.path.isfile(path):
            raise ValueError("must be a file")
        if size >= MOST_FILE_BYTES:
            raise ValueError(f"has {size} bytes: must have less than {MOST_FILE_BYTES}")
        if path.lower().endswith(ONNX):
            return read_onnx(path, [parse_input_shape(text) for text in input_shapes], batch)
        if input_shapes:
            raise ValueError(f"input_shapes = {input_shapes[0]!r}: a topology has its shapes in the file; legal with .onnx")
        return read_topology(path, batch)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def parse_input_shape(text):
    """(name or "", sizes) from "NAME:1x3x224x224"; the name may be left out where the graph has one input."""
    name, _, sizes = text.rpartition(":")
    parts = sizes.split("x")
    if not all(part.isascii() and part.isdecimal() and len(part) < 12 and int(part) for part in parts):
        raise ValueError(f"input_shapes = {text!r}: must be NAME:1x3x224x224, sizes of 1 or more")
    return name, tuple(map(int, parts))
