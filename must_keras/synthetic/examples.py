"""Renders examples with every label, encodes them, and does so in several processes, in order.

An image is made alone, ``render_example(config, split, index)``; numpy and PIL only. Each worker
is a program that writes its examples to a pipe, which holds it back when the reader is slower. A
new Python rather than a fork: the parent may hold TensorFlow's threads, and its main
module need not guard against being imported twice.
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
from PIL import Image

from must_keras.synthetic.families import SceneConfig
from must_keras.synthetic.rendering import SURFACES, Rendering, render
from must_keras.synthetic.worlds import World, sample_one, sample_world

MASK_SIZE = 28
"""Height and width of a stored instance mask, pixels of its own box."""

IGNORE = 255
"""Semantic value of pixels without a name in config.semantic_classes."""

# Objects of fewer visible pixels than 12 in an image of 64 x 64 are background, not objects.
_MIN_VISIBLE_SHARE = 12 / 64**2


def example_id(config: SceneConfig, split: str, index: int) -> str:
    """Return an id such as "single/train/000012"."""
    return f"{config.family}/{split}/{index:06d}"


def _generator(config: SceneConfig, split: str, index: int) -> np.random.Generator:
    name = f"{config.data_seed}/{example_id(config, split, index)}"
    digest = hashlib.sha256(name.encode()).digest()
    seed = np.random.SeedSequence(np.frombuffer(digest[:16], "<u4").tolist())
    return np.random.Generator(np.random.Philox(seed))


def world_of(config: SceneConfig, split: str, index: int) -> tuple[World, np.random.Generator]:
    """Return the world of an image, and the generator that samples its noise next."""
    if split not in ("train", "validation", "test"):
        raise ValueError(f"split must be train, validation or test, received {split!r}.")
    rng, styles = _generator(config, split, index), config.definition.styles
    style = sample_one(rng, styles, np.array([style.weight for style in styles]))
    return sample_world(rng, style), rng


def render_example(config: SceneConfig, split: str, index: int) -> dict:
    """Render one image with all of its labels.

    Returns:
        image: [H, W, 3] uint8.
        class: int, index into config.classes; -1 for images with several objects, or one that is
            not listed.
        objects: bbox [N, 4] float32 (ymin, xmin, ymax, xmax), fractions of the image, around the
            visible pixels' outer edges; label [N] int64, index into config.categories; mask
            [N, 28, 28] uint8, 1: visible object, sampled at its box's cell middles.
        semantic: [H, W] uint8, index into config.semantic_classes; 255: ignored.
        depth: [H, W] float32, z-depth in meters; 0: invalid (sky).
        normals: [H, W, 3] float32, unit vectors in camera axes X right, Y down, Z forward, towards
            the camera; zeros: invalid (sky).
    """
    world, rng = world_of(config, split, index)
    rendered = render(world, config.size, rng)
    names = [thing.name for thing in world.things]
    has_class = len(names) == 1 and names[0] in config.classes
    return {
        "image": rendered.image,
        "class": config.classes.index(names[0]) if has_class else -1,
        "objects": _objects(config, world, rendered),
        "semantic": _semantic(config, world, rendered),
        "depth": rendered.depth,
        "normals": rendered.normals,
    }


def _objects(config: SceneConfig, world: World, rendered: Rendering) -> dict:
    boxes, labels, masks = [], [], []
    middles = (np.arange(MASK_SIZE) + 0.5) / MASK_SIZE
    for number, thing in enumerate(world.things):
        visible = rendered.things == number
        if thing.name not in config.categories or visible.sum() < _MIN_VISIBLE_SHARE * visible.size:
            continue
        rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
        top, left, bottom, right = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
        boxes.append((top, left, bottom, right))
        labels.append(config.categories.index(thing.name))
        cells = [(middles * length).astype(int) for length in (bottom - top, right - left)]
        masks.append(visible[top:bottom, left:right][np.ix_(*cells)])
    return {
        "bbox": np.array(boxes, np.float32).reshape(-1, 4) / np.float32(config.size),
        "label": np.array(labels, np.int64),
        "mask": np.array(masks, np.uint8).reshape(-1, MASK_SIZE, MASK_SIZE),
    }


def _semantic(config: SceneConfig, world: World, rendered: Rendering) -> np.ndarray:
    stuff, names = config.definition.stuff, config.semantic_classes
    plain = {"panel": "wall", "rug": "floor" if world.low is not None else "ground"}
    shown = [name if name in stuff else plain.get(name, name) for name in SURFACES]
    shown += [thing.name for thing in world.things]
    values = [names.index(name) if name in names else IGNORE for name in shown]
    which = np.where(rendered.things >= 0, rendered.things + len(SURFACES), rendered.surfaces)
    return np.array(values, np.uint8)[which]


# ---- stored --------------------------------------------------------------------------------------


def encode_depth(depth: np.ndarray) -> np.ndarray:
    """Return meters as uint16 millimeters, at most 65.535 m; 0 stays 0 (invalid)."""
    return np.clip(np.rint(depth * 1000), 0, 65535).astype(np.uint16)


def encode_normals(normals: np.ndarray) -> np.ndarray:
    """Return unit vectors [..., 3] as uint8 ``round(127.5 (n + 1))``; zeros (invalid) stay.

    tasks.normals.from_colors decodes them.
    """
    valid = np.any(normals != 0, axis=-1, keepdims=True)
    return np.where(valid, np.rint((normals + 1) * 127.5), 0).astype(np.uint8)


def png(pixels: np.ndarray) -> bytes:
    """Return uint8 [H, W] or [H, W, 3], or uint16 [H, W], as PNG, compressed fast."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def encoded_example(config: SceneConfig, split: str, index: int) -> dict:
    """Render one example and encode it as plain Python and numpy values that can be pickled.

    The keys are the builder's features: depth in uint16 millimeters, normals by encode_normals.
    """
    example = render_example(config, split, index)
    example["depth"] = encode_depth(example["depth"])
    example["normals"] = encode_normals(example["normals"])
    pictures = {name: png(example[name]) for name in ("image", "semantic", "depth", "normals")}
    return {"id": example_id(config, split, index), **example, **pictures}


# ---- in several processes ------------------------------------------------------------------------

# Under this many images a process costs more time to start than it saves.
_MIN_IMAGES_PER_WORKER = 150


def num_workers(num_images: int) -> int:
    """Return one for each core that this process may use, and for every 150 images; at least 1."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min(cores, num_images // _MIN_IMAGES_PER_WORKER))


def rendered_examples(
    config: SceneConfig, split: str, *, workers: int | None = None
) -> Iterator[dict]:
    """Yield a split's encoded examples by index; with one worker they are rendered here."""
    count = config.splits[split]
    workers = num_workers(count) if workers is None else workers
    if workers == 1:
        yield from (encoded_example(config, split, config.first + i) for i in range(count))
        return
    with contextlib.ExitStack() as stack:
        pipes = []
        for worker in range(workers):
            process = stack.enter_context(_start(config, split, worker, workers))
            stack.callback(process.terminate)
            pipes.append(process.stdout)
        for place in range(count):
            try:
                yield pickle.load(pipes[place % workers])
            except (EOFError, pickle.UnpicklingError) as error:
                raise RuntimeError(
                    f"A rendering process ended before image {place} of {config.name}, {split}; "
                    "its own message is above."
                ) from error


def _start(config: SceneConfig, split: str, worker: int, workers: int) -> subprocess.Popen:
    task = {"config": dataclasses.asdict(config), "split": split, "step": [worker, workers]}
    # The matrices are tiny: threads of the linear algebra library would only get in the way.
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    return subprocess.Popen(
        [sys.executable, "-c", f"from {__name__} import write; write()", json.dumps(task)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env=environment,
    )


def write() -> None:
    """Write every n-th example of a split to standard output, pickled."""
    values = json.loads(sys.argv[1])
    config = SceneConfig(**values["config"])
    start, step = values["step"]
    for place in range(start, config.splits[values["split"]], step):
        example = encoded_example(config, values["split"], config.first + place)
        pickle.dump(example, sys.stdout.buffer, protocol=5)
    sys.stdout.buffer.flush()
