"""Repeat factors of images with rare classes; numbers by hand."""

import numpy as np
import pytest

from must_keras.data.examples import ConcatenatedExamples, LabeledExamples, PseudoLabels
from must_keras.data.repeat_factors import RepeatFactors, image_factors, rounded
from must_keras.data.sources import Source
from must_keras.data.sources.source import LabelSpace, class_label
from must_keras.errors import UserError
from must_keras.tasks import Classification, Depth, Segmentation

KIND = Classification(name="kind", classes=("a", "b"))
PARTS = Segmentation(name="parts", classes=("wall", "ball"))
FAR = Depth(name="far")


class Eight(Source):
    """Ground truth of the class in the first four images: a, a, a, b."""

    name = "eight"
    label_spaces = {"kind": LabelSpace.of(KIND)}  # noqa: RUF012

    def __len__(self):
        return 8

    def image_id(self, index):
        return str(index)

    def image(self, index):
        raise AssertionError("no image is read")

    def labels(self, index):
        return {"kind": class_label(int(index == 3), 2)} if index < 4 else {}

    def describe(self):
        return {}


def test_blocks_of_a_pool_stay_one_source():
    parts = [LabeledExamples(Eight(), [KIND]) for _ in range(3)]
    names = ["train", "pool", "pool"]
    repeated = RepeatFactors(threshold=0.5).repeated(
        ConcatenatedExamples(parts, names=names), seed=0, title="t"
    )
    assert set(repeated.source_numbers) == {0, 1}


class OfTeacher:
    """Records of the class b for the last image, of a for the others; a ball in images 0 and 7."""

    def __init__(self, task):
        self._task = task

    def is_empty(self, index):
        return False

    def read(self, index):
        if self._task is KIND:
            return KIND.records.from_label(class_label(int(index == 7), 2))
        found = np.zeros((2, 2), np.uint8)
        found[0, 0] = index in (0, 7)
        return PARTS.records.from_label({"map": found})


def examples(*tasks):
    pseudo = {t.name: PseudoLabels(reader=OfTeacher(t), threshold=None) for t in (KIND, PARTS)}
    return ConcatenatedExamples([LabeledExamples(Eight(), tasks, pseudo)])


def ids(found):
    return [found.image_id(i).removeprefix("eight/") for i in range(len(found))]


def test_an_image_has_the_factor_of_its_rarest_class():
    # Of four images all show the first class, one the second; a third is labeled in two of them.
    present = np.array([[1, 0, 0], [1, 1, 0], [1, 0, 1], [1, 0, 0]], bool)
    labeled = np.array([[1, 1, 1], [1, 1, 1], [1, 1, 0], [1, 1, 0]], bool)
    present &= labeled
    present[0, 2] = True
    found = image_factors(present, labeled, threshold=1.0)
    np.testing.assert_allclose(found, [np.sqrt(2), 2.0, 1.0, 1.0])
    # At the threshold and above it nothing is repeated.
    np.testing.assert_array_equal(image_factors(present, labeled, threshold=0.25), np.ones(4))


def test_factors_are_rounded_at_random_with_their_expected_value():
    factors = np.repeat([1.0, 1.3, 2.75], 20_000)
    times = rounded(factors, np.random.default_rng(0)).reshape(3, -1)
    assert set(times[0]) == {1} and set(times[1]) == {1, 2} and set(times[2]) == {2, 3}
    np.testing.assert_allclose(times.mean(axis=1), [1.0, 1.3, 2.75], atol=0.02)
    np.testing.assert_array_equal(rounded(factors, np.random.default_rng(0)), times.ravel())


def test_images_with_a_rare_class_come_more_often_pseudo_labels_included():
    # b is in images 3 and 7, a quarter of eight: a factor of 2 at a threshold of 1.
    found = RepeatFactors(threshold=1.0).repeated(examples(KIND), seed=0, title="t")
    often = [one for one in ids(found) if one in "37"]
    assert often == ["3", "3", "7", "7"] and set(ids(found)) == set("01234567")
    assert found.origin("kind", ids(found).index("7")) == "pseudo"


def test_ground_truth_alone_counts_where_that_is_asked_for():
    # b is in one of the four images with ground truth: 2; image 7 comes once.
    rule = RepeatFactors(threshold=1.0, ground_truth_only=True)
    found = ids(rule.repeated(examples(KIND), seed=0, title="t"))
    assert found.count("3") == 2 and [found.count(k) for k in "4567"] == [1, 1, 1, 1]


def test_the_largest_factor_over_heads_counts_and_heads_can_be_named():
    # A ball is in images 0 and 7; a wall in all of them, depth has no classes.
    both = ids(RepeatFactors(threshold=1.0).repeated(examples(KIND, PARTS, FAR), seed=0, title="t"))
    assert [both.count(k) for k in "037"] == [2, 2, 2]
    rule = RepeatFactors(threshold=1.0, heads=("parts",))
    one = ids(rule.repeated(examples(KIND, PARTS, FAR), seed=0, title="t"))
    assert [one.count(k) for k in "01234567"] == [2, 1, 1, 1, 1, 1, 1, 2]


def test_the_default_repeats_nothing_that_is_not_rare(caplog):
    with caplog.at_level("INFO"):
        found = RepeatFactors().repeated(examples(KIND), seed=0, title="student")
    assert ids(found) == list("01234567")
    assert "student: repeat factors up to 1: 0 of 8 images come more than once" in caplog.text


@pytest.mark.parametrize("values", [{"threshold": 0.0}, {"threshold": 1.5}, {"heads": "kind"}])
def test_values_are_checked(values):
    with pytest.raises(UserError, match="repeat_factors"):
        RepeatFactors(**values)


def test_a_head_without_classes_is_an_error():
    with pytest.raises(UserError, match="the student: repeat_factors.heads='far'.*kind"):
        RepeatFactors(heads=("far",)).check("the student", (KIND, FAR))
    with pytest.raises(UserError, match="no head has classes"):
        RepeatFactors().check("teacher 'far'", (FAR,))
    RepeatFactors(heads=("kind",)).check("the student", (KIND, FAR))
