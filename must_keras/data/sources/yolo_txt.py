"""Images with boxes and polygons in YOLO's text files."""

import array
from collections.abc import Collection
from typing import Any

import numpy as np

from must_keras.data import names
from must_keras.data.io.annotation_fields import few
from must_keras.data.io.coco_segmentations import masks_of
from must_keras.data.io.folders import Path, label_digest
from must_keras.data.io.images import upright_size
from must_keras.data.io.notices import Notes
from must_keras.data.io.yolo_files import YoloDataset, read_objects
from must_keras.data.sources.image_files import BoxFiles, BoxTable
from must_keras.data.sources.source import LabelSpace, Stored, spaces
from must_keras.errors import UserError, warn

_NO_FILE = (
    "images have no label file and are not labeled (an empty file: an image without an object)"
)


class YoloTxt(BoxFiles):
    """A dataset in YOLO's form: data.yaml, images/, and labels/ with a text file an image.

    A line is an object: its class and a box, "x y width height" with x and y of the center, or its
    class and a polygon of at least three points, "x y x y ...", which is a box and a mask. All are
    fractions of the image. A score may follow, as trackers and detectors write it: the boxes are
    then for `recipe.ImportedLabels`, which keeps the scores. Keypoints (kpt_shape) are not read.

    An empty file is an image without an object. An image without a file is not labeled; such
    images are counted in a warning.

    An image's id is its path below the split's folder; where a list or several folders name the
    images, below the dataset's.

    Boxes are cut to the image; those without an area are dropped and counted. Masks are rasterized,
    at the image's resolution, when an image's labels are asked for.

    Frame: boxes and polygons are of the upright image.

    Args:
        name: of the source.
        data: data.yaml with "names" and "train", "val", "test"; or obj.data (Darknet, CVAT); or a
            text file of class names beside images/ and labels/ (Label Studio).
        split: "train", "val" or "test", as the file has it; None: the images of all splits.
        head: the head that the boxes label; default: the source's name; None: images alone.
        root: the folder that all images lie in; None: "path" of data.yaml if it is below that
            file's folder, else that folder.
        bits: bits that are used of pixels with more than 8; see images.read_image.

    Attributes:
        num_dropped: boxes without an area.
        num_unlabeled: images without a label file.

    Raises:
        UserError: a file is missing or unreadable, no image has a label file, or a line is no
            object: file, line, and what is expected.

    Example:
        mk.YoloTxt(name="fruit", data="fruit/data.yaml", split="train")
    """

    searches_root = True

    def __init__(
        self,
        *,
        name: str,
        data: Path,
        split: str | None = None,
        head: str | None = "",
        root: Path | None = None,
        bits: int | None = None,
    ):
        dataset = YoloDataset.read(data, root)
        images = dataset.images(split)
        self._dataset, self._label_files = dataset, dataset.label_files(images)
        for same in names.alike(dataset.classes):
            warn(
                f"{dataset.path}: the names {few(same)} differ in case or spaces alone and are "
                "different classes; Relabeled joins classes"
            )
        label_spaces = spaces(head, LabelSpace("boxes", dataset.classes), name=name)
        super().__init__(
            name=name, root=images.root, files=images.files, bits=bits, label_spaces=label_spaces
        )
        self.num_unlabeled = self._label_files.count(None)
        if self.num_unlabeled == len(self):
            raise UserError.at(
                dataset.path,
                f": not one of {len(self)} images has a label file; expected labels/a.txt for "
                f"images/a.jpg, the first image is {self.file(0)}",
            )
        self._read_objects()

    def _read_objects(self) -> None:
        # In fractions: no image needs to be opened for its size.
        self._table = BoxTable("d", [(1, 1)] * len(self))
        polygons: list[np.ndarray | None] = []
        scores, missing = array.array("d"), Notes()
        for place, label_file in enumerate(self._label_files):
            if label_file is None:
                missing.add(_NO_FILE, self._files[place])
                continue
            for found in read_objects(self._dataset.root / label_file, self._dataset):
                corners = found.corners
                if self._table.add(place, corners, found.where, index=found.index, ignore=False):
                    polygons.append(found.polygon)
                    # An object without a score is certain.
                    scores.append(1.0 if found.score is None else found.score)
        order = self._table.sort()
        self._polygons = [polygons[row] for row in order]
        self._scores = np.array(scores, np.float64)[order]
        self.has_scores = bool(self.label_spaces) and bool(np.any(self._scores != 1.0))
        for notes in (missing, self._table.notes):
            notes.warn(self._dataset.path)

    def labels(self, index: int) -> dict[str, Stored]:
        return {} if self._label_files[index] is None else super().labels(index)

    def labeled_heads(self, index: int) -> Collection[str]:
        return () if self._label_files[index] is None else self.label_spaces.keys()

    def masks_and_scores(self, index: int) -> dict[str, Any]:
        rows = self._table.rows(index)
        polygons, boxes = self._polygons[rows], self._table.boxes[rows]
        scores = {"scores": self._scores[rows] if self.has_scores else None}
        if all(polygon is None for polygon in polygons):
            return scores
        height, width = size = upright_size(self.file(index))
        found = [None if p is None else [(p * (width, height)).ravel()] for p in polygons]
        return masks_of(found, size, boxes * np.tile(size, 2)) | scores

    def describe_content(self) -> dict[str, str]:
        files = [file for file in self._label_files if file is not None]
        labels = {"labels": label_digest(self._dataset.root, files)}
        number = self._dataset.num_keypoint_values
        keypoints = {"keypoints": str(number)} if number else {}
        return super().describe_content() | labels | keypoints
