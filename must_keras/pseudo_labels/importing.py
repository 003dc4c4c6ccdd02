"""Labels that people corrected, as ground truth of a pool's images."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from must_keras.data import names
from must_keras.data.sources import (
    CocoJson,
    LabelSpace,
    LabelStudioJson,
    Relabeled,
    Source,
    YoloTxt,
    original_size,
    pool_name,
)
from must_keras.data.writers import LabeledImage, Writer
from must_keras.data.writers.classes_csv import ClassesCsv
from must_keras.data.writers.coco_json import CocoWriter
from must_keras.data.writers.png_maps import PngMaps
from must_keras.errors import UserError, not_allowed
from must_keras.pseudo_labels.exporting import chosen_pool, chosen_teacher, new_folder
from must_keras.runs.run import Run
from must_keras.tasks.base import Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class Imported:
    """Corrected labels, as a source for the pool.

    Attributes:
        path: the folder.
        num_images: that have a label there.
        source: the source's call, a line of a recipe.

    Example:
        Imported(path=pathlib.Path("round1"), num_images=50, source="mk.CocoJson(...)")
    """

    path: pathlib.Path
    num_images: int
    source: str

    def __str__(self) -> str:
        return f"{self.num_images} images: {self.path}\njoin with the pool: {self.source}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Corrected:
    """A file of corrected labels.

    Attributes:
        path: of the file.
        images: the folder that its names of images are relative to; None: `pool`, or that of a
            form that comes with its images.
        pool: the folder of the pool.
        task: of the head.
    """

    path: pathlib.Path
    images: pathlib.Path | None
    pool: pathlib.Path
    task: Task

    def coco(self) -> Source:
        named = {"name": "corrected", "head": self.task.name}
        return CocoJson(**named, images=self.images or self.pool, annotations=self.path)

    def yolo(self) -> Source:
        named = {"name": "corrected", "head": self.task.name}
        return YoloTxt(**named, data=self.path, root=self.images)

    def label_studio(self) -> Source:
        return LabelStudioJson(
            name="corrected",
            head=self.task.name,
            images=self.images or self.pool,
            annotations=self.path,
            kind=self.task.kind,
            classes=self.task.labels.classes,
        )


# {name: (how it is read, kinds of labels that it has)}.
_READERS: Mapping[str, tuple[Callable[[_Corrected], Source], tuple[str, ...]]] = {
    "coco": (_Corrected.coco, ("boxes",)),
    "yolo": (_Corrected.yolo, ("boxes",)),
    "label-studio": (_Corrected.label_studio, ("boxes", "map", "classes")),
}
FORMATS = tuple(_READERS)


def import_corrected(
    run: Run,
    corrected: pathlib.Path,
    *,
    to: pathlib.Path,
    format: str,
    teacher: str | None = None,
    pool: str | None = None,
    images: pathlib.Path | None = None,
) -> Imported:
    """Write corrected labels in one form, for the images of a pool; nothing is overwritten.

    Boxes and masks become COCO JSON, maps PNG, classes CSV. The result is a source for the head
    whose images are files of the pool: joined with the pool, its labels are ground truth, which
    wins over pseudo labels.

    Args:
        run: whose pool it is; nothing of it is changed.
        corrected: Label Studio's export as JSON, COCO's JSON, or YOLO's data.yaml.
        to: a new folder.
        format: "label-studio", "coco" or "yolo".
        teacher: of the head that was corrected; None: the only one with such labels.
        pool: the pool; None: the only one.
        images: the folder that the file's names of images are relative to; None: the pool's, and of
            YOLO that of data.yaml.

    Raises:
        UserError: the file cannot be read, is of other images or classes, or has the scores of a
            model.
    """
    if format not in _READERS:
        raise not_allowed(f"format={format}", format, FORMATS, key="format")
    read, kinds = _READERS[format]
    what = f"format={format} has labels of kind {' or '.join(kinds)}"
    found = chosen_teacher(run, teacher, what, lambda task: task.kind in kinds)
    blocks, task = chosen_pool(run, found, pool), found.task
    folder = _folder(blocks[0])
    source = read(_Corrected(path=corrected, images=images, pool=folder, task=task))
    source = _with_classes(source, corrected, task)
    if source.has_scores:
        raise UserError.at(
            corrected,
            "has objects with scores: they are a model's, not corrected ones; labels of a model "
            "are for ImportedLabels",
        )
    places = _places(source, blocks, corrected)
    with new_folder(to) as temporary:
        writer, call = _written(temporary, to, folder, task)
        for index, (block, place) in places.items():
            size, label = original_size(block, place), source.labels(index)[task.name]
            writer.add(LabeledImage(name=block.image_id(place), size=size, label=label))
        writer.close()
    return Imported(path=to, num_images=len(places), source=call)


def _folder(pool: Source) -> pathlib.Path:
    """Return the folder that a pool's ids of images are relative to; its own where files are not.

    Raises:
        UserError: ids are no paths of files.
    """
    file, image_id = pool.file(0), pool.image_id(0)
    if file is None or not file.as_posix().endswith(f"/{image_id}"):
        problem = "its images have no files of that name: labels of files can be imported"
        raise UserError(f"pool {pool_name(pool)!r}: {problem}", key="pool")
    return pathlib.Path(file.as_posix().removesuffix(f"/{image_id}"))


def _with_classes(source: Source, path: pathlib.Path, task: Task) -> Source:
    """Return the source with the head's order of classes.

    Raises:
        UserError: its classes are not those of the head.
    """
    space, own = source.label_spaces[task.name], LabelSpace.of(task)
    difference = space.difference(own)
    if difference is None:
        return source
    if {*map(names.as_read, space.classes)} != {*map(names.as_read, own.classes)}:
        raise UserError.at(path, f"does not fit head {task.name!r} (the other): {difference}")
    mapping = {name: name for name in space.classes}
    return Relabeled(source, head=task.name, classes=own.classes, mapping=mapping)


def _places(
    source: Source, blocks: list[Source], path: pathlib.Path
) -> dict[int, tuple[Source, int]]:
    """Return {index of a labeled image: its block of the pool, and its index there}.

    Tools put folders before the names of images: the end of a path counts.
    """
    of_id = {block.image_id(i): (block, i) for block in blocks for i in range(len(block))}
    known, found = names.Names(of_id), {}
    for index in range(len(source)):
        if not source.labels(index):
            continue
        parts = source.image_id(index).split("/")
        ends = (known.find("/".join(parts[first:])) for first in range(len(parts)))
        image_id = next((end for end in ends if end is not None), None)
        if image_id is None:
            name, of = source.image_id(index), pool_name(blocks[0])
            raise UserError.at(path, f"names the image {name!r}, which is no image of pool {of!r}")
        found[index] = of_id[image_id]
    if not found:
        raise UserError.at(path, "has no labeled image")
    return found


def _written(
    folder: pathlib.Path, to: pathlib.Path, images: pathlib.Path, task: Task
) -> tuple[Writer, str]:
    """Return what writes labels of a kind, and the call of the source that reads them."""
    classes = {"classes": task.labels.classes}
    writer, name, further = {
        "boxes": (CocoWriter, "CocoJson", {"annotations": f"{to}/annotations.json"}),
        "map": (PngMaps, "LabelMaps", {"maps": f"{to}/maps"} | classes),
        "classes": (ClassesCsv, "CsvClasses", {"csv_file": f"{to}/classes.csv"} | classes),
    }[task.kind]
    arguments: dict[str, Any] = {"name": to.name, "images": str(images), **further}
    texts = [f"{key}={value!r}" for key, value in (arguments | {"head": task.name}).items()]
    return writer(folder, task, origin=to.name), f"mk.{name}({', '.join(texts)})"
