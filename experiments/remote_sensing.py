"""Representations for images from above: one protocol over five sets.

Follows Neumann et al., "In-Domain Representation Learning for Remote Sensing" (arXiv 1911.06721,
2010.00332): a network is trained on one set, upstream, and fine-tuned on every other one,
downstream, with 100, 1,000 and all of its images. It is compared with random weights and with a
generic checkpoint. Beyond the paper, one student learns all upstream sets: from the ground truth of
each, and from the pseudo labels of every teacher on the images of the others.

Two collections of sets. "synthetic" renders tiles of ground (must_keras/synthetic/tiles.py) that
differ in resolution, classes and label noise: gazetteer, suburb, harvest, zones, and mosaic, whose
images have several tags. "public" reads resisc45, uc_merced, eurosat, so2sat and bigearthnet by
TFDS with the published splits (must_keras/data/overhead_sets.py).

Command:   must-keras run remote_sensing
Table:     at the end of the run; again by must-keras compare runs/remote_sensing
Matrix:    must-keras run remote_sensing:sets=all; the diagonal, where a start was trained on the
           set itself, is marked * and left out of the means
Student:   of all other sets: must-keras run remote_sensing:sets=all,upstream=suburb+harvest+zones
           --reuse=runs/..., for those that are not upstream
Generic:   checkpoint=runs/scenes/export/backbone.keras begins the teachers and the student with the
           backbone of another run, and is a start; pretrained=resnet50 has ImageNet's weights
Public:    must-keras run remote_sensing:collection=public,pretrained=resnet50,size=224,batch=64,
           teacher_steps=10000,student_steps=20000,transfer_steps=2500,learning_rates=0.001+0.01;
           needs a GPU and the sets, BigEarthNet's 66 GB among them; not run here
Hardware:  two CPU cores, 2 GB of memory, no GPU
Time:      9 minutes of CPU, which were 32 minutes beside other work; sets=all has six times as
           many transfers and five teachers: about 50 minutes of CPU, estimated from that
Expected:  the teacher of another set above random weights, and most of all with 100 images;
           docs/results/neighbors.md, one seed
"""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable
from typing import Literal

from must_keras.config.recipe import Pool, Recipe, Student, Teacher, Transfer
from must_keras.config.transfers import Aligned
from must_keras.data import overhead_sets
from must_keras.data.augmentation import Augmentation
from must_keras.data.sources.tiles import TilesSource
from must_keras.data.splits import Splits
from must_keras.errors import UserError, not_allowed
from must_keras.modeling.backbone import Backbone, ResNet
from must_keras.modeling.keras_backbone import KerasBackbone
from must_keras.modeling.pretrained import Pretrained
from must_keras.tasks.base import Task
from must_keras.training.config import TrainingConfig
from must_keras.training.initialization import FromCheckpoint, FromScratch, Start
from must_keras.training.network import Network
from must_keras.training.optimizers import AdamW

_PUBLIC: dict[str, Callable[..., Splits]] = {
    "resisc45": overhead_sets.resisc45,
    "uc_merced": overhead_sets.uc_merced,
    "eurosat": overhead_sets.eurosat,
    "so2sat": overhead_sets.so2sat,
    "bigearthnet": overhead_sets.bigearthnet,
}
# {collection: its sets}, the paper's best upstream set first.
SETS = {
    "synthetic": ("gazetteer", "suburb", "harvest", "zones", "mosaic"),
    "public": tuple(_PUBLIC),
}


def recipe(
    *,
    data_dir: str | None = None,
    collection: Literal["synthetic", "public"] = "synthetic",
    sets: tuple[str, ...] = (),
    upstream: tuple[str, ...] = (),
    seed: int = 0,
    data_seed: int = 0,
    size: int = 64,
    batch: int = 16,
    images: int = 2000,
    test_images: int = 500,
    pool_images: int = 1000,
    teacher_steps: int = 800,
    student_steps: int = 800,
    transfer_steps: int = 300,
    transfer_seeds: int = 1,
    samples: tuple[int | None, ...] = (100, 1000, None),
    starts: tuple[str, ...] = (),
    learning_rates: tuple[float, ...] = (),
    rates_from: str | None = None,
    mode: Literal["full", "frozen"] = "full",
    checkpoint: pathlib.Path | None = None,
    pretrained: str | None = None,
    upstream_start: Literal["checkpoint", "random"] = "checkpoint",
) -> Recipe:
    """The recipe.

    Args:
        data_dir: where TFDS keeps its data sets.
        collection: "synthetic" or "public" sets.
        sets: names of the collection's sets that take part, or "all"; none: its first three.
        upstream: those of them that teachers are trained on; none: the first of three, or all of
            sets=all.
        seed: of weights, order, views and sampling.
        data_seed: another one renders other ground.
        size: pixels a side of the network's input.
        batch: images of a training step.
        images: training images of a synthetic set.
        test_images: test images of a synthetic set; a fifth as many are for validation.
        pool_images: synthetic tiles without labels, which the teachers label for the student.
        teacher_steps: optimizer steps of each teacher.
        student_steps: optimizer steps of the student.
        transfer_steps: optimizer steps of each transfer, whatever the number of images.
        transfer_seeds: how often each transfer is repeated, with other samples.
        samples: how many labeled images transfers see in all; "none" is all of them.
        starts: see Recipe.starts; none: random weights, the checkpoint if there is one, every
            teacher and the student.
        learning_rates: of the transfers, the better one on validation for each start and set
            (0.0003+0.001+0.003); none: 0.001.
        rates_from: the folder of another run, whose choice of learning rates is taken.
        mode: "frozen" trains heads alone on features that stay as they are.
        checkpoint: a .keras file of a backbone, which all networks then have; it is a start, too.
        pretrained: a classifier of keras.applications in its place, as "resnet50".
        upstream_start: where teachers and student begin, where there is a checkpoint.
    """
    names = _names(collection, sets)
    taught = _taught(names, upstream, is_all="all" in sets)
    network = Network(backbone=_backbone(checkpoint, pretrained), size=size, channels=64)
    has_checkpoint = network.backbone.has_checkpoint
    begins = has_checkpoint and upstream_start == "checkpoint"
    first: Start = FromCheckpoint() if begins else FromScratch()
    if collection == "public":
        read = functools.partial(_public, data_dir=data_dir)
    else:
        counts = {"images": images, "test_images": test_images}
        read = functools.partial(_synthetic, **counts, data_seed=data_seed)
    split = {name: read(name) for name in names}

    def training(steps: int, learning_rate: float) -> TrainingConfig:
        # Ground has no upright: mirrored images are as likely. Its scale is the sensor's.
        return TrainingConfig(
            steps=steps,
            batch=batch,
            learning_rate=learning_rate,
            optimizer=AdamW(weight_decay=0.01),
            augmentation=Augmentation(scale=(0.85, 1.2), brightness=0.2),
        )

    teachers = tuple(
        Teacher(
            name=name,
            task=_task(split[name]),
            sets=split[name],
            training=training(teacher_steps, 4e-3),
            start=first,
        )
        for name in taught
    )
    transfers = tuple(
        Transfer(
            name=f"on_{name}",
            task=_task(split[name]),
            sets=split[name],
            training=training(transfer_steps, 1e-3),
            learning_rates=learning_rates,
            rates_from=rates_from,
            aligned=_aligned(name, taught),
        )
        for name in names
        # One teacher's own set has no start of another set to compare.
        if taught != (name,)
    )
    survey = TilesSource(
        name="survey", tiles="survey", split="train", images=pool_images, head=None,
        data_seed=data_seed,
    )  # fmt: skip
    has_pool = collection == "synthetic" and pool_images > 0
    usual = ("random", *(["checkpoint"] if has_checkpoint else []))
    return Recipe(
        name="remote_sensing",
        seed=seed,
        network=network,
        teachers=teachers,
        pools=(Pool(source=survey),) if has_pool else (),
        student=Student(training=training(student_steps, 4e-3), start=first),
        transfers=transfers,
        starts=starts or (*usual, *(f"teacher-{name}" for name in taught), "student"),
        transfer_seeds=transfer_seeds,
        neck="backbone",
        mode=mode,
        shots=tuple(None for count in samples if count is None),
        samples=tuple(count for count in samples if count is not None),
    )


def _names(collection: str, sets: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the sets that take part, each once.

    Raises:
        UserError: one is not in the collection, or there is one alone.
    """
    known = SETS[collection]
    if "all" in sets:
        return known
    for name in sets:
        if name not in known:
            allowed = (*known, "all")
            raise not_allowed(f"collection={collection}: sets={name}", name, allowed, key="sets")
    names = tuple(dict.fromkeys(sets)) or known[:3]
    if len(names) < 2:
        problem = "one set is upstream for another one: name at least two"
        raise UserError.of("", "sets", "+".join(sets), problem)
    return names


def _taught(names: tuple[str, ...], upstream: tuple[str, ...], *, is_all: bool) -> tuple[str, ...]:
    """Return the names of the upstream sets.

    Raises:
        UserError: one does not take part.
    """
    for name in upstream:
        if name not in names:
            raise not_allowed(f"upstream={name}", name, names, key="upstream")
    return tuple(dict.fromkeys(upstream)) or (names if is_all else names[:1])


def _backbone(checkpoint: pathlib.Path | None, pretrained: str | None) -> Backbone:
    """Return the backbone of all networks.

    Raises:
        UserError: there are two checkpoints.
    """
    if checkpoint and pretrained:
        problem = f"there is pretrained={pretrained}, too: give one of them"
        raise UserError.of("", "checkpoint", str(checkpoint), problem)
    if checkpoint:
        return KerasBackbone(path=checkpoint)
    return Pretrained(pretrained) if pretrained else ResNet.small()


def _aligned(name: str, taught: tuple[str, ...]) -> dict[str, Aligned]:
    """Return which starts were trained on an upstream set itself."""
    if name not in taught:
        return {}
    return {f"teacher-{name}": "set", "student": "set"}


def _task(sets: Splits) -> Task:
    """Return the task of a set's labels: its classes, or its tags."""
    ((head, space),) = sets.train.label_spaces.items()
    return Task.of_kind(head, space.kind, space.classes)


def _public(name: str, *, data_dir: str | None) -> Splits:
    return _PUBLIC[name](head=name, data_dir=data_dir)


def _synthetic(name: str, *, images: int, test_images: int, data_seed: int) -> Splits:
    counts = {"train": images, "validation": max(test_images // 5, 1), "test": test_images}
    return Splits(
        **{
            split: TilesSource(
                name=name if split == "train" else f"{name}_{split}",
                tiles=name, split=split, images=count, head=name, data_seed=data_seed,
            )
            for split, count in counts.items()
        }
    )  # fmt: skip
