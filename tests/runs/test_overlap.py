"""A run's folder inside a folder of images, or the reverse."""

import dataclasses
import shutil

import numpy as np
import pytest
from PIL import Image

from must_keras import stages
from must_keras.config.recipe import Pool
from must_keras.data.sources import (
    Concatenated,
    CsvClasses,
    FolderPerClass,
    ImagesOnly,
    Joined,
    LabelMaps,
    ListedFile,
    ListedFiles,
    Subset,
    TolerantSource,
)
from must_keras.data.sources.source import Source
from must_keras.data.splits import Splits
from must_keras.errors import UserError
from must_keras.runs import preflight
from must_keras.runs.executor import Executor
from must_keras.runs.run import Run


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    for name in ("a/1.png", "b/c/2.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / name)
    shutil.copytree(folder, tmp_path / "maps")
    (tmp_path / "tags.csv").write_text("file,class\na/1.png,x\nb/c/2.png,y\n")
    return folder


def with_pool(recipe, source):
    return dataclasses.replace(recipe, pools=(Pool(source=source),))


def check(recipe, source, path):
    """Check the run of a recipe with one pool in a folder."""
    preflight.check_folders(Run(recipe=with_pool(recipe, source), path=path), stages.load())


def sources(photos):
    only = ImagesOnly(name="photos", root=photos)
    yield only
    yield FolderPerClass(name="photos", root=photos, head=None)
    yield CsvClasses(
        name="photos", images=photos, csv_file=photos.parent / "tags.csv", head=None,
        file_column="file", class_column="class", classes=("x", "y"),
    )  # fmt: skip
    yield LabelMaps(
        name="photos", images=photos, maps=photos.parent / "maps", head=None, classes=("x",)
    )
    yield Subset(only, [0], name="photos")
    yield TolerantSource(only)
    yield ListedFiles(only, [ListedFile.of(only, 0)], name="photos")
    yield Joined([only], name="photos")
    yield Concatenated([only], name="photos")


def test_a_run_in_a_folder_of_images(recipe, photos, tmp_path):
    for source in sources(photos):
        for root in (photos / "run", photos / "runs" / "x", photos, photos / "b" / "run"):
            with pytest.raises(UserError, match=r"workdir=.*photos.* is in .*photos.*'photos'"):
                check(recipe, source, root)
            assert not (photos / "run").exists()
        check(recipe, source, tmp_path / "run")
        check(recipe, source, tmp_path / "photos2")
    maps = list(sources(photos))[3]
    with pytest.raises(UserError, match="maps"):
        check(recipe, maps, tmp_path / "maps" / "run")


def test_all_sets_of_a_recipe_are_compared(recipe, photos):
    source = ImagesOnly(name="photos", root=photos)
    for change in (
        {"pools": (Pool(source=source),)},
        {"pools": (Pool(source=recipe.pools[0].source, truth=source),)},
        {"transfers": tuple(
            dataclasses.replace(t, sets=Splits(
                train=t.sets.train, validation=t.sets.validation, test=source))
            for t in recipe.transfers)},
    ):  # fmt: skip
        with pytest.raises(UserError, match="'photos'"):
            changed = dataclasses.replace(recipe, **change)
            preflight.check_folders(Run(recipe=changed, path=photos / "run"), stages.load())
    preflight.check_folders(Run(recipe=recipe, path=photos / "run"), stages.load())


def test_links_are_followed(recipe, photos, tmp_path):
    (tmp_path / "far").mkdir()
    shutil.copy(photos / "a" / "1.png", tmp_path / "far")
    (photos / "link").symlink_to(tmp_path / "far")
    source = ImagesOnly(name="photos", root=photos)
    with pytest.raises(UserError, match="photos/link, the folder of source 'photos'"):
        check(recipe, source, tmp_path / "far" / "run")


def test_images_in_a_folder_that_a_stage_empties(recipe, photos, tmp_path):
    for stage in ("student", "teachers/a", "export", "labels/x/y", "rounds"):
        inside = tmp_path / "run" / stage / "images"
        shutil.copytree(photos, inside)
        source = ImagesOnly(name="inside", root=inside)
        with pytest.raises(UserError, match=r"images.*source 'inside', is in workdir=.*run"):
            check(recipe, source, tmp_path / "run")
        check(recipe, source, tmp_path / "elsewhere")
    shutil.copytree(photos, tmp_path / "run" / "data")
    check(recipe, ImagesOnly(name="own", root=tmp_path / "run" / "data"), tmp_path / "run")


class Own(Source):
    """A person's own source of files."""

    name, label_spaces = "own", {}

    def __init__(self, files):
        self._files = files

    def __len__(self):
        return len(self._files)

    def image_id(self, index):
        return str(index)

    def file(self, index):
        return self._files[index]

    def image(self, index):
        raise NotImplementedError

    def labels(self, index):
        return {}

    def describe(self):
        return {}


def test_a_source_of_one_s_own(recipe, photos):
    source = Own([None, photos / "a" / "1.png"])
    assert source.folders() == {photos / "a"}
    with pytest.raises(UserError, match="'own'"):
        check(recipe, source, photos / "a" / "run")
    check(recipe, source, photos / "run")


def test_nothing_is_written_where_a_run_s_folder_is_refused(recipe, photos):
    own = dataclasses.replace(recipe, pools=(Pool(source=ImagesOnly(name="p", root=photos)),))
    before = sorted(photos.rglob("*"))
    with pytest.raises(UserError, match="Nothing was written"):
        Executor(stages.load(), load=lambda: own, workdir=photos / "run", strategy="one").make()
    assert sorted(photos.rglob("*")) == before
