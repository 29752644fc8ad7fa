"""The notebooks run from top to bottom, and are kept without what they printed. Their claims are asserts in their own cells."""

import os
import pathlib

import pytest

nbformat = pytest.importorskip("nbformat", reason="nbformat is missing: pip install -e '.[notebooks]'")
nbclient = pytest.importorskip("nbclient", reason="nbclient is missing: pip install -e '.[notebooks]'")
pytest.importorskip("ipykernel", reason="ipykernel is missing: pip install -e '.[notebooks]'")
pytest.importorskip("matplotlib", reason="matplotlib is missing: pip install -e '.[notebooks]'")

ROOT = pathlib.Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CELL_TIMEOUT_S = 240


def outputs_of(notebook):
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def test_there_are_notebooks():
    assert {path.stem for path in NOTEBOOKS} == {"depthwise", "fusion", "own_kernel", "waterline"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert notebook.cells[0].source.startswith("# ")
    assert not outputs_of(notebook)
    assert all(cell.execution_count is None for cell in code)
    assert any("assert " in cell.source for cell in code)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, monkeypatch):
    """Every cell, in a kernel of this Python; pictures come out, and no warning."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))))
    notebook = nbformat.read(path, as_version=4)
    run = nbclient.NotebookClient(notebook, timeout=CELL_TIMEOUT_S, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}})
    run.execute()
    outputs = outputs_of(notebook)
    assert not [output.text for output in outputs if output.output_type == "stream" and output.name == "stderr"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 2
