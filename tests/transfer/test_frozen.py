"""Frozen parts do not move by a bit, and cached features give what uncached ones give."""

import dataclasses
import time

import keras
import numpy as np
import pytest

from fakes.few_layers import crops
from fakes.random_examples import (
    ALL,
    KIND,
    NETWORK,
    PARTS,
    PIXELS,
    THINGS,
    RandomExamples,
    artifact_in,
    training,
)
from must_keras.data.augmentation import Augmentation, WholeImages
from must_keras.data.mixing import MixUp
from must_keras.data.pipeline import evaluation_batches, one_view, training_batches
from must_keras.data.strong_views import StrongViews
from must_keras.errors import UserError
from must_keras.modeling.backbone import ResNet
from must_keras.tasks import Normals
from must_keras.training.building import build_model
from must_keras.training.input_pipeline import FeatureCache, InputPipeline
from must_keras.training.loop import fit
from must_keras.training.network import BACKBONE, NECK, Network
from must_keras.transfer import learner as learners
from must_keras.transfer.learner import (
    bytes_of_view,
    estimate_statistics,
    fits_into_memory,
    learner,
)

FACING = Normals(name="facing", **PIXELS)
RUN = training(6, batch=4, augmentation=Augmentation(mirror=True))


class Wide(RandomExamples):
    """The same pictures, not square: letterboxed images have padding, mirrored or not."""

    def load(self, index):
        image, labels = super().load(index)
        return image[:48], labels


def cached(task, found) -> FeatureCache:
    views = found.training.augmentation
    return FeatureCache(Wide([task]), [task], found.features, views, size=64, batch=5, title="test")


def trained(task, folder, parts, *, is_cached, run=RUN, seed=3):
    """(the learner after a run, its weights before), from the same weights each time."""
    model = build_model(NETWORK, [task], seed=seed, **run.of_model())
    found = learner(model, run, parts, is_cached=is_cached)
    before = {layer.name: layer.get_weights() for layer in found.whole.layers}
    examples = Wide([task])
    cache = cached(task, found) if is_cached else None
    feed = InputPipeline(examples, [task], found.training, size=64, seed=7, cache=cache)
    artifact = artifact_in(folder)
    fit(artifact, found.fitted, feed, found.training, title="test", origin="scratch").close()
    return found, before


def moved(found, before) -> set[str]:
    """The layers of which a weight is another one."""
    return {
        layer.name
        for layer in found.whole.layers
        for a, b in zip(layer.get_weights(), before[layer.name], strict=True)
        if not np.array_equal(a, b)
    }


@pytest.fixture(
    scope="module",
    params=[
        (KIND, (BACKBONE,)),
        (PARTS, (BACKBONE, NECK)),
        (FACING, (BACKBONE,)),
        pytest.param((THINGS, (BACKBONE,)), marks=pytest.mark.slow),
    ],
    ids=lambda case: f"{case[0].name}-{'+'.join(case[1])}",
)
def both(request, tmp_path_factory):
    """(task, frozen parts, [(learner, weights before, folder) of a run with a cache, without])."""
    task, parts = request.param
    runs = []
    for is_cached in (True, False):
        folder = tmp_path_factory.mktemp("frozen")
        runs.append((*trained(task, folder, parts, is_cached=is_cached), folder))
    return task, parts, runs


def test_what_is_frozen_does_not_move_by_a_bit(both):
    """Weights and the statistics of BatchNormalization alike; the rest learns."""
    task, parts, runs = both
    learned = {BACKBONE, NECK, task.name} - set(parts)
    if task is KIND:  # its network has no pyramid
        learned -= {NECK}
    for found, before, _ in runs:
        assert moved(found, before) == learned


def test_cached_features_give_the_numbers_of_uncached_ones(both):
    cached, uncached = (found for found, _, _ in both[2])
    assert cached.fitted is not cached.whole and uncached.fitted is uncached.whole
    for a, b in zip(cached.whole.get_weights(), uncached.whole.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)
    numbers = [(folder / "metrics.jsonl").read_text().splitlines() for _, _, folder in both[2]]
    assert len(numbers[0]) == len(numbers[1]) == 3


def test_the_cache_gives_the_batches_of_the_pipeline():
    """The same images in the same order, mirrored or not, with the same labels and keys."""
    views = WholeImages(mirror=True)
    cache = FeatureCache(Wide([THINGS]), [THINGS], dict, views, size=64, batch=5, title="test")
    options = {"batch": 4, "seed": 11, "steps": range(2, 9)}
    look = one_view([THINGS], size=64, augmentation=views)
    plain = training_batches(Wide([THINGS]), [THINGS], make_views=look, **options)
    keys = set()
    for (x, y), (other_x, other_y) in zip(cache.batches(**options), plain, strict=True):
        for key in other_x:
            np.testing.assert_allclose(x[key], other_x[key], atol=1e-3)
        for key, value in other_y["labels"]["things"].items():
            np.testing.assert_allclose(y["labels"]["things"][key], value, atol=1e-4)
        np.testing.assert_array_equal(y["keys"], other_y["keys"])
        keys |= set(y["keys"].numpy().tolist())
    mirrored = [bool(views.is_mirrored(keras.ops.convert_to_tensor(k, "int32"))) for k in keys]
    assert 0.2 < np.mean(mirrored) < 0.8


@pytest.mark.parametrize(
    ("changes", "options", "name"),
    [
        ({"mixing": (MixUp(),)}, {}, "mixing"),
        ({}, {"strong_views": StrongViews()}, "strong_views"),
        ({}, {"ground_truth_share": 0.5}, "ground_truth_share"),
        ({}, {"make_views": crops}, "make_views"),
    ],
)
def test_an_option_of_images_is_no_option_of_cached_features(changes, options, name):
    run = dataclasses.replace(RUN, **changes)
    cache = FeatureCache(Wide([KIND]), [KIND], dict, WholeImages(), size=64, batch=6, title="test")
    with pytest.raises(UserError, match=f"the input: {name}: .* cached, which it cannot change"):
        InputPipeline(Wide([KIND]), [KIND], run, size=64, seed=7, cache=cache, **options)


def test_shares_of_machines_are_those_of_the_pipeline():
    views = WholeImages(mirror=True)
    cache = FeatureCache(Wide([KIND]), [KIND], dict, views, size=64, batch=5, title="test")
    for share in range(2):
        options = {
            "batch": 8, "seed": 1, "steps": range(1, 4), "share": share, "shares": 2,
            "per_replica": 2,
        }  # fmt: skip
        look = one_view([KIND], size=64, augmentation=views)
        plain = training_batches(Wide([KIND]), [KIND], make_views=look, **options)
        found = [y["keys"].numpy().tolist() for _, y in cache.batches(**options)]
        assert found == [y["keys"].numpy().tolist() for _, y in plain]


def test_a_mirrored_evaluation_image_is_the_mirror_image():
    plain, mirrored = (
        next(iter(evaluation_batches(
            Wide([KIND]), [KIND], size=64, batch=2, ranges=[range(2)], mirror=mirror
        )))[0]
        for mirror in (False, True)
    )  # fmt: skip
    np.testing.assert_array_equal(mirrored["area"], plain["area"])
    np.testing.assert_allclose(mirrored["image"], plain["image"][:, :, ::-1], atol=1e-3)


def test_statistics_are_the_means_of_those_of_the_batches():
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.BatchNormalization()])
    norm = model.layers[0]
    norm.momentum = 0.9
    batches = np.random.default_rng(0).normal(3.0, 2.0, (20, 4, 8, 8, 3)).astype("float32")
    estimate_statistics(model, batches)
    np.testing.assert_allclose(norm.moving_mean, batches.mean((1, 2, 3)).mean(0), rtol=1e-4)
    np.testing.assert_allclose(norm.moving_variance, batches.var((1, 2, 3)).mean(0), rtol=1e-4)
    assert norm.momentum == 0.9


def test_estimated_statistics_make_inference_like_training():
    backbone = build_model(NETWORK, [KIND], seed=0, **RUN.of_model()).get_layer(BACKBONE)
    images = np.random.default_rng(0).uniform(0, 255, (20, 4, 64, 64, 3)).astype("float32")
    weights = [w.numpy() for w in backbone.trainable_weights]

    def scale(**options) -> float:
        return float(np.std(backbone(images[0], **options)["C5"]))

    before = scale(training=False)
    estimate_statistics(backbone, images)
    after, learning = scale(training=False), scale(training=True)
    assert abs(after / learning - 1.0) < 0.1 < abs(before / learning - 1.0)
    for weight, kept in zip(backbone.trainable_weights, weights, strict=True):
        np.testing.assert_array_equal(weight, kept)


def test_what_does_not_fit_is_not_cached(monkeypatch):
    model = build_model(NETWORK, [KIND], seed=0, **RUN.of_model())
    channels = model.get_layer(BACKBONE).output["C5"].shape[-1]
    # Two cells a side of float32, three probabilities and "labelled".
    assert bytes_of_view(model, (BACKBONE,)) == 4 * (2 * 2 * channels + 3 + 1)
    monkeypatch.setattr(learners, "MAX_CACHE_BYTES", 10 * 2 * 4 * (4 * channels + 4))
    assert fits_into_memory(model, (BACKBONE,), RUN, num_images=10)
    assert not fits_into_memory(model, (BACKBONE,), RUN, num_images=11)
    still = dataclasses.replace(RUN, augmentation=Augmentation(mirror=False))
    assert fits_into_memory(model, (BACKBONE,), still, num_images=20)


@pytest.mark.slow
def test_all_tasks_have_a_head_on_frozen_features():
    for task in ALL:
        for parts in ((BACKBONE,), (BACKBONE, NECK)):
            if task is KIND and NECK in parts:
                continue
            model = build_model(NETWORK, [task], seed=0, **RUN.of_model())
            found = learner(model, RUN, parts, is_cached=True)
            x = {
                "image": np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype("float32")
            }
            x["area"] = np.tile(np.float32([0, 0, 64, 64]), (2, 1))
            whole, head = model(x, training=False), found.fitted(found.features(x), training=False)
            for a, b in zip(keras.tree.flatten(whole), keras.tree.flatten(head), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_step_on_cached_features_is_much_faster():
    """A head on C5 against the whole network, 30 steps each, in one process."""
    seconds, network = {}, Network(backbone=ResNet.small(), size=64, channels=16)
    for name, parts, is_cached in (("full", (), False), ("cached", (BACKBONE,), True)):
        model = build_model(network, [KIND], seed=0, **RUN.of_model())
        found = learner(model, RUN, parts, is_cached=is_cached)
        feed = InputPipeline(
            Wide([KIND]), [KIND], found.training, size=64, seed=7,
            cache=cached(KIND, found) if is_cached else None,
        )  # fmt: skip
        batches = list(feed.batches())
        found.fitted.make_train_function()
        for _ in range(6):
            start = time.perf_counter()
            for batch in batches:
                found.fitted.train_function(iter([batch]))
            seconds[name] = min(seconds.get(name, np.inf), time.perf_counter() - start)
    assert seconds["cached"] < 0.5 * seconds["full"], seconds
