"""Episodes: classes and images of each, and two learners that see nothing but frozen features."""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np

from must_keras.config.episodes import Episodes
from must_keras.errors import UserError

# A standard normal variable is within so many deviations in 95 % of all draws.
_DEVIATIONS = 1.959963984540054
# Of an episode: that of all episodes, and its number.
Seed = tuple[int, int]
# Episodes whose layers are trained at once: few enough that their weights stay in a CPU's cache.
_AT_ONCE = 50


@dataclasses.dataclass(frozen=True)
class Draw:
    """The images of some episodes.

    Attributes:
        support: [E, ways, shots] indices of labeled images.
        queries: [E, ways, queries] indices of images to score, none of them in support.

    Example:
        draw = draw_episodes(classes, episodes, shots=5, seed=0)
        draw.support.shape  # (600, 5, 5)
    """

    support: np.ndarray
    queries: np.ndarray


def draw_episodes(
    classes: np.ndarray, episodes: Episodes, *, shots: int, seed: int, where: str = "a set"
) -> Draw:
    """Draw episodes: classes without repetition, then images of each without repetition.

    The first n episodes are the same for every count, and an episode depends on the classes of the
    images, the seed and its number alone: all starts see the same ones.

    Args:
        classes: [N] the class of each image; -1 where it is unknown.
        episodes: their number and size.
        shots: labeled images of each class.
        seed: of the draw.
        where: begins the message.

    Raises:
        UserError: too few classes, or a class has too few images.
    """
    known = np.unique(classes[classes >= 0])
    if len(known) < episodes.ways:
        raise UserError(
            f"{where}: its labeled images have {len(known)} classes, and an episode has "
            f"ways={episodes.ways}; lower ways, or take a set with more classes"
        )
    of_class = [np.flatnonzero(classes == number) for number in known]
    needed = shots + episodes.queries
    smallest = min(range(len(known)), key=lambda place: len(of_class[place]))
    if len(of_class[smallest]) < needed:
        raise UserError(
            f"{where}: class {known[smallest]} has {len(of_class[smallest])} images, and an "
            f"episode takes shots + queries = {shots} + {episodes.queries}; lower one of them"
        )
    drawn = np.empty((episodes.count, episodes.ways, needed), np.int64)
    for number in range(episodes.count):
        random = np.random.default_rng((seed, number))
        ways = random.permutation(len(known))[: episodes.ways]
        drawn[number] = [random.permutation(of_class[way])[:needed] for way in ways]
    return Draw(drawn[:, :, :shots], drawn[:, :, shots:])


class NearestCentroids:
    """Takes the class whose mean labeled feature is nearest.

    Example:
        predicted = NearestCentroids()(support, queries, [0])

    Reference: the classifier of Prototypical Networks (arXiv 1703.05175), squared distance.

    """

    # What its row in report.json says of its training.
    learning_rate = 0.0

    def steps(self, num_support: int) -> int:
        """Return the number of optimizer steps of an episode."""
        return 0

    def __call__(
        self, support: np.ndarray, queries: np.ndarray, seeds: Sequence[Seed]
    ) -> np.ndarray:
        """Return the predicted ways [E, Q] of features [E, Q, D]; support is [E, W, S, D]."""
        centroids = support.mean(axis=2)
        # |q - c|^2 without |q|^2, which is the same for all classes.
        distances = (centroids**2).sum(axis=-1)[:, None] - 2.0 * queries @ centroids.mT
        return distances.argmin(axis=-1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearLayers:
    """Trains a linear layer for each episode with softmax cross-entropy, many episodes at once.

    The optimizer is SGD with momentum and dampening, which PyTorch has and Keras has not. With g,
    the gradient of a batch's mean loss plus weight_decay times the weights, the velocity v is g in
    the first step and momentum v + (1 - dampening) g afterwards, and a step is -learning_rate v.
    Weights and biases start uniform in ±1 / sqrt(D). Each epoch has an order of its own, and its
    last batch has what is left.

    Attributes:
        learning_rate: of the step.
        momentum: of the velocity.
        dampening: of the gradient.
        weight_decay: of weights and biases.
        epochs: over an episode's labeled images.
        batch: images of a step.

    Example:
        predicted = LinearLayers()(support, queries, seeds)  # [E, Q]

    Reference: A Broader Study of Cross-Domain Few-Shot Learning (arXiv 1912.07200), the values of
    the fixed feature extractor.

    """

    learning_rate: float = 0.01
    momentum: float = 0.9
    dampening: float = 0.9
    weight_decay: float = 0.001
    epochs: int = 100
    batch: int = 4

    def steps(self, num_support: int) -> int:
        """Return the number of optimizer steps of an episode."""
        return self.epochs * math.ceil(num_support / self.batch)

    def __call__(
        self, support: np.ndarray, queries: np.ndarray, seeds: Sequence[Seed]
    ) -> np.ndarray:
        """Return the predicted ways [E, Q].

        Args:
            support: [E, W, S, D] float32 features of labeled images.
            queries: [E, Q, D] float32 features.
            seeds: of each episode's weights and orders.
        """
        layers = self.train(support, seeds)
        return (_with_one(queries) @ layers).argmax(axis=-1)

    def train(self, support: np.ndarray, seeds: Sequence[Seed]) -> np.ndarray:
        """Return the layers [E, D + 1, W] float32 after training; the last row has the biases."""
        count, ways, shots, size = support.shape
        images = _with_one(support.reshape(count, ways * shots, size))
        targets = np.eye(ways, dtype=np.float32).repeat(shots, axis=0)
        randoms = [np.random.default_rng((*seed, 1)) for seed in seeds]
        bound = 1.0 / math.sqrt(size)
        layers = np.stack([r.uniform(-bound, bound, (size + 1, ways)) for r in randoms])
        layers = layers.astype(np.float32)
        velocity = np.zeros_like(layers)
        rows, is_first = np.arange(count)[:, None], True
        for _ in range(self.epochs):
            order = np.stack([random.permutation(ways * shots) for random in randoms])
            for start in range(0, ways * shots, self.batch):
                places = order[:, start : start + self.batch]
                x = images[rows, places]
                error = _softmax(x @ layers) - targets[places]
                gradient = x.mT @ error
                gradient /= places.shape[1]
                gradient += self.weight_decay * layers
                if is_first:
                    velocity, is_first = gradient, False
                else:
                    velocity *= self.momentum
                    gradient *= 1.0 - self.dampening
                    velocity += gradient
                layers -= self.learning_rate * velocity
        return layers


def _with_one(x: np.ndarray) -> np.ndarray:
    """Return vectors with a last value of 1, whose weight is the bias."""
    return np.concatenate([x, np.ones((*x.shape[:-1], 1), x.dtype)], axis=-1)


def _softmax(x: np.ndarray) -> np.ndarray:
    exponentials = np.exp(x - x.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


LEARNERS = {"linear": LinearLayers(), "centroid": NearestCentroids()}


def accuracies(features: np.ndarray, draw: Draw, episodes: Episodes, *, seed: int) -> np.ndarray:
    """Return the share [E] of queries that each episode's learner gets right.

    Args:
        features: [N, D] float32 of all images.
        draw: of the episodes.
        episodes: whose learner is used.
        seed: of the learner's weights and orders.
    """
    return np.concatenate(list(_accuracies(features, draw, episodes, seed)))


def _accuracies(
    features: np.ndarray, draw: Draw, episodes: Episodes, seed: int
) -> Iterator[np.ndarray]:
    learn, count = LEARNERS[episodes.learner], len(draw.support)
    for start in range(0, count, _AT_ONCE):
        some = slice(start, min(start + _AT_ONCE, count))
        of_query = features[draw.queries[some]]
        truth = np.arange(of_query.shape[1]).repeat(of_query.shape[2])
        flat = of_query.reshape(len(of_query), len(truth), -1)
        seeds = [(seed, number) for number in range(some.start, some.stop)]
        yield (learn(features[draw.support[some]], flat, seeds) == truth).mean(axis=1)


def interval(values: np.ndarray) -> tuple[float, float, float]:
    """Return (mean, low, high), mean ± 1.96 s / sqrt(E), as published tables of episodes have it.

    It says how well the mean over episodes is known for these weights. It is no interval over
    trainings: another seed of the start can be farther away.
    """
    mean = float(values.mean())
    half = _DEVIATIONS * float(values.std(ddof=1)) / math.sqrt(len(values))
    return mean, mean - half, mean + half
