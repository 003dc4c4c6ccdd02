"""COCO's average precision by pycocotools and by libraries that promise the same numbers faster.

    python -m benchmarks.coco_evaluation                    # those that are installed
    python -m benchmarks.coco_evaluation faster_coco_eval --images=500

A JSON line for boxes and one for masks: 5,000 images of 640 x 480 with 7 objects of 80 classes on
average, from 8 to 400 pixels, one in a hundred a crowd; a detection of most objects, moved and
sometimes of another class, and 24 others at random. Every library gets the same dictionaries and
copies of its own; the seconds are those of index, evaluation and accumulation, for all sizes of
objects and for small, medium and large ones. Libraries take turns; a first round is not counted.
`difference` is the largest one of precision and recall, [T, R, K, A, M] and [T, K, A, M].
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import io
import json
import statistics
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from benchmarks.measuring import in_turns

# {name: (module with COCO, module with COCOeval)}.
LIBRARIES = {
    "pycocotools": ("pycocotools.coco", "pycocotools.cocoeval"),
    "faster_coco_eval": ("faster_coco_eval.core.coco", "faster_coco_eval.core.faster_eval_api"),
    "hotcoco": ("hotcoco", "hotcoco"),
    "ultrafast_pycocotools": ("ultrafast_pycocotools.coco", "ultrafast_pycocotools.cocoeval"),
}
TURNS, CLASSES, WIDTH, HEIGHT = 2, 80, 640, 480
OBJECTS, FALSE = 7, 24
CORNERS = 12


def annotations(num_images: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A COCO data set with random objects, and detections of it."""
    random = np.random.default_rng(0)
    images = [{"id": i + 1, "width": WIDTH, "height": HEIGHT} for i in range(num_images)]
    truth: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for image in images:
        for _ in range(random.poisson(OBJECTS)):
            category, outline = int(random.integers(CLASSES)), _outline(random)
            crowd = int(random.random() < 0.01)
            truth.append(_annotation(len(truth), image, category, outline, iscrowd=crowd))
            if random.random() < 0.85:
                moved = outline + random.normal(0.0, 0.06 * np.ptp(outline, axis=0), (1, 2))
                if random.random() < 0.15:
                    category = int(random.integers(CLASSES))
                score = round(float(random.beta(4, 2)), 3)
                found.append(_annotation(len(found), image, category, moved, score=score))
        for _ in range(random.poisson(FALSE)):
            category, score = int(random.integers(CLASSES)), round(float(random.beta(1, 4)), 3)
            outline = _outline(random)
            found.append(_annotation(len(found), image, category, outline, score=score))
    categories = [{"id": k, "name": f"class {k}"} for k in range(CLASSES)]
    return {"images": images, "categories": categories, "annotations": truth}, found


def _outline(random: np.random.Generator) -> np.ndarray:
    """The corners (x, y) of a star-shaped object."""
    radii = np.exp(random.uniform(np.log(4), np.log(200), 2)) * [1.0, 0.75]
    center = random.uniform(0, 1, 2) * [WIDTH, HEIGHT]
    angles = np.linspace(0.0, 2 * np.pi, CORNERS, endpoint=False)
    around = np.stack([np.cos(angles), np.sin(angles)], -1) * random.uniform(0.6, 1, (CORNERS, 1))
    return center + radii * around


def _annotation(
    index: int, image: dict[str, int], category: int, outline: np.ndarray, **more: Any
) -> dict[str, Any]:
    outline = outline.clip(0, [WIDTH, HEIGHT])
    (left, top), (width, height) = outline.min(axis=0), np.ptp(outline, axis=0)
    (mask,) = coco_mask.frPyObjects([outline.ravel().tolist()], HEIGHT, WIDTH)
    return {
        "id": index + 1,
        "image_id": image["id"],
        "category_id": category,
        "bbox": [float(v) for v in (left, top, width, height)],
        "area": float(coco_mask.area(mask)),
        "segmentation": {"size": mask["size"], "counts": mask["counts"].decode()},
        "iscrowd": 0,
    } | more


def evaluated(
    name: str, truth: dict[str, Any], found: list[dict[str, Any]], kind: str
) -> tuple[np.ndarray, np.ndarray]:
    """Precision [T, R, K, A, M] and recall [T, K, A, M] by one library."""
    of_coco, of_eval = map(importlib.import_module, LIBRARIES[name])
    with contextlib.redirect_stdout(io.StringIO()):
        sides = []
        for some in (truth["annotations"], found):
            side = of_coco.COCO()
            side.dataset = {**truth, "annotations": [dict(one) for one in some]}
            side.createIndex()
            sides.append(side)
        evaluation = of_eval.COCOeval(*sides, kind)
        evaluation.evaluate()
        evaluation.accumulate()
    return np.asarray(evaluation.eval["precision"]), np.asarray(evaluation.eval["recall"])


def measure(names: list[str], num_images: int, kind: str) -> dict[str, Any]:
    """Seconds of each library, and how far its numbers are from pycocotools'."""
    truth, found = annotations(num_images)
    results: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def work(name: str) -> Any:
        return lambda: results.update({name: evaluated(name, truth, found, kind)})

    times = in_turns({name: work(name) for name in names}, TURNS)
    seconds = {name: round(statistics.median(values), 2) for name, values in times.items()}
    expected = results["pycocotools"]
    return {
        "kind": kind,
        "images": num_images,
        "objects": len(truth["annotations"]),
        "detections": len(found),
        "ap": round(float(expected[0][expected[0] > -1].mean()), 4),
        "seconds": seconds,
        "times_as_fast": {n: round(seconds["pycocotools"] / s, 2) for n, s in seconds.items()},
        "difference": {
            name: max(float(np.abs(a - b).max()) for a, b in zip(expected, made, strict=True))
            for name, made in results.items()
        },
    }


def main() -> None:
    """Prints a line for boxes and one for masks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    installed = [name for name in LIBRARIES if importlib.util.find_spec(name)]
    parser.add_argument("libraries", nargs="*", default=installed, help="beside pycocotools")
    parser.add_argument("--images", type=int, default=5000)
    asked = parser.parse_args()
    names = list(dict.fromkeys(["pycocotools", *asked.libraries]))
    for kind in ("bbox", "segm"):
        print(json.dumps(measure(names, asked.images, kind)), flush=True)


if __name__ == "__main__":
    main()
