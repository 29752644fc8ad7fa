"""Which module may import which, imports inside functions included. The rooms' order is in pyproject.toml.

`lint-imports` checks that order and finds circles of rooms. A circle through a package's own `__init__` it does not see: here every one is found.
"""

import ast
import graphlib
import pathlib

import pytest

from refconv import kernels

ROOT = pathlib.Path(__file__).parent.parent
SOURCES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path.read_text()
    for package in ("refconv", "sim")
    for path in sorted((ROOT / package).rglob("*.py"))
}


def imports(source, modules):
    """Those of the modules that a source imports: of `from a import b` it is a.b where that is one, else a."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inner if inner <= set(modules) else {*inner, node.module}
    return found & set(modules)


def circle(sources):
    """Modules that import each other in turn, the first again at the end; None where there are none. sources: {module: its text}."""
    try:
        graphlib.TopologicalSorter({name: imports(source, sources) for name, source in sources.items()}).prepare()
    except graphlib.CycleError as error:
        return error.args[1][::-1]
    return None


def room(package):
    """{module: text} of a package and all in it."""
    return {name: source for name, source in SOURCES.items() if name == package or name.startswith(f"{package}.")}


def test_refconv_never_imports_sim():
    assert len(room("refconv")) > 15
    for name, source in room("refconv").items():
        assert not imports(source, SOURCES) & set(room("sim")), name


def test_kernels_never_import_each_other():
    """Each kernel of the table has its file; an activation, a pool, gates or a norm alone are no kernel of a layer or a block."""
    files = {f"refconv.kernels.{name}" for name in (*kernels.KERNELS, "activation", "gate_map", "layer_norm", "map_mean", "pool_windows")}
    assert set(room("refconv.kernels")) == files | {"refconv.kernels"}
    for name in files:
        assert not imports(SOURCES[name], SOURCES) & set(room("refconv.kernels")), name


def test_the_simulator_holds_no_loops_of_a_kernel():
    """sim compiles the table's own functions: no file of sim imports a kernel or knows the layout of its loops."""
    for name, source in room("sim").items():
        assert not imports(source, SOURCES) & set(room("refconv.kernels")) - {"refconv.kernels"}, name


def test_no_module_imports_itself_by_way_of_others():
    found = circle(SOURCES)
    assert found is None, " imports ".join(found)


@pytest.mark.parametrize(
    ("sources", "found"),
    [
        ({"a": "import b", "b": "def f():\n    import a"}, {"a", "b"}),
        ({"p": "from p import q", "p.q": "from p.r import x", "p.r": "from p import y"}, {"p", "p.q", "p.r"}),
        ({"p": "from p import q", "p.q": "from p import r", "p.r": ""}, None),
        ({"p": "from p import q", "p.q": "import p"}, {"p", "p.q"}),
    ],
)
def test_a_planted_circle_is_found(sources, found):
    assert found == (set(circle(sources) or ()) or None)
