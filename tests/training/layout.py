"""A program of the tests: trains one small network in some layouts of devices.

python layout.py FOLDER DTYPE KIND LAYOUT...: the layouts are one, mirrored, or worker (with
TF_CONFIG set); each writes FOLDER/<layout><index>.npz: each step's losses and the final weights.
Several folders, joined by os.pathsep, are trained into one after the other. The kind is "equal"
(all tasks, 20 steps), "every option" (the same with recomputed features, two microbatches,
stochastic depth, dropped heads, weights by a dynamic average, a frozen network's features, diagnostics, labels with weights,
mixed images, strong views and a share of ground truth), "streams" (two tasks with rotation, jigsaw, and contrast of
some images; 10 steps), "killed" (two tasks, many steps, a checkpoint after each) or "best" (two tasks, the best weights
by a number of the model's own predictions).
"""

import dataclasses
import json
import os
import pathlib
import sys

import keras
import numpy as np
import tensorflow as tf

from fakes.few_layers import Pretrained
from fakes.random_examples import (
    ALL,
    KIND,
    NETWORK,
    PARTS,
    RESIDUAL,
    RandomExamples,
    train,
    training,
)
from must_keras import command
from must_keras.data.augmentation import Augmentation
from must_keras.data.mixing import CopyPaste, CutMix, MixUp
from must_keras.data.pipeline import evaluation_batches, one_view, training_batches
from must_keras.data.strong_views import StrongViews
from must_keras.inference.predictor import Predictor
from must_keras.self_supervised import Contrast, Jigsaw, RandomViews, Rotation
from must_keras.tasks.features import Features
from must_keras.tasks.self_labeled import SelfLabeledTask
from must_keras.training.best import BestWeights, KeepBest
from must_keras.training.building import build_model
from must_keras.training.dynamic_weights import DynamicAverage
from must_keras.training.input_pipeline import InputPipeline
from must_keras.training.loggers import read_metrics
from must_keras.training.loss_weights import Uncertainty
from must_keras.training.self_labeled import SelfLabeled
from must_keras.training.strategy import is_chief, lost_workers, make_strategy, num_replicas

EVERY_OPTION = {
    "accumulate": 2, "recompute": True, "stochastic_depth": 0.2, "diagnose_every": 10,
}  # fmt: skip
MIXED = {
    "mixing": (
        CutMix(probability=0.15), MixUp(probability=0.15),
        CopyPaste(head="things", probability=0.3),
    )
}  # fmt: skip
WEIGHTED = tuple(dataclasses.replace(t, weighted=t.records.why_unweighted is None) for t in ALL)
KINDS = {
    "equal": (ALL, 20, 60.0, {"diagnose_every": 0}),
    "every option": (WEIGHTED, 20, 60.0, EVERY_OPTION | MIXED),
    "streams": ((KIND, PARTS), 10, 60.0, EVERY_OPTION | {"accumulate": 1, "diagnose_every": 5}),
    "killed": ((KIND, PARTS), 30, 0.0, EVERY_OPTION | {"recompute": False}),
    "best": ((KIND, PARTS), 14, 0.0, {}),
}
PLAIN = ("killed", "best")
TASKS, STEPS, SAVE_SECONDS, OPTIONS = KINDS[sys.argv[3]]
PRECISION = "mixed_bfloat16" if sys.argv[2] == "mixed_bfloat16" else None
SIZE = 128 if PRECISION else NETWORK.size
RUN = training(
    STEPS, batch=8, learning_rate=0.01, log_every=1, ema=True, clip_norm=1.0,
    save_seconds=SAVE_SECONDS, precision=PRECISION, **OPTIONS,
)  # fmt: skip

CROPS = RandomViews(jitter_share=0.0, gray_share=0.0, blur_share=0.0)
CONTRAST = Contrast(views=CROPS, dimensions=4)
HEADS = (
    SelfLabeled(task=Rotation(), loss_weight=1.0),
    SelfLabeled(task=Jigsaw(grid=2, orders=8), loss_weight=1.0),
    SelfLabeled(task=CONTRAST, loss_weight=1.0, sources=("pool",)),
)
OF_INPUT = {
    "every option": {"strong_views": StrongViews(), "ground_truth_share": 0.5},
    "streams": {"self_labeled": HEADS},
}.get(sys.argv[3], {})


def own_tasks() -> list[SelfLabeledTask]:
    """Return the self-labeled tasks: a frozen network's features where every option is used."""
    if sys.argv[3] != "every option":
        return [head.task for head in OF_INPUT.get("self_labeled", ())]
    examples, options = RandomExamples(TASKS), {"size": SIZE, "seed": 5} | OF_INPUT
    images = InputPipeline(examples, TASKS, RUN, **options).inputs()
    task = Features(name="seen", backbone=Pretrained(), num_images=8)
    return [task.prepared((SIZE, SIZE), images)]


def build(tasks, own=()):
    options = RUN.of_model() | {"norm": RUN.norm() | {"momentum": 0.9}, "self_labeled": own}
    network = dataclasses.replace(RESIDUAL if "stochastic_depth" in OPTIONS else NETWORK, size=SIZE)
    return build_model(network, tasks, seed=3, loss_weights={"far": 0.5}, **options)


def predicted_of_six(model) -> np.ndarray:
    """Return predictions of six images, in batches that two replicas cannot share evenly."""
    batches = evaluation_batches(
        RandomExamples([KIND]), [KIND], size=64, batch=3, ranges=[range(6)]
    )
    return np.concatenate([p.outputs["kind"]["probabilities"] for p in Predictor(model)(batches)])


class Doubt:
    """How unsure a model is of six images: a number that rises and falls as it trains."""

    name = "doubt"

    def __init__(self, model):
        self._model = model

    def __call__(self, step, loggers) -> float:
        value = 1.0 - float(predicted_of_six(self._model).max(axis=-1).mean())
        loggers.scalars(step, "validation", {"doubt": value})
        return value


def means_of_keras(model) -> list[float]:
    """Return what Keras' own evaluate returns."""
    four = training_batches(
        RandomExamples([KIND]), [KIND], batch=4, seed=1, steps=range(2),
        make_views=one_view([KIND], size=64, augmentation=Augmentation()),
    )  # fmt: skip
    return model.evaluate(four, verbose=0)


def run(folder: pathlib.Path, layout: str, strategy: tf.distribute.Strategy) -> None:
    index = json.loads(os.environ.get("TF_CONFIG", '{"task": {}}'))["task"].get("index", 0)
    own = own_tasks()
    model = build(TASKS, own)
    model.drop_heads = 0.3 if own else 0.0
    if sys.argv[3] not in PLAIN:
        weighting = DynamicAverage(window=4) if own else Uncertainty()
        model.learned_weights = weighting.learner((*TASKS, *own))
    RUN.compile(model)
    found = {"replicas": num_replicas()}
    work = folder / f"work-{layout}"
    best = None
    if sys.argv[3] == "best":
        best = BestWeights(KeepBest(every=2), Doubt(model), title="best")
    train(model, work, RUN, tasks=TASKS, best=best, **OF_INPUT)
    if best is not None:
        found |= {"kept": best.kept().step, "value": best.kept().value}
    if layout != "worker" and sys.argv[3] not in PLAIN:
        small = build([KIND])
        RUN.compile(small)
        found |= {"predicted": predicted_of_six(small), "means": means_of_keras(small)}
    if is_chief():
        rows = read_metrics(work)
        looks = [row.values for row in rows if "loss" not in row.values]
        steps = [row.step for row in rows if "loss" in row.values]
        rows = [row.values for row in rows if "loss" in row.values]
        for key, some, ends in (
            ("losses", rows, ("loss",)),
            ("loss_weights", rows, ("_weight",)),
            ("looks", looks, ("_share", "_cosine")),
        ):
            names = sorted(name for name in (some or [{}])[0] if name.endswith(ends))
            found[key] = [[row[name] for name in names] for row in some]
        found |= {"steps": steps}
    found |= {f"weight {i}": w for i, w in enumerate(model.get_weights())}
    np.savez(folder / f"{layout}{index}.npz", **found)


def main(argv: list[str]) -> None:
    for layout in argv[4:]:
        strategy = make_strategy("multiworker" if layout == "worker" else layout)
        with lost_workers(strategy), strategy.scope():
            for folder in argv[1].split(os.pathsep):
                run(pathlib.Path(folder), layout, strategy)


if __name__ == "__main__":
    if not PRECISION:
        keras.config.set_floatx(sys.argv[2])
    # Optimizing the graphs takes longer than 20 steps of so small a network.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    if "mirrored" in sys.argv:
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * 2
        )
    command.run(main)
