"""The notebook of the tutorials: small, with outputs and pictures, and it runs."""

import json
import runpy

import pytest

from fenced_blocks import ROOT

PATH = ROOT / "docs" / "tutorials" / "first_run.ipynb"


def test_the_notebook_has_outputs_and_is_small():
    cells = json.loads(PATH.read_text(encoding="utf-8"))["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    kinds = [output["output_type"] for output in outputs]
    assert "error" not in kinds and kinds.count("stream") >= 4
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 2
    assert PATH.stat().st_size < 1_000_000
    counts = [cell["execution_count"] for cell in cells if cell["cell_type"] == "code"]
    assert counts == list(range(1, len(counts) + 1))


@pytest.mark.slow
def test_the_notebook_runs(tmp_path, monkeypatch):
    """Minutes: rendering, three teachers and a student."""
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    script = runpy.run_path(str(ROOT / "docs" / "pictures" / "notebook.py"))
    notebook = script["executed"](tmp_path)
    text = "".join(
        output.get("text", "")
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if output["output_type"] == "stream"
    )
    assert "tensorflow" not in text  # Nor its notes, which go to both streams.
    assert text.count(" student 0.") + text.count(" student 1.") == 3
