"""Public sets from above, on the features and the generated data that TFDS itself mocks."""

import numpy as np
import pytest

from fakes import public_datasets
from must_keras.data import overhead_sets
from must_keras.tasks import Classification, Tags
from must_keras.tasks.base import Task

# {set: (function, task, classes, images of the three parts)}
CASES = {
    "eurosat/rgb": (overhead_sets.eurosat, Classification, 10, (6, 2, 2)),
    "resisc45": (overhead_sets.resisc45, Classification, 45, (6, 2, 2)),
    "uc_merced": (overhead_sets.uc_merced, Classification, 21, (6, 2, 2)),
    "so2sat/rgb": (overhead_sets.so2sat, Classification, 17, (10, 2, 6)),
    "bigearthnet/rgb": (overhead_sets.bigearthnet, Tags, 43, (6, 2, 2)),
}


@pytest.mark.parametrize("name", CASES)
def test_a_set_with_its_published_splits(name, tmp_path):
    read, kind, num_classes, counts = CASES[name]
    mocked = public_datasets.mocked(name, tmp_path)
    sets = read(head="ground", data_dir=str(tmp_path))
    parts = (sets.train, sets.validation, sets.test)
    assert tuple(map(len, parts)) == counts
    ids = [part.image_id(index) for part in parts for index in range(len(part))]
    assert len(set(ids)) == len(ids)
    short = name.split("/")[0]
    assert [p.name for p in parts] == [short, f"{short}_validation", f"{short}_test"]
    space = sets.test.label_spaces["ground"]
    task = Task.of_kind("ground", space.kind, space.classes)
    assert type(task) is kind and len(task.classes) == num_classes
    # In order: the last image of the training part is TFDS' image of that number.
    found, expected = sets.train.labels(counts[0] - 1)["ground"], mocked[counts[0] - 1]
    if kind is Tags:
        assert set(np.flatnonzero(found["tags"])) == set(expected["labels"])
    else:
        assert found["probabilities"].argmax() == expected["label"]
    assert np.array_equal(sets.train.image(counts[0] - 1), expected["image"])
