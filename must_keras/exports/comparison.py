"""A file of another runtime compared with the Keras model: on images, in a process of its own."""

import importlib.metadata
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import tensorflow as tf

from must_keras.data.sources import Source
from must_keras.errors import DataError, UserError
from must_keras.exports import matching
from must_keras.exports.format import ExportFormat
from must_keras.exports.matching import Matches
from must_keras.files import file_sha256
from must_keras.inference.model import serve
from must_keras.inference.visualization import spread
from must_keras.runs.export_results import FormatResult, HeadLikeness
from must_keras.tasks.base import Task
from must_keras.training.model import MultiTaskModel

# Of outputs without objects: the largest difference relative to the size or to 1, and the smallest
# share of equal decisions. A near tie falls to either side.
MAX_DIFFERENCE = 1e-3
MIN_AGREEMENT = 0.99
LIMITS = {
    "difference": MAX_DIFFERENCE,
    "agreement": MIN_AGREEMENT,
    "score": matching.MIN_SCORE,
    "iou": matching.MIN_IOU,
    "score_difference": matching.MAX_SCORE_DIFFERENCE,
}
# Characters of what a program wrote before it failed.
_MAX_CHARACTERS = 300

Outputs = Mapping[str, np.ndarray]


def compared(
    form: ExportFormat, path: pathlib.Path, model: MultiTaskModel, images: Sequence[np.ndarray]
) -> FormatResult:
    """Predict images with a file, in a fresh process without TensorFlow, and with the model.

    Args:
        form: the format of the file.
        path: of the file.
        model: from which it was made.
        images: [H, W, 3] uint8 RGB each; resized where the file takes images of one size, and
            every second one cropped where it takes any.

    Raises:
        DataError: an output is absent, not finite, or differs by more than LIMITS; names the head.
    """
    size = form.image_size(model)
    if size is not None:
        images = [cv2.resize(x, size[::-1], interpolation=cv2.INTER_AREA) for x in images]
    else:  # The upper part of every second one: a test set may have the network's size throughout.
        images = [x[: -(-3 * len(x) // 4)] if i % 2 else x for i, x in enumerate(images)]
    found = _predicted(form, path, images)
    spec = tf.TensorSpec((None, None, None, 3), tf.uint8)
    function = tf.function(lambda x: serve(model, x), input_signature=[spec], autograph=False)
    heads: dict[str, list[HeadLikeness]] = {}
    tasks = [t for t in model.tasks.values() if not form.heads or t.name in form.heads]
    for number, (image, other) in enumerate(zip(images, found, strict=True)):
        one = {key: value.numpy() for key, value in function(image[None]).items()}
        for task in tasks:
            where = f"{form.file}, image {number + 1} of {len(images)}: head {task.name!r}"
            like = likeness(where, task, _of_head(one, task), _of_head(other, task))
            heads.setdefault(task.name, []).append(like)
    return FormatResult(
        file=form.file,
        bytes=path.stat().st_size,
        sha256=file_sha256(path),
        images=len(images),
        sizes=sorted({f"{image.shape[0]}x{image.shape[1]}" for image in images}),
        heads={head: _together(all_images) for head, all_images in heads.items()},
        limits=LIMITS,
        versions=_versions(form),
    )


def likeness(where: str, task: Task, one: Outputs, other: Outputs) -> HeadLikeness:
    """Return how like the model's a file's prediction of an image is.

    Args:
        where: begins messages.
        task: of the head.
        one: {output: [1, ...]} of the model.
        other: the same of the file.

    Raises:
        DataError: see `compared`.
    """
    if one.keys() != other.keys():
        raise DataError(f"{where} has the outputs {sorted(other)}, the model's {sorted(one)}")
    for key, value in one.items():
        if value.shape != other[key].shape:
            shapes = f"{other[key].shape}, the model's {value.shape}"
            raise DataError(f"{where}: {key} has the shape {shapes}")
        if not np.isfinite(other[key]).all():
            raise DataError(f"{where}: {key} is not finite everywhere")
    if task.predictions.has_objects and "boxes" in one:
        return _of_objects(where, one, other)
    forms = task.predictions
    differences = forms.differences(one, other)
    agreements = forms.agreements(one, other, tolerance=MAX_DIFFERENCE)
    for key, value in differences.items():
        if not value <= MAX_DIFFERENCE:
            more = f"more than {MAX_DIFFERENCE:.0e}"
            raise DataError(f"{where}: {key} differs from the model's by {value:.1e}, {more}")
    for key, value in agreements.items():
        if value < MIN_AGREEMENT:
            less = f"less than {MIN_AGREEMENT:.0%}"
            raise DataError(f"{where}: {key} agrees with the model's in {value:.1%}, {less}")
    return HeadLikeness(
        difference=max(differences.values(), default=0.0),
        agreement=min(agreements.values(), default=None),
    )


def _of_objects(where: str, one: Outputs, other: Outputs) -> HeadLikeness:
    """Return the likeness of objects, [1, N, ...]."""
    found = matching.match(*({k: v[0] for k, v in side.items()} for side in (one, other)))
    if found.matched < found.objects:
        raise DataError(
            f"{where}: {found.objects - found.matched} of {found.objects} objects with scores of "
            f"{matching.MIN_SCORE} and more have no match in the model's (IoU {matching.MIN_IOU}, "
            f"score within {matching.MAX_SCORE_DIFFERENCE})"
        )
    if not found.difference <= MAX_DIFFERENCE:
        raise DataError(f"{where}: masks differ from the model's by {found.difference:.1e}")
    return _as_likeness(found)


def _as_likeness(found: Matches) -> HeadLikeness:
    return HeadLikeness(
        difference=found.difference,
        objects=found.objects,
        matched=found.matched,
        lowest_iou=found.lowest_iou,
    )


def _together(of_images: Sequence[HeadLikeness]) -> HeadLikeness:
    """Return the likeness of a head over all images."""
    first = of_images[0]
    if first.objects is not None:
        values = (
            Matches(one.objects, one.matched, one.lowest_iou, one.difference) for one in of_images
        )
        return _as_likeness(sum(values, Matches()))
    return HeadLikeness(
        difference=max(one.difference for one in of_images),
        agreement=min(
            (one.agreement for one in of_images if one.agreement is not None), default=None
        ),
    )


def _of_head(outputs: Outputs, task: Task) -> Outputs:
    """Return {output: value} of one head."""
    split = {key: key.rpartition(".") for key in outputs}
    return {name: outputs[key] for key, (head, _, name) in split.items() if head == task.name}


def _predicted(
    form: ExportFormat, path: pathlib.Path, images: Sequence[np.ndarray]
) -> list[Outputs]:
    """Return a file's predictions of images, made by the program of its format."""
    with tempfile.TemporaryDirectory() as folder:
        given, made = (pathlib.Path(folder, name) for name in ("images.npz", "predictions.npz"))
        np.savez(given, **{str(number): image for number, image in enumerate(images)})
        # Without the program's folder in the path, whose modules have names of packages.
        command = [sys.executable, "-P", str(form.program), str(path), str(given), str(made)]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        if answer.returncode:
            lines = answer.stderr.strip().splitlines() or [f"exit status {answer.returncode}"]
            problem = f"{form.file} cannot be read back: {lines[-1][:_MAX_CHARACTERS]}"
            raise DataError.at(path, f": {problem}")
        with np.load(made) as values:
            flat = dict(values)
    found: list[dict[str, np.ndarray]] = [{} for _ in images]
    for key, value in flat.items():
        number, _, name = key.partition("/")
        found[int(number)][name] = value
    return found


def _versions(form: ExportFormat) -> dict[str, str]:
    """Return {package: version} of a format's packages, and TensorFlow's."""
    owners = importlib.metadata.packages_distributions()
    names = {owners[module][0] for module in form.packages}
    found = {name: importlib.metadata.version(name) for name in sorted(names)}
    return {"tensorflow": tf.__version__} | found


def sample_images(sources: Sequence[Source], count: int) -> list[np.ndarray]:
    """Return images of several sources, about as many of each, without unreadable ones.

    Args:
        sources: not empty.
        count: of images, of all sources together.

    Raises:
        DataError: none can be read.
    """
    images = []
    for source in sources:
        for index in spread(-(-count // len(sources)), len(source)):
            try:
                images.append(source.image(index))
            except UserError:  # It is in the quarantine already.
                continue
    if not images:
        names = ", ".join(source.name for source in sources)
        raise DataError(f"no image of {names} can be read: an export is compared on images")
    return images
