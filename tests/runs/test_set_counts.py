"""Images without a label of their set's head, and pools that repeat training images."""

import shutil
import types

import numpy as np
import pytest
from PIL import Image

from must_keras.data.sources import ImagesOnly, LabelMaps
from must_keras.data.splits import Splits
from must_keras.runs import set_counts


@pytest.fixture
def recipe(tmp_path):
    """Four photos, two of which have a map; the pool has two of them again, and two of its own."""
    random = np.random.default_rng(0)
    for folder in ("photos", "maps", "pool"):
        (tmp_path / folder).mkdir()
    for name in ("a", "b", "c", "d"):
        pixels = random.integers(0, 256, (8, 8, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{name}.png")
    for name in ("a", "b"):
        Image.new("L", (8, 8)).save(tmp_path / "maps" / f"{name}.png")
        shutil.copy(tmp_path / "photos" / f"{name}.png", tmp_path / "pool" / f"copy_of_{name}.png")
    for name in ("e", "f"):
        pixels = random.integers(0, 256, (8, 8, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "pool" / f"{name}.png")
    maps = LabelMaps(
        name="rooms", images=tmp_path / "photos", maps=tmp_path / "maps", head="parts",
        classes=("wall", "floor"),
    )  # fmt: skip
    pool = ImagesOnly(name="pool", root=tmp_path / "pool")
    sets = Splits(train=maps, validation=maps, test=maps)
    teacher = types.SimpleNamespace(sets=sets, task=types.SimpleNamespace(name="parts"))
    return types.SimpleNamespace(
        teachers=(teacher,), trained_teachers=(teacher,), transfers=(),
        pools=(types.SimpleNamespace(source=pool),),
    )  # fmt: skip


def test_images_without_a_map_and_repeated_images_are_counted(recipe):
    found = set_counts.of_recipe(recipe)
    assert found == {
        "rooms": set_counts.SetCounts(images=4, unlabeled={"parts": 2}, copies={}),
        "pool": set_counts.SetCounts(images=4, unlabeled={}, copies={"rooms": 2}),
    }
    (missing,) = set_counts.sentences("rooms", found["rooms"])
    (copies,) = set_counts.sentences("pool", found["pool"])
    assert "2 of 4 images of rooms" in missing and "rooms (2)" in copies


def test_the_same_folder_is_all_copies(recipe, tmp_path):
    same = ImagesOnly(name="same", root=tmp_path / "photos")
    assert set_counts.of_pool(same, recipe).copies == {"rooms": 4}


def test_sets_without_anything_odd_are_left_out(recipe, tmp_path):
    for name in ("copy_of_a", "copy_of_b"):
        (tmp_path / "pool" / f"{name}.png").unlink()
    recipe.pools[0].source = ImagesOnly(name="pool", root=tmp_path / "pool")
    assert set(set_counts.of_recipe(recipe)) == {"rooms"}
