"""What is handed out: a source distribution whose tests can run, a wheel that says what it is."""

import pathlib
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parent.parent
pytest.importorskip("setuptools")
IGNORED = shutil.ignore_patterns(".git", "__pycache__", "*.egg-info", ".pytest_cache", ".hypothesis")


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the project, which building leaves files in."""
    folder = tmp_path_factory.mktemp("source") / "copy"
    shutil.copytree(ROOT, folder, ignore=IGNORED)
    return folder


def build(folder, what):
    """The path of what setuptools builds there."""
    code = f"from setuptools import build_meta; build_meta.build_{what}('out')"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    if "bdist_wheel" in done.stderr:
        pytest.skip("this setuptools builds no wheels without the package wheel")
    assert done.returncode == 0, done.stderr[-2000:]
    (made,) = (folder / "out").glob("*.whl" if what == "wheel" else "*.tar.gz")
    return made


def sources(folder, *patterns):
    return {str(path.relative_to(ROOT)) for pattern in patterns for path in (ROOT / folder).rglob(pattern) if "__pycache__" not in path.parts}


def test_the_sdist_has_every_file_that_its_tests_need(copy):
    """Helpers and conftest, too, and the C of an oracle; no compiled Python."""
    with tarfile.open(build(copy, "sdist")) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    wanted = sources("tests", "*.py", "*.c") | sources("refconv", "*.py") | sources("sim", "*.py", "*.yaml")
    assert "tests/conftest.py" in wanted
    assert wanted | {"README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "setup.cfg", "pyproject.toml"} <= names
    assert not [name for name in names if name.endswith(".pyc")]


def test_the_wheel_has_both_packages_and_nothing_else(copy):
    with zipfile.ZipFile(build(copy, "wheel")) as wheel:
        names = set(wheel.namelist())
        (metadata,) = (wheel.read(name).decode() for name in names if name.endswith("METADATA"))
    assert {name for name in names if ".dist-info/" not in name} == sources("refconv", "*.py") | sources("sim", "*.py", "*.yaml")
    head, _, description = metadata.partition("\n\n")
    assert "Description-Content-Type: text/markdown" in head
    assert "License-File: LICENSE" in head
    assert description.strip() == (ROOT / "README.md").read_text().strip()
    assert any(name.endswith("LICENSE") for name in names)
