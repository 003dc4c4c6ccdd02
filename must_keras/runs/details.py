"""The details of a head's evaluation on disk: details/<head>.json of an artifact's folder.

They are written when the model is scored, beside it: images and predictions are in memory then.
finished.json, which every command reads, stays small, and what an artifact is made from does not
depend on them.
"""

import dataclasses
import pathlib

from must_keras.json_files import find_json, write_json
from must_keras.runs.fingerprint import describe
from must_keras.runs.marks import DETAILS
from must_keras.runs.results import Metrics, Result


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorstImage(Result):
    """An image whose prediction is far from its ground truth.

    Attributes:
        image: "<name of the source>/<the image's id there>".
        amount: see Disagreement.
        text: see Disagreement.
        picture: name of a file in pictures/: image, ground truth and prediction.

    Example:
        WorstImage(image="test/3.png", amount=2.0, text="2 missed", picture="x-worst-1.png")
    """

    image: str
    amount: float
    text: str
    picture: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationDetails(Result):
    """The content of details/<head>.json; values are None where nothing was labeled.

    Attributes:
        split: of the head's set, on which it was evaluated.
        values: see Details.
        by_class: see Details.
        confusion: see Details.
        worst: the images with the largest disagreements, the worst first.

    Example:
        read(run.student.folder, "objects").by_class["cat"]["box_ap50"]
    """

    split: str
    values: Metrics
    by_class: dict[str, Metrics]
    confusion: dict[str, dict[str, int]]
    worst: list[WorstImage]


def write(folder: pathlib.Path, head: str, details: EvaluationDetails) -> None:
    """Write details/<head>.json of an artifact's folder."""
    (folder / DETAILS).mkdir(parents=True, exist_ok=True)
    write_json(_path(folder, head), describe(details))


def read(folder: pathlib.Path, head: str) -> EvaluationDetails | None:
    """Return the details of a head in an artifact's folder; None where there are none.

    Raises:
        DataError: the file is damaged.
        UserError: the file cannot be opened.
    """
    path = _path(folder, head)
    return find_json(path, EvaluationDetails, remedy=f"delete {path} to leave its details out")


def _path(folder: pathlib.Path, head: str) -> pathlib.Path:
    return folder / DETAILS / f"{head}.json"
