"""The results of exports, as finished.json holds them."""

import dataclasses

from must_keras.runs.results import Result


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportResult(Result):
    """The result of an export.

    Attributes:
        reloaded: {file: how like the student it is}.
        skipped: {file: why it was not written}.

    Example:
        run.export.result().reloaded["backbone.keras"]["difference"]
    """

    reloaded: dict[str, dict[str, float]]
    skipped: dict[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeadLikeness(Result):
    """How like the Keras model a file of another runtime predicts a head.

    Attributes:
        difference: largest difference of a continuous output, relative to its size or to 1.
        agreement: smallest share of equal decisions of an image, as the pixels of a map.
        objects: number of objects with scores of 0.1 and more, of either.
        matched: number of these that match one to one.
        lowest_iou: smallest IoU of a matched pair.

    Example:
        HeadLikeness(difference=4e-7, objects=93, matched=93, lowest_iou=0.99999)
    """

    difference: float
    agreement: float | None = None
    objects: int | None = None
    matched: int | None = None
    lowest_iou: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class FormatResult(Result):
    """The result of an export to another runtime.

    Attributes:
        file: its name.
        bytes: its size.
        sha256: its digest.
        images: number of images on which it was compared with the Keras model.
        sizes: their different sizes, "<height>x<width>".
        heads: {head: how like the Keras model's its predictions are}.
        limits: what the comparison allows.
        versions: {package: version} of what wrote and read the file.

    Example:
        run.export_of("onnx").result().heads["objects"].lowest_iou
    """

    file: str
    bytes: int
    sha256: str
    images: int
    sizes: list[str]
    heads: dict[str, HeadLikeness]
    limits: dict[str, float]
    versions: dict[str, str]
