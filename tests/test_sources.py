"""What holds for every source file, read off it: how many parameters, how many lines, and that a package's names are not those of its modules."""

import ast
import importlib
import inspect
import pathlib
import pkgutil

import pytest

import refconv
import sim

ROOT = pathlib.Path(__file__).parent.parent
FILES = [path for folder in ("refconv", "sim", "tests") for path in sorted((ROOT / folder).rglob("*.py"))]
MOST_PARAMETERS, MOST_LINES = 10, 400
KEYWORDS_OF_USERS = {
    *("conv2d", "depthwise_conv2d", "simulate"),  # those of torch's function, and this project's options by keyword
    *("conv_transpose", "resize"),  # an operator of ONNX: attributes by keyword
}
"""Functions whose further parameters are keywords that a user or a file gives by name, each with a default."""


def parameters(source):
    """[(name, positional parameters, all parameters)] of the functions in a source."""
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.Lambda)]
    counted = [(getattr(node, "name", "lambda"), len(node.args.posonlyargs) + len(node.args.args), len(node.args.kwonlyargs)) for node in functions]
    return [(name, positional, positional + keywords) for name, positional, keywords in counted]


def hidden(package):
    """Names under which a package has something else than its module of that name."""
    modules = {found.name for found in pkgutil.iter_modules(package.__path__)}
    own = {name for name, value in vars(package).items() if not inspect.ismodule(value)} | set(getattr(package, "__all__", ()))
    return {name for name in modules & own if not inspect.ismodule(getattr(package, name))}


def packages(root):
    yield root
    for found in pkgutil.walk_packages(root.__path__, f"{root.__name__}."):
        if found.ispkg:
            yield importlib.import_module(found.name)


def test_functions_have_at_most_ten_parameters():
    many = {}
    for path in FILES:
        for name, positional, every in parameters(path.read_text()):
            if every > MOST_PARAMETERS:
                many[name] = positional
    assert set(many) == KEYWORDS_OF_USERS
    assert max(many.values()) <= MOST_PARAMETERS
    assert parameters("def f(a, b, *, c):\n    pass\n") == [("f", 2, 3)]


def test_files_have_at_most_400_lines():
    assert len(FILES) > 300
    assert {str(path.relative_to(ROOT)): count for path in FILES if (count := len(path.read_text().splitlines())) > MOST_LINES} == {}


@pytest.mark.parametrize("root", [refconv, sim])
def test_no_name_of_a_package_hides_its_module(root):
    """Else `import a.b` gives a module, and `a.b` afterwards a function, whichever was last."""
    found = list(packages(root))
    assert len(found) > 5
    assert {package.__name__: names for package in found if (names := hidden(package))} == {}


def test_a_name_that_hides_a_module_is_found(tmp_path, monkeypatch):
    (tmp_path / "walked").mkdir()
    (tmp_path / "walked/__init__.py").write_text("from walked.walk import walk\n")
    (tmp_path / "walked/walk.py").write_text("def walk():\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert hidden(importlib.import_module("walked")) == {"walk"}
