"""Mixed examples: CutMix and MixUp; copy-paste has a file of its own."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from must_keras.data import pipeline
from must_keras.data.augmentation import Augmentation
from must_keras.data.mixing import CutMix, MixUp, inside, mixer, rectangle
from must_keras.errors import UserError
from must_keras.ops import sampling
from must_keras.ops.letterboxing import PADDING_COLOR
from must_keras.tasks import Classification, Depth, Detection, Normals, Segmentation
from must_keras.training.config import TrainingConfig
from must_keras.training.optimizers import SGD

CLASSES = ("a", "b", "c")
KIND = Classification(name="kind", classes=CLASSES)
PARTS = Segmentation(name="parts", classes=CLASSES)
STILL = Augmentation(scale=(1.0, 1.0), mirror=False, brightness=0.0)


class Numbered:
    """Image i has the gray value i, the class i % 3 and a map of the same; some have no class."""

    def __init__(self, count: int = 200, *, size=(32, 32), unlabeled=()):
        self._count, self._size, self._unlabeled = count, size, unlabeled
        self.reads: list[int] = []

    def __len__(self) -> int:
        return self._count

    def load(self, index):
        self.reads.append(index)
        kind = {"probabilities": np.eye(3, dtype=np.float32)[index % 3], "labelled": np.float32(1)}
        return np.full((*self._size, 3), index, np.uint8), {
            "kind": KIND.labels.missing() if index in self._unlabeled else kind,
            "parts": {"map": np.full(self._size, index % 3, np.uint8)},
        }


def batches(examples, *mixings, steps=range(4), tasks=(KIND, PARTS), view=STILL, **share):
    found = pipeline.training_batches(
        examples, tasks, make_views=pipeline.one_view(tasks, size=32, augmentation=view),
        mix=mixer(mixings, examples, tasks), batch=16, seed=3, steps=steps, **share,
    )  # fmt: skip
    return [tf.nest.map_structure(np.asarray, batch) for batch in found]


def rows(found) -> list:
    """Return (inputs, labels) of each image of batches."""
    return [
        tf.nest.map_structure(lambda value, i=i: value[i], (x, y["labels"]))
        for x, y in found
        for i in range(len(y["keys"]))
    ]


def test_a_rectangle_by_hand():
    area = tf.constant([4.0, 0.0, 28.0, 32.0])
    # A quarter of the area is half of each side, here of 24 x 32 pixels around the center.
    half = rectangle(area, tf.constant([0.25, 0.5, 0.5])).numpy()
    np.testing.assert_allclose(half, [10, 8, 22, 24])
    corner = rectangle(area, tf.constant([0.25, 0.0, 0.0])).numpy()
    np.testing.assert_allclose(corner, [4, 0, 10, 8])
    np.testing.assert_allclose(rectangle(area, tf.constant([1.0, 0.5, 0.5])), area)
    where = inside(tf.constant([1.4, 0.5, 3.0, 2.6]), (4, 4)).numpy()
    assert where.astype(int).tolist() == [[0, 0, 0, 0], [1, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 0]]
    assert not inside(tf.constant([2.0, 2.0, 2.0, 4.0]), (4, 4)).numpy().any()


def test_pixels_keep_the_label_of_their_image():
    where = np.array([[True, False], [False, False]])
    one, two = {"map": np.uint8([[0, 1], [255, 1]])}, {"map": np.uint8([[255, 2], [2, 2]])}
    assert np.asarray(PARTS.mixtures.pasted(one, two, where)["map"]).tolist() == [
        [255, 1],
        [255, 1],
    ]
    up, right = (np.tile(np.float32(v), (2, 2, 1)) for v in ([0, 1, 0], [1, 0, 0]))
    found = Normals(name="n").mixtures.pasted({"normals": up}, {"normals": right}, where)
    np.testing.assert_array_equal(found["normals"], np.where(where[..., None], right, up))


def test_pixels_keep_the_weight_of_their_image():
    where = np.array([[True, False], [False, True]])
    one, two = (
        {"map": np.full((2, 2), value, np.uint8), "weight": np.uint8([[weight] * 2] * 2)}
        for value, weight in ((0, 255), (1, 130))
    )
    parts = dataclasses.replace(PARTS, weighted=True)
    found = parts.mixtures.pasted(one, two, where)
    assert np.asarray(found["map"]).tolist() == [[1, 0], [0, 1]]
    assert np.asarray(found["weight"]).tolist() == [[130, 255], [255, 130]]


ONE = {"depth": np.float32([[1, 2], [0, 4]])}
TWO = {"depth": np.float32([[5, 6], [7, 1]])}
LEFT, DIAGONAL = np.array([[True, False]] * 2), np.eye(2, dtype=bool)


@pytest.mark.parametrize(
    ("kind", "where", "pasted", "under_objects"),
    [
        ("metric", LEFT, [[5, 2], [7, 4]], [[0, 2], [0, 4]]),
        # At the last pixel the other's meter is in front of four.
        ("metric", DIAGONAL, [[5, 2], [0, 1]], [[0, 2], [0, 1]]),
        # Two valid pixels each: the image itself.
        ("relative_inverse", LEFT, [[0, 2], [0, 4]], [[0, 2], [0, 4]]),
        ("relative_inverse", DIAGONAL, [[5, 0], [0, 1]], [[0, 2], [0, 0]]),
        ("relative_inverse", np.zeros((2, 2), bool), ONE["depth"], ONE["depth"]),
        ("relative_inverse", np.ones((2, 2), bool), TWO["depth"], np.zeros((2, 2))),
    ],
)
def test_depths_of_two_images(kind, where, pasted, under_objects):
    mixtures = Depth(name="far", kind=kind).mixtures
    np.testing.assert_array_equal(mixtures.pasted(ONE, TWO, where)["depth"], pasted)
    found = mixtures.pasted_under_objects(ONE, TWO, where)["depth"]
    np.testing.assert_array_equal(found, under_objects)


def test_a_relative_depth_beside_a_missing_one():
    mixtures = Depth(name="far", kind="relative_inverse").mixtures
    none = {"depth": np.zeros((2, 2), np.float32)}
    np.testing.assert_array_equal(mixtures.pasted(none, ONE, LEFT)["depth"], [[1, 0], [0, 0]])
    np.testing.assert_array_equal(mixtures.pasted(ONE, none, LEFT)["depth"], [[0, 2], [0, 4]])


def test_blended_classes_by_hand():
    ant, bee = (
        {"probabilities": np.eye(3, dtype=np.float32)[k], "labelled": np.float32(1)} for k in (0, 1)
    )
    found = KIND.mixtures.blended(ant, bee, np.float32(0.25))
    np.testing.assert_allclose(found["probabilities"], [0.25, 0.75, 0.0])
    assert found["labelled"] == 1
    gone = KIND.mixtures.blended(ant, KIND.labels.missing(), np.float32(0.25))
    assert gone["labelled"] == 0 and not np.any(gone["probabilities"])


def test_cutmix_cuts_the_map_as_the_image_and_reads_partners_of_the_mixed_alone():
    examples = Numbered()
    found = rows(batches(examples, CutMix(probability=0.5), steps=range(12)))
    num_mixed = 0
    for x, labels in found:
        gray = x["image"][:, :, 0]
        np.testing.assert_array_equal(labels["parts"]["map"], gray % 3)
        mixed = labels["kind"]["labelled"] == 0
        num_mixed += int(mixed)
        values, counts = np.unique(gray, return_counts=True)
        assert len(values) <= 1 + mixed
        if len(values) == 2:
            places = [np.argwhere(gray == value) for value in values]
            bounds = [np.prod(at.max(0) - at.min(0) + 1) for at in places]
            # One of the two is a rectangle.
            assert np.any(bounds == counts)
    assert len(examples.reads) == len(found) + num_mixed
    assert 0.4 < num_mixed / len(found) < 0.6


def test_padding_stays_padding():
    ways = (CutMix(probability=0.5), MixUp(probability=0.5))
    for x, labels in rows(batches(Numbered(size=(24, 32)), *ways, steps=range(1))):
        top, _, bottom, _ = np.round(x["area"]).astype(int)
        for outside in (slice(0, top), slice(bottom, 32)):
            assert (x["image"][outside] == PADDING_COLOR).all()
            assert (labels["parts"]["map"][outside] == 255).all()


def test_mixup_is_a_mean_of_images_and_of_classes():
    found = rows(batches(Numbered(), MixUp(probability=1.0)))
    shares = []
    for x, labels in found:
        (gray,) = np.unique(x["image"])
        assert (labels["parts"]["map"] == 255).all() and labels["kind"]["labelled"] == 1
        weights = labels["kind"]["probabilities"]
        assert weights.sum() == pytest.approx(1.0) and 0 <= gray < 200
        shares.append(weights.max())
    assert np.ptp(shares) > 0.3
    # The same with the partners' numbers: without views every image is one gray value.
    plain = rows(batches(Numbered()))
    partners = pipeline.training_batches(
        Numbered(), (KIND, PARTS), batch=16, steps=range(4),
        seed=sampling.derived_seed(3, "partners"),
        make_views=pipeline.one_view((KIND, PARTS), size=32, augmentation=STILL),
    )  # fmt: skip
    for (x, labels), (one, own), (two, _) in zip(found, plain, rows(partners), strict=True):
        first, second = (float(v["image"][16, 16, 0]) for v in (one, two))
        kinds = first % 3, second % 3
        if kinds[0] != kinds[1]:
            share = labels["kind"]["probabilities"][int(np.argmax(own["kind"]["probabilities"]))]
            wanted = share * first + (1 - share) * second
            assert abs(x["image"][16, 16, 0] - wanted) <= 0.5 + 1e-3


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_shares_have_the_quantiles_of_a_beta_distribution(alpha):
    from scipy.special import betainc

    numbers = np.float32([0.0, 0.1, 0.5, 0.93])
    found = [float(MixUp(alpha=alpha).share(tf.constant(u))) for u in numbers]
    np.testing.assert_allclose(betainc(alpha, alpha, found), numbers, atol=1e-5)
    assert found[2] == pytest.approx(0.5)


def test_without_a_class_of_both_nothing_is_blended():
    plain = rows(batches(Numbered(unlabeled=range(0, 200, 2))))
    found = rows(batches(Numbered(unlabeled=range(0, 200, 2)), MixUp(probability=1.0)))
    num_same = 0
    for one, two in zip(plain, found, strict=True):
        same = np.array_equal(one[1]["parts"]["map"], two[1]["parts"]["map"])
        num_same += same
        assert same or two[1]["kind"]["labelled"] == 1
        if same:
            tf.nest.map_structure(np.testing.assert_array_equal, one, two)
    # A quarter of the pairs has both classes.
    assert 0.6 < num_same / len(found) < 0.9


@pytest.fixture(scope="module")
def mixed():
    """Batches of half mixed images; one way, and one head, for the sake of time."""
    return batches(Numbered(), *HALF, **MIXED)


HALF, MIXED = (CutMix(probability=0.5),), {"tasks": (PARTS,), "view": Augmentation()}


def test_the_others_stay_as_they_are_to_the_bit(mixed):
    num_same, pairs = 0, list(zip(rows(batches(Numbered(), **MIXED)), rows(mixed), strict=True))
    for one, two in pairs:
        if np.array_equal(one[0]["image"], two[0]["image"]):
            tf.nest.map_structure(np.testing.assert_array_equal, one, two)
            num_same += 1
    assert 0.3 < num_same / len(pairs) < 0.7


def test_the_mixed_resume_at_a_step(mixed):
    rest = batches(Numbered(), *HALF, **MIXED, steps=range(2, 4))
    tf.nest.map_structure(np.testing.assert_array_equal, mixed[2:], rest)


@pytest.mark.parametrize("share", [0, 1])
def test_the_mixed_of_two_machines_are_those_of_one(mixed, share):
    half = batches(Numbered(), *HALF, **MIXED, share=share, shares=2)
    own = tf.nest.map_structure(lambda v: v[8 * share :][:8], mixed)
    tf.nest.map_structure(np.testing.assert_array_equal, own, half)


def training(**values) -> TrainingConfig:
    return TrainingConfig(steps=1, batch=4, learning_rate=0.1, optimizer=SGD(), **values)


def test_a_training_depends_on_mixing_where_there_is_any():
    assert "mixing" not in training().describe()
    assert training(mixing=(MixUp(),)).describe()["mixing"] == (MixUp(),)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: CutMix(probability=0.0), "CutMix: probability=0.0: expected more than 0"),
        (lambda: MixUp(probability=1.5), "MixUp: probability=1.5: expected more than 0 and at"),
        (lambda: MixUp(alpha=0.0), "MixUp: alpha=0.0: expected more than 0"),
        (lambda: MixUp(probability="a half"), "MixUp: probability is a str, expected a number"),
        (lambda: training(mixing=CutMix()), "mixing is no tuple; with one Mixing"),
        (lambda: training(mixing=(CutMix, MixUp())), "mixing contain an ABCMeta, expected a Mix"),
        (
            lambda: training(mixing=(CutMix(probability=0.7), MixUp())),
            "one way at most, and the probabilities are 1.2, more than 1",
        ),
        (
            lambda: training(mixing=(CutMix(),)).check_heads("teacher 'x'", [KIND]),
            "teacher 'x': mixing: CutMix needs a head with a label for every pixel; heads: kind",
        ),
        (
            lambda: training(mixing=(CutMix(probability=1.0),)).check_heads("it", [KIND, PARTS]),
            r"it: mixing: CutMix\(probability=1.0\) leaves no label to kind \(classes\): choose a",
        ),
        (
            lambda: training(mixing=(MixUp(),)).check_heads("the student", [PARTS]),
            "the student: mixing: MixUp needs a head with classes of images; heads: parts",
        ),
    ],
)
def test_what_cannot_be_mixed(make, why):
    with pytest.raises(UserError, match=why):
        make()


def test_boxes_have_no_label_in_parts_of_two_images():
    boxes = Detection(name="things", classes=CLASSES)
    assert boxes.mixtures.pasted({}, {}, None) is None
    assert not (boxes.mixtures.pastes or boxes.mixtures.blends)
