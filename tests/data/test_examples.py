import numpy as np
import pytest

from must_keras.data.examples import (
    ConcatenatedExamples,
    LabeledExamples,
    PseudoLabels,
    count_origins,
    labeled_shares,
)
from must_keras.data.sources import LabelSpace, Source, Subset, TolerantSource, without_labels
from must_keras.errors import DataError, UserError
from must_keras.pseudo_labels.store import PseudoLabelReader, PseudoLabelWriter
from must_keras.tasks import Classification, Depth, Detection, Segmentation

CLASSES = ("a", "b")
KIND = Classification(name="kind", classes=CLASSES)
PARTS = Segmentation(name="parts", classes=CLASSES)


class Partly(Source):
    """Six images; the even ones have a true class, none has a map."""

    name = "partly"
    label_spaces = {"kind": LabelSpace("classes", CLASSES)}  # noqa: RUF012

    def __len__(self):
        return 6

    def image_id(self, index):
        return f"image{index}"

    def image(self, index):
        return np.full((4, 4, 3), index, np.uint8)

    def labels(self, index):
        if index % 2:
            return {}
        return {
            "kind": {
                "probabilities": np.array([1, 0], np.float32),
                "labelled": np.ones((), np.float32),
            }
        }

    def describe(self):
        return {"name": self.name}


@pytest.fixture
def columns(tmp_path):
    """Teachers that say class b of every image but the last, and a map of class 1."""
    source, area, found = Partly(), np.array([0, 0, 4, 4]), {}
    for task in (KIND, PARTS):
        writer = PseudoLabelWriter(
            tmp_path / task.name, task, len(source), teacher_sha256="0", recipe={}
        )
        outputs = {
            "kind": {"probabilities": np.array([0.3, 0.7], np.float32)},
            "parts": {
                "map": np.ones((4, 4), np.uint8),
                "confidence": np.full((4, 4), 0.6, np.float32),
            },
        }[task.name]
        record = task.records.from_prediction(outputs, area, (4, 4))
        for first, count in writer.pending_ranges():
            ids = range(first, first + count)
            writer.write_shard(first, ((f"image{i}", record if i < 5 else None) for i in ids))
        writer.finish()
        found[task.name] = PseudoLabelReader(tmp_path / task.name, source, task)
    return found


def use(columns, threshold=0.5):
    return {
        "kind": PseudoLabels(reader=columns["kind"], threshold=None),
        "parts": PseudoLabels(reader=columns["parts"], threshold=threshold),
    }


def test_the_true_label_wins_per_image_and_head(columns):
    labeled = LabeledExamples(Partly(), [KIND, PARTS], use(columns))
    assert [labeled.origins(i)["kind"] for i in range(6)] == [
        "true", "pseudo", "true", "pseudo", "true", "missing",
    ]  # fmt: skip
    assert [labeled.origins(i)["parts"] for i in range(6)] == ["pseudo"] * 5 + ["missing"]
    _, labels = labeled.load(0)
    np.testing.assert_array_equal(labels["kind"]["probabilities"], [1, 0])
    _, labels = labeled.load(1)
    np.testing.assert_allclose(labels["kind"]["probabilities"], [0.3, 0.7], atol=1e-6)
    _, labels = labeled.load(5)
    assert labels["kind"]["labelled"] == 0
    assert (labels["parts"]["map"] == 255).all()


def test_a_threshold_moves_without_relabeling(columns):
    for threshold, known in ((0.5, True), (0.7, False)):
        _, labels = LabeledExamples(Partly(), [PARTS], use(columns, threshold)).load(0)
        assert bool((labels["parts"]["map"] != 255).all()) is known


def test_without_columns_what_is_not_true_is_missing():
    labeled = LabeledExamples(Partly(), [KIND, PARTS])
    assert labeled.origins(0) == {"kind": "true", "parts": "missing"}
    both = ConcatenatedExamples([labeled, labeled])
    assert [both.origin(head, len(labeled)) for head in ("kind", "parts")] == ["true", "missing"]


def test_no_truth_of_a_pool_is_left():
    pool = without_labels(Partly())
    assert pool.name == "partly" and not pool.label_spaces
    assert all(pool.labels(i) == {} for i in range(len(pool)))
    labeled = LabeledExamples(pool, [KIND])
    assert {labeled.origins(i)["kind"] for i in range(6)} == {"missing"}


def test_a_union_is_its_parts_in_order():
    parts = [
        LabeledExamples(Partly(), [KIND]),
        LabeledExamples(Subset(Partly(), [4, 1], name="two"), [KIND]),
    ]
    union = ConcatenatedExamples(parts)
    assert len(union) == 8
    values = [int(union.load(i)[0][0, 0, 0]) for i in range(8)]
    assert values == [0, 1, 2, 3, 4, 5, 4, 1]
    assert union.locate(6) == (parts[1], 0)


def test_images_of_some_sources_are_found_by_their_names():
    one, other = (LabeledExamples(Partly(), [KIND, PARTS]) for _ in range(2))
    other.source.name = "other"
    union, count = ConcatenatedExamples([one, other, one]), len(one)
    wanted = [False] * count + [True] * count + [False] * count
    assert union.is_of(("other", "nowhere")).tolist() == wanted
    assert union.is_of((one.source.name, "other")).all()


def test_other_classes_are_an_error():
    with pytest.raises(
        UserError, match="'partly' does not fit head 'kind'.*2 classes, the other 3"
    ):
        LabeledExamples(Partly(), [Classification(name="kind", classes=("a", "b", "c"))])
    with pytest.raises(UserError, match="their order differs"):
        LabeledExamples(Partly(), [Classification(name="kind", classes=("b", "a"))])


def test_origins_are_counted_as_the_student_draws_them(columns):
    examples = ConcatenatedExamples([LabeledExamples(Partly(), [KIND, PARTS], use(columns))])
    counts = count_origins(examples, num_examples=300, seed=0)["partly"]
    assert sum(counts["kind"].values()) == sum(counts["parts"].values()) == 300
    # Three of six classes are true; nobody has a true map.
    assert 100 < counts["kind"]["true"] < 200 and counts["parts"]["true"] == 0
    shares = labeled_shares({"partly": counts})
    assert shares["kind"] == 1.0 - counts["kind"]["missing"] / 300


class Damaged(Partly):
    """Image 2 cannot be read."""

    def image(self, index):
        if index == 2:
            raise UserError("image2 is not an image")
        return super().image(index)


def test_an_unreadable_image_of_a_pool_is_black_unlabeled_and_told_once(capsys):
    examples = LabeledExamples(TolerantSource(Damaged()), [KIND])
    for _ in range(2):
        image, labels = examples.load(2)
        assert image.shape == (1, 1, 3) and not image.any()
        assert labels["kind"]["labelled"] == 0
    assert capsys.readouterr().err == "skipped: image2 is not an image\n"
    assert examples.load(0)[1]["kind"]["labelled"] == 1
    with pytest.raises(UserError, match="not an image"):
        LabeledExamples(Damaged(), [KIND]).load(2)


class Crowded(Partly):
    """Every image has three boxes."""

    label_spaces = {"things": LabelSpace("boxes", CLASSES)}  # noqa: RUF012

    def labels(self, index):
        return {
            "things": {
                "boxes": np.tile(np.array([0, 0, 1, 1], np.float32), (3, 1)),
                "classes": np.zeros(3, np.int32),
                "masks": np.zeros((3, 1, 1), np.uint8),
                "has_mask": np.zeros(3, bool),
                "ignore": np.zeros(3, bool),
                "labelled": np.ones((), np.float32),
            }
        }


def test_more_objects_than_there_is_room_for_are_told_once(capsys):
    things = Detection(name="things", classes=CLASSES, max_boxes=2)
    examples = LabeledExamples(Crowded(), [things])
    for index in range(3):
        examples.load(index)
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "image 'image0' has 1 more objects" in told


class Meters(Partly):
    """Every image is two meters away, but for one pixel that nobody knows."""

    label_spaces = {"far": LabelSpace("metric")}  # noqa: RUF012

    def labels(self, index):
        return {"far": {"depth": np.array([[2.0, 0.0]], np.float32)}}


class Relative(Meters):
    label_spaces = {"far": LabelSpace("relative_inverse")}  # noqa: RUF012


def test_meters_serve_a_relative_head_and_not_the_other_way_round():
    relative = Depth(name="far", kind="relative_inverse")
    _, labels = LabeledExamples(Meters(), [relative]).load(0)
    np.testing.assert_array_equal(labels["far"]["depth"], [[0.5, 0.0]])
    _, labels = LabeledExamples(Meters(), [Depth(name="far")]).load(0)
    np.testing.assert_array_equal(labels["far"]["depth"], [[2.0, 0.0]])
    LabeledExamples(Relative(), [relative])
    with pytest.raises(UserError, match="'relative_inverse', the other's 'metric'"):
        LabeledExamples(Relative(), [Depth(name="far")])


class BadLabel(Partly):
    """Image 2 cannot be read, the label of image 4 neither."""

    def image(self, index):
        if index == 2:
            raise UserError("image2 is not an image")
        return super().image(index)

    def labels(self, index):
        if index == 4:
            raise UserError("label4 is cut off")
        return super().labels(index)


def test_one_odd_picture_or_label_of_a_labeled_set_ends_no_training(capsys):
    source = TolerantSource(BadLabel(), labels=True, max_skipped=0.5)
    examples = LabeledExamples(source, [KIND])
    for _ in range(2):
        for index in range(len(examples)):
            image, labels = examples.load(index)
            assert labels["kind"]["labelled"] == (index == 0)
            assert (image.shape == (1, 1, 3)) == (index == 2)
    assert capsys.readouterr().err.splitlines() == [
        "skipped: image2 is not an image", "skipped: label4 is cut off",
    ]  # fmt: skip
    strict = TolerantSource(BadLabel(), labels=True, max_skipped=0.1)
    strict.image(2)
    with pytest.raises(
        DataError, match=r"2 of \d+ images or their labels .*max_unreadable=0\.1.*label4"
    ):
        strict.labels(4)
    with pytest.raises(UserError, match="label4"):
        TolerantSource(BadLabel()).labels(4)
