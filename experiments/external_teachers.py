"""One student from teachers that others trained, and from labels that exist. Copy this file.

No teacher is trained here. A depth network with MiDaS's conventions, a detector as TensorFlow's
object detection API exports them, and boxes that some other tool has already written in COCO's
JSON label one folder of images; a student learns all three, and its backbone is fine-tuned on
classes that none of them predicts. docs/how_to/external_teachers.md explains every line.

    data/images/**                 the pool
    data/boxes.json                COCO JSON of some of these images, made elsewhere
    data/detector_classes.txt      the detector's classes, one a line: number 1, 2, ...
    data/kinds/<class>/*           a folder for every class: what the backbone is tried on

Command:   python -m must_keras.main --experiment=external_teachers:data=data,\
depth_model=midas.keras,detector=detector/saved_model
Your own:  python -m must_keras.main --experiment=path/to/mine.py:data=data,...
Hardware:  two CPU cores, 4 GB of memory, no GPU; a GPU for large teachers
Time:      the teachers' own over the pool (--stage=label --plan estimates it), then ten minutes
Expected:  nothing that was measured: it depends on the teachers
"""

from __future__ import annotations

import pathlib

from must_keras.config.recipe import (
    ExternalTeacher,
    ImportedLabels,
    Pool,
    Recipe,
    Student,
    Transfer,
)
from must_keras.data.augmentation import Augmentation
from must_keras.data.io.text_files import read_class_names
from must_keras.data.sources import CocoJson, FolderPerClass, ImagesOnly
from must_keras.data.splits import split_by_fraction
from must_keras.inference.external import ExternalModel
from must_keras.modeling.backbone import ResNet
from must_keras.tasks import Classification, Depth, Detection
from must_keras.training.config import TrainingConfig
from must_keras.training.network import Network
from must_keras.training.optimizers import AdamW

# A detector's head that is narrow enough for a CPU; the paper's own values are the defaults.
NARROW = {
    "rpn_channels": 64, "num_candidates": 256, "num_proposals": 64, "num_regions": 32,
    "box_channels": 32, "box_units": 128, "with_masks": False, "max_detections": 64,
}  # fmt: skip


def recipe(
    *,
    data: str,
    depth_model: str,
    detector: str,
    data_dir: str | None = None,
    seed: int = 0,
    size: int = 128,
    depth_size: int = 256,
    detector_size: int = 320,
    steps: int = 800,
    transfer_steps: int = 120,
) -> Recipe:
    """The recipe.

    Args:
        data: the folder that is described above.
        depth_model: a .keras file or a SavedModel's folder.
        detector: a SavedModel's folder.
        data_dir: not used: nothing here comes from TFDS.
        seed: of weights, order, views and sampling.
        size: pixels a side of the student's images, a multiple of 32.
        depth_size: pixels a side that the depth network wants: 256 or 384, of MiDaS.
        detector_size: pixels a side of the detector's images.
        steps: optimizer steps of the student.
        transfer_steps: optimizer steps of each transfer.
    """
    del data_dir
    root = pathlib.Path(data)
    images = root / "images"
    training = TrainingConfig(
        steps=steps,
        batch=8,
        learning_rate=2e-3,
        optimizer=AdamW(weight_decay=0.01),
        augmentation=Augmentation(scale=(0.8, 1.25), brightness=0.2),
    )

    depth = ExternalTeacher(
        name="midas",
        # MiDaS has no unit: what is nearer is larger.
        task=Depth(name="depth", kind="relative_inverse", channels=64),
        model=ExternalModel(
            model=depth_model,
            size=depth_size,
            form="relative_inverse",
            # ImageNet's mean and standard deviation, of pixels from 0 to 255.
            offset=(123.675, 116.28, 103.53),
            scale=(58.395, 57.12, 57.375),
            # MiDaS as TF Hub has it normalizes inside and has its channels first: instead of
            # these two lines scale=(255.0, 255.0, 255.0), layout="channels_first".
        ),
        loss_weight=1.0,
    )

    things = Detection(
        name="things", classes=read_class_names(root / "detector_classes.txt"), **NARROW
    )
    boxes = ExternalTeacher(
        name="detector",
        task=things,
        # uint8, one image at a time: the signature says so. class_ids=(1, 3, ...) where the
        # detector's numbers have gaps, as COCO's have.
        model=ExternalModel(model=detector, size=detector_size, form="tf2_detection"),
        loss_weight=1.0,
        threshold=0.5,
    )

    found = CocoJson(
        name="boxes_made_elsewhere",
        images=images,
        annotations=root / "boxes.json",
        # A detector's results, which have no images and categories: results="results.json".
        head="elsewhere",
    )
    elsewhere = ImportedLabels(
        name="elsewhere",
        task=Detection(name="elsewhere", classes=found.label_spaces["elsewhere"].classes, **NARROW),
        labels=found,
        origin="boxes.json: say here which tool or who made it, when, and where it is from",
        loss_weight=1.0,
    )

    kinds = FolderPerClass(name="kinds", root=root / "kinds", head="kinds")
    return Recipe(
        name="external_teachers",
        seed=seed,
        network=Network(backbone=ResNet.small(), size=size, channels=64),
        teachers=(depth, boxes, elsewhere),
        pools=(Pool(source=ImagesOnly(name="images", root=images)),),
        student=Student(training=training),
        transfers=(
            Transfer(
                name="kinds",
                task=Classification(name="kinds", classes=kinds.label_spaces["kinds"].classes),
                sets=split_by_fraction(kinds, validation=0.2, test=0.3),
                training=TrainingConfig(
                    steps=transfer_steps, batch=8, learning_rate=1e-3, optimizer=AdamW()
                ),
            ),
        ),
        starts=("random", "student"),
        evaluation_batch=16,
    )
