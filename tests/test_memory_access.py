"""Kernels reach memory only through instructions. Invariant 2 of the design."""

import ast
import pathlib

ROOT = pathlib.Path(__file__).parent.parent


def test_kernels_reach_memory_only_through_instructions():
    """No kernel and no routine of the tile package indexes a buffer: the only subscripts are of nothing at all."""
    for path in [*(ROOT / "refconv/kernels").glob("*.py"), ROOT / "refconv/parts/staging.py"]:
        if path.stem != "__init__":
            subscripts = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Subscript)]
            assert not subscripts, f"{path}:{subscripts[0].lineno}"
