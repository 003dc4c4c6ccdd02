"""Weights in the batches and losses of the multi-task network; see tests/tasks/test_weights.py."""

import dataclasses

import numpy as np
import pytest

from fakes.random_examples import NETWORK, NORM, PARTS, THINGS, RandomExamples, training
from must_keras.training.building import build_model
from must_keras.training.input_pipeline import InputPipeline
from must_keras.training.network import losses_over, valid_counts

TASKS = (PARTS, THINGS)


@pytest.fixture(scope="module")
def model():
    """A network of tasks without weights: it learns from labels with weights, too."""
    return build_model(NETWORK, TASKS, seed=0, norm=NORM)


def batch_of(*, weighted: bool):
    tasks = [dataclasses.replace(task, weighted=weighted) for task in TASKS]
    pipeline = InputPipeline(RandomExamples(TASKS), tasks, training(1), size=64, seed=1)
    return pipeline.batch_of(0)


def test_ground_truth_has_the_same_losses_with_weights_and_without(model):
    (x, plain), (_, weighted) = (batch_of(weighted=on) for on in (False, True))
    predictions = model(x, training=True)
    found, expected = (model.losses_by_task(y, predictions) for y in (weighted, plain))
    for name in ("parts", "things"):
        assert "weight" in weighted["labels"][name] and "weight" not in plain["labels"][name]
        assert float(expected[name]) == float(found[name]) > 0


def test_halves_of_a_batch_add_up_to_the_whole(model):
    """What replicas and microbatches compute: a loss over the counts of the whole batch."""
    x, y = batch_of(weighted=True)
    labels = {name: dict(label) for name, label in y["labels"].items()}
    random = np.random.default_rng(0)
    for name, scale, dtype in (("parts", 255, np.uint8), ("things", 1, np.float32)):
        shape = labels[name]["weight"].shape
        labels[name]["weight"] = (random.random(shape) * scale).astype(dtype)
    predictions = model(x, training=False)
    y = {"labels": labels, "keys": y["keys"]}

    def rows(value, some):
        if isinstance(value, dict):
            return {key: rows(one, some) for key, one in value.items()}
        return value[some]

    counts = valid_counts(TASKS, y)
    halves = [rows((y, predictions)[i], s) for s in (slice(0, 2), slice(2, 4)) for i in (0, 1)]
    parts = [
        losses_over(model, TASKS, *halves[:2], counts),
        losses_over(model, TASKS, *halves[2:], counts),
    ]
    whole = losses_over(model, TASKS, y, predictions, counts)
    for name, value in whole.items():
        np.testing.assert_allclose(sum(p[name] for p in parts), value, rtol=1e-5)
    sums = sum(np.asarray(valid_counts(TASKS, half)) for half in halves[::2])
    np.testing.assert_array_equal(sums, counts)
