"""What the page says of the student's heads among each other: shares, angles, learned weights."""

from __future__ import annotations

from must_keras.analysis import curves
from must_keras.runs.workdir import Artifact
from must_keras.training.diagnostics import COSINE, GRADIENT_SHARE, LOSS_SHARE

_CHARTS = {
    LOSS_SHARE: ("student: shares of the weighted loss", "share"),
    GRADIENT_SHARE: ("student: shares of the last shared layer's gradient", "share"),
    COSINE: ("student: cosines between the heads' gradients", "cosine"),
    "_weight": ("student: learned loss weights", "weight"),
}


def charts(student: Artifact) -> list[tuple[str, bytes]]:
    """(title, PNG) of what the student's training has found out; see training/diagnostics.py."""
    path = student.folder / "metrics.jsonl"
    found = []
    for ending, (title, what) in _CHARTS.items() if path.is_file() else ():
        series = curves.read(path, (ending[1:],))
        if series:
            named = {name.removesuffix(ending): points for name, points in series.items()}
            found.append((title, curves.lines(title, named, what)))
    return found
