"""What domain gates leave out of a run's pseudo labels, and how well distances tell images apart.

    python -m must_keras.main --experiment=RECIPE:gate=0.99,... --stage=label --workdir=DIR
    python -m benchmarks.domain_gate RECIPE:gate=0.99,... DIR

Prints a JSON line for each gated teacher and each source that it labels: the share of images beyond
the gate, and the AUROC of the source's distances against those of the teacher's own validation
images (0.5: they cannot be told apart); and the same of the teacher's own test images and of the
test images of every transfer. Of a detector also the boxes above the threshold, and how many of
these are on images within the gate: all boxes of its pseudo-label datasets ("boxes"); and where
ground truth is known, of its own test images and of pools, right and wrong ones.
"""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Any

import numpy as np

from must_keras import experiment
from must_keras.config.teachers import Teacher
from must_keras.data.examples import LabeledExamples
from must_keras.data.pipeline import evaluation_batches
from must_keras.data.sources import Source
from must_keras.inference.image_features import ImageFeatures
from must_keras.modeling.loading import load_model
from must_keras.pseudo_labels import gates
from must_keras.pseudo_labels.store import PseudoLabelReader
from must_keras.runs import pools
from must_keras.runs.run import Run


def auroc(own: np.ndarray, other: np.ndarray) -> float:
    """Return the probability that an image of another source is farther than an own one."""
    less = (own[:, None] < other).mean()
    return float(less + 0.5 * (own[:, None] == other).mean())


def boxes_of(labels: Any, task: Any, count: int) -> np.ndarray:
    """Return the number of boxes of each image that a student would learn from."""
    found = np.zeros(count, int)
    for index in range(count):
        if not labels.is_missing(index):
            found[index] = int((~labels.label(task, index)["ignore"]).sum())
    return found


def scored_boxes(run: Run, teacher: Teacher, source: Source) -> dict[str, np.ndarray]:
    """Return the numbers of right and wrong boxes above the threshold in each labeled image."""
    task, size, batch = teacher.task, run.recipe.network.size, run.recipe.evaluation_batch
    predictor, limits = teacher.predictor(run.teacher(teacher.name).model_path), teacher.limits()
    batches = evaluation_batches(
        LabeledExamples(source, [task]), [task], size=size, batch=batch, ranges=[range(len(source))]
    )
    right, wrong = [], []
    for one in predictor(batches):
        label, outputs = one.y["labels"][task.name], one.outputs[task.name]
        for i in range(len(label["labelled"])):
            some = ({key: value[i : i + 1] for key, value in of.items()} for of in (label, outputs))
            scored = task.metrics.scored_predictions(*some)
            kept = scored.correct[scored.scores >= limits[scored.classes]]
            right.append(int(kept.sum()))
            wrong.append(int((~kept).sum()))
    return {"right": np.array(right), "wrong": np.array(wrong)}


def show(
    teacher: Teacher,
    source: str,
    distances: np.ndarray,
    own: np.ndarray,
    counts: dict[str, np.ndarray],
) -> None:
    """Print the line of a source; `own` are the distances of the validation images."""
    within = distances <= teacher.gate.limit(own)
    line: dict[str, Any] = {"teacher": teacher.name, "source": source, "images": len(distances)}
    line |= {"beyond": round(float((~within).mean()), 4), "auroc": round(auroc(own, distances), 4)}
    for what, number in counts.items():
        line |= {what: int(number.sum()), f"{what}_within": int(number[within].sum())}
    print(json.dumps(line), flush=True)


def main(text: str, workdir: str) -> None:
    """Print the figures of a run."""
    name, arguments = experiment.parse(text)
    recipe = experiment.load(name, arguments, data_dir=None)
    run = pools.frozen(Run(recipe=recipe, path=pathlib.Path(workdir)), new=False)
    truths = {pool.source.name: pool.truth for pool in run.recipe.pools if pool.truth is not None}
    for gated in gates.gated(run):
        calibration = run.calibration(gated.name)
        if not calibration.is_there:
            continue
        teacher, own = run.resolved(gated), gates.distances_in(calibration)
        task, test = teacher.task, teacher.sets.test
        model = load_model(run.teacher(teacher.name).model_path, remedy="train it again")
        features = {teacher.name: ImageFeatures(model)}
        counts = scored_boxes(run, teacher, test) if task.kind == "boxes" else {}
        distances = gates.distances_from(run, test, features)[teacher.name]
        show(teacher, "own test", distances, own, counts)
        for source, labels in run.label_sets(teacher):
            counts, truth = {}, truths.get(source.name)
            if task.kind == "boxes":
                pseudo = teacher.pseudo_labels(PseudoLabelReader(labels.folder, source, task))
                counts = {"boxes": boxes_of(pseudo, task, len(source))}
                if truth is not None and task.name in truth.label_spaces:
                    counts |= scored_boxes(run, teacher, truth)
            distances = gates.distances_in(run.distances(teacher.name, source.name))
            show(teacher, source.name, distances, own, counts)
        for transfer in run.recipe.transfers:
            found = gates.distances_from(run, transfer.sets.test, features)[teacher.name]
            show(teacher, f"{transfer.name}, test", found, own, {})


if __name__ == "__main__":
    main(*sys.argv[1:])
