"""DIODE: 25,458 training and 771 validation photos, inside and outside, with depth and normals."""

from __future__ import annotations

import pathlib

from must_keras.data.io.folders import Path
from must_keras.data.sets.carving import carved
from must_keras.data.sources import Diode
from must_keras.data.splits import Splits


def normals(root: Path, *, head: str, seed: int) -> Splits:
    """Surface normals; see `_splits` for the folder, and sources.Diode for their axes."""
    return _splits(root, "diode_normals", seed, normals_head=head)


def depth(root: Path, *, head: str, seed: int) -> Splits:
    """Depth in meters; see `_splits` for the folder."""
    return _splits(root, "diode_depth", seed, depth_head=head)


def _splits(root: Path, name: str, seed: int, **heads: str) -> Splits:
    """From the archives of diode-dataset.org.

        <root>/{train,val}/{indoors,outdoor}/scene_*/scan_*/<image>.png
                                             <image>_depth.npy, <image>_depth_mask.npy
                                             <image>_normal.npy     an archive of its own

    Test is DIODE's validation set, since the labels of its test set are not public. Validation is
    taken out of the training set scene by scene, for scans of one scene show the same things: the
    first whole scenes, in the order of the seed, that make 500 images.
    """
    train, test = (
        Diode(name=f"{name}{end}", root=pathlib.Path(root) / split, **heads)
        for end, split in (("", "train"), ("_test", "val"))
    )
    return carved(train, test, most=500, seed=seed, group=_scene)


def _scene(image_id: str) -> str:
    return "/".join(image_id.split("/")[:2])
