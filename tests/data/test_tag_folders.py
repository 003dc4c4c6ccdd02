"""Folders of tags: one image is in the folder of each tag that it has."""

import os
import shutil

import pytest
from PIL import Image

from must_keras.data.sources import FolderPerTag
from must_keras.errors import UserError
from must_keras.tasks import Tags


@pytest.fixture
def photos(tmp_path):
    """1 has both tags, 2 is a beach, 3 has people; 4 is in a folder below."""
    for tag, names in {"beach": ("1", "2"), "people": ("1", "3", "old/4")}.items():
        for name in names:
            path = tmp_path / tag / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 4), (int(name[-1]), 0, 0)).save(path)
    return tmp_path


def found(source) -> dict[str, list[float]]:
    (head,) = source.label_spaces
    values = (source.labels(index)[head]["tags"].tolist() for index in range(len(source)))
    return {source.image_id(index): value for index, value in enumerate(values)}


def test_the_same_file_in_two_folders_is_one_image_with_two_tags(photos):
    source = FolderPerTag(name="scene", root=photos)
    assert Tags.of(source) == Tags(name="scene", classes=("beach", "people"))
    assert found(source) == {
        "beach/1.png": [1, 1], "beach/2.png": [1, 0], "people/3.png": [0, 1],
        "people/old/4.png": [0, 1],
    }  # fmt: skip
    assert source.image(0)[0, 0].tolist() == [1, 0, 0]


def test_tags_in_an_order_of_their_own_and_images_without_any(photos):
    (photos / "none").mkdir()
    Image.new("RGB", (4, 4)).save(photos / "none" / "5.png")
    classes = ("people", "snow", "beach")
    source = FolderPerTag(name="scene", root=photos, classes=classes, no_tag="none", head="tags")
    assert found(source)["beach/1.png"] == [1, 0, 1]
    assert found(source)["none/5.png"] == [0, 0, 0]
    assert FolderPerTag(name="s", root=photos, head=None).labels(0) == {}


def test_links_and_copies_are_the_same(photos):
    before = found(FolderPerTag(name="scene", root=photos))
    (photos / "people" / "1.png").unlink()
    os.symlink(photos / "beach" / "1.png", photos / "people" / "1.png")
    assert found(FolderPerTag(name="scene", root=photos)) == before


def test_another_tag_changes_what_a_run_depends_on(photos):
    before = FolderPerTag(name="scene", root=photos).describe()
    assert FolderPerTag(name="scene", root=photos).describe() == before
    shutil.copy2(photos / "beach" / "2.png", photos / "people" / "2.png")
    after = FolderPerTag(name="scene", root=photos).describe()
    assert after != before and len(after) == len(before)


@pytest.mark.parametrize("size", [(4, 4), (5, 4)])
def test_two_images_of_one_name_are_refused(photos, size):
    Image.new("RGB", size, (9, 0, 0)).save(photos / "people" / "2.png")
    with pytest.raises(UserError, match=r"beach/2.png and .*people/2.png differ: .*FolderPerClass"):
        FolderPerTag(name="scene", root=photos)


@pytest.mark.parametrize(
    ("change", "given", "words"),
    [
        (lambda p: shutil.copy(p / "beach" / "1.png", p), {}, "1.png is in no tag's folder"),
        (lambda p: None, {"classes": ("beach", "peoples")}, "people is the folder of no tag; did"),
        (
            lambda p: shutil.copytree(p / "beach", p / "none"), {"no_tag": "none"},
            "none/1.png is in .*beach, too: no_tag='none' is for images without a tag",
        ),
        (
            lambda p: [shutil.copytree(p / "beach", p / name) for name in ("caf\u00e9", "cafe\u0301")],
            {}, "read the same: rename",
        ),
        (lambda p: shutil.rmtree(p / "people"), {"no_tag": "beach"}, "no folder of a tag beside"),
    ],
)  # fmt: skip
def test_folders_that_are_not_clear(photos, change, given, words):
    change(photos)
    with pytest.raises(UserError, match=words):
        FolderPerTag(name="scene", root=photos, **given)
