"""The cost of strong views in the input pipeline, beside that of RandAugment's two layers.

    python -m benchmarks.strong_views

Photos of 480 x 640 pixels in memory, at 256 and at 640 pixels, once with a class and once with a
map of classes. In one process for each case, the pipeline with the default augmentation, with
strong views of every image too, and with RandAugment too take turns. One JSON line a case:
milliseconds of busy cores an image, and the median over the turns of the ratio of what the two add.
"""

from __future__ import annotations

import itertools
import statistics
import time
from typing import Any

import numpy as np

from benchmarks.measuring import each_alone, in_turns

BATCH, BATCHES, TURNS, CLASSES = 8, 12, 11, 20


def measure(kind: str, size: int) -> dict[str, Any]:
    """One case: `kind` is "class" or "map"."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    from benchmarks.photos import photo
    from must_keras.data import pipeline
    from must_keras.data.augmentation import Augmentation, RandAugment
    from must_keras.data.strong_views import StrongViews
    from must_keras.tasks import Classification, Segmentation

    names = tuple(f"class {k}" for k in range(CLASSES))
    of_class = Classification(name="kind", classes=names)
    task: Any = of_class if kind == "class" else Segmentation(name="areas", classes=names)
    random = np.random.default_rng(0)
    images = [photo(number) for number in range(BATCH)]
    areas = random.integers(0, CLASSES, images[0].shape[:2]).astype(np.uint8)
    stored = {
        "class": {"probabilities": np.eye(CLASSES, dtype=np.float32)[0], "labelled": np.float32(1)},
        "map": {"map": areas},
    }[kind]

    class InMemory:
        def __len__(self) -> int:
            return len(images)

        def load(self, index: int) -> Any:
            return images[index], {task.name: stored}

    def run(**options: Any) -> Any:
        augmentation = Augmentation(rand_augment=options.pop("rand_augment", None))
        batches = pipeline.training_batches(
            InMemory(),
            [task],
            make_views=pipeline.one_view([task], size=size, augmentation=augmentation),
            batch=BATCH,
            seed=0,
            steps=range(BATCHES),
            **options,
        )
        return lambda: [None for _ in batches]

    strong = StrongViews().unless(np.zeros(len(images), bool))
    works = {
        "default": run(),
        "strong": run(recolor=strong),
        "RandAugment": run(rand_augment=RandAugment()),
    }
    times = in_turns(works, TURNS, time.process_time)
    each = {
        name: statistics.median(values) / BATCH / BATCHES * 1000 for name, values in times.items()
    }
    ratios = [
        (strong - default) / (rand - default)
        for default, strong, rand in zip(*times.values(), strict=True)
    ]
    return {
        "labels": kind,
        "size": size,
        "ms": {name: round(value, 2) for name, value in each.items()},
        "added_strong_of_added_RandAugment": round(statistics.median(ratios), 2),
    }


def main() -> None:
    """Measures every case in a process of its own."""
    cases = itertools.product(("class", "map"), ("256", "640"))
    each_alone("benchmarks.strong_views", cases, lambda kind, size: measure(kind, int(size)))


if __name__ == "__main__":
    main()
