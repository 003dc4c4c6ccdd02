"""The paper's downstream sets: what the student's backbone is fine-tuned on.

The kinds of tasks are the paper's. That the sets are CIFAR-100, VOC, NYU Depth v2, ADE20K and DIODE
with these metrics, fine-tuned from end to end with a sweep for every set and start, is remembered
and could not be verified. None of them is a training set.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from must_keras.config.recipe import Aligned, Transfer
from must_keras.data import public_sets
from must_keras.data.augmentation import Augmentation
from must_keras.data.splits import Splits
from must_keras.errors import UserError, nearest
from must_keras.tasks import Classification, Depth, Detection, Normals, Segmentation
from must_keras.tasks.base import Task

from .setting import FROM_TRAINED, VIEWS, Setting, Widths

# Rates beside the schedule's own: not known, only that rates were swept.
_SWEEP = (0.25, 1.0, 4.0)
# Metric depth keeps its meters when a picture grows: it must not grow.
_UNSCALED = Augmentation(scale=(1.0, 1.0), brightness=0.0)
# Of the proxy for segmentation of PASCAL.
_MAP_VIEWS = Augmentation(scale=(0.2, 1.5), brightness=0.0)


class _Where(NamedTuple):
    """Where the files are, and which images validate."""

    data: pathlib.Path
    data_dir: str | None
    seed: int


class _Set(NamedTuple):
    """Images, a task whose head bears the set's name, and views."""

    sets: Splits
    task: Task
    views: Augmentation


def transfers(
    names: Sequence[str],
    setting: Setting,
    *,
    data: str,
    data_dir: str | None,
    seed: int,
    steps: int,
    learning_rates: Sequence[float] = (),
    rates_from: str | None = None,
    aligned: Mapping[str, Mapping[str, Aligned]] | None = None,
) -> tuple[Transfer, ...]:
    """The downstream sets of these names; only their files are read.

    Args:
        names: some of NAMES.
        setting: network and batch.
        data: the folder with VOCdevkit, ADEChallengeData2016 and diode.
        data_dir: where TFDS keeps its data sets.
        seed: of the validation images.
        steps: optimizer steps of each; not known.
        learning_rates: the better one on validation is taken; none: a quarter of the schedule's,
            itself, and four times as much.
        rates_from: the folder of a run whose choice is taken; None: it is made.
        aligned: {set: {start: see Transfer.aligned}}.

    Raises:
        UserError: a name is unknown, or a set is not there.
    """
    for name in names:
        if name not in NAMES:
            raise UserError(f"transfer_names={name}: {nearest(name, NAMES)}")
    where, made = _Where(pathlib.Path(data), data_dir, seed), []
    for name in names:
        found = _SETS[name](name, where, setting.widths)
        training = setting.training(FROM_TRAINED, steps, views=found.views)
        swept = tuple(training.learning_rate * factor for factor in _SWEEP)
        made.append(
            Transfer(
                name=name,
                task=found.task,
                sets=found.sets,
                training=training,
                learning_rates=tuple(learning_rates) or swept,
                rates_from=rates_from,
                aligned=(aligned or {}).get(name, {}),
            )
        )
    return tuple(made)


def _cifar100(name: str, where: _Where, widths: Widths) -> _Set:
    """Top-1 of 100 classes."""
    del widths
    sets = public_sets.cifar100(head=name, seed=where.seed, data_dir=where.data_dir)
    return _Set(sets, Classification(name=name, classes=_classes(sets, name)), VIEWS)


def _voc_boxes(name: str, where: _Where, widths: Widths) -> _Set:
    """AP50 on 07 test of 07+12; by COCO's 101 points of recall, not VOC's own rule."""
    sets = public_sets.voc_boxes(head=name, seed=where.seed, data_dir=where.data_dir)
    classes = _classes(sets, name)
    task = Detection(name=name, classes=classes, with_masks=False, **widths.detection)
    return _Set(sets, task, VIEWS)


def _voc_maps(name: str, where: _Where, widths: Widths) -> _Set:
    """MIoU of 21 classes, background among them."""
    sets = public_sets.voc_maps(where.data / "VOCdevkit" / "VOC2012", head=name, seed=where.seed)
    task = Segmentation(name=name, classes=_classes(sets, name), **widths.pixels)
    return _Set(sets, task, _MAP_VIEWS)


def _nyu_depth(name: str, where: _Where, widths: Widths) -> _Set:
    """Share of pixels within a factor of 1.25, in meters, without alignment."""
    sets = public_sets.nyu_depth(head=name, seed=where.seed, data_dir=where.data_dir)
    return _Set(sets, Depth(name=name, kind="metric", **widths.pixels), _UNSCALED)


def _ade20k(name: str, where: _Where, widths: Widths) -> _Set:
    """MIoU of 150 classes."""
    sets = public_sets.ade20k(where.data / "ADEChallengeData2016", head=name, seed=where.seed)
    task = Segmentation(name=name, classes=_classes(sets, name), **widths.pixels)
    return _Set(sets, task, _MAP_VIEWS)


def _diode_normals(name: str, where: _Where, widths: Widths) -> _Set:
    """Share of pixels within 11.25 degrees."""
    sets = public_sets.diode_normals(where.data / "diode", head=name, seed=where.seed)
    return _Set(sets, Normals(name=name, **widths.pixels), VIEWS)


_SETS: Mapping[str, Callable[[str, _Where, Widths], _Set]] = {
    "cifar100": _cifar100,
    "voc_boxes": _voc_boxes,
    "voc_maps": _voc_maps,
    "nyu_depth": _nyu_depth,
    "ade20k": _ade20k,
    "diode_normals": _diode_normals,
}
NAMES = tuple(_SETS)


def _classes(sets: Splits, head: str) -> tuple[str, ...]:
    return tuple(sets.train.label_spaces[head].classes)
