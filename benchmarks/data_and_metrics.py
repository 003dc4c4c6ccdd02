"""Drawing scenes, writing and reading label columns, COCO's average precision.

    python -m benchmarks.data_and_metrics

One JSON line each. Scenes: images a second of one process, drawn with all their labels, encoded for
storing too, and the image as a PNG file alone. Columns: records a second of the four tasks of drawn
scenes at 64 pixels, written, read in random order, and both ways through a TFRecord file alone.
Average precision: seconds for 300 images with 7 true objects and 100 detections of 80 classes each,
masks of 28 x 28 in pictures of 256 x 256, beside pycocotools alone on annotations that are ready.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import pathlib
import statistics
import tempfile
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.measuring import in_turns

TURNS, SCENES, RECORDS = 5, 100, 512
IMAGES, OBJECTS, DETECTIONS, CLASSES, PIXELS = 300, 7, 100, 80, 256


def measure_scenes(size: int) -> dict[str, Any]:
    """Drawing, with all labels and as PNG files, beside writing those files alone."""
    from must_keras.synthetic.examples import encoded_example, render_example
    from must_keras.synthetic.families import SceneConfig

    config = SceneConfig(family="pool", size=size)
    image = render_example(config, "train", 0)["image"]

    def write() -> None:
        for _ in range(SCENES):
            Image.fromarray(image).save(io.BytesIO(), format="PNG")

    def of(work: Any) -> Any:
        return lambda: [work(config, "train", index) for index in range(SCENES)]

    works = {"drawn": of(render_example), "stored": of(encoded_example), "png": write}
    times = in_turns(works, TURNS)
    return {
        "work": "scenes",
        "size": size,
        **{f"{n}_per_s": round(SCENES / statistics.median(v), 1) for n, v in times.items()},
    }


class _Ids:
    """As many ids as there are records."""

    def __len__(self) -> int:
        return RECORDS

    def image_id(self, index: int) -> str:
        return f"image {index}"


def measure_columns() -> list[dict[str, Any]]:
    """Writing and reading, task by task."""
    import tensorflow as tf

    from experiments import scenes
    from must_keras.inference.predictor import Predictor
    from must_keras.training.building import build_model

    recipe = scenes.recipe(size=64)
    norm = {"momentum": 0.9, "epsilon": 1e-4, "synchronized": False}
    model = build_model(recipe.network, recipe.tasks, seed=0, norm=norm)
    x = model.without_padding(tf.random.stateless_uniform((1, 64, 64, 3), (0, 0), 0.0, 255.0))
    outputs = tf.nest.map_structure(lambda v: np.asarray(v)[0], Predictor(model).outputs(x))
    lines = []
    for task in recipe.tasks:
        record = task.records.from_prediction(
            outputs[task.name], np.float32([0, 0, 64, 64]), (64, 64)
        )
        with tempfile.TemporaryDirectory() as name:
            lines.append(_measure_column(task, record, pathlib.Path(name)))
    return lines


def _measure_column(task: Any, record: Any, folder: pathlib.Path) -> dict[str, Any]:
    import tensorflow as tf

    from must_keras.pseudo_labels.store import PseudoLabelReader, PseudoLabelWriter

    ids, turn = _Ids(), itertools.count()

    def write() -> None:
        writer = PseudoLabelWriter(
            folder / str(next(turn)), task, RECORDS, teacher_sha256="", recipe={}
        )
        for first, count in writer.pending_ranges():
            places = range(first, first + count)
            writer.write_shard(first, ((ids.image_id(i), record) for i in places))
        writer.finish()

    write()
    column = PseudoLabelReader(folder / "0", ids, task)
    shard = min((folder / "0").glob("*.tfrecord*"))
    payload = next(iter(tf.data.TFRecordDataset(str(shard)))).numpy()

    def read() -> None:
        for index in np.random.default_rng(0).permutation(RECORDS):
            column.read(int(index))

    def plain() -> None:
        with tf.io.TFRecordWriter(str(folder / "plain")) as file:
            for _ in range(RECORDS):
                file.write(payload)
        for _ in tf.data.TFRecordDataset(str(folder / "plain")).as_numpy_iterator():
            pass

    times = in_turns({"write": write, "read": read, "plain": plain}, TURNS)
    return {
        "work": "columns",
        "task": task.kind,
        "bytes": len(payload),
        **{f"{n}_per_s": round(RECORDS / statistics.median(v)) for n, v in times.items()},
    }


def measure_precision() -> dict[str, Any]:
    """Our evaluator beside pycocotools on what it was handed."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    from must_keras.tasks.detection.average_precision import AveragePrecision

    random = np.random.default_rng(0)

    def boxes(count: int) -> np.ndarray:
        corner = random.uniform(0, PIXELS * 0.7, (IMAGES, count, 2))
        side = random.uniform(8, PIXELS * 0.3, (IMAGES, count, 2))
        return np.concatenate([corner, corner + side], axis=-1).astype(np.float32)

    grid = np.linspace(-1.0, 1.0, 28)
    disc = (grid[:, None] ** 2 + grid**2 < 1.0).astype(np.float32)
    label = {
        "boxes": boxes(OBJECTS),
        "classes": random.integers(0, CLASSES, (IMAGES, OBJECTS)).astype(np.int32),
        "masks": np.broadcast_to(disc, (IMAGES, OBJECTS, 28, 28)),
        "has_mask": np.ones((IMAGES, OBJECTS), bool),
        "ignore": np.zeros((IMAGES, OBJECTS), bool),
        "labelled": np.ones(IMAGES, np.float32),
        "truncated_boxes": np.zeros((IMAGES, 1, 4), np.float32),
    }
    outputs = {
        "boxes": boxes(DETECTIONS),
        "scores": random.uniform(0.05, 1.0, (IMAGES, DETECTIONS)).astype(np.float32),
        "classes": random.integers(0, CLASSES, (IMAGES, DETECTIONS)).astype(np.int32),
        "masks": np.broadcast_to(disc, (IMAGES, DETECTIONS, 28, 28)),
    }
    last: list[AveragePrecision] = []

    def ours() -> None:
        evaluator = AveragePrecision(
            num_classes=CLASSES, with_masks=True, max_detections=DETECTIONS
        )
        evaluator.update(label, outputs)
        evaluator.result()
        last[:] = [evaluator]

    ours()
    truth, found = last[0]._truth, last[0]._detections

    def alone() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            data = COCO()
            data.dataset = {
                "images": last[0]._images,
                "categories": [{"id": k} for k in range(CLASSES)],
                "annotations": [dict(one, id=i + 1) for i, one in enumerate(truth)],
            }
            data.createIndex()
            results = data.loadRes([{k: v for k, v in one.items() if k != "id"} for one in found])
            for kind in ("bbox", "segm"):
                evaluation = COCOeval(data, results, kind)
                evaluation.evaluate()
                evaluation.accumulate()

    times = in_turns({"ours": ours, "pycocotools": alone}, 3)
    seconds = {name: statistics.median(values) for name, values in times.items()}
    return {
        "work": "average precision",
        "ours_s": round(seconds["ours"], 2),
        "pycocotools_s": round(seconds["pycocotools"], 2),
        "of_pycocotools": round(seconds["ours"] / seconds["pycocotools"], 2),
    }


def main() -> None:
    """Prints all lines."""
    for size in (64, 96):
        print(json.dumps(measure_scenes(size)), flush=True)
    for line in measure_columns():
        print(json.dumps(line), flush=True)
    print(json.dumps(measure_precision()), flush=True)


if __name__ == "__main__":
    main()
