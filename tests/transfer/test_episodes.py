"""Episodes: what is drawn, and the learners against slow versions and numbers made by hand."""

import numpy as np
import pytest

from must_keras.config.episodes import Episodes
from must_keras.errors import UserError
from must_keras.transfer.episodes import (
    LinearLayers,
    NearestCentroids,
    accuracies,
    draw_episodes,
    interval,
)

CLASSES = np.random.default_rng(0).permutation(np.repeat(np.arange(7), 9))


def test_an_episode_has_its_classes_and_different_images():
    draw = draw_episodes(CLASSES, Episodes(ways=3, queries=4, count=50), shots=2, seed=1)
    assert draw.support.shape == (50, 3, 2)
    assert draw.queries.shape == (50, 3, 4)
    images = np.concatenate([draw.support, draw.queries], axis=2)
    of_way = CLASSES[images]
    assert (of_way == of_way[:, :, :1]).all()
    assert all(len(set(ways)) == 3 for ways in of_way[:, :, 0])
    assert all(len(set(one.ravel())) == 18 for one in images)
    assert set(of_way.ravel()) == set(range(7))


def test_more_episodes_begin_with_the_fewer():
    few, many = (
        draw_episodes(CLASSES, Episodes(ways=3, queries=4, count=count), shots=2, seed=1)
        for count in (5, 9)
    )
    np.testing.assert_array_equal(few.support, many.support[:5])
    features = np.random.default_rng(1).normal(size=(len(CLASSES), 6)).astype(np.float32)
    shares = [
        accuracies(features, draw, Episodes(ways=3, queries=4, count=len(draw.support)), seed=1)
        for draw in (few, many)
    ]
    np.testing.assert_array_equal(shares[0], shares[1][:5])


def test_images_without_a_class_are_never_drawn():
    classes = np.where(np.arange(len(CLASSES)) % 3 == 0, -1, CLASSES)
    draw = draw_episodes(classes, Episodes(ways=2, queries=1, count=30), shots=1, seed=0)
    assert (classes[draw.support] >= 0).all() and (classes[draw.queries] >= 0).all()


def test_what_cannot_be_drawn_is_named():
    with pytest.raises(UserError, match=r"transfer 'a': .* have 7 classes, .* ways=8"):
        draw_episodes(CLASSES, Episodes(ways=8), shots=1, seed=0, where="transfer 'a'")
    classes = np.append(CLASSES, [7] * 5)
    with pytest.raises(UserError, match=r"class 7 has 5 images, .* = 2 \+ 4"):
        draw_episodes(classes, Episodes(ways=2, queries=4), shots=2, seed=0)
    for bad in ({"ways": 1}, {"queries": 0}, {"count": 1}, {"learner": "tree"}, {"ways": 2.5}):
        with pytest.raises(UserError, match=next(iter(bad))):
            Episodes(**bad)


def test_the_nearest_centroid_wins():
    # Centroids (1, 0) and (0, 4): (1, 2) is at the squared distances 4 and 5, (1, 3) at 9 and 2.
    support = np.float32([[[[0, 0], [2, 0]], [[0, 3], [0, 5]]]])
    predicted = NearestCentroids()(support, np.float32([[[1, 2], [1, 3]]]), [(0, 0)])
    np.testing.assert_array_equal(predicted, [[0, 1]])


def slow_layer(learner: LinearLayers, images, targets, seed):
    """One episode, one image and one weight matrix at a time, in double precision."""
    random, size, ways = np.random.default_rng((*seed, 1)), images.shape[1], targets.max() + 1
    start = random.uniform(-(size**-0.5), size**-0.5, (size + 1, ways))
    weights, bias = start[:-1].astype(np.float32) * 1.0, start[-1].astype(np.float32) * 1.0
    before = None
    for _ in range(learner.epochs):
        order = random.permutation(len(images))
        for places in np.split(order, range(learner.batch, len(order), learner.batch)):
            of_weights, of_bias = np.zeros_like(weights), np.zeros_like(bias)
            for place in places:
                exponentials = np.exp(images[place] @ weights + bias)
                error = exponentials / exponentials.sum()
                error[targets[place]] -= 1.0
                of_weights += np.outer(images[place], error) / len(places)
                of_bias += error / len(places)
            now = (
                of_weights + learner.weight_decay * weights,
                of_bias + learner.weight_decay * bias,
            )
            if before is not None:
                kept = 1.0 - learner.dampening
                now = tuple(
                    learner.momentum * v + kept * g for v, g in zip(before, now, strict=True)
                )
            before = now
            weights = weights - learner.learning_rate * now[0]
            bias = bias - learner.learning_rate * now[1]
    return np.vstack([weights, bias])


@pytest.mark.parametrize("shots", [1, 3])
def test_linear_layers_are_those_of_the_slow_version(shots):
    learner = LinearLayers(epochs=7, learning_rate=0.3, weight_decay=0.05)
    support = np.random.default_rng(2).normal(size=(3, 3, shots, 4)).astype(np.float32)
    seeds = [(5, number) for number in range(3)]
    found = learner.train(support, seeds)
    for one, of_one, seed in zip(found, support, seeds, strict=True):
        targets = np.repeat(np.arange(3), shots)
        expected = slow_layer(learner, of_one.reshape(-1, 4).astype(float), targets, seed)
        np.testing.assert_allclose(one, expected, rtol=2e-5, atol=2e-6)


def test_the_second_step_is_dampened():
    # One image (1), two ways of one shot each would share a batch: here a batch has one image.
    learner = LinearLayers(epochs=1, batch=2, learning_rate=1.0, weight_decay=0.0)
    support = np.float32([[[[3.0]], [[-3.0]]]])
    start = np.random.default_rng((0, 0, 1)).uniform(-1, 1, (2, 2)).astype(np.float32)
    once = learner.train(support, [(0, 0)])[0]
    twice = LinearLayers(epochs=2, batch=2, learning_rate=1.0, weight_decay=0.0).train(
        support, [(0, 0)]
    )[0]

    def gradient(layers):
        x, target = np.float32([[3, 1], [-3, 1]]), np.eye(2)
        exponentials = np.exp(x @ layers)
        return x.T @ (exponentials / exponentials.sum(1, keepdims=True) - target) / 2

    first = gradient(start)
    np.testing.assert_allclose(once, start - first, rtol=1e-4, atol=1e-5)
    second = 0.9 * first + 0.1 * gradient(once)
    np.testing.assert_allclose(twice, once - second, rtol=1e-4, atol=1e-5)


def test_separated_classes_are_all_right_and_noise_is_at_chance():
    random = np.random.default_rng(3)
    features = (5 * np.eye(7)[CLASSES] + 0.1 * random.normal(size=(63, 7))).astype(np.float32)
    noise = random.normal(size=(63, 7)).astype(np.float32)
    for learner in ("linear", "centroid"):
        episodes = Episodes(ways=4, queries=4, count=100, learner=learner)
        draw = draw_episodes(CLASSES, episodes, shots=3, seed=0)
        assert accuracies(features, draw, episodes, seed=0).min() == 1.0
        assert abs(accuracies(noise, draw, episodes, seed=0).mean() - 0.25) < 0.05


def test_the_interval_is_over_episodes():
    # s = 0.2: 1.96 * 0.2 / sqrt(3) = 0.2263.
    found = interval(np.float64([0.2, 0.4, 0.6]))
    assert found == pytest.approx((0.4, 0.1737, 0.6263), abs=1e-4)
