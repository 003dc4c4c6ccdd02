import collections

import numpy as np
import pytest

from must_keras.data.sources import LabelSpace, Source
from must_keras.data.splits import (
    Splits,
    carve_validation,
    contiguous_blocks,
    listed,
    permutation,
    split_by_fraction,
    split_by_lists,
    split_by_name,
    split_sequence,
)
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


def parts(splits):
    return [ids(splits.train), ids(splits.validation), ids(splits.test)]


def test_a_list_file_names_images_in_many_ways(tmp_path):
    source = Named(["a/1.jpg", "a/2.jpg", "b c.png", "a/3.v2.jpg"])
    (tmp_path / "list.txt").write_text("b c.png\n\na/2 labels/a/2.png\na/1.jpg 1\na/3.v2\n")
    chosen = listed(source, tmp_path / "list.txt", name="some")
    assert ids(chosen) == ["b c.png", "a/2.jpg", "a/1.jpg", "a/3.v2.jpg"] and chosen.name == "some"


def test_a_name_without_its_suffix_must_mean_one_image(tmp_path):
    source = Named(["a.jpg", "a.png", "b.png"])
    (tmp_path / "list.txt").write_text("a.png\nb\n")
    assert ids(listed(source, tmp_path / "list.txt", name="some")) == ["a.png", "b.png"]
    (tmp_path / "list.txt").write_text("a\n")
    with pytest.raises(UserError, match="line 1: 'a' is no image"):
        listed(source, tmp_path / "list.txt", name="some")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a/1.jpg\na/4.jpg\n", r"line 2: 'a/4.jpg' is no image of source 'named'; did you mean"),
        ("a/1.jpg\na/2.jpg\na/1\n", r"line 3: 'a/1' is also on line 1"),
        ("a/1 7.jpg\n", r"line 1: 'a/1 7.jpg' is no image"),
        ("a/1.5\n", r"line 1: 'a/1.5' is no image"),
    ],
)
def test_a_list_file_that_does_not_fit(tmp_path, content, message):
    (tmp_path / "list.txt").write_text(content)
    with pytest.raises(UserError, match=f"list.txt, {message}"):
        listed(Named(["a/1.jpg", "a/2.jpg"]), tmp_path / "list.txt", name="some")


def test_three_lists_are_three_parts(tmp_path):
    source = Named("abcd", name="letters")
    for name, lines in (("train", "a\nd"), ("val", "b"), ("test", "c"), ("twice", "c\na")):
        (tmp_path / name).write_text(lines)
    found = split_by_lists(
        source, train=tmp_path / "train", validation=tmp_path / "val", test=tmp_path / "test"
    )
    assert parts(found) == [["a", "d"], ["b"], ["c"]]
    assert [p.name for p in (found.train, found.validation, found.test)] == [
        "letters", "letters_validation", "letters_test",
    ]  # fmt: skip
    with pytest.raises(UserError, match="twice and .*train both list a"):
        split_by_lists(
            source, train=tmp_path / "train", validation=tmp_path / "val", test=tmp_path / "twice"
        )
    with pytest.raises(UserError, match="three different lists"):
        split_by_lists(
            source, train=tmp_path / "train", validation=tmp_path / "val", test=tmp_path / "val"
        )


def test_fractions_share_no_image_and_follow_the_seed():
    source = Named(f"{i}.jpg" for i in range(50))
    found = split_by_fraction(source, validation=0.2, test=0.1, seed=3)
    train, validation, test = parts(found)
    assert (len(train), len(validation), len(test)) == (35, 10, 5)
    assert sorted(train + validation + test) == sorted(ids(source))
    assert parts(split_by_fraction(source, validation=0.2, test=0.1, seed=3)) == parts(found)
    assert parts(split_by_fraction(source, validation=0.2, test=0.1, seed=4))[2] != test
    with pytest.raises(UserError, match="test=1.5: expected a share"):
        split_by_fraction(source, test=1.5)


def test_fractions_never_part_a_group():
    source = Named(f"{i // 5}/{i}.jpg" for i in range(50))
    found = split_by_fraction(source, validation=0.2, test=0.2, group=lambda i: i.split("/")[0])
    groups = [{name.split("/")[0] for name in part} for part in parts(found)]
    assert not (groups[0] & groups[1] or groups[0] & groups[2] or groups[1] & groups[2])


def test_a_sequence_is_cut_into_blocks_with_gaps():
    source = Named(f"{i:03}.jpg" for i in range(40))
    train, validation, test = parts(split_sequence(source, validation=0.1, test=0.2, gap=3))
    assert train == ids(source)[:22] and validation == ids(source)[25:29]
    assert test == ids(source)[32:]


def test_splits_without_an_image_are_refused():
    with pytest.raises(UserError, match="'none' has no image"):
        Splits(train=Named("a"), validation=Named("b"), test=Named("", name="none"))


def test_lists_name_images_as_people_have_them(tmp_path):
    source = Named(
        [
            "Screenshot 9.41\u202fPM.png",
            "d/caf\u00e9.jpg",
            "\u5199\u771f\u30001.png",
            "my photo.png",
            "e.jpeg",
        ]
    )
    lines = [
        "Screenshot 9.41\u202fPM.png labels/1.png", "d\\cafe\u0301.JPG 3", "\u5199\u771f\u30001", "my photo.png 7",
        "./e.jpg",
    ]  # fmt: skip
    (tmp_path / "list.txt").write_text("\n".join(lines))
    assert ids(listed(source, tmp_path / "list.txt", name="some")) == ids(source)
    (tmp_path / "list.txt").write_text("my photo.png 1\nmy other photo.png\n")
    with pytest.raises(UserError, match=r"line 2: 'my other photo\.png' is no image"):
        listed(source, tmp_path / "list.txt", name="some")


def test_a_line_that_may_mean_two_images_is_an_error(tmp_path):
    (tmp_path / "list.txt").write_text("a b.jpg\n")
    with pytest.raises(UserError, match=r"list\.txt, line 1: .*may mean .*xa0"):
        listed(Named(["a\u00a0b.jpg", "a\u202fb.jpg"]), tmp_path / "list.txt", name="some")


# ---- parts with names ---------------------------------------------------------------------------


class Labeled(Named):
    def __init__(self, split, head="named"):
        super().__init__([f"{split}/{i}" for i in range(10)])
        self.label_spaces = {head: LabelSpace("metric")}


def test_parts_with_names_have_one_head():
    sets = split_by_name(Labeled, train="training", validation="val", test="test")
    parts = (sets.train, sets.validation, sets.test)
    assert [part.image_id(3) for part in parts] == ["training/3", "val/3", "test/3"]
    assert [part.name for part in parts] == ["named", "named_validation", "named_test"]
    assert all([*part.label_spaces] == ["named"] and len(part) == 10 for part in parts)


def test_validation_images_without_a_part_are_carved_out_of_training():
    sets = split_by_name(Labeled, train="train", validation=3, test="test", seed=1)
    carved = carve_validation(Labeled("train"), count=3, seed=1)
    assert (ids(sets.train), ids(sets.validation)) == (ids(carved.train), ids(carved.validation))
    whole = split_by_name(
        Labeled, train="train", validation=1, test="test", group=lambda name: name[-1] < "5"
    )
    assert len(whole.train) == len(whole.validation) == 5


@pytest.mark.parametrize(
    ("make", "validation", "message"),
    [
        (Labeled, "train", "two of the parts train, train, test have one name"),
        (lambda split: split, "val", "received 'train': expected a source"),
        (lambda split: Labeled(split, head=split), "val", r"other heads \(train: train; val: val;"),
        (Labeled, 10, "leave 0 for training"),
    ],
)
def test_parts_that_do_not_fit(make, validation, message):
    with pytest.raises(UserError, match=message):
        split_by_name(make, train="train", validation=validation, test="test")
