"""Scores of a self-labeled head: of readable images, with the label that their pixels have."""

import numpy as np
import pytest

from fakes.few_layers import Pretrained
from fakes.random_examples import KIND, NETWORK, RandomExamples, training
from must_keras.data.examples import LabeledExamples
from must_keras.data.pipeline import evaluation_batches
from must_keras.data.sources import Source, Subset
from must_keras.data.splits import Splits
from must_keras.errors import DataError
from must_keras.inference import self_labeled
from must_keras.tasks.features import Features
from must_keras.training.building import build_model
from must_keras.training.loggers import Loggers, read_metrics

UNREADABLE = 3


class Photos(Source):
    """Random images, one of which cannot be read."""

    def __init__(self, name, first):
        self.name, self._first, self._examples = name, first, RandomExamples([KIND], 99)
        self.label_spaces = {}

    def __len__(self):
        return 7

    def image_id(self, index):
        return str(index)

    def image(self, index):
        if self.name == "test" and index == UNREADABLE:
            raise DataError("it is damaged")
        return self._examples.load(self._first + index)[0][:48]

    def labels(self, index):
        return {}

    def describe(self):
        return {"name": self.name}


def batches_of(source):
    some = Subset(
        source, [i for i in range(7) if (source.name, i) != ("test", UNREADABLE)], name="x"
    )
    return evaluation_batches(
        LabeledExamples(some, []), (), size=64, batch=len(some), ranges=[range(len(some))]
    )


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """(the task, the model, sets, scores, rows of metrics.jsonl)."""
    names = {"train": 0, "validation": 20, "test": 40}
    sets = Splits(**{name: Photos(name, first) for name, first in names.items()})
    inputs = (x for x, _ in batches_of(sets.train))
    task = Features(name="seen", backbone=Pretrained(), num_images=4).prepared((64, 64), inputs)
    model = build_model(NETWORK, [KIND], seed=3, self_labeled=[task], **training(1).of_model())
    folder = tmp_path_factory.mktemp("scores")
    loggers = Loggers(folder)
    options = {"batch": 3, "max_unreadable": 0.5, "step": 8, "loggers": loggers}
    found = self_labeled.score(model, task, [sets, sets], **options)
    loggers.close()
    return task, model, sets, found, read_metrics(folder)


def by_hand(task, model, source):
    ((x, _),) = batches_of(source)
    label = task.labels.label(x, None)
    prediction = model(x, training=False)[task.name]
    return [{k: np.asarray(v) for k, v in side.items()} for side in (label, prediction)]


def test_scores_are_those_of_all_images_at_once(scored):
    task, model, sets, found, rows = scored
    assert [(row.step, row.split) for row in rows] == [(8, "validation"), (8, "test")]
    for row in rows:
        evaluator = task.metrics.evaluator()
        evaluator.update(*by_hand(task, model, getattr(sets, row.split)))
        wanted = evaluator.result()["cosine_similarity"]
        assert row.values["seen_cosine_similarity"] == pytest.approx(wanted, abs=1e-5)
    assert found.metrics["cosine_similarity"] == rows[1].values["seen_cosine_similarity"]


def test_the_trivial_baseline_is_fitted_on_training_images(scored):
    task, model, sets, found, _ = scored
    baseline, evaluator = task.metrics.trivial_baseline(), task.metrics.evaluator()
    baseline.update(by_hand(task, model, sets.train)[0])
    label, _ = by_hand(task, model, sets.test)
    evaluator.update(label, baseline.predict(len(label["area"])))
    wanted = evaluator.result()["cosine_similarity"]
    assert found.trivial["cosine_similarity"] == pytest.approx(wanted, abs=1e-5)
    assert found.trivial != found.metrics


def test_without_a_set_there_are_no_scores(scored, tmp_path):
    task, model, *_ = scored
    options = {"batch": 3, "max_unreadable": 0.5, "step": 8, "loggers": Loggers(None)}
    found = self_labeled.score(model, task, [], **options)
    assert found.metrics == found.trivial == {"cosine_similarity": None}
