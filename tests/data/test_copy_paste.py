"""Copy-paste: squares by hand, all labels together, and a slow version of the labels of objects."""

import numpy as np
import pytest
import tensorflow as tf

from must_keras.data.mixing import CopyPaste, mixer
from must_keras.errors import UserError
from must_keras.ops.masks import paste
from must_keras.tasks import Classification, Depth, Detection, Normals, Segmentation
from must_keras.training.config import TrainingConfig
from must_keras.training.optimizers import SGD

SIZE, WHOLE = (16, 16), np.float32([0, 0, 16, 16])
THINGS = Detection(name="things", classes=("cat", "dog"), max_boxes=4, mask_region=4)
KIND = Classification(name="kind", classes=("a", "b"))
PARTS = Segmentation(name="parts", classes=("floor", "cat", "dog"))
FAR, INVERSE = Depth(name="far"), Depth(name="inverse", kind="relative_inverse")
FACING = Normals(name="facing")
ALL = (KIND, THINGS, PARTS, FAR, INVERSE, FACING)


def objects(*boxes, classes=None, masks=None, has_mask=None, ignore=None, truncated=()):
    """Return a label of up to four objects, by default cats whose masks are their boxes."""
    number = len(boxes)
    found = {
        key: np.zeros(spec.shape, spec.dtype) for key, spec in THINGS.labels.spec(SIZE).items()
    }
    found["classes"][:] = -1
    found["boxes"][:number] = np.reshape(boxes, (-1, 4))
    found["classes"][:number] = 0 if classes is None else classes
    found["masks"][:number] = 1 if masks is None else masks
    found["has_mask"][:number] = True if has_mask is None else has_mask
    found["ignore"][:number] = False if ignore is None else ignore
    found["truncated_boxes"][: len(truncated)] = np.reshape(truncated, (-1, 4))
    return found | {"labelled": np.float32(1)}


def pasted(label, other, chosen=True, area=WHOLE):
    chosen = np.broadcast_to(chosen, 4)
    return THINGS.mixtures.paste_objects(label, other, chosen=chosen, area=area, size=SIZE)


def pixels(label, index) -> np.ndarray:
    return paste(label["masks"][index], label["boxes"][index], SIZE).astype(bool)


def test_a_square_on_a_square():
    """A dog of rows and columns 6 to 12 hides a corner of a cat of 2 to 8, and a cat's right half."""
    label = objects([2, 2, 8, 8], [6.2, 4, 12.4, 8])
    found, where = pasted(label, objects([6, 6, 12, 12], classes=1))
    square = np.zeros(SIZE, bool)
    square[6:12, 6:12] = True
    np.testing.assert_array_equal(where, square)
    assert found["classes"].tolist() == [0, 0, 1, -1]
    # The first cat still touches all of its edges. The second loses its right half, and its other
    # edges keep their fractions.
    wanted = [[2, 2, 8, 8], [6.2, 4, 12.4, 6], [6, 6, 12, 12], [0, 0, 0, 0]]
    np.testing.assert_allclose(found["boxes"], wanted, rtol=1e-6)
    cat = np.zeros(SIZE, bool)
    cat[2:8, 2:8] = True
    np.testing.assert_array_equal(pixels(found, 0), cat & ~square)
    assert pixels(found, 1).sum() == 6 * 2 and (found["masks"][1] == 1).all()
    np.testing.assert_array_equal(pixels(found, 2), square)
    assert not found["ignore"].any() and found["labelled"] == 1
    assert found["has_mask"].tolist() == [True, True, True, False]


def test_what_is_hidden_or_barely_seen():
    hidden, barely = [5, 5, 9, 9], [4, 0, 12, 12.9]
    label = objects(hidden, barely, [0, 0, 3, 3])
    found, _ = pasted(label, objects([4, 1, 12, 14], classes=1))
    # Of the second the first column of thirteen remains: 8 %.
    assert found["classes"].tolist() == [0, 1, 0, -1]
    assert found["ignore"].tolist() == [False, False, True, False]
    np.testing.assert_array_equal(found["boxes"][:3], [[0, 0, 3, 3], [4, 1, 12, 14], [4, 0, 12, 1]])


def test_an_object_without_a_mask_is_ignored_where_most_is_hidden():
    boxes = [4, 4, 8, 8], [4, 6, 8, 14], [0, 4, 8, 8], [0, 0, 16, 16]
    label = objects(
        *boxes, has_mask=False, ignore=[False, False, False, True], classes=[0, 1, 0, -1]
    )
    # All of the first, a quarter of the second, half of the third.
    found, _ = pasted(label, objects([4, 4, 8, 8]))
    assert [box.tolist() for box in found["boxes"]] == [
        [4, 6, 8, 14], [0, 4, 8, 8], [4, 4, 8, 8], [4, 4, 8, 8]
    ]  # fmt: skip
    assert found["has_mask"].tolist() == [False, False, True, False]
    assert found["ignore"].tolist() == [False, False, False, True]
    # One region had no room, and stays ignored.
    np.testing.assert_array_equal(found["truncated_boxes"][0], [0, 0, 16, 16])


def test_only_chosen_true_objects_with_masks_are_pasted():
    other = objects(
        [0, 0, 2, 2], [2, 2, 4, 4], [4, 4, 6, 6], [6, 6, 8, 8],
        ignore=[False, True, False, False], has_mask=[True, True, False, True],
    )  # fmt: skip
    label = objects([8, 8, 12, 12])
    found, where = pasted(label, other, chosen=[False, True, True, True])
    np.testing.assert_array_equal(found["boxes"][:3], [[8, 8, 12, 12], [6, 6, 8, 8], [0, 0, 0, 0]])
    assert where.sum() == 4 and where[6:8, 6:8].all()
    for nothing in (objects(), objects([0, 0, 4, 4], has_mask=False)):
        found, where = pasted(label, nothing)
        assert not where.any()
        tf.nest.map_structure(np.testing.assert_array_equal, found, label)


def test_objects_are_cut_to_the_picture():
    found, where = pasted(
        objects(), objects([2, 2, 10, 6], [0, 8, 4, 12]), area=np.float32([4, 0, 12, 16])
    )
    assert found["classes"].tolist() == [0, -1, -1, -1]
    np.testing.assert_array_equal(found["boxes"][0], [4, 2, 10, 6])
    assert where.sum() == 6 * 4 and where[4:10, 2:6].all()


def test_objects_without_room_are_ignored():
    label = objects(*([2 * i, 0, 2 * i + 2, 2] for i in range(4)), truncated=[[0, 12, 2, 14]])
    found, _ = pasted(label, objects([0, 4, 2, 6], [4, 4, 6, 6]))
    np.testing.assert_array_equal(found["boxes"], label["boxes"])
    wanted = [[0, 12, 2, 14], [0, 4, 2, 6], [4, 4, 6, 6], [0, 0, 0, 0]]
    np.testing.assert_array_equal(found["truncated_boxes"], wanted)
    again, _ = pasted(found, objects([8, 8, 9, 9], [9, 9, 12, 12]))
    wanted[3] = [8, 8, 12, 12]
    np.testing.assert_array_equal(again["truncated_boxes"], wanted)


def test_objects_keep_their_weights():
    """The true objects come first, and what is ignored because it is hidden has no weight."""
    hidden, apart = [0, 0, 4, 4], [12, 12, 14, 14]
    label = objects([4, 4, 12, 12], hidden, apart, has_mask=[True, False, False])
    label["weight"] = np.float32([0.9, 0.8, 0.3, 0])
    # A box that a threshold dropped is ignored, with its score.
    label["ignore"][2] = True
    other = objects([0, 0, 6, 4]) | {"weight": np.float32([0.7, 0, 0, 0])}
    found, _ = pasted(label, other)
    wanted = [[4, 4, 12, 12], [0, 0, 6, 4], hidden, apart]
    np.testing.assert_array_equal(found["boxes"], wanted)
    assert found["ignore"].tolist() == [False, False, True, True]
    np.testing.assert_array_equal(found["weight"], np.float32([0.9, 0.7, 0, 0.3]))


def random_label(random, first):
    low = random.uniform(0, 10, (3, 2))
    boxes = np.concatenate([low, low + random.uniform(2, 6, (3, 2))], axis=1).astype(np.float32)
    side = THINGS.labels.mask_size
    masks = (random.random((3, 4, 4)) < 0.7).repeat(side // 4, 1).repeat(side // 4, 2)
    return objects(*boxes, classes=[first, first + 1, first + 2], masks=masks)


@pytest.mark.parametrize("seed", range(20))
def test_all_pixels_are_those_of_a_painter(seed):
    """Paint every object over those before it, pixel by pixel."""
    random = np.random.default_rng(seed)
    label, other = random_label(random, 0), random_label(random, 3)
    found, where = pasted(label, other, chosen=[True, False, False, False])
    front = pixels(other, 0)
    np.testing.assert_array_equal(where, front)
    for i in range(3):
        whole, seen = pixels(label, i), pixels(label, i) & ~front
        rows = np.flatnonzero(found["classes"] == i)
        assert len(rows) == seen.any()
        if not seen.any():
            continue
        (row,) = rows
        if seen.sum() == whole.sum():
            for key in ("boxes", "masks", "ignore"):
                np.testing.assert_array_equal(found[key][row], label[key][i])
            continue
        for edge in range(4):
            axis, side = edge % 2, (np.min, np.max)[edge // 2]
            before, after = (side(np.argwhere(p)[:, axis]) for p in (whole, seen))
            kept, moved = label["boxes"][i][edge], after + edge // 2
            wanted = kept if before == after else moved
            assert found["boxes"][row][edge] == pytest.approx(wanted, rel=1e-6)
        sides = found["boxes"][row][2:] - found["boxes"][row][:2]
        assert found["ignore"][row] == (seen.sum() < 0.1 * whole.sum() or sides.min() < 1)
        # A pixel that cells of a mask cut in two may go either way.
        assert (pixels(found, row) != seen).sum() <= 0.1 * seen.sum() + 1


# ---- all labels of an image ----------------------------------------------------------------------


def example(gray: int, things, kind=0, *, unlabeled=()):
    """An image of one gray with one label each."""
    labels = {
        "kind": {"probabilities": np.eye(2, dtype=np.float32)[kind], "labelled": np.float32(1)},
        "things": things,
        "parts": {"map": np.full(SIZE, gray, np.uint8)},
        "far": {"depth": np.full(SIZE, 10 - gray, np.float32)},
        "inverse": {"depth": np.full(SIZE, gray + 1, np.float32)},
        "facing": {"normals": np.full((*SIZE, 3), np.eye(3)[gray], np.float32)},
    }
    for name, unknown in unlabeled:
        (key,) = labels[name]
        labels[name] = {key: np.full_like(labels[name][key], unknown)}
    x = {"image": np.full((*SIZE, 3), gray, np.uint8), "area": WHOLE}
    return tf.nest.map_structure(tf.convert_to_tensor, (x, labels))


def key_that_chooses(way: CopyPaste) -> int:
    """Return a key of which the first object is chosen."""
    from must_keras.ops import sampling

    keys = np.arange(32, dtype=np.int32)
    return int(keys[np.asarray(sampling.uniform(keys, 4, purpose=124))[:, 0] < 0.5][0])


def mixed(one, other):
    way = CopyPaste(head="things")
    found = way.mix(one, other, ALL, tf.constant(key_that_chooses(way)))
    return tf.nest.map_structure(np.asarray, found)


SQUARE = np.zeros(SIZE, bool)
SQUARE[6:12, 6:12] = True


def test_every_label_shows_what_is_in_front():
    one, other = example(0, objects([2, 2, 8, 8])), example(2, objects([6, 6, 12, 12], classes=1))
    x, labels = mixed(one, other)
    np.testing.assert_array_equal(x["image"][..., 0], np.where(SQUARE, 2, 0))
    np.testing.assert_array_equal(x["area"], WHOLE)
    np.testing.assert_array_equal(labels["parts"]["map"], np.where(SQUARE, 2, 0))
    # Eight meters are in front of ten; relative depths cannot be compared.
    np.testing.assert_array_equal(labels["far"]["depth"], np.where(SQUARE, 8, 10))
    np.testing.assert_array_equal(labels["inverse"]["depth"], np.where(SQUARE, 0, 1))
    np.testing.assert_array_equal(
        labels["facing"]["normals"], np.where(SQUARE[..., None], np.eye(3)[2], np.eye(3)[0])
    )
    assert labels["kind"]["labelled"] == 0
    assert labels["things"]["classes"].tolist() == [0, 1, -1, -1]


def test_what_the_partner_lacks_is_unknown():
    one = example(2, objects([2, 2, 8, 8]))
    other = example(0, objects([6, 6, 12, 12]), unlabeled=[("parts", 255), ("facing", 0)])
    _, labels = mixed(one, other)
    np.testing.assert_array_equal(labels["parts"]["map"], np.where(SQUARE, 255, 2))
    assert not labels["facing"]["normals"][SQUARE].any()
    # Ten meters are behind eight.
    np.testing.assert_array_equal(labels["far"]["depth"], np.where(SQUARE, 0, 8))


def test_where_nothing_is_pasted_the_example_stays():
    one = tf.nest.map_structure(np.asarray, example(0, objects([2, 2, 8, 8])))
    tf.nest.map_structure(np.testing.assert_array_equal, mixed(one, example(1, objects())), one)


class Origins:
    """Examples whose labels of objects are true, pseudo, missing, true, ..."""

    def __len__(self):
        return 30

    def origin(self, head, index):
        assert head == "things"
        return ("true", "pseudo", "missing")[index % 3]


@pytest.mark.parametrize(
    ("pair", "fits"), [((0, 3), True), ((1, 4), True), ((0, 1), False), ((1, 0), False), ((2, 5), False)]
)  # fmt: skip
def test_labels_of_one_origin_are_pasted_alone(pair, fits):
    way, reads = CopyPaste(head="things", probability=1.0), []
    one, other = example(0, objects()), example(1, objects([0, 0, 8, 8]))

    def see():
        reads.append(1)
        return other

    mix = mixer([way], Origins(), ALL)
    indices = tuple(tf.constant(i, tf.int64) for i in pair)
    found, _ = mix(one, see, tf.constant(key_that_chooses(way)), indices)
    assert bool(np.any(found["image"])) == fits == bool(reads)


@pytest.mark.parametrize(
    ("tasks", "found"),
    [
        ((KIND,), "kind (classes)"),
        ((Detection(name="things", classes=("a",), with_masks=False), PARTS), "things (boxes)"),
        ((Detection(name="others", classes=("a",)),), "others (boxes)"),
        ((), "none"),
    ],
)  # fmt: skip
def test_a_head_of_boxes_with_masks_is_needed(tasks, found):
    training = TrainingConfig(
        steps=1, batch=4, learning_rate=0.1, optimizer=SGD(), mixing=(CopyPaste(head="things"),)
    )
    with pytest.raises(UserError) as error:
        training.check_heads("the student", tasks)
    assert str(error.value).startswith(
        "the student: mixing: CopyPaste needs a head with boxes and masks, here head='things'; "
        f"heads: {found}"
    )
    training.check_heads("the student", ALL)
