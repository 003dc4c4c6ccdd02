import collections
import itertools

import numpy as np
import pytest

from must_keras.data.sources import LabelSpace, Source
from must_keras.data.splits import permutation
from must_keras.errors import UserError
from must_keras.tasks import Classification, Depth
from must_keras.transfer.low_shot import few, first

KIND = Classification(name="kind", classes=("a", "b", "c"))
FAR = Depth(name="far")


class Numbered(Source):
    """Image i is of class i % 3, and of class 2 only twice; every fifth has no label."""

    def __init__(self, task=KIND, count=90):
        self.name, self._task, self._count = "numbered", task, count
        self.label_spaces = {task.name: LabelSpace.of(task)}

    def __len__(self):
        return self._count

    def image_id(self, index):
        return f"image-{index}"

    def image(self, index):
        return np.zeros((4, 4, 3), np.uint8)

    def kind(self, index) -> int:
        return index % 3 if index % 3 < 2 or index < 6 else 0

    def labels(self, index):
        if index % 5 == 4:
            return {}
        if self._task is FAR:
            return {"far": {"depth": np.ones((4, 4), np.float32)}}
        probabilities = np.full(3, 0.2, np.float32)
        probabilities[self.kind(index)] = 0.6
        return {"kind": {"probabilities": probabilities, "labelled": np.ones((), np.float32)}}

    def describe(self):
        return {"name": self.name}


def chosen(subset) -> list[int]:
    return [int(subset.image_id(i).split("-")[1]) for i in range(len(subset))]


def test_so_many_of_each_class_as_far_as_there_are():
    source = Numbered()
    counts = collections.Counter(map(source.kind, chosen(few(source, KIND, shots=6, seed=0))))
    assert counts == {0: 6, 1: 6, 2: 2}


def test_so_many_in_all_where_classes_do_not_matter():
    found = chosen(few(Numbered(FAR), FAR, shots=7, seed=0))
    assert len(found) == 7 and not any(i % 5 == 4 for i in found)
    assert len(few(Numbered(FAR), FAR, shots=1000, seed=0)) == 72


@pytest.mark.parametrize("task", [KIND, FAR])
@pytest.mark.parametrize("seed", range(3))
def test_more_shots_contain_fewer(task, seed):
    sizes = [set(chosen(few(Numbered(task), task, shots=n, seed=seed))) for n in (1, 5, 10, 20)]
    for small, large in itertools.pairwise(sizes):
        assert small < large


def test_the_seed_chooses_and_nothing_else():
    one, again, other = (chosen(few(Numbered(FAR), FAR, shots=10, seed=seed)) for seed in (0, 0, 1))
    assert one == again and one != other
    assert few(Numbered(FAR), FAR, shots=10, seed=0).name == "numbered"


def test_a_set_without_labels_is_an_error():
    for choose in (
        lambda s: few(s, FAR, shots=3, seed=0),
        lambda s: first(s, FAR, samples=3, seed=0),
    ):
        with pytest.raises(UserError, match="no image is labeled for head 'far'"):
            choose(Numbered(KIND))


@pytest.mark.parametrize("seed", range(3))
def test_samples_are_a_prefix_of_one_order_whatever_their_classes(seed):
    source = Numbered()
    order = [i for i in permutation(source, seed=seed) if i % 5 < 4]
    for samples in (1, 10, 40):
        assert chosen(first(source, KIND, samples=samples, seed=seed)) == sorted(order[:samples])
    assert len(first(source, KIND, samples=1000, seed=seed)) == 72
    # Of one group, samples are shots.
    far = Numbered(FAR)
    same = chosen(few(far, FAR, shots=9, seed=seed))
    assert chosen(first(far, FAR, samples=9, seed=seed)) == same
