"""The paper's four teachers: classes, boxes, maps and depth."""

from __future__ import annotations

import dataclasses
import pathlib

from must_keras.config.recipe import ExternalTeacher, Teacher
from must_keras.data import public_sets
from must_keras.data.splits import Splits
from must_keras.inference.external import ExternalModel
from must_keras.tasks import Classification, Depth, Detection, Segmentation

from .setting import CLASSIFICATION, DETECTION, SEGMENTATION, Setting

# Scores and probabilities from which pseudo labels are used: the paper's.
THRESHOLD = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingSets:
    """What the teachers learn from, and DIODE's depth, on which alone depth is scored."""

    imagenet: Splits
    objects365: Splits
    coco: Splits
    depth: Splits

    @classmethod
    def read(
        cls, data: str, *, seed: int, data_dir: str | None, instances: bool = False
    ) -> TrainingSets:
        """ImageNet by TFDS; <data>/objects365, <data>/coco and <data>/diode.

        Args:
            data: the folder of what TFDS does not have; see must_keras/data/public_sets.py.
            seed: of the validation images.
            data_dir: where TFDS keeps its data sets.
            instances: whether COCO's boxes and masks are read too, for the head "instances".

        Raises:
            UserError: a set is not there, or not as it should be.
        """
        root = pathlib.Path(data)
        return cls(
            imagenet=public_sets.imagenet(head="classes", seed=seed, data_dir=data_dir),
            objects365=public_sets.objects365(root / "objects365", head="boxes", seed=seed),
            coco=public_sets.coco(
                root / "coco",
                head="segments",
                seed=seed,
                instances_head="instances" if instances else None,
            ),
            depth=public_sets.diode_depth(root / "diode", head="depth", seed=seed),
        )


def classification(sets: TrainingSets, setting: Setting, *, steps: int) -> Teacher:
    """ImageNet from scratch; its soft labels are used whole, without a threshold: the paper's.

    Label smoothing of 0.1 is a proxy, of the authors' ResNet-RS.
    """
    return Teacher(
        name="imagenet",
        task=Classification(
            name="classes", classes=_classes(sets.imagenet, "classes"), label_smoothing=0.1
        ),
        sets=sets.imagenet,
        training=setting.training(CLASSIFICATION, steps),
    )


def detection(sets: TrainingSets, setting: Setting, *, steps: int) -> Teacher:
    """Objects365 from scratch: the paper's. It has no masks, so the head has none.

    Room for 200 objects of an image is this project's; objects beyond it are ignored, and reported.
    """
    room = {"max_boxes": 200, "max_stored": 200, "max_detections": 200}
    return Teacher(
        name="objects365",
        task=Detection(
            name="boxes",
            classes=_classes(sets.objects365, "boxes"),
            with_masks=False,
            **room | setting.widths.detection,
        ),
        sets=sets.objects365,
        training=setting.training(DETECTION, steps),
        threshold=THRESHOLD,
    )


def segmentation(sets: TrainingSets, setting: Setting, *, steps: int) -> Teacher:
    """COCO from scratch: the paper's. Which classes is not known: panoptic things and stuff."""
    return Teacher(
        name="coco",
        task=Segmentation(
            name="segments", classes=_classes(sets.coco, "segments"), **setting.widths.pixels
        ),
        sets=sets.coco,
        training=setting.training(SEGMENTATION, steps),
        threshold=THRESHOLD,
    )


def instances(sets: TrainingSets, setting: Setting, *, steps: int) -> Teacher:
    """COCO's 80 classes with boxes and masks, from scratch: no teacher of the paper."""
    return Teacher(
        name="coco_instances",
        task=Detection(
            name="instances", classes=_classes(sets.coco, "instances"), **setting.widths.detection
        ),
        sets=sets.coco,
        training=setting.training(DETECTION, steps),
        threshold=THRESHOLD,
    )


def depth(
    sets: TrainingSets, setting: Setting, *, model: str, size: int, loss_weight: float
) -> ExternalTeacher:
    """A depth network that somebody else trained, used as it is: the paper's is MiDaS.

    It takes ImageNet's mean and standard deviation, channels last; docs/how_to/external_teachers.md
    has the other forms of MiDaS. The student's depth is scored on DIODE, after alignment, which
    MiDaS was not trained on. MiDaS 3.1 was trained on NYU Depth v2 too, a downstream set here; 3.0
    and older were not, as its authors list their sets.

    Args:
        sets: what it is scored on.
        setting: the widths.
        model: a .keras file or a SavedModel's folder.
        size: pixels a side that it wants.
        loss_weight: of the student's head. The paper found its own by a sweep, and it is not
            known.
    """
    return ExternalTeacher(
        name="midas",
        task=Depth(name="depth", kind="relative_inverse", **setting.widths.pixels),
        model=ExternalModel(
            model=model,
            size=size,
            form="relative_inverse",
            offset=(123.675, 116.28, 103.53),
            scale=(58.395, 57.12, 57.375),
        ),
        loss_weight=loss_weight,
        sets=sets.depth,
    )


def _classes(sets: Splits, head: str) -> tuple[str, ...]:
    return tuple(sets.train.label_spaces[head].classes)
