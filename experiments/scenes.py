"""The whole method on synthetic scenes: the default run, small on purpose.

Follows the main experiment of Ghiasi et al., "Multi-Task Self-Training for Learning General
Representations" (ICCV 2021): specialized teachers for classes, boxes, maps and depth label a pool
that none of them was trained on; a student learns all four; its backbone is fine-tuned on six
downstream sets with other shapes, textures and cameras. Depth is metric here and its loss weight
is this recipe's own: the paper's value is not known.

Command:   python -m must_keras.main
Arguments: python -m must_keras.main --experiment=scenes:seed=1,student_steps=800
Baselines: --experiment=scenes:starts=random+student+supervised+simclr+moco
Ablations: docs/how_to/ablations.md, which names the options that are the paper's
Hardware:  two CPU cores, 2 GB of memory, no GPU
Time:      about 12 minutes
Expected:  the student above the random start on at least five of the six downstream sets
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import pathlib
from collections.abc import Mapping
from typing import Any, Literal

from must_keras.config.domain_gate import DomainGate
from must_keras.config.episodes import Episodes
from must_keras.config.recipe import Labeler, Pool, Recipe, Student, Teacher, Transfer
from must_keras.data.augmentation import Augmentation
from must_keras.data.choices import fitted_detection
from must_keras.data.mixing import CopyPaste, CutMix, MixUp
from must_keras.data.sources import ScenesSource
from must_keras.data.splits import Splits
from must_keras.data.strong_views import StrongViews
from must_keras.errors import UserError, nearest
from must_keras.modeling.backbone import ResNet
from must_keras.modeling.keras_backbone import KerasBackbone
from must_keras.self_supervised import MoCo, SimCLR
from must_keras.synthetic import SceneConfig
from must_keras.tasks import Classification, Depth, Detection, Normals, Segmentation
from must_keras.tasks.features import Features
from must_keras.training.config import TrainingConfig
from must_keras.training.dynamic_weights import DynamicAverage
from must_keras.training.grad_norm import GradNorm
from must_keras.training.hypervolume import Hypervolume
from must_keras.training.initialization import FromCheckpoint, FromScratch
from must_keras.training.loss_weights import ScalingRule, Uncertainty, Uniform
from must_keras.training.network import Network
from must_keras.training.optimizers import AdamW
from must_keras.training.random_weights import RandomWeights
from must_keras.training.self_labeled import SelfLabeled
from must_keras.training.softmax_weights import SoftmaxWeights

TEACHERS = ("shapes", "objects", "surfaces", "distance")


def recipe(
    *,
    data_dir: str | None = None,
    seed: int = 0,
    data_seed: int = 0,
    size: int = 64,
    batch: int = 16,
    pool_images: int = 3000,
    teacher_steps: int = 400,
    student_steps: int = 800,
    student_epochs: float | None = None,
    transfer_steps: int = 100,
    transfer_seeds: int = 1,
    images: int = 2000,
    starts: tuple[str, ...] = ("random", "teacher-shapes", "student"),
    neck: Literal["fpn", "backbone"] = "fpn",
    mode: Literal["full", "frozen", "episodes"] = "full",
    shots: tuple[int | None, ...] = (None,),
    learning_rates: tuple[float, ...] = (),
    rates_from: str | None = None,
    downstream: Literal["dev", "final"] = "dev",
    weighting: Literal[
        "formula", "equal", "uncertainty", "dynamic", "random", "gradnorm", "softmax", "hypervolume"
    ] = "formula",
    depth_weight: float = 1.0,
    fitted_anchors: bool = False,
    teachers: tuple[str, ...] = TEACHERS,
    gate: float | None = None,
    pool_times: int = 1,
    box_threshold: float = 0.3,
    ignore_boxes_from: float | None = None,
    map_threshold: float = 0.5,
    weight_by_score: bool = False,
    hard_classes: bool = False,
    union: bool = True,
    strong_views: bool = False,
    ground_truth_share: float | None = None,
    cutmix: float = 0.0,
    mixup: float = 0.0,
    copy_paste: float = 0.0,
    rounds: int = 1,
    labelers: tuple[int, ...] = (),
    checkpoint: pathlib.Path | None = None,
    student_start: Literal["checkpoint", "random"] = "checkpoint",
    feature_teacher: pathlib.Path | None = None,
    feature_weight: float = 1.0,
    drop_heads: float = 0.0,
) -> Recipe:
    """The recipe.

    Args:
        data_dir: where TFDS keeps the rendered images.
        seed: of weights, order, views and sampling.
        data_seed: another one draws other worlds.
        size: pixels a side.
        batch: images of a training step.
        pool_images: how many images the teachers label.
        teacher_steps: optimizer steps of a teacher of maps; the others follow.
        student_steps: optimizer steps of the student and of the baselines.
        student_epochs: passes of the student over its images, in place of its steps; the baselines
            keep theirs.
        transfer_steps: optimizer steps of each transfer.
        transfer_seeds: how often each transfer is repeated.
        images: labeled training images of the largest teacher's set; the others follow.
        starts: "random", "teacher-<name>", "student", the baselines "supervised" (ground truth
            alone), "simclr" and "moco" (no labels), or "all"; baselines draw as many images as the
            student, and are trained where they are named.
        neck: whether transfers take the pyramid along.
        mode: "frozen" trains heads alone on features that stay as they are; "episodes" draws
            few-shot episodes of the downstream sets with classes, and omits all others.
        shots: how many labeled images transfers see, of each class for classification, in all
            for other tasks; several give a curve (10+20+none), none is all.
        learning_rates: of the transfers, the better one on validation for each start and set
            (0.0003+0.001+0.003); none: 0.001.
        rates_from: the folder of another run, whose choice of learning rates is taken.
        downstream: "dev" sets to look at, "final" sets to score once for a published table.
        weighting: how much each head's loss counts in the student; "formula" is the paper's.
        depth_weight: of the student's loss of depth, beside that; the paper's is not known.
        fitted_anchors: whether anchors are chosen from the training boxes, which are then rendered
            before anything else; see data.choices.
        teachers: which of the four; the student has their heads.
        gate: quantile of the validation images' distances beyond which a teacher's label of an
            image is missing (0.99); none: no gate.
        pool_times: the pool has so many times pool_images; a larger one begins with the smaller.
        box_threshold: pseudo boxes of a lower score are dropped.
        ignore_boxes_from: pseudo boxes with a score from this up to the threshold are ignored.
        map_threshold: pixels of pseudo maps of a lower probability are ignored.
        weight_by_score: whether the loss of each pseudo box, and of each pixel of a pseudo map, is
            multiplied by its score.
        hard_classes: whether the first class stands for the shapes teacher's distribution.
        union: whether the student also sees the teachers' training sets.
        strong_views: whether the student sees strongly changed images where teachers alone labeled.
        ground_truth_share: share of the student's images that have ground truth; none: all images
            are equally likely.
        cutmix: share of the student's images in which a rectangle shows another image.
        mixup: share of the student's images that are blended with another image, for the classes.
        copy_paste: share of the student's images that may get objects of another image.
        rounds: how many students at most, each labeling for the next; "rounds" among the starts.
        labelers: depths of ResNets (18, 34, 50, ...) that are the students of the first rounds, and
            label for the next one; needs more rounds, and "rounds" among the starts.
        checkpoint: a .keras file of a backbone, which all networks then have; it is a start, too.
        student_start: where the student and its baselines begin, where there is a checkpoint;
            teachers begin at random.
        feature_teacher: a .keras file of a backbone whose features the student also predicts in
            training, such as export/backbone.keras of another run.
        feature_weight: of the student's loss of these features.
        drop_heads: probability with which a head of an image takes no part in a step of the
            student; one with a label always does.
    """
    given = dict(locals())
    weightings = {
        "formula": ScalingRule(),
        "equal": Uniform(),
        "uncertainty": Uncertainty(),
        "dynamic": DynamicAverage(),
        "random": RandomWeights(),
        "gradnorm": GradNorm(),
        "softmax": SoftmaxWeights(),
        "hypervolume": Hypervolume(),
    }
    backbone = KerasBackbone(path=checkpoint) if checkpoint else ResNet.small()
    first = FromCheckpoint() if checkpoint and student_start == "checkpoint" else FromScratch()
    domain_gate = None if gate is None else DomainGate(quantile=gate)
    for name in teachers:
        if name not in TEACHERS:
            raise UserError(f"teachers={name}: {nearest(name, TEACHERS)}")
    _check_used(given)

    def config(family: str, train: int, validation: int, test: int) -> SceneConfig:
        return SceneConfig(
            family=family,
            size=size,
            data_seed=data_seed,
            train=train,
            validation=validation,
            test=test,
        )

    def splits(config: SceneConfig, feature: str, head: str) -> Splits:
        train, validation, test = (
            ScenesSource(
                name=config.family if split == "train" else f"{config.family}_{split}",
                config=config,
                split=split,
                heads={feature: head},
                data_dir=data_dir,
            )
            for split in ("train", "validation", "test")
        )
        return Splits(train=train, validation=validation, test=test)

    def training(
        steps: int, learning_rate: float = 4e-3, *, scale: tuple[float, float] = (0.85, 1.2)
    ) -> TrainingConfig:
        return TrainingConfig(
            steps=steps,
            batch=batch,
            learning_rate=learning_rate,
            optimizer=AdamW(weight_decay=0.01),
            augmentation=Augmentation(scale=scale, brightness=0.2),
        )

    def detection(name: str, config: SceneConfig) -> Detection:
        if not fitted_anchors:
            return Detection(name=name, classes=config.categories, **NARROW_DETECTION)
        fields = {k: value for k, value in NARROW_DETECTION.items() if k != "anchor_scales"}
        return fitted_detection(
            splits(config, "objects", name).train, name=name, size=size, with_masks=True, **fields
        )

    pixels = {"loss_stride": 2, "channels": 32, "num_convs": 2}

    def labeled(family: str, share: float, test: int) -> SceneConfig:
        return config(family, round(images * share), min(100, images), min(test, images))

    single = labeled("single", 1.0, 300)
    crowd = labeled("crowd", 0.75, 300)
    rooms = labeled("rooms", 0.6, 200)
    ranges = labeled("depth", 0.6, 200)
    every_teacher = (
        Teacher(
            name="shapes",
            task=Classification(name="shapes", classes=single.classes, hard=hard_classes),
            sets=splits(single, "class", "shapes"),
            training=training(teacher_steps * 2),
        ),
        Teacher(
            name="objects",
            task=detection("objects", crowd),
            sets=splits(crowd, "objects", "objects"),
            training=training(teacher_steps * 3 // 2),
            # The paper's 0.5 belongs to a converged teacher; this one is rarely so sure.
            threshold=box_threshold,
            ignore_from=ignore_boxes_from,
            weight_by_score=weight_by_score,
        ),
        Teacher(
            name="surfaces",
            task=Segmentation(name="surfaces", classes=rooms.semantic_classes, **pixels),
            sets=splits(rooms, "semantic", "surfaces"),
            training=training(teacher_steps),
            threshold=map_threshold,
            weight_by_score=weight_by_score,
        ),
        Teacher(
            name="distance",
            task=Depth(name="distance", **pixels),
            sets=splits(ranges, "depth", "distance"),
            # A metric depth keeps its meters when the picture grows: do not let it grow.
            training=training(teacher_steps, scale=(1.0, 1.0)),
            loss_weight=depth_weight,
        ),
    )

    def pool(name: str, start: int, end: int) -> Pool:
        block = dataclasses.replace(config("pool", end - start, 0, 0), first=start)
        source, truth = (
            ScenesSource(name=name, config=block, split="train", heads=heads, data_dir=data_dir)
            for heads in ({}, {k: head for k, head in TRUTH.items() if head in teachers})
        )
        return Pool(source=source, truth=truth)

    def transfer(family: str, feature: str, task_of) -> Transfer:
        downstream_config = config(
            f"{downstream}_{family}", min(200, images), min(50, images), min(200, images)
        )
        task = task_of(downstream_config)
        return Transfer(
            name=downstream_config.family,
            task=task,
            sets=splits(downstream_config, feature, task.name),
            training=training(
                transfer_steps, 1e-3, scale=(1.0, 1.0) if feature == "depth" else (0.85, 1.2)
            ),
            learning_rates=learning_rates,
            rates_from=rates_from,
        )

    def maps(config: SceneConfig) -> Segmentation:
        return Segmentation(name="map", classes=config.semantic_classes, **pixels)

    transfers = (
        transfer("class", "class", lambda c: Classification(name="class", classes=c.classes)),
        transfer("boxes", "objects", lambda c: detection("boxes", c)),
        transfer("map", "semantic", maps),
        transfer("map2", "semantic", maps),
        transfer("depth", "depth", lambda c: Depth(name="depth", **pixels)),
        transfer("normals", "normals", lambda c: Normals(name="normals", **pixels)),
    )
    features = ()
    if feature_teacher:
        task = Features(name="features", backbone=KerasBackbone(path=feature_teacher))
        features = (SelfLabeled(task=task, loss_weight=feature_weight),)
    if mode == "episodes":
        transfers = tuple(t for t in transfers if isinstance(t.task, Classification))
    pasting = functools.partial(CopyPaste, head="objects")
    ways = ((CutMix, cutmix), (MixUp, mixup), (pasting, copy_paste))
    student = dataclasses.replace(
        training(student_steps, scale=(0.9, 1.1)),
        mixing=tuple(way(probability=share) for way, share in ways if share),
    )
    length = {} if student_epochs is None else {"steps": None, "epochs": student_epochs}
    unlabeled = training(student_steps, 1e-3)
    return Recipe(
        name="scenes",
        seed=seed,
        network=Network(backbone=backbone, size=size, channels=64),
        teachers=tuple(
            dataclasses.replace(teacher, gate=domain_gate)
            for teacher in every_teacher
            if teacher.name in teachers
        ),
        pools=tuple(
            pool(name, pool_images * start, pool_images * end)
            for name, start, end in _blocks(pool_times)
        ),
        student=Student(
            training=dataclasses.replace(student, **length),
            union=union,
            start=first,
            weighting=weightings[weighting],
            strong_views=StrongViews() if strong_views else None,
            ground_truth_share=ground_truth_share,
            self_labeled=features,
            drop_heads=drop_heads,
        ),
        transfers=transfers,
        starts=starts,
        supervised=student,
        selfsup=(SimCLR(training=unlabeled, start=first), MoCo(training=unlabeled, start=first)),
        rounds=rounds,
        labelers=tuple(
            Labeler(network=Network(backbone=ResNet.of_depth(depth), size=size, channels=64))
            for depth in labelers
        ),
        transfer_seeds=transfer_seeds,
        neck=neck,
        mode=mode,
        shots=shots,
        episodes=Episodes(ways=4),  # The downstream set has four classes.
    )


def _check_used(given: Mapping[str, Any]) -> None:
    """Raise UserError where an argument has no effect without another one."""
    needs = {"feature_weight": "feature_teacher", "student_start": "checkpoint"}
    missing = {name: need for name, need in needs.items() if given[need] is None}
    for name, names in _TEACHERS_OF.items():
        if not set(names) & set(given["teachers"]):
            missing[name] = f"teachers={' or '.join(names)}"
    defaults = inspect.signature(recipe).parameters
    for name, need in missing.items():
        if given[name] != defaults[name].default:
            raise UserError.of("", name, given[name], f"it has no effect without {need}; remove it")


def _blocks(times: int) -> list[tuple[str, int, int]]:
    """(name, start, end) of a pool's parts: the first part, up to 4 times it, 16 times, ...

    Each has pseudo-label datasets of its own, which larger pools take from smaller ones.
    """
    if times < 1:
        raise UserError(f"pool_times={times}: at least 1 is needed")
    ends = [0, 1]
    while ends[-1] < times:
        ends.append(min(4 * ends[-1], times))
    names = ("pool", *(f"pool_block{i}" for i in range(2, len(ends))))
    return list(zip(names, ends[:-1], ends[1:], strict=True))


# {argument: the teachers of which one is needed for it}.
_TEACHERS_OF = {
    "hard_classes": ("shapes",), "box_threshold": ("objects",), "ignore_boxes_from": ("objects",),
    "map_threshold": ("surfaces",), "weight_by_score": ("objects", "surfaces"),
    "depth_weight": ("distance",),
}  # fmt: skip

# Which of the student's heads each feature of a rendered scene is the ground truth of.
TRUTH = {"class": "shapes", "objects": "objects", "semantic": "surfaces", "depth": "distance"}

# A box head that learns in a minute on two cores.
NARROW_DETECTION = {
    "max_boxes": 12,
    "max_stored": 16,
    "anchor_scales": (1.75,),
    "level_unit": 56.0,
    "rpn_channels": 64,
    "num_sampled_anchors": 64,
    "num_candidates": 64,
    "num_proposals": 24,
    "num_regions": 16,
    "foreground_share": 0.5,
    "box_region": 5,
    "box_channels": 32,
    "box_units": 64,
    "mask_region": 7,
    "mask_channels": 32,
    "mask_convs": 2,
    "num_mask_regions": 8,
    "max_detections": 16,
}
