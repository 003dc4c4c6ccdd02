import fractions

import numpy as np
import pytest
import tensorflow as tf

from must_keras.data import pipeline
from must_keras.data.augmentation import Augmentation
from must_keras.data.examples import ConcatenatedExamples, LabeledExamples, count_origins
from must_keras.data.ground_truth_share import check_share, interleaved
from must_keras.data.sources import Concatenated, Joined, LabelSpace, Source, Subset, without_labels
from must_keras.errors import UserError
from must_keras.tasks import Classification
from must_keras.training.config import TrainingConfig
from must_keras.training.input_pipeline import InputPipeline
from must_keras.training.optimizers import AdamW

KIND = Classification(name="kind", classes=("a", "b"))
OTHER = Classification(name="other", classes=("a", "b"))
# Of 12 images.
KNOWN = np.isin(np.arange(12), [1, 4, 5, 9, 11])


class Numbered(Source):
    """Image i has the value i, and is of class a."""

    def __init__(self, count: int, name: str = "numbered", head: str = "kind"):
        self.name, self._count, self._head = name, count, head
        self.label_spaces = {head: LabelSpace("classes", ("a", "b"))}

    def __len__(self):
        return self._count

    def image_id(self, index):
        return str(index)

    def image(self, index):
        return np.full((4, 4, 3), index, np.uint8)

    def labels(self, index):
        label = {"probabilities": np.float32([1, 0]), "labelled": np.ones((), np.float32)}
        return {self._head: label}

    def describe(self):
        return {"name": self.name}


def positions(order, start: int, stop: int, *, seed: int = 3) -> np.ndarray:
    found = tf.data.Dataset.range(start, stop).map(lambda position: order(position, seed))
    return np.array([int(index) for index in found])


@pytest.mark.parametrize("share", [np.float32(0.5), 0.3, 1 / 3, 0.8, 0.001, 0.999])
def test_any_images_in_a_row_have_the_share_rounded_down_or_up(share):
    order, start = interleaved(KNOWN, share), 2**31 - 500
    is_known = KNOWN[positions(order, start, start + 1200)]
    exact = fractions.Fraction(float(share)).limit_denominator(1000)
    wanted = [(p + 1) * exact // 1 - p * exact // 1 for p in range(start, start + 1200)]
    np.testing.assert_array_equal(is_known, np.array(wanted, bool))
    for batch in (1, 7, 16):
        counts = np.convolve(is_known, np.ones(batch, int), "valid")
        assert {*counts} <= {int(np.floor(batch * exact)), int(np.ceil(batch * exact))}
    whole = 1200 // exact.denominator * exact.denominator
    assert is_known[:whole].sum() == whole * exact


def test_each_kind_is_an_endless_shuffled_stream_of_its_own():
    found = positions(interleaved(KNOWN, 0.4), 0, 120)
    for kind in (KNOWN, ~KNOWN):
        stream, count = found[kind[found]], int(kind.sum())
        epochs = stream[: len(stream) // count * count].reshape(-1, count)
        assert len(epochs) > 5
        np.testing.assert_array_equal(np.sort(epochs, axis=1), [np.flatnonzero(kind)] * len(epochs))
        assert len({tuple(epoch) for epoch in epochs}) > 4, "in other orders"
    assert (found != positions(interleaved(KNOWN, 0.4), 0, 120, seed=4)).any()
    # An eager position, in the middle, is the same.
    assert int(interleaved(KNOWN, 0.4)(tf.constant(77, tf.int64), 3)) == found[77]


def union() -> ConcatenatedExamples:
    """Return 6 labeled images and 30 others, of which the first three are repeated."""
    pool = without_labels(Numbered(30, "pool"))
    sources = (Numbered(6), pool, Subset(pool, range(3), name="again"))
    return ConcatenatedExamples([LabeledExamples(source, [KIND]) for source in sources])


def feed(batch: int = 8, share: float | None = 0.5) -> InputPipeline:
    training = TrainingConfig(
        steps=6, batch=batch, learning_rate=0.1, optimizer=AdamW(), augmentation=Augmentation()
    )
    return InputPipeline(union(), [KIND], training, size=32, seed=5, ground_truth_share=share)


def test_batches_have_the_share_and_their_ids():
    one, plain = feed(), feed(share=None)
    for step in (0, 5):
        ids = one.ids_of(step)
        assert sum(name.startswith("numbered/") for name in ids) == 4
        _, y = one.batch_of(step)
        labeled = y["labels"]["kind"]["labelled"].numpy() > 0
        np.testing.assert_array_equal(labeled, [name.startswith("numbered/") for name in ids])
        assert ids != plain.ids_of(step)


def test_no_share_is_the_plain_order():
    _, y = feed(share=None).batch_of(2)
    places = tf.range(16, 24, dtype=tf.int64)
    wanted = [int(pipeline.shuffled(p, num_examples=39, seed=5)) for p in places]
    np.testing.assert_array_equal(y["labels"]["kind"]["labelled"] > 0, np.array(wanted) < 6)
    assert feed(share=None).ids_of(2) == [union().image_id(place) for place in wanted]


def test_two_machines_and_a_resumed_training_see_the_same():
    options = {"num_examples": 12, "seed": 5, "batch": 8, "order": interleaved(KNOWN, 0.3)}

    def examples(steps: range, *, share: int = 0, shares: int = 1) -> np.ndarray:
        """Return (index, key) of every image of some steps: [steps, images, 2]."""
        own = 8 // shares
        places = tf.data.Dataset.range(steps.start * own, steps.stop * own)
        found = places.map(lambda p: pipeline.example_at(p, share=share, shares=shares, **options))
        return np.array([(int(i), int(key)) for i, key in found]).reshape(len(steps), own, 2)

    whole = examples(range(20))
    np.testing.assert_array_equal(examples(range(13, 20)), whole[13:])
    halves = [examples(range(20), share=share, shares=2) for share in (0, 1)]
    np.testing.assert_array_equal(np.concatenate(halves, axis=1), whole)
    # Each machine has its share of the share: of 80 images, 24.
    assert [int(KNOWN[half[..., 0]].sum()) for half in halves] == [24, 24]


def test_images_and_the_partners_that_they_are_mixed_with_are_of_one_kind():
    def mix(one, see_other, key, indices):
        return one[0] | {"pair": tf.stack(indices)}, one[1]

    images = union()
    batches = pipeline.training_batches(
        images, [KIND], batch=8, seed=5, steps=range(3), mix=mix,
        make_views=pipeline.one_view([KIND], size=32, augmentation=Augmentation()),
        order=interleaved(images.has_ground_truth, 0.5),
    )  # fmt: skip
    pairs = np.concatenate([x["pair"].numpy() for x, _ in batches])
    kinds = images.has_ground_truth[pairs]
    assert kinds[:, 0].sum() == 12
    np.testing.assert_array_equal(kinds[:, 0], kinds[:, 1])
    assert (pairs[:, 0] != pairs[:, 1]).mean() > 0.7


def test_origins_are_counted_as_the_share_samples_them():
    counts = count_origins(union(), num_examples=200, seed=0, ground_truth_share=0.35)
    assert counts["numbered"]["kind"]["true"] == 70
    assert counts["pool"]["kind"]["missing"] + counts["again"]["kind"]["missing"] == 130
    assert counts["again"]["kind"]["missing"] < 40, "3 of 33"


def test_who_has_ground_truth_is_known_without_reading_a_label():
    some = Subset(Numbered(8), [1, 4, 5], name="numbered")
    renamed = Subset(Numbered(8, head="other"), [4, 7], name="more")
    joined = Joined([without_labels(Numbered(8)), some, renamed], name="joined")
    examples = LabeledExamples(joined, [KIND])
    wanted = [examples.origins(i) == {"kind": "true"} for i in range(8)]
    assert wanted == [i in (1, 4, 5) for i in range(8)]

    def labels(index):
        raise AssertionError("a label is read")

    joined.labels = labels
    for tasks, indices in (([KIND], (1, 4, 5)), ([OTHER], (4, 7)), ([KIND, OTHER], (1, 4, 5, 7))):
        found = LabeledExamples(joined, tasks).has_ground_truth
        np.testing.assert_array_equal(np.flatnonzero(found), indices)
    assert not LabeledExamples(joined, []).has_ground_truth.any()
    chosen = LabeledExamples(joined, [KIND], indices=[4, 0, 5]).has_ground_truth
    np.testing.assert_array_equal(chosen, [True, False, True])
    both = Concatenated([Numbered(2, "first"), without_labels(Numbered(3, "second"))], name="both")
    found = LabeledExamples(both, [KIND]).has_ground_truth
    np.testing.assert_array_equal(found, [True, True, False, False, False])


@pytest.mark.parametrize(
    ("known", "which"), [(np.ones(4, bool), "every"), (np.zeros(4, bool), "no")]
)
def test_one_kind_alone_has_no_share(known, which):
    problem = f"ground_truth_share=0.5: {which} image of the student has ground truth; remove it"
    with pytest.raises(UserError, match=problem):
        interleaved(known, 0.5)


@pytest.mark.parametrize("share", [0, 1, -0.5, 0.0009, float("nan"), "half", True])
def test_a_share_that_is_none(share):
    with pytest.raises(UserError, match=r"the student: ground_truth_share=.*\[0.001, 0.999\]"):
        check_share("the student", share)
    for allowed in (None, 0.001, 0.5, 0.999, np.float32(0.5)):
        check_share("the student", allowed)
