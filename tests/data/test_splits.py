import collections

import numpy as np
import pytest

from must_keras.data.sources import Source
from must_keras.data.splits import carve_validation, contiguous_blocks, permutation
from must_keras.errors import UserError


class Named(Source):
    def __init__(self, ids, name="named"):
        self.name, self.label_spaces, self._ids = name, {}, list(ids)

    def __len__(self):
        return len(self._ids)

    def image_id(self, index):
        return self._ids[index]

    def image(self, index):
        return np.zeros((2, 2, 3), np.uint8)

    def labels(self, index):
        return {}

    def describe(self):
        return {"ids": self._ids}


def ids(source):
    return [source.image_id(i) for i in range(len(source))]


def test_a_permutation_does_not_depend_on_what_else_is_there():
    few, many = Named(f"{i}.jpg" for i in range(20)), Named(f"{i}.jpg" for i in range(50))
    order = [few.image_id(i) for i in permutation(few, seed=3)]
    again = [many.image_id(i) for i in permutation(many, seed=3)]
    assert sorted(order) == sorted(ids(few)) and order != ids(few)
    assert [name for name in again if name in order] == order
    assert permutation(few, seed=4) != permutation(few, seed=3)


def test_carving_parts_the_images_and_keeps_their_order():
    source = Named(f"{i:03d}" for i in range(100))
    train, validation = carve_validation(source, count=15, seed=0)
    assert len(validation) == 15 and not set(ids(train)) & set(ids(validation))
    assert sorted(ids(train) + ids(validation)) == ids(source)
    assert ids(train) == sorted(ids(train)) and ids(validation) == sorted(ids(validation))
    assert (train.name, validation.name) == ("named", "named_validation")
    assert ids(carve_validation(source, count=15, seed=0).validation) == ids(validation)
    assert ids(carve_validation(source, count=15, seed=1).validation) != ids(validation)


@pytest.mark.parametrize("seed", range(5))
def test_groups_are_never_parted(seed):
    source = Named(f"table{i % 7}/{i}.jpg" for i in range(60))
    carved = carve_validation(source, count=10, seed=seed, group=lambda i: i.split("/")[0])
    tables = [collections.Counter(i.split("/")[0] for i in ids(part)) for part in carved]
    assert not tables[0].keys() & tables[1].keys()
    assert 10 <= len(carved.validation) < 20


@pytest.mark.parametrize("count", [0, -1, 10, 11])
def test_neither_part_may_be_empty(count):
    with pytest.raises(UserError, match="'named'"):
        carve_validation(Named(map(str, range(10))), count=count, seed=0)


def test_one_group_cannot_be_carved():
    with pytest.raises(UserError, match="1 groups"):
        carve_validation(Named(map(str, range(10))), count=2, seed=0, group=lambda i: "all")


def test_blocks_of_a_sequence_lie_apart():
    assert contiguous_blocks(88, counts=(60, 8, 12), gap=4) == [
        range(0, 60), range(64, 72), range(76, 88),
    ]  # fmt: skip
    for num_images, counts, gap in ((87, (60, 8, 12), 4), (9, (4, 0), 1), (9, (4, 4), -1)):
        with pytest.raises(UserError, match="the sequence has"):
            contiguous_blocks(num_images, counts=counts, gap=gap)
