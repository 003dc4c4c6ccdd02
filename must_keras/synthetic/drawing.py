"""Draws one image with every label, alone: ``draw(config, split, index)``. Numpy only."""

from __future__ import annotations

import functools
import hashlib

import numpy as np

from must_keras.synthetic.config import SceneConfig
from must_keras.synthetic.rendering import SURFACES, Rendering, render
from must_keras.synthetic.worlds import World, sample_world

MASK_SIZE = 28
"""Height and width of a stored instance mask, pixels of its own box."""

IGNORE = 255
"""Semantic value of pixels that the vocabulary has no name for."""

# Objects with less to see than 12 pixels of a picture of 64 x 64 are background, not objects.
_SMALLEST = 12 / 64**2


def example_id(config: SceneConfig, split: str, index: int) -> str:
    """Like "single/train/000012"."""
    return f"{config.family}/{split}/{index:06d}"


def _generator(config: SceneConfig, split: str, index: int) -> np.random.Generator:
    digest = hashlib.sha256(
        f"{config.data_seed}/{example_id(config, split, index)}".encode()
    ).digest()
    seed = np.random.SeedSequence(np.frombuffer(digest[:16], "<u4").tolist())
    return np.random.Generator(np.random.Philox(seed))


def world_of(config: SceneConfig, split: str, index: int) -> tuple[World, np.random.Generator]:
    """The world of an image, and the generator that goes on to draw its noise."""
    if split not in ("train", "validation", "test"):
        raise ValueError(f"split must be train, validation or test, received {split!r}.")
    rng = _generator(config, split, index)
    looks = config.recipe.looks
    weights = np.array([look.weight for look in looks])
    look = looks[int(rng.choice(len(looks), p=weights / weights.sum()))]
    return sample_world(rng, look), rng


def draw(config: SceneConfig, split: str, index: int) -> dict:
    """One image and its labels.

    Returns:
        image: [H, W, 3] uint8.
        class: int, index into config.classes; -1 if the picture shows not one object, or one that
            is not listed.
        objects: bbox [N, 4] float32 (ymin, xmin, ymax, xmax), fractions of the image, around the
            visible pixels' outer edges; label [N] int64, index into config.categories; mask
            [N, 28, 28] uint8, 1: visible object, sampled at its box's cell middles.
        semantic: [H, W] uint8, index into config.semantic_classes; 255: ignore.
        depth: [H, W] float32, z-depth in meters; 0: invalid (sky).
        normals: [H, W, 3] float32, unit vectors in camera axes X right, Y down, Z forward, towards
            the camera; zeros: invalid (sky).

    """
    world, rng = world_of(config, split, index)
    seen = render(world, config.size, rng)
    return {
        "image": seen.image,
        "class": _class(config, world),
        "objects": _objects(config, world, seen),
        "semantic": _semantic(config, world, seen),
        "depth": seen.depth,
        "normals": seen.normals,
    }


def _class(config: SceneConfig, world: World) -> int:
    names = [thing.name for thing in world.things]
    if len(names) != 1 or names[0] not in config.classes:
        return -1
    return config.classes.index(names[0])


@functools.cache
def _mask_cells(length: int) -> np.ndarray:
    return ((np.arange(MASK_SIZE) + 0.5) / MASK_SIZE * length).astype(int)


def _objects(config: SceneConfig, world: World, seen: Rendering) -> dict:
    boxes, labels, masks = [], [], []
    for number, thing in enumerate(world.things):
        visible = seen.things == number
        if thing.name not in config.categories or visible.sum() < _SMALLEST * visible.size:
            continue
        rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
        top, left, bottom, right = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
        boxes.append((top, left, bottom, right))
        labels.append(config.categories.index(thing.name))
        crop = visible[top:bottom, left:right]
        masks.append(crop[_mask_cells(bottom - top)][:, _mask_cells(right - left)])
    return {
        "bbox": np.array(boxes, np.float32).reshape(-1, 4) / np.float32(config.size),
        "label": np.array(labels, np.int64),
        "mask": np.array(masks, np.uint8).reshape(-1, MASK_SIZE, MASK_SIZE),
    }


def _semantic(config: SceneConfig, world: World, seen: Rendering) -> np.ndarray:
    stuff = config.recipe.vocabulary.stuff
    names = config.semantic_classes
    plain = {"panel": "wall", "rug": "floor" if world.low is not None else "ground"}
    values = []
    for surface in SURFACES:
        name = surface if surface in stuff else plain.get(surface, surface)
        values.append(names.index(name) if name in stuff else IGNORE)
    for thing in world.things:
        values.append(names.index(thing.name) if thing.name in names else IGNORE)
    which = np.where(seen.things >= 0, seen.things + len(SURFACES), seen.surfaces)
    return np.array(values, np.uint8)[which]
