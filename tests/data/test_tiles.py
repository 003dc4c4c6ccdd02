"""Synthetic tiles: a function of their number, of the set's classes, resolution and label noise."""

import dataclasses

import numpy as np
import pytest

from must_keras.data.sources.tiles import TilesSource
from must_keras.errors import UserError
from must_keras.synthetic.ground import COVERS
from must_keras.synthetic.tiles import TILE_SETS, render_tile

LABELED = ("gazetteer", "suburb", "harvest", "zones", "mosaic")


@pytest.mark.parametrize("name", TILE_SETS)
def test_a_tile_is_of_its_set(name):
    tiles, family = [render_tile(name, "test", index) for index in range(12)], TILE_SETS[name]
    assert all(tile.image.shape == (family.size, family.size, 3) for tile in tiles)
    assert all(tile.image.dtype == np.uint8 and tile.image.std() > 0 for tile in tiles)
    assert all(1 <= len(tile.classes) <= family.max_covers for tile in tiles)
    assert len({tile.image.tobytes() for tile in tiles}) == 12
    assert set(family.classes) <= set(COVERS)


def test_a_tile_depends_on_its_number_its_split_and_the_seed():
    one = render_tile("zones", "train", 5, data_seed=1)
    assert np.array_equal(one.image, render_tile("zones", "train", 5, data_seed=1).image)
    for other in (
        render_tile("zones", "train", 5), render_tile("zones", "test", 5, data_seed=1),
        render_tile("zones", "train", 6, data_seed=1),
    ):  # fmt: skip
        assert not np.array_equal(one.image, other.image)


def test_training_labels_have_the_noise_of_the_set_and_test_labels_none(monkeypatch):
    def classes(split):
        return [render_tile("zones", split, index).classes for index in range(150)]

    noisy, tested = classes("train"), classes("test")
    clean = dataclasses.replace(TILE_SETS["zones"], label_noise=0.0)
    monkeypatch.setitem(TILE_SETS, "zones", clean)
    assert tested == classes("test")
    wrong = np.mean([a != b for a, b in zip(noisy, classes("train"), strict=True)])
    # A label at random is wrong in 9 of 10 cases: 0.18, within 3 standard deviations.
    assert abs(wrong - 0.18) < 0.1


def test_a_cover_has_its_size_on_the_ground():
    """Rows of a field are 1.5 m apart, along u or v: 0.75 m farther is another color."""

    def change(meters):
        along = (np.arange(64) * 0.25).astype(np.float32)
        u, v = np.meshgrid(along, along)
        moved = ((u + meters, v), (u, v + np.float32(meters)))
        here = COVERS["crops"](u, v, np.random.default_rng(1))
        there = [COVERS["crops"](*place, np.random.default_rng(1)) for place in moved]
        return max(np.median(np.abs(colors - here)) for colors in there)

    assert change(np.float32(1.5)) < 0.3 * change(np.float32(0.75))


@pytest.mark.parametrize("name", LABELED)
def test_the_source_has_classes_or_tags(name):
    source = TilesSource(name=name, tiles=name, split="train", images=20)
    space = source.label_spaces[name]
    assert space.kind == ("tags" if name == "mosaic" else "classes")
    assert space.classes == TILE_SETS[name].classes and len(source) == 20
    for index in (0, 7):
        tile = render_tile(name, "train", index)
        label = source.labels(index)[name]
        (values,) = (label[key] for key in label if key != "labelled")
        assert np.flatnonzero(values).tolist() == list(tile.classes)
        assert np.array_equal(source.image(index), tile.image)
    longer = TilesSource(name=name, tiles=name, split="train", images=25)
    assert np.array_equal(longer.image(19), source.image(19))
    assert longer.image_id(19) == source.image_id(19) == f"{name}/train/000019"
    assert longer.describe() != source.describe()


def test_a_source_without_a_head_has_no_label():
    source = TilesSource(name="pool", tiles="survey", split="train", images=2, head=None)
    assert source.labels(0) == {} and source.label_spaces == {}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tiles": "zone"}, "no set of tiles 'zone'; did you mean 'zones'"),
        ({"split": "val"}, "split='val'.* allowed are train, validation, test"),
        ({"images": -1}, "images=-1: expected 0 or more"),
    ],
)
def test_arguments_that_are_none(changes, words):
    given = {"name": "s", "tiles": "zones", "split": "train", "images": 2}
    with pytest.raises(UserError, match=words):
        TilesSource(**(given | changes))
