"""The notebooks of the docs run from the first cell to the last, with numbers so small that it takes seconds."""

from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")

NOTEBOOKS = Path(__file__).parents[1] / "docs" / "notebooks"
SMALL = {
    "first_look": 'FOLDER, IMAGES, SIZE, STEPS = Path("first_look"), 60, 48, 12',
    "reading_a_study": 'FOLDER, IMAGES, SIZES, DRAWS, EPOCHS = Path("study"), 60, [8], 2, 1',
}
"""In place of each notebook's own numbers."""


def test_every_notebook_has_small_numbers() -> None:
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == set(SMALL)


@pytest.mark.parametrize("name", ["first_look", pytest.param("reading_a_study", marks=pytest.mark.slow)])
def test_a_notebook_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("MPLBACKEND", "agg")
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells)  # which would go stale
    (numbers,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))
    numbers.source = f"from pathlib import Path\n\n{SMALL[name]}"
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert any(cell.get("outputs") for cell in notebook.cells)
