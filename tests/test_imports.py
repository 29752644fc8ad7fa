"""Which module may import which. Invariant 1 of the design."""

import ast
import pathlib

from refconv import kernels

ROOT = pathlib.Path(__file__).parent.parent


def imports(path):
    """The modules a source file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return names


def test_refconv_never_imports_sim_and_kernels_never_import_each_other():
    files = list((ROOT / "refconv").rglob("*.py"))
    assert len(files) > 15
    for path in files:
        assert not any(name == "sim" or name.startswith("sim.") for name in imports(path)), path
    names = {path.stem for path in (ROOT / "refconv/kernels").glob("*.py")} - {"__init__"}
    assert names == set(kernels.KERNELS)
    for name in names:
        assert not any(module.startswith("refconv.kernels") for module in imports(ROOT / f"refconv/kernels/{name}.py"))


def test_the_simulator_holds_no_loops_of_a_kernel():
    """sim compiles the table's own functions: no file of sim knows a kernel by name or the layout of its loops."""
    for path in (ROOT / "sim").rglob("*.py"):
        assert not any(name.startswith("refconv.kernels.") for name in imports(path)), path
