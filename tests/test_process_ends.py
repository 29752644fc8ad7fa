"""How a command ends when it is not left alone: a full or closed stdout, no home, Ctrl-C at any moment. One line, exit 2 or 130."""

import ast
import json
import os
import pathlib
import pkgutil
import signal
import subprocess
import sys
import time

import pytest

import refconv.__main__
import sim.__main__
from refconv import cli
from sim.machine import calibrate

ROOT = pathlib.Path(__file__).parent.parent
DOORS = ["refconv", "sim", *(f"refconv.{name}" for name in refconv.__main__.DOORS), *(f"sim.{name}" for name in sim.__main__.DOORS)]
LIMIT_S = 400
TINY = ("--layer", "g4mb1ic4ih3oc4kh3ph1", "--machine", "textbook", "--json")


def run(*command, shell="", **options):
    """(status, lines of stdout, of stderr) of `python -m` with arguments, in a shell with redirections if need be."""
    command = [sys.executable, "-m", *command]
    command = ["sh", "-c", f'exec "$@" {shell}', "sh", *command] if shell else command
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": ROOT, "timeout": LIMIT_S, "check": False, **options}
    done = subprocess.run(command, **options)
    return done.returncode, (done.stdout or "").splitlines(), (done.stderr or "").splitlines()


def test_every_door_is_listed_and_every_listed_one_is_there():
    """sim has nothing but doors at its root; every door ends by refconv.cli.door."""
    at_root = {module.name for module in pkgutil.iter_modules(sim.__path__) if not module.ispkg} - {"__main__"}
    assert at_root == set(sim.__main__.DOORS)
    for name in DOORS:
        path = ROOT / name.replace(".", "/")
        source = (path / "__main__.py" if path.is_dir() else path.with_suffix(".py")).read_text()
        last = ast.parse(source).body[-1]
        assert isinstance(last, ast.If), name
        assert ast.unparse(last.body[-1]).startswith("door("), name


@pytest.mark.parametrize("package", ["refconv", "sim"])
def test_a_package_says_what_there_is(package):
    doors = vars(sys.modules[f"{package}.__main__"])["DOORS"]
    for arguments in ((), ("--help",)):
        status, out, err = run(package, *arguments)
        assert (status, err) == (0, [])
        assert all(any(f"python -m {package}.{name} " in line for line in out) for name in doors)
    status, out, err = run(package, "trafic")
    assert (status, out, err) == (2, [], [f"{package}: unrecognized arguments: trafic"])


@pytest.mark.parametrize("door", DOORS)
def test_help_on_a_full_device_is_one_line(door):
    with open("/dev/full", "w") as full:
        status, _, err = run(door, "--help", stdout=full)
    assert (status, err) == (2, [f"{door}: stdout: No space left on device"])


@pytest.mark.parametrize(
    ("shell", "text"), [(">/dev/full", "sim.traffic: stdout: No space left on device"), (">&-", "sim.traffic: stdout: is closed")]
)
def test_results_that_cannot_be_written(shell, text):
    status, _, err = run("sim.traffic", *TINY, shell=shell)
    assert (status, err) == (2, [text])


def test_a_closed_stderr_takes_nothing_to_stdout():
    status, out, _ = run("sim.traffic", *TINY, shell="2>&-")
    assert status == 0
    assert json.loads("\n".join(out))["layers"]
    assert run("sim.traffic", "--layer", "nothing", shell="2>&-") == (2, [], [])


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_reader_that_has_seen_enough(form):
    """As `| head -n 0`; a table is written by rich, which has an answer of its own."""
    process = subprocess.Popen([sys.executable, "-m", "sim.traffic", *TINY[:-1], *form], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert (process.stderr.read(), process.wait(timeout=LIMIT_S)) == (b"", 0)
    process.stderr.close()


def test_a_home_that_cannot_be_written():
    """The right result, and one line that says what it costs."""
    without = {name: value for name, value in os.environ.items() if name not in ("REFCONV_CACHE_DIR", "XDG_CACHE_HOME")}
    status, out, err = run("sim.traffic", *TINY, env={**without, "HOME": "/dev/null/nowhere"})
    assert status == 0
    assert json.loads("\n".join(out))["layers"][0]["macs"] == 4 * 9 * 9
    (line,) = err
    assert line.startswith("sim.traffic: /dev/null/nowhere/.cache/refconv/code-")
    assert line.endswith("cannot be kept, so every process compiles anew: Not a directory")


def test_calibrate_measures_only_when_asked_to(monkeypatch, capsys):
    monkeypatch.setattr(calibrate, "measure", lambda: pytest.fail("measured"))
    for arguments, status in ((["--help"], 0), (["now"], 2)):
        with pytest.raises(SystemExit) as stop:
            calibrate.main(arguments)
        assert stop.value.code == status
    assert capsys.readouterr().err == "sim.calibrate: unrecognized arguments: now\n"


def test_rates_are_kept_and_a_place_that_keeps_none_is_named(monkeypatch, capsys, tmp_path):
    measured = iter([(1e9, 2e9), (3e9, 4e9), (5e9, 6e9), (7e9, 8e9), (9e9, 1e9)])
    monkeypatch.setattr(calibrate, "measure", lambda: next(measured))
    monkeypatch.setenv("REFCONV_CACHE_DIR", str(tmp_path / "cache"))
    assert [calibrate.host_rates(), calibrate.host_rates(), calibrate.host_rates(refresh=True)] == [(1e9, 2e9), (1e9, 2e9), (3e9, 4e9)]
    (file,) = (tmp_path / "cache").iterdir()
    file.write_text('{"peak_flop_per_s": NaN, "bandwidth_bytes_per_s": 1}')
    assert calibrate.host_rates() == (5e9, 6e9)
    assert capsys.readouterr().err.count("measuring this host's peak") == 3
    monkeypatch.setenv("REFCONV_CACHE_DIR", str(file / "no folder"))
    with pytest.warns(RuntimeWarning, match=f"{file}/no folder/rates-.* cannot be kept, so every process measures anew"):
        assert calibrate.host_rates() == (7e9, 8e9)
    monkeypatch.setattr(calibrate, "user_cache", lambda: None)
    with pytest.warns(RuntimeWarning, match="set REFCONV_CACHE_DIR"):
        assert calibrate.host_rates() == (9e9, 1e9)


def interrupted(command, ready, **options):
    """(status, stderr) of a command that gets Ctrl-C, with all its processes, once `ready` has appeared on its stderr; at most 60 s later."""
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, **options)
    seen = ""
    try:
        for line in process.stderr:
            seen += line
            if ready in line:
                break
        os.killpg(process.pid, signal.SIGINT)
        _, rest = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, seen + rest


def test_ctrl_c_while_importing():
    """-X importtime says on stderr what has been imported so far."""
    for door in ("sim.traffic", "refconv.bench"):
        status, err = interrupted([sys.executable, "-X", "importtime", "-m", door, "--help"], "numba.core.types")
        assert status == cli.INTERRUPTED
        assert "Traceback" not in err
        assert err.splitlines()[-1] == f"{door}: interrupted"


SCRIPT = """
import sys, time
from refconv.cli import door
from refconv.jit import kernel

@kernel
def endless(x):
    while x[0] == 0:
        x[1] += 1

def swallow():
    try:
        while True:
            time.sleep(0.1)
    except BaseException:
        swallow()

def nap(tag):
    print("ready" + tag, file=sys.stderr, flush=True)
    time.sleep(600)

def main():
    import numpy as np
    if sys.argv[1] == "kernel":
        x = np.ones(2)
        endless(x)
        print("ready", file=sys.stderr, flush=True)
        x[0] = 0
        endless(x)
    if sys.argv[1] == "swallow":
        print("ready", file=sys.stderr, flush=True)
        swallow()
    if sys.argv[1] == "workers":
        from sim.account.parallel import run_all
        run_all([(nap, {"tag": str(i)}) for i in range(2)], jobs=2)
    return 0

if __name__ == "__main__":
    door(main)
"""


@pytest.mark.parametrize(("where", "ready"), [("kernel", "ready"), ("swallow", "ready"), ("workers", "ready1")])
def test_ctrl_c_is_one_line_wherever_it_comes(where, ready, tmp_path):
    """In a kernel that never returns to the interpreter; in code that catches everything; with worker processes, which end as well."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(tmp_path)))}
    status, err = interrupted([sys.executable, str(script), where], ready, env=environment)
    assert status == cli.INTERRUPTED
    assert [line for line in err.splitlines() if not line.startswith("ready")] == ["script.py: interrupted"]


def test_ctrl_c_that_is_ignored_stays_ignored(tmp_path):
    """As of a job that a shell has put into the background."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.replace("time.sleep(600)", "time.sleep(1)"))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(tmp_path)))}
    status, err = interrupted(["sh", "-c", f"trap '' INT; exec {sys.executable} {script} workers"], "ready0", env=environment)
    assert status == 0
    assert "interrupted" not in err


def test_workers_do_not_outlive_an_interrupt(tmp_path):
    """Ctrl-C sent to the first process alone."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.replace('"ready" + tag', "f\"ready{tag} {__import__('os').getpid()}\""))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(tmp_path)))}
    process = subprocess.Popen([sys.executable, str(script), "workers"], cwd=ROOT, stderr=subprocess.PIPE, text=True, env=environment)
    workers = {int(line.split()[1]) for line in (process.stderr.readline(), process.stderr.readline())} - {process.pid}
    assert len(workers) == 1
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == cli.INTERRUPTED
    process.stderr.close()
    deadline = time.monotonic() + 30
    while any(pathlib.Path(f"/proc/{worker}/stat").exists() and " Z " not in pathlib.Path(f"/proc/{worker}/stat").read_text() for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("argv", "words", "answer"),
    [
        (["-m"], ["python", "-m", "sim.traffic", "--list"], True),
        (["-m"], ["python", "-W", "error", "-m", "refconv.bench"], True),
        (["/x/sim/traffic.py", "--list"], ["python", "-m", "sim.traffic", "--list"], True),
        (["/x/refconv/bench/__main__.py"], ["python", "-m", "refconv.bench"], True),
        (["-m"], ["python", "-m", "pytest"], False),
        (["-m"], ["python", "-m", "simulator.sim"], False),
        (["tool.py", "-m", "sim.traffic"], ["python", "tool.py", "-m", "sim.traffic"], False),
        (["/x/pytest/__main__.py"], ["python", "-m", "pytest"], False),
    ],
)
def test_importing_the_packages_changes_no_other_process(argv, words, answer, monkeypatch):
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(sys, "orig_argv", words)
    assert cli.asked_for("refconv", "sim") is answer


def test_an_import_leaves_ctrl_c_alone():
    code = "import signal, refconv, sim; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
