"""Execute the notebook of the tutorials anew, and store its outputs in it.

    python docs/pictures/notebook.py

The notebook works in a folder of its own, which is removed.
"""

import pathlib
import tempfile

import nbformat
from nbclient import NotebookClient

PATH = pathlib.Path(__file__).parents[1] / "tutorials" / "first_run.ipynb"


def executed(folder: str | pathlib.Path) -> nbformat.NotebookNode:
    """Return the notebook with new outputs.

    Args:
        folder: where its cells run.
    """
    notebook = nbformat.read(PATH, as_version=4)
    client = NotebookClient(
        notebook, timeout=1200, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    client.execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # Times, which differ always.
    return notebook


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as empty:
        nbformat.write(executed(empty), PATH)
    print(PATH)
