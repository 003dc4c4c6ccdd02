"""Heads whose labels are computed in the step: they are trained, and no saved model has them."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import ops

from fakes.few_layers import Pretrained
from fakes.random_examples import KIND, NETWORK, NORM, PARTS, RandomExamples, artifact_in, training
from must_keras import interruption
from must_keras.data.mixing import CutMix, MixUp
from must_keras.data.strong_views import StrongViews
from must_keras.modeling.feature_head import ChannelStatistics, teacher_features
from must_keras.modeling.heads import ImageHead
from must_keras.tasks import parts, self_labeled
from must_keras.tasks.features import Features
from must_keras.training import loop
from must_keras.training.building import build_model
from must_keras.training.input_pipeline import InputPipeline
from must_keras.training.loss_weights import Uncertainty
from must_keras.training.optimizers import AdamW
from must_keras.training.strategy import make_strategy

TASKS = (KIND, PARTS)


class BrightnessLabels(self_labeled.SelfLabels):
    def label(self, x, keys):
        return {"mean": ops.mean(ops.cast(x["image"], "float32"), axis=(1, 2, 3)) / 255}

    def weight(self, label):
        return ops.ones_like(label["mean"])


class BrightnessHead(parts.Head):
    is_regression = True
    features = ("C5",)

    def build(self, size, norm):
        return ImageHead(1, size=size, name=self.task.name)

    def loss(self, label, prediction, layer, keys):
        return ops.square(prediction["logits"][:, 0] - label["mean"])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Brightness(self_labeled.SelfLabeledTask):
    """The smallest self-labeled task: the mean of the image."""

    labels = property(BrightnessLabels)
    head = property(BrightnessHead)


BRIGHT = Brightness(name="bright")


def pipeline_of(run, **options):
    return InputPipeline(RandomExamples(TASKS), TASKS, run, size=64, seed=5, **options)


def build(run, tasks=TASKS, own=(BRIGHT,), seed=3):
    options = run.of_model() | {"norm": NORM}
    return build_model(NETWORK, tasks, seed=seed, self_labeled=own, **options)


def test_other_heads_begin_with_the_same_weights_and_what_is_saved_has_no_other(tmp_path):
    run = training(1)
    plain, model = build(run, own=()), build(run)
    saved = model.clean_copy()
    saved.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert list(again.tasks) == list(again.heads) == ["kind", "parts"]
    assert again.task_weights == {"kind": 1.0, "parts": 1.0}
    assert [layer.name for layer in again.layers] == [layer.name for layer in plain.layers]
    for ours, theirs in zip(again.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert model.count_params() - plain.count_params() == model.get_layer("bright").count_params()
    inputs = model.without_padding(np.zeros((1, 64, 64, 3)))
    assert set(model.decode(inputs)) == {"kind", "parts"}


def test_its_loss_is_one_of_the_losses():
    run = training(1, accumulate=2)
    x, y = pipeline_of(run).batch_of(0)
    model = build(run)
    predictions = model(x, training=False)
    found = model.losses_by_task(model.targets(x, y), predictions)
    wanted = np.asarray(x["image"]).mean((1, 2, 3)) / 255 - predictions["bright"]["logits"][:, 0]
    assert float(found["bright"]) == pytest.approx(np.mean(np.square(wanted)), rel=1e-4)
    assert float(model.compute_loss(x, y, predictions)) == pytest.approx(
        sum(map(float, found.values()))
    )
    model.learned_weights = Uncertainty().learner((*TASKS, BRIGHT))
    assert set(model.numbers) >= {"bright_loss", "bright_weight", "kind_weight"}
    assert model.task_weights == {"kind": 1.0, "parts": 1.0, "bright": 0.5}
    # A saved model has no head, and no weight of it.
    assert model.without_optimizer().task_weights == {"kind": 1.0, "parts": 1.0}


def test_features_are_prepared_from_the_first_images():
    run = training(1)
    task = Features(name="seen", backbone=Pretrained(), num_images=6)
    task = task.prepared((64, 64), pipeline_of(run).inputs())
    wanted, statistics = Pretrained().checkpoint(), ChannelStatistics()
    for ours, theirs in zip(task.teacher.network.get_weights(), wanted, strict=True):
        np.testing.assert_array_equal(ours, np.float32(theirs))
    assert not task.teacher.network.trainable_weights
    # Two batches of four: a training of one step is long enough.
    longer = pipeline_of(training(2))
    for step in range(2):
        x, _ = longer.batch_of(step)
        features = teacher_features(task.teacher.network, x["image"], x["area"])
        statistics.add(features, x["area"], size=(64, 64))
    for level, (mean, deviation) in statistics.result().items():
        np.testing.assert_allclose(task.teacher.statistics[level][0], mean, rtol=1e-6)
        np.testing.assert_allclose(task.teacher.statistics[level][1], deviation, rtol=1e-6)


def test_the_teacher_is_no_part_of_the_model():
    task = Features(name="seen", backbone=Pretrained(), num_images=4)
    task = task.prepared((64, 64), pipeline_of(training(1)).inputs())
    model = build(training(1), tasks=[KIND], own=(task,))
    plain = build(training(1), tasks=[KIND, PARTS], own=())
    ours = {v.path for v in model.variables if v.path.startswith("seen/")}
    assert len(ours) == 6 * 2 + 6, "two layers and two statistics of three levels"
    theirs = [v for v in plain.variables if not v.path.startswith("parts/")]
    assert len(model.variables) - len(ours) == len(theirs)
    mean, _ = task.teacher.statistics["C5"]
    np.testing.assert_array_equal(model.get_layer("seen").mean["C5"], mean)


RUN = training(
    6, batch=4, learning_rate=0.01, optimizer=AdamW(), accumulate=2, ema=True, save_seconds=0.0,
    mixing=(CutMix(probability=0.3), MixUp(probability=0.3)),
)  # fmt: skip


def fitted(folder, run=RUN, seed=3, drop_heads=0.5):
    """Train with features, dropped heads and options of the input; return the model's weights."""
    pipeline = pipeline_of(run, strong_views=StrongViews(), ground_truth_share=0.5)
    task = Features(name="seen", backbone=Pretrained(), num_images=4)
    model = build(run, own=(task.prepared((64, 64), pipeline.inputs()),), seed=seed)
    model.drop_heads = drop_heads
    run.compile(model)
    title = {"title": "test", "origin": "scratch"}
    loop.fit(artifact_in(folder), model, pipeline, run, **title).close()
    return model.get_weights()


@pytest.mark.slow
def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    with make_strategy("one").scope():
        whole = fitted(tmp_path / "whole")
        sums, asked = loop.sum_over_workers, iter(range(1, 7))
        monkeypatch.setattr(
            loop, "sum_over_workers", lambda v: [1.0] if next(asked) == 3 else sums(v)
        )
        with pytest.raises(interruption.Interrupted):
            fitted(tmp_path / "stopped")
        monkeypatch.undo()
        again = fitted(tmp_path / "stopped", seed=9)
        plain = fitted(tmp_path / "plain", drop_heads=0.0)
    assert all(np.array_equal(a, b) for a, b in zip(whole, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(whole, plain, strict=True))
