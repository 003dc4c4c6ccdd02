"""Where the student's labels come from, and which of them contain nothing."""

import numpy as np
import pytest

from fakes import labeled_run
from must_keras.data.examples import LabeledExamples
from must_keras.data.sources import LabelSpace, Source
from must_keras.data.sources.source import class_label, objects
from must_keras.pseudo_labels.label_counts import HeadCounts, count_in
from must_keras.pseudo_labels.store import PseudoLabelReader
from must_keras.tasks import Classification, Detection

THINGS = Detection(name="things", classes=("cat", "dog"))
KIND = Classification(name="kind", classes=("a", "b"))


class Few(Source):
    """Ten images: objects in every second, none in the others; classes of the first three."""

    name = "few"
    label_spaces = {"things": LabelSpace.of(THINGS), "kind": LabelSpace.of(KIND)}  # noqa: RUF012

    def __len__(self):
        return 10

    def image_id(self, index):
        return str(index)

    def image(self, index):
        raise AssertionError("no image is read")

    def labels(self, index):
        boxes = np.tile([0, 0, 1, 1], (index % 2, 1))
        found = {"things": objects(boxes=boxes, classes=np.zeros(index % 2))}
        return found | ({"kind": class_label(0, 2)} if index < 3 else {})

    def describe(self):
        return {"name": self.name}


def test_ground_truth_missing_and_empty_labels():
    found = count_in(LabeledExamples(Few(), [THINGS, KIND]))
    assert (found.images, found.read) == (10, 10)
    assert found.heads == {
        "things": HeadCounts(true=10, pseudo=0, missing=0, empty=5),
        "kind": HeadCounts(true=3, pseudo=0, missing=7, empty=0),
    }
    assert count_in(LabeledExamples(Few(), [KIND]), limit=4).read == 4


@pytest.mark.parametrize(("head", "empty"), [("things", 2), ("parts", 1), ("far", 0)])
def test_pseudo_labels_at_their_threshold(tmp_path, head, empty):
    # Of the five photos, two have no box at 0.5; the fourth map is everywhere below 0.5.
    run = labeled_run.make(tmp_path, heads=(head,))
    teacher = run.recipe.teacher(f"teacher_{head}")
    ((source, labels),) = run.label_sets(teacher)
    reader = PseudoLabelReader(labels.folder, source, teacher.task)
    examples = LabeledExamples(source, [teacher.task], {head: teacher.pseudo_labels(reader)})
    counts = count_in(examples).heads[head]
    assert counts == HeadCounts(true=0, pseudo=5, missing=1, empty=empty)
