"""Labeling from JPEG files to shards, beside the teachers' bare forward passes on ready batches.

    python -m benchmarks.labeling [large | small]

large: four ResNet-50-FPN teachers at 256 pixels, batch 8, 200 proposals and 100 masks an image, all
of which are stored. small: the four teachers of experiments/scenes.py at 64 pixels, batch 32.
Photos are of 480 x 640 pixels, four bits each. Both kinds of work take turns; one JSON line of
their medians.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import statistics
import sys
import tempfile
from typing import Any

from benchmarks.measuring import seconds_of
from benchmarks.photos import write_photos

# Batches of a turn, and how many turns each side has.
BATCHES, TURNS = {"large": 4, "small": 24}, 3


def _setting(name: str, data: pathlib.Path) -> Any:
    """A recipe, of which the teachers' tasks, the network and the batch count."""
    from experiments import scenes
    from must_keras.config.recipe import Pool
    from must_keras.data.sources import ImagesOnly
    from must_keras.modeling.backbone import ResNet
    from must_keras.tasks import Detection
    from must_keras.training.network import Network

    recipe = scenes.recipe(size=256 if name == "large" else 64)
    pool = Pool(source=ImagesOnly(name="photos", root=data))
    if name == "small":
        return dataclasses.replace(recipe, pools=(pool,), evaluation_batch=32)
    teachers = []
    for teacher in recipe.teachers:
        task: Any = teacher.task
        if isinstance(task, Detection):
            task = Detection(
                name=task.name,
                classes=tuple(f"class {k}" for k in range(80)),
                num_candidates=1000,
                num_proposals=200,
                max_detections=100,
                score_floor=1e-4,
            )
        teachers.append(dataclasses.replace(teacher, task=task))
    return dataclasses.replace(
        recipe,
        network=Network(backbone=ResNet.of_depth(50), size=256),
        teachers=tuple(teachers),
        pools=(pool,),
        evaluation_batch=8,
    )


def measure(name: str, folder: pathlib.Path) -> dict[str, Any]:
    """Images per second of both sides, and their ratio turn by turn."""
    from must_keras.data.examples import LabeledExamples
    from must_keras.data.pipeline import images_in_sizes
    from must_keras.inference.predictor import Predictor
    from must_keras.pseudo_labels.labeler import Labeler, Range
    from must_keras.pseudo_labels.store import PseudoLabelWriter
    from must_keras.runs.run import Run
    from must_keras.training.building import build_model

    batch = 8 if name == "large" else 32
    count = BATCHES[name] * batch
    recipe = _setting(name, write_photos(folder / "photos", count * (TURNS + 1)))
    source, run = recipe.pools[0].source, Run(recipe=recipe, path=folder / "run")
    for teacher in recipe.teachers:
        artifact = run.teacher(teacher.name)
        artifact.folder.mkdir(parents=True)
        model = build_model(recipe.network, [teacher.task], seed=0, **teacher.training.of_model())
        model.save(artifact.model_path)
    labeler = Labeler(run, recipe.teachers)
    size = recipe.network.size
    ready = [
        views[0]
        for views, _ in images_in_sizes(
            LabeledExamples(source, []), sizes=[size], batch=batch, ranges=[range(count)]
        )
    ]
    predictors: list[Predictor] = [*labeler._predictors.values()]
    writers = {
        teacher.name: PseudoLabelWriter(
            run.labels(teacher.name, source.name).folder,
            teacher.task,
            len(source),
            teacher_sha256="",
            recipe={},
            records_per_shard=count,
        )
        for teacher in recipe.teachers
    }

    def bare() -> None:
        for x in ready:
            for predictor in predictors:
                predictor.outputs(x)

    def label(turn: int) -> None:
        part = Range(turn * count, count, tuple(writers))
        assert list(labeler.write(source, writers, [part])) == [part]

    # The first turn traces.
    pairs = [
        (*seconds_of(bare, 1), *seconds_of(lambda t=turn: label(t), 1)) for turn in range(TURNS + 1)
    ][1:]
    bare_seconds, label_seconds = zip(*pairs, strict=True)
    return {
        "setting": name,
        "bare_images_per_s": round(count / statistics.median(bare_seconds), 2),
        "labeling_images_per_s": round(count / statistics.median(label_seconds), 2),
        "share": round(statistics.median(b / t for b, t in pairs), 3),
        "shares": [round(b / t, 3) for b, t in pairs],
        "bytes_per_image": {k: round(w.bytes_per_record()) for k, w in writers.items()},
    }


def main() -> None:
    """Prints a line for the setting that is asked for, or for both."""
    for name in sys.argv[1:] or BATCHES:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measure(name, pathlib.Path(folder))), flush=True)


if __name__ == "__main__":
    main()
