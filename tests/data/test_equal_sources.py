"""Sources that take turns: equal shares of any images in a row, whatever their sizes."""

import numpy as np
import pytest
import tensorflow as tf

from must_keras.data.equal_sources import taking_turns
from must_keras.data.examples import ConcatenatedExamples, LabeledExamples, count_origins
from must_keras.data.sources import LabelSpace, Source
from must_keras.tasks import Classification
from must_keras.training.config import TrainingConfig
from must_keras.training.input_pipeline import InputPipeline

KIND = Classification(name="kind", classes=("a", "b"))
# Group 0 has two examples, group 1 seven, group 2 three.
GROUPS = np.array([1, 1, 0, 1, 1, 2, 0, 2, 1, 1, 1, 2])


class Numbered(Source):
    """Image i has the value i, and no label."""

    def __init__(self, count: int, name: str):
        self.name, self._count = name, count
        self.label_spaces = {"kind": LabelSpace("classes", ("a", "b"))}

    def __len__(self):
        return self._count

    def image_id(self, index):
        return str(index)

    def image(self, index):
        return np.full((4, 4, 3), index, np.uint8)

    def labels(self, index):
        return {}

    def describe(self):
        return {"name": self.name}


def positions(order, start: int, stop: int, *, seed: int = 3) -> np.ndarray:
    found = tf.data.Dataset.range(start, stop).map(lambda position: order(position, seed))
    return np.array([int(index) for index in found])


def test_groups_take_turns():
    start = 2**31 - 6
    found = GROUPS[positions(taking_turns(GROUPS), start, start + 60)]
    np.testing.assert_array_equal(found, np.arange(start, start + 60) % 3)


def test_each_group_is_an_endless_shuffled_stream_of_its_own():
    order = taking_turns(GROUPS)
    found = positions(order, 0, 3 * 42)
    for group, count in enumerate(np.bincount(GROUPS)):
        epochs = found[GROUPS[found] == group].reshape(-1, count)
        expected = [np.flatnonzero(group == GROUPS)] * len(epochs)
        np.testing.assert_array_equal(np.sort(epochs, axis=1), expected)
        assert len({tuple(epoch) for epoch in epochs}) > 1, "in other orders"
    assert (found != positions(order, 0, 3 * 42, seed=4)).any()
    # An eager position, in the middle, is the same.
    assert int(order(tf.constant(77, tf.int64), 3)) == found[77]


def union() -> ConcatenatedExamples:
    sizes = {"small": 3, "pool": 40, "none": 0, "pool_block2": 5}
    parts = [LabeledExamples(Numbered(count, name), [KIND]) for name, count in sizes.items()]
    return ConcatenatedExamples(parts, names=["small", "pool", "none", "pool"])


def test_blocks_of_a_pool_are_one_source_and_an_empty_source_is_none():
    np.testing.assert_array_equal(union().source_numbers, [0] * 3 + [1] * 45)
    assert ConcatenatedExamples(union().parts).source_numbers.max() == 2


def test_the_batches_of_a_training_have_equal_shares():
    training = TrainingConfig(steps=4, batch=6)
    options = {"size": 32, "seed": 0}
    equal = InputPipeline(union(), [KIND], training, equal_sources=True, **options)
    for step in range(4):
        ids = equal.ids_of(step)
        assert sum(name.startswith("small/") for name in ids) == 3
    plain = InputPipeline(union(), [KIND], training, **options)
    off = InputPipeline(union(), [KIND], training, equal_sources=False, **options)
    assert plain.ids_of(1) == off.ids_of(1) != equal.ids_of(1)


def test_origins_are_counted_in_the_same_shares():
    counts = count_origins(union(), num_examples=400, seed=0, equal_sources=True)
    assert counts["small"]["kind"]["missing"] == 200


@pytest.mark.parametrize("seed", [0, 1])
def test_sources_have_orders_of_their_own(seed):
    order = taking_turns(np.arange(20) % 2)
    found = positions(order, 0, 40, seed=seed)
    assert (found[::2] != found[1::2] - 1).any()
