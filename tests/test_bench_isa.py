"""A run that is held to an instruction set: its settings, the CPU's changed answer, peers that cannot be held."""

import ast
import json
import os
import subprocess
import sys
import types

import pytest

from refconv.bench import isa
from refconv.bench.peers import PEERS, installed

HASWELL = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ""}
wide = pytest.mark.skipif(isa.widest() != "avx512", reason="needs a CPU with AVX-512")


def python(code, **variables):
    """What a Python program of its own prints, in which these environment variables are set and no other of an instruction set."""
    kept = {name: value for name, value in os.environ.items() if name not in isa.HELD["avx2"]}
    done = subprocess.run([sys.executable, "-c", code], env={**kept, **variables}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def cpu(monkeypatch):
    """A function that makes the widest set of the CPU another."""
    return lambda name: monkeypatch.setattr(isa, "widest", lambda: name)


def test_the_settings_of_a_set(cpu):
    cpu("avx512")
    assert isa.environment("native") == {}
    held = isa.environment("avx2")
    assert HASWELL.items() <= held.items()
    assert held["ONEDNN_MAX_CPU_ISA"] == held["OV_CPU_MAX_ISA"] == "AVX2"
    assert isa.environment("avx512") == dict.fromkeys(held)
    cpu("avx2")
    assert isa.environment("avx2") == dict.fromkeys(held), "what the CPU has at most is its own, with nothing set"


@pytest.mark.parametrize(
    ("most", "asked", "text"),
    [
        ("avx2", "avx512", r"^--isa avx512: this CPU, .*, has avx2 at most$"),
        (None, "avx2", r"^--isa avx2: this CPU, .*, has none of avx2, avx512$"),
        ("avx512", "sse", r"^--isa sse: must be avx2, avx512 or native$"),
    ],
)
def test_a_set_that_is_not_to_be_had(most, asked, text, cpu):
    cpu(most)
    with pytest.raises(ValueError, match=text):
        isa.environment(asked)


def test_settings_in_force(monkeypatch):
    monkeypatch.setenv("NUMBA_CPU_NAME", "haswell")
    monkeypatch.delenv("OV_CPU_MAX_ISA", raising=False)
    assert isa.in_force({})
    assert isa.in_force({"NUMBA_CPU_NAME": "haswell", "OV_CPU_MAX_ISA": None})
    assert not isa.in_force({"NUMBA_CPU_NAME": None})
    assert not isa.in_force({"OV_CPU_MAX_ISA": "AVX2"})


def held_with(monkeypatch, hidden, **vectors):
    """What `hold` keeps for AVX2 of peers that tell these bytes of a vector, on a CPU with AVX-512."""
    monkeypatch.setattr(isa, "widest", lambda: "avx512")
    monkeypatch.setattr(isa.host, "vector_unit", lambda: (32, 16))
    monkeypatch.setattr(isa, "hide_beyond_avx2", lambda: hidden)
    monkeypatch.setattr(isa, "peer", lambda name: types.SimpleNamespace(vector_bytes=lambda: vectors[name]))
    return isa.hold("avx2", list(vectors))


def test_a_peer_without_a_setting_needs_the_cpus_changed_answer(monkeypatch, capsys):
    tell = {"torch": 32, "onnxruntime": None, "ncnn": 32}
    assert held_with(monkeypatch, True, **tell) == list(tell)
    assert capsys.readouterr().err == ""
    assert held_with(monkeypatch, False, **tell) == ["torch"]
    assert [line.split(":")[0] for line in capsys.readouterr().err.splitlines()] == ["onnxruntime", "ncnn"]


def test_a_peer_that_says_it_is_wider_is_left_out_and_named(monkeypatch, capsys):
    assert held_with(monkeypatch, True, torch=32, openvino=64) == ["torch"]
    assert capsys.readouterr().err == "openvino: left out: it uses vectors of 64 bytes; avx2 has 32\n"


def test_a_compiler_that_is_not_held_is_an_error(monkeypatch):
    monkeypatch.setattr(isa, "widest", lambda: "avx512")
    monkeypatch.setattr(isa.host, "vector_unit", lambda: (64, 32))
    with pytest.raises(ValueError, match=r"^--isa avx2: the compiler makes vectors of 64 bytes, not 32$"):
        isa.hold("avx2", [])
    assert isa.hold("native", ["torch"]) == ["torch"]


HIDE = """
import llvmlite.binding as llvm
from refconv.bench.cpuid import hide_beyond_avx2
features = lambda: {name for name, present in llvm.get_host_cpu_features().items() if present}
before, done = features(), hide_beyond_avx2()
"""


def test_the_cpus_answer_without_avx512():
    """What is left out is AVX-512; threads that start later get the same answer, programs the whole one."""
    answer = python(
        HIDE
        + """
import subprocess, sys, threading
later = []
thread = threading.Thread(target=lambda: later.append(features()))
thread.start()
thread.join()
whole = "import llvmlite.binding as llvm; print(int(llvm.get_host_cpu_features()['avx512f']))"
child = subprocess.run([sys.executable, "-c", whole], capture_output=True, text=True)
print(done, sorted(before - features()), sorted(features() - before), later == [features()], int(child.stdout) == ("avx512f" in before), sep=";")
"""
    )
    done, hidden, new, same, whole = answer.split(";")
    if done == "False":
        assert (hidden, new) == ("[]", "[]")
        pytest.skip("this system cannot change what CPUID answers")
    assert (new, same, whole) == ("[]", "True", "True")
    names = [name.strip("' ") for name in hidden.strip("[]").split(",") if name]
    assert all(name.startswith(("avx512", "amx", "avxvnni", "avxifma", "avxneconvert", "avx10", "apx", "egpr")) for name in names)
    if isa.widest() == "avx512":
        assert {"avx512f", "avx512vl", "avx512bw"} <= set(names)


def test_any_other_fault_ends_the_program_as_before():
    code = f"{HIDE}\nimport ctypes\nprint(done, flush=True)\nctypes.string_at(8)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() in ("True", "False")
    assert done.returncode < 0


@wide
def test_a_held_run_is_a_process_of_its_own():
    """Ours in vectors of 32 bytes, and each installed peer either says so too, cannot tell, or is left out and named."""
    command = [sys.executable, "-m", "refconv.bench", "--isa", "avx2", "--layer", "mb1ic16ih6oc16kh1", "--rounds", "1", "--json"]
    environ = {name: value for name, value in os.environ.items() if name not in isa.HELD["avx2"]}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["host"]["isa"], document["host"]["vector_bytes"]) == ("avx2", 32)
    left_out = {line.split(":")[0] for line in done.stderr.splitlines() if "left out" in line}
    assert set(document["peers"]) | left_out == set(installed(PEERS))


@wide
def test_peers_say_what_they_are_held_to():
    """Vectors of 64 bytes before, of 32 where they are held; onnxruntime does not tell."""
    found = installed(PEERS)
    tell = "from refconv.bench.peers import peer; print({name: peer(name).vector_bytes() for name in names})"
    told = {"onnxruntime": None}
    assert ast.literal_eval(python(f"names = {found}; {tell}")) == {name: told.get(name, 64) for name in found}
    held = ast.literal_eval(python(f"from refconv.bench.isa import hold; names = hold('avx2', {found}); {tell}", **isa.HELD["avx2"]))
    assert held == {name: told.get(name, 32) for name in held}
    assert set(found) - set(held) <= {"onnxruntime", "ncnn"}


def test_the_cpu_has_a_name(tmp_path):
    (tmp_path / "cpuinfo").write_text("processor : 0\nmodel name\t: A CPU @ 3 GHz\nmodel name : another\n")
    assert isa.cpu_name(tmp_path / "cpuinfo").startswith("A CPU @ 3 GHz (")
    assert isa.cpu_name(tmp_path / "none")
