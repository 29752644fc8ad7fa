"""Kernels reach memory only through instructions, read off their sources. test_machines.py runs them.

What the compiler refuses on traced buffers anyway (arithmetic on a whole buffer) is not looked for here.
"""

import ast
import builtins
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent / "refconv"
OPERANDS = ROOT / "tile" / "operands.py"
"""Places in memory that instructions are given, and what moves them on: of the instruction set, but code of kernels."""
PIECES = [OPERANDS, *(path for room in ("kernels", "parts") for path in sorted((ROOT / room).glob("*.py")))]
TILE = sorted(path for path in (ROOT / "tile").glob("*.py") if path != OPERANDS)
TABLE = ROOT / "kernels" / "__init__.py"
BUILTINS = {"abs", "bool", "divmod", "float", "int", "len", "max", "min", "range"}
"""Functions of Python that read no element of what they are given."""
METHODS = {"target.lanes"}
"""What `explain` asks of a machine."""
OF_TYPES = {"overload", "implement"}
"""Decorators of functions whose arguments are types, not buffers."""
COMPILED = {"kernel", "routine"}


def decorators(function):
    """Names of a function's decorators, without their arguments."""
    called = (one.func if isinstance(one, ast.Call) else one for one in function.decorator_list)
    return {one.attr if isinstance(one, ast.Attribute) else one.id for one in called}


def functions(tree):
    """Every function of a source with its own nodes: those of functions inside it are theirs, and a lambda's are a function's."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.Lambda):
            own, left = [], [function.body] if isinstance(function, ast.Lambda) else list(function.body)
            while left:
                node = left.pop()
                if not isinstance(node, ast.FunctionDef | ast.Lambda):
                    own.append(node)
                    left += ast.iter_child_nodes(node)
            yield function, own


def in_pieces(source):
    """[(line, what is wrong)] in a file of kernels or of their parts: no buffer is indexed, iterated over, or given to anything but their like.

    Of a function that compiles (OF_TYPES) the arguments are types, not buffers; what it returns is looked at. A function may be an argument:
    nothing but pieces can be handed over as one.
    """
    tree, found = ast.parse(source), []
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    constants = {target.id for node in tree.body if isinstance(node, ast.Assign) for target in node.targets if isinstance(target, ast.Name)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, f"imports {alias.name}") for alias in node.names if alias.name.split(".")[0] == "numpy"]
        elif isinstance(node, ast.ImportFrom):
            if node.module.split(".")[0] == "refconv":
                defined |= {alias.asname or alias.name for alias in node.names}
            elif node.module.split(".")[0] == "numpy":
                found.append((node.lineno, f"imports from {node.module}"))
    for function, nodes in functions(tree):
        if isinstance(function, ast.FunctionDef) and decorators(function) & OF_TYPES:
            continue
        given = {argument.arg for argument in ast.walk(function.args) if isinstance(argument, ast.arg)}
        for node in nodes:
            if isinstance(node, ast.Subscript) and not (isinstance(node.value, ast.Name) and node.value.id in constants):
                found.append((node.lineno, f"indexes {ast.unparse(node.value)}"))
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and ast.unparse(node.func) not in METHODS:
                found.append((node.lineno, f"calls {ast.unparse(node.func)}"))
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id not in defined | given | BUILTINS:
                found.append((node.lineno, f"calls {node.func.id}"))
            elif isinstance(node, ast.For | ast.comprehension) and not (isinstance(node.iter, ast.Call) and ast.unparse(node.iter.func) == "range"):
                found.append((node.iter.lineno, f"iterates over {ast.unparse(node.iter)}"))
            if isinstance(node, ast.Call):
                handed = [argument.id for argument in node.args if isinstance(argument, ast.Name) and argument.id not in defined | given]
                found += [(node.lineno, f"hands over {name}") for name in handed if hasattr(builtins, name)]
    return sorted(found)


def in_tile(source, memory=()):
    """[(line, what is wrong)] in a file of the instruction set: only the instructions of `memory` index an argument; nothing there is a kernel's.

    Functions that write LLVM code (they have a `builder`) have registers as arguments, those that choose it (OF_TYPES) types; classes are not
    instructions.
    """
    tree, found = ast.parse(source), []
    methods = {method for node in tree.body if isinstance(node, ast.ClassDef) for method in node.body}
    for function, nodes in functions(tree):
        if isinstance(function, ast.FunctionDef) and decorators(function) & COMPILED:
            found.append((function.lineno, f"{function.name}: is a piece of a kernel"))
        arguments = {argument.arg for argument in ast.walk(function.args) if isinstance(argument, ast.arg)}
        of_types = isinstance(function, ast.FunctionDef) and decorators(function) & OF_TYPES
        if "builder" in arguments or function in methods or of_types or getattr(function, "name", "") in memory:
            continue
        for node in nodes:
            if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id in arguments:
                found.append((node.lineno, f"indexes {node.value.id}"))
    return sorted(found)


def llvm_accesses(source):
    """[(line, method)] of the loads and stores of memory that a source writes as LLVM code."""
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute))
    return [(call.lineno, call.func.attr) for call in calls if ast.unparse(call.func.value) == "builder" and call.func.attr in ("load", "store")]


def implemented(path):
    """Names of the instructions of tile/instructions.py, there called `op`, that a machine's file gives code for."""
    calls = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
    given = (ast.unparse(call.args[0]) for call in calls if ast.unparse(call.func) in ("implement", "overload"))
    return {name.removeprefix("op.") for name in given if name.startswith("op.")}


MEMORY = implemented(ROOT / "tile/arrays.py") & implemented(ROOT.parent / "sim/trace/traced.py")
"""The instructions that reach memory: on arrays, and where every access is counted."""


@pytest.mark.parametrize("path", PIECES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_kernels_and_their_parts_reach_memory_only_through_instructions(path):
    """The table itself has no code of a kernel: its functions are asked about problems."""
    if path == TABLE:
        assert not any(decorators(node) & COMPILED for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef))
    else:
        assert in_pieces(path.read_text()) == []


@pytest.mark.parametrize("path", TILE, ids=lambda path: f"tile/{path.name}")
def test_only_instructions_that_the_simulator_counts_reach_memory(path):
    assert {"load", "store", "outer", "slide", "spread"} <= MEMORY
    assert in_tile(path.read_text(), MEMORY if path.stem == "instructions" else ()) == []
    assert path.stem == "llvm" or llvm_accesses(path.read_text()) == []


def test_all_rooms_are_read():
    assert len(PIECES) > 20
    assert len(TILE) > 8
    assert llvm_accesses((ROOT / "tile/llvm.py").read_text())


PLANTED = [
    ("@kernel\ndef k(x, out):\n    y = x[0]\n", "indexes x"),
    ("@kernel\ndef k(x, out):\n    out[1] = 2.0\n", "indexes out"),
    ("@routine\ndef k(x):\n    return x.buffer[x.at]\n", "indexes x.buffer"),
    ("def k(x, i):\n    return x[i]\n", "indexes x"),
    ("@overload(k)\ndef _k(x, i):\n    return lambda x, i: x[i]\n", "indexes x"),
    ("@overload(k)\ndef _k(x, i):\n    def code(x, i):\n        return x[i]\n    return code\n", "indexes x"),
    ("import numpy as np\n", "imports numpy"),
    ("from numpy import sum\n", "imports from numpy"),
    ("@kernel\ndef k(x):\n    return x.sum()\n", "calls x.sum"),
    ("@kernel\ndef k(x):\n    return sum(x)\n", "calls sum"),
    ("def each(f, x):\n    return f(x)\n@kernel\ndef k(x):\n    return each(sum, x)\n", "hands over sum"),
    ("@kernel\ndef k(x, target):\n    return x.lanes(target)\n", "calls x.lanes"),
    ("@kernel\ndef k(x):\n    for value in x:\n        pass\n", "iterates over x"),
    ("def k(x):\n    return [value for value in x]\n", "iterates over x"),
]


@pytest.mark.parametrize(("source", "text"), PLANTED)
def test_a_planted_access_is_found(source, text):
    assert [what for _, what in in_pieces(source)] == [text]


def test_a_planted_access_of_the_instruction_set_is_found():
    assert in_tile("def sneak(x, at):\n    return x[at]\n") == [(2, "indexes x")]
    assert in_tile("def load(x, at):\n    return x[at]\n", {"load"}) == []
    assert in_tile("@overload(k)\ndef _k(x, at):\n    return lambda x, at: x[at]\n") == [(3, "indexes x")]
    assert in_tile("@implement(k)\ndef _k(x):\n    return x[0]\n") == []
    assert in_tile("@routine\ndef copy(x):\n    pass\n") == [(2, "copy: is a piece of a kernel")]
    assert llvm_accesses("def f(builder, p):\n    return builder.load(p)\n") == [(2, "load")]
