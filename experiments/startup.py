"""STARTUP: a student for a domain far from the labeled one, scored by few-shot episodes.

Follows Phoo and Hariharan, "Self-training for Few-shot Transfer Across Extreme Task Differences"
(ICLR 2021, arXiv 2010.07734). A teacher learns the classes of a source domain. It labels a fifth of
a target domain, whose classes it does not know: its probabilities group the images. The student
begins with the teacher's backbone and learns three losses of equal weight: the classes of the
source, the teacher's probabilities on the target, and contrast between views of the target. 600
episodes of five classes of the rest of the target compare its frozen features with others.

Sources: "scenes", synthetic shapes; or a folder with a folder for each class.
Targets: "digits", scikit-learn's; "eurosat" and "plant_village", by TFDS; "isic" and "chest_xray",
         whose archives are in the folder `data`; or a folder with a folder for each class.

Command:   must-keras run startup
Table:     at the end of the run; again by must-keras compare runs/startup
Ablations: must-keras run startup:contrast=false --workdir=runs/no-contrast --reuse=runs/startup
           must-keras run startup:labels=false --workdir=runs/no-labels --reuse=runs/startup
Published: must-keras run startup:source=imagenet/train,target=isic,data=isic,
           unlabeled=ISIC_unlabeled_20.csv,rest=ISIC_labeled_80.csv,size=224,...; needs a GPU, the
           archives and the lists of the paper's code; not run here
Hardware:  two CPU cores, 2 GB of memory, no GPU

Expected:  the student above its teacher; the published one is, by 2.9 points on average with one
           shot on four far sets

Unlike the paper's code the student has AdamW with a cosine, not SGD that is halved on plateaus, and
takes its last weights, not those of the best epoch on held-out target images. Its unlabeled images
are without near-duplicates of scored ones, as in every recipe: of digits that is a third.
"""

from __future__ import annotations

import pathlib
from typing import Literal

from must_keras.config.episodes import Episodes
from must_keras.config.recipe import Pool, Recipe, Student, Teacher, Transfer
from must_keras.data import few_shot_sets
from must_keras.data.augmentation import Augmentation
from must_keras.data.sources import (
    FolderPerClass,
    ScenesSource,
    Source,
    TfdsSource,
    class_reading,
    tfds_builder,
    without_labels,
)
from must_keras.data.splits import Splits, carve_validation
from must_keras.errors import UserError
from must_keras.modeling.backbone import ResNet
from must_keras.self_supervised import Contrast, SelfLabeling
from must_keras.synthetic import SceneConfig
from must_keras.tasks import Classification
from must_keras.training.config import TrainingConfig
from must_keras.training.initialization import FromScratch, FromTeacher
from must_keras.training.loss_weights import Uniform
from must_keras.training.network import Network
from must_keras.training.optimizers import AdamW
from must_keras.training.self_labeled import SelfLabeled

# Sets whose archives are read from a folder.
_ARCHIVES = {"isic": few_shot_sets.isic, "chest_xray": few_shot_sets.chest_xray}
_TFDS = {"eurosat": "eurosat/rgb", "plant_village": "plant_village"}
# At most one of so many images of a source is for validation, and as many for tests.
_ONE_IN = 10


def recipe(
    *,
    data_dir: str | None = None,
    source: str = "scenes",
    target: str = "digits",
    data: pathlib.Path | None = None,
    unlabeled: pathlib.Path | None = None,
    rest: pathlib.Path | None = None,
    seed: int = 0,
    data_seed: int = 0,
    size: int = 64,
    batch: int = 32,
    images: int = 2000,
    teacher_steps: int = 800,
    student_steps: int = 800,
    student_start: Literal["teacher", "random"] = "teacher",
    contrast: bool = True,
    labels: bool = True,
    ways: int = 5,
    queries: int = 15,
    episodes: int = 600,
    shots: tuple[int, ...] = (1, 5, 20),
    starts: tuple[str, ...] = ("random", "teacher-source", "simclr", "student"),
) -> Recipe:
    """The recipe.

    Args:
        data_dir: where TFDS keeps its data sets, and the rendered images.
        source: "scenes", or a folder with a folder for each class.
        target: "digits", "eurosat", "plant_village", "isic", "chest_xray", or a folder with a
            folder for each class.
        data: folder of the archives of isic or chest_xray.
        unlabeled: the paper's list of the target's images to learn from; none: a fifth at random.
        rest: its list of the others.
        seed: of weights, order, views and episodes.
        data_seed: of the rendered scenes, and of which fifth of the target is unlabeled.
        size: pixels a side.
        batch: images of a training step.
        images: training images of the synthetic source.
        teacher_steps: optimizer steps of the teacher.
        student_steps: optimizer steps of the student and of SimCLR on the target alone.
        student_start: "teacher" begins with its backbone, as published.
        contrast: whether the student learns contrast between views of the target.
        labels: whether it learns the teacher's labels of the target.
        ways: classes of an episode.
        queries: scored images of each class of an episode.
        episodes: how many there are.
        shots: labeled images of each class of an episode.
        starts: see Recipe.starts.
    """
    if (data is not None) != (target in _ARCHIVES):
        problem = f"belongs to the targets {' and '.join(_ARCHIVES)}, which need it"
        raise UserError.of("", "data", data, problem)
    if (unlabeled is None) != (rest is None):
        raise UserError("unlabeled and rest belong together: give both lists, or none")

    def training(steps: int) -> TrainingConfig:
        return TrainingConfig(
            steps=steps,
            batch=batch,
            learning_rate=2e-3,
            optimizer=AdamW(weight_decay=0.01),
            augmentation=Augmentation(scale=(0.7, 1.4), brightness=0.2),
        )

    labeled = _source(source, images=images, size=size, seed=data_seed, data_dir=data_dir)
    known = labeled.train.label_spaces["source"].classes
    whole = _target(target, data, data_dir)
    parts = (
        few_shot_sets.unlabeled_fifth(whole, seed=data_seed)
        if unlabeled is None
        else few_shot_sets.published_fifth(whole, unlabeled, rest)
    )
    # Episodes are drawn from the test images; nothing is trained on the others.
    scored = Splits(train=parts.unlabeled, validation=parts.unlabeled, test=parts.rest)
    pool = Pool(source=without_labels(parts.unlabeled))
    views = SelfLabeled(
        task=Contrast(temperature=1.0), loss_weight=1.0, sources=(pool.source.name,)
    )
    return Recipe(
        name="startup",
        seed=seed,
        network=Network(backbone=ResNet.small(), size=size, channels=64),
        teachers=(
            Teacher(
                name="source",
                task=Classification(name="source", classes=known),
                sets=labeled,
                training=training(teacher_steps),
                labels_of=None if labels else (),
                # The mean over source and target counts each of their two losses half.
                loss_weight=2.0 if labels else 1.0,
            ),
        ),
        pools=(pool,),
        student=Student(
            training=training(student_steps),
            start=FromTeacher("source") if student_start == "teacher" else FromScratch(),
            equal_sources=True,
            weighting=Uniform(),
            self_labeled=(views,) if contrast else (),
        ),
        selfsup=(SelfLabeling(name="simclr", training=training(student_steps), tasks=(views,)),),
        transfers=(
            Transfer(
                name=whole.name,
                task=Classification(name="target", classes=whole.label_spaces["target"].classes),
                sets=scored,
            ),
        ),
        starts=starts,
        mode="episodes",
        shots=shots,
        episodes=Episodes(ways=ways, queries=queries, count=episodes),
    )


def _source(source: str, *, images: int, size: int, seed: int, data_dir: str | None) -> Splits:
    """Return the labeled set of the source domain."""
    if source == "scenes":
        config = SceneConfig(
            family="single",
            size=size,
            data_seed=seed,
            train=images,
            validation=images // 10,
            test=images // 10,
        )
        train, validation, test = (
            ScenesSource(
                name="scenes" if split == "train" else f"scenes_{split}",
                config=config,
                split=split,
                heads={"class": "source"},
                data_dir=data_dir,
            )
            for split in ("train", "validation", "test")
        )
        return Splits(train=train, validation=validation, test=test)
    whole = FolderPerClass(name="source", root=source, head="source")
    count = len(whole) // _ONE_IN
    train, test = carve_validation(whole, count=count, seed=seed, end="_test")
    return Splits.with_test(train, test, validation=count, seed=seed)


def _target(target: str, data: pathlib.Path | None, data_dir: str | None) -> Source:
    """Return all images of the target domain, with their classes for episodes."""
    if target == "digits":
        return few_shot_sets.digits("target")
    if target in _ARCHIVES:
        return _ARCHIVES[target](data, head="target")
    if target in _TFDS:
        builder = tfds_builder(_TFDS[target], data_dir)
        reading = {"target": class_reading(builder)}
        return TfdsSource(name=target, builder=builder, split="train", labels=reading)
    return FolderPerClass(name="photos", root=target, head="target")
