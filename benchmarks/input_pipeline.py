"""The input pipeline, part by part, beside decoding alone.

    python -m benchmarks.input_pipeline

Photos of 480 x 640 pixels, at 256 and at 640 pixels, once with a class and once with a map of
classes beside them, with the default changes of color and with RandAugment's two layers too.
Decoding is Pillow's, of the JPEG file and, with maps, of the PNG file; the pipeline reads the same
files, sees them through one view with their labels, changes colors and makes batches. One JSON
line a case, in seconds that cores are busy: images a second and core, the pipeline's cost in units
of decoding's, and milliseconds an image by part.
"""

from __future__ import annotations

import functools
import itertools
import pathlib
import statistics
import tempfile
import time
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.measuring import each_alone, in_turns
from benchmarks.photos import write_maps, write_photos

COUNT, BATCH, TURNS, CLASSES = 160, 8, 5, 20


def measure(kind: str, changes: str, size: int) -> dict[str, Any]:
    """One case: `kind` is "class" or "map", `changes` "default" or "RandAugment"."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    from must_keras.data import pipeline
    from must_keras.data.augmentation import Augmentation, RandAugment
    from must_keras.data.examples import LabeledExamples
    from must_keras.data.sources import FolderPerClass, LabelMaps
    from must_keras.tasks import Classification, Segmentation

    names = tuple(f"class {k}" for k in range(CLASSES))
    rand_augment = RandAugment() if changes == "RandAugment" else None
    augmentation = Augmentation(rand_augment=rand_augment)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        if kind == "class":
            write_photos(folder / "photos" / names[0], COUNT)
            task: Any = Classification(name="kind", classes=names)
            source: Any = FolderPerClass(
                name="photos", root=folder / "photos", head=task.name, classes=names
            )
            files = [(path,) for path in sorted(folder.glob("photos/*/*.jpg"))]
        else:
            write_photos(folder / "photos", COUNT)
            write_maps(folder / "maps", COUNT, num_classes=CLASSES)
            task = Segmentation(name="areas", classes=names)
            source = LabelMaps(
                name="photos",
                images=folder / "photos",
                maps=folder / "maps",
                head=task.name,
                classes=names,
            )
            files = [
                (path, folder / "maps" / f"{path.stem}.png")
                for path in sorted(folder.glob("photos/*.jpg"))
            ]
        examples = LabeledExamples(source, [task])
        read_one = functools.partial(pipeline._read, examples, (task,))

        def decode() -> None:
            for paths in files:
                for path in paths:
                    with Image.open(path) as image:
                        np.asarray(image.convert("RGB") if path.suffix == ".jpg" else image)

        def read(place: Any) -> Any:
            return read_one(place)

        def see(place: Any) -> Any:
            image, stored = read(place)
            key = tf.cast(place, tf.int32)
            view = augmentation.view(tf.shape(image)[:2], (size, size), key)
            return pipeline.sample_image(image, view), stored, view.matrix, key

        def label(place: Any) -> Any:
            image, stored, matrix, key = see(place)
            view = pipeline.View(
                matrix=matrix, size=(size, size), axis_aligned=rand_augment is None
            )
            return image, task.labels.warp(stored[task.name], view), key

        def color(place: Any) -> Any:
            image, labels, key = label(place)
            return augmentation.colors(image, key), labels

        def run(dataset: Any) -> None:
            for _ in dataset:
                pass

        def of(build: Any) -> Any:
            dataset = tf.data.Dataset.range(COUNT).map(build)
            return lambda: run(dataset)

        batches = pipeline.training_batches(
            examples,
            [task],
            make_views=pipeline.one_view([task], size=size, augmentation=augmentation),
            batch=BATCH,
            seed=0,
            steps=range(COUNT // BATCH),
        )
        works = {
            "decoding": decode,
            "read": of(read),
            "see": of(see),
            "label": of(label),
            "color": of(color),
            "batch": lambda: run(batches),
        }
        times = in_turns(works, TURNS, time.process_time)
    each = {part: statistics.median(values) / COUNT * 1000 for part, values in times.items()}
    parts = list(works)[1:]
    # Every work holds those before it.
    steps = {b: each[b] - each[a] for a, b in itertools.pairwise(parts)}
    ratios = [b / d for b, d in zip(times["batch"], times["decoding"], strict=True)]
    return {
        "labels": kind,
        "changes": changes,
        "size": size,
        "decoding_images_per_s": round(1000 / each["decoding"], 1),
        "pipeline_images_per_s": round(1000 / each["batch"], 1),
        "of_decoding": round(statistics.median(ratios), 2),
        "ms": {"decoding": round(each["decoding"], 2), "read": round(each["read"], 2)}
        | {part: round(value, 2) for part, value in steps.items()},
    }


def main() -> None:
    """Measures every case in a process of its own."""
    cases = itertools.product(("class", "map"), ("default", "RandAugment"), ("256", "640"))
    each_alone("benchmarks.input_pipeline", cases, lambda *case: measure(*case[:2], int(case[2])))


if __name__ == "__main__":
    main()
