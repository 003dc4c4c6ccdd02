"""Heads with streams of their own: passes of one backbone, running averages, sources, resuming."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from fakes.few_layers import OnlyOnce, Pretrained
from fakes.random_examples import KIND, NETWORK, NORM, PARTS, RandomExamples, artifact_in, training
from must_keras import interruption
from must_keras.data.mixing import CutMix, MixUp
from must_keras.errors import UserError
from must_keras.self_supervised import Contrast, RandomViews, Rotation
from must_keras.tasks.features import Features
from must_keras.tasks.streams import PLAIN, Stream, distinct
from must_keras.training import diagnostics, loop
from must_keras.training.building import build_model
from must_keras.training.input_pipeline import InputPipeline
from must_keras.training.network import Network
from must_keras.training.optimizers import AdamW
from must_keras.training.self_labeled import SelfLabeled
from must_keras.training.strategy import make_strategy
from must_keras.training.stream_networks import check_backbone

TASKS = (KIND, PARTS)
# Crops alone: views that are traced in a moment.
CROPS = RandomViews(jitter_share=0.0, gray_share=0.0, blur_share=0.0)
TURNED, AGAIN = Rotation(), Rotation(name="again")
PAIRS = Contrast(views=CROPS, dimensions=4)
HEADS = tuple(SelfLabeled(task=task, loss_weight=0.5) for task in (TURNED, AGAIN, PAIRS))


def pipeline_of(run, heads=HEADS, **options):
    return InputPipeline(
        RandomExamples(TASKS), TASKS, run, size=64, seed=5, self_labeled=heads, **options
    )


def build(run, tasks=TASKS, heads=HEADS, seed=3, network=NETWORK):
    options = run.of_model() | {"norm": NORM, "loss_weights": {h.name: 0.5 for h in heads}}
    return build_model(network, tasks, seed=seed, self_labeled=[h.task for h in heads], **options)


RUN = training(2)


@pytest.fixture(scope="module")
def batch():
    """A batch with streams, in which contrast learns from the pool alone."""
    limited = dataclasses.replace(HEADS[2], sources=("pool",))
    return pipeline_of(RUN, (*HEADS[:2], limited)).batch_of(0)


@pytest.fixture(scope="module")
def model():
    return build(RUN)


def test_equal_streams_are_one():
    rotated, first, second = distinct(s for h in HEADS for s in h.task.streams)
    assert (rotated, first, second) == (*TURNED.streams, *PAIRS.streams)
    assert distinct([PLAIN, PLAIN]) == ()


def test_the_batch_has_the_views_and_the_plain_one_is_as_ever(batch):
    x, y = batch
    names = {f"{part}_{i}" for part in ("image", "area") for i in range(3)}
    assert set(x) == {"image", "area"} | names
    plain_x, plain_y = pipeline_of(RUN, ()).batch_of(0)
    np.testing.assert_array_equal(x["image"], plain_x["image"])
    np.testing.assert_array_equal(y["keys"], plain_y["keys"])
    assert set(plain_x) == {"image", "area"} and set(plain_y) == {"labels", "keys"}
    assert x["image_0"].shape == (4, 64, 64, 3) and x["image_0"].dtype == tf.uint8
    assert not np.array_equal(x["image_1"], x["image_2"])
    assert set(y["kept"]) == {"contrast"}


def test_other_heads_begin_with_the_same_weights_and_what_is_saved_has_no_other(model):
    plain = build(RUN, heads=())
    saved = model.clean_copy()
    assert list(saved.heads) == ["kind", "parts"]
    assert [layer.name for layer in saved.layers] == [layer.name for layer in plain.layers]
    for ours, theirs in zip(saved.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    own = sum(model.get_layer(head.name).count_params() for head in HEADS)
    assert model.count_params() - plain.count_params() == own
    assert len(model.trainable_weights) == len(plain.trainable_weights) + 2 + 2 + 4


def test_each_stream_is_one_pass_and_the_plain_view_moves_the_running_averages(batch, model):
    x, _ = batch
    before = model.get_weights()
    passes = len(model.streams.networks)
    assert passes == 3, "of four streams two are equal"
    model(x, training=True)
    wanted = [np.array(w) for w in model.non_trainable_weights]
    model.set_weights(before)
    found = model.predictions(x, training=True)
    for ours, theirs in zip(model.non_trainable_weights, wanted, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    model.set_weights(before)
    assert list(found) == ["kind", "parts", "rotation", "again", "contrast"]
    # What the head has is what the backbone makes of the stream.
    c5 = model.get_layer("backbone")(tf.cast(x["image_0"], tf.float32), training=True)["C5"]
    model.set_weights(before)
    logits = model.get_layer("again").last(tf.reduce_mean(c5, axis=(1, 2)))
    np.testing.assert_allclose(found["again"]["logits"], logits, atol=1e-5)
    assert [part.shape for part in found["contrast"]] == [(4, 4)] * 2


def test_without_a_plain_head_the_first_stream_moves_them(batch):
    x, _ = batch
    model = build(RUN, tasks=(), heads=HEADS[:2])
    before = model.get_weights()
    assert list(model.predictions(x, training=True)) == ["rotation", "again"]
    moved = [np.array(w) for w in model.non_trainable_weights]
    model.set_weights(before)
    model.get_layer("backbone")(tf.cast(x["image_0"], tf.float32), training=True)
    for ours, theirs in zip(moved, model.non_trainable_weights, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    saved = model.clean_copy()
    assert "backbone" in [layer.name for layer in saved.layers]
    assert sorted(saved.output) == ["C2", "C3", "C4", "C5"]


def test_a_head_learns_from_its_sources_alone(batch, model):
    x, y = batch
    y = model.targets(x, y)
    kept = np.asarray(y["kept"]["contrast"])
    assert 0 < kept.sum() < 4
    np.testing.assert_array_equal(y["labels"]["contrast"]["shown"], kept)
    counts = dict(zip(model.heads, np.asarray(model.valid_counts(y)), strict=True))
    assert counts["contrast"] == kept.sum() and counts["rotation"] == 4
    predictions = model.predictions(x, training=False)
    losses = model.losses_by_task(y, predictions)
    terms = PAIRS.head.loss(y["labels"]["contrast"], predictions["contrast"], None, y["keys"])
    assert float(losses["contrast"]) == pytest.approx(np.sum(terms) / kept.sum(), rel=1e-5)
    assert (np.asarray(terms)[~kept] == 0).all()
    assert float(losses["rotation"]) > 0.0
    model.drop_heads = 0.5
    dropped = np.asarray(model.training_targets(x, y)["kept"]["contrast"])
    model.drop_heads = 0.0
    assert not (dropped & ~kept).any()


def test_a_kept_step_is_replayed_without_heads_of_streams(batch, model, tmp_path):
    ids = [f"image {i}" for i in range(4)]
    found = {"step": 1, "ids": ids, "bad": ["contrast"]}
    kept = diagnostics.keep_step(tmp_path / "student", model, batch, **found)
    replayed, losses = (
        diagnostics.replay(kept),
        model.losses_by_task(model.targets(*batch), model.predictions(batch[0], training=True)),
    )
    assert list(replayed.losses) == ["kind", "parts"]
    for name in replayed.losses:
        mean = replayed.losses[name].sum() / max(replayed.weights[name].sum(), 1.0)
        assert mean == pytest.approx(float(losses[name]), rel=1e-4)
    alone = build(RUN, tasks=(), heads=HEADS[:1])
    kept = diagnostics.keep_step(tmp_path / "alone", alone, batch, **found)
    with pytest.raises(UserError, match="of a self-supervised method"):
        diagnostics.replay(kept)


def test_features_and_a_stream_pretrain_together(batch):
    task = Features(name="seen", backbone=Pretrained(), num_images=4)
    head = SelfLabeled(task=task, loss_weight=1.0)
    head = head.prepared((64, 64), iter([batch[0]]))
    model = build(RUN, tasks=(), heads=(HEADS[0], head))
    assert list(model.predictions(batch[0], training=True)) == ["seen", "rotation"]
    losses = model.losses_by_task(model.targets(*batch), model.predictions(batch[0], training=True))
    assert list(losses) == ["rotation", "seen"] and all(float(v) > 0 for v in losses.values())
    assert sorted(model.clean_copy().output) == ["C2", "C3", "C4", "C5"]


def test_a_backbone_that_cannot_be_called_twice_is_named():
    network = Network(backbone=OnlyOnce(), size=64, channels=16)
    message = (
        r"the network: OnlyOnce cannot be called for a second stream \(.*\); remove the "
        "self-labeled heads that have one"
    )
    with pytest.raises(UserError, match=message):
        build(RUN, network=network)
    with pytest.raises(UserError, match=message):
        check_backbone(network)
    check_backbone(NETWORK)


@dataclasses.dataclass(frozen=True)
class Dark(Stream):
    """A stream that is made of the plain view."""

    def view(self, original, x, key):
        return {"image": x["image"] // 2, "area": x["area"]}


def test_streams_are_made_before_images_are_mixed():
    class Darkened(Rotation):
        streams = (Dark(),)

    heads = [SelfLabeled(task=Darkened(), loss_weight=1.0)]
    mixed = training(1, batch=8, mixing=(CutMix(probability=0.5), MixUp(probability=0.5)))
    x, _ = pipeline_of(mixed, heads).batch_of(0)
    plain, _ = pipeline_of(training(1, batch=8), ()).batch_of(0)
    np.testing.assert_array_equal(x["image_0"], plain["image"] // 2)
    assert not np.array_equal(x["image"], plain["image"])


RESUMED = training(6, batch=4, learning_rate=0.01, optimizer=AdamW(), ema=True, save_seconds=0.0)


def fitted(folder, tasks=TASKS, heads=HEADS, seed=3):
    """Train with streams and dropped heads; return the model."""
    model = build(RESUMED, tasks, heads, seed=seed)
    model.drop_heads = 0.3
    RESUMED.compile(model)
    options = {"title": "test", "origin": "scratch"}
    loop.fit(artifact_in(folder), model, pipeline_of(RESUMED, heads), RESUMED, **options).close()
    return model


@pytest.mark.slow
@pytest.mark.parametrize("tasks", [TASKS, ()], ids=["student", "pretraining"])
def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path, monkeypatch, tasks):
    with make_strategy("one").scope():
        whole = fitted(tmp_path / "whole", tasks).get_weights()
        sums, asked = loop.sum_over_workers, iter(range(1, 7))
        monkeypatch.setattr(
            loop, "sum_over_workers", lambda v: [1.0] if next(asked) == 3 else sums(v)
        )
        with pytest.raises(interruption.Interrupted):
            fitted(tmp_path / "stopped", tasks)
        monkeypatch.undo()
        again = fitted(tmp_path / "stopped", tasks, seed=9).get_weights()
        first = build(RESUMED, tasks).get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(whole, again, strict=True))
    # Every weight of every head has moved, with its gradient.
    assert not any(np.array_equal(a, b) for a, b in zip(whole, first, strict=True))
