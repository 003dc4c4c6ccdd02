"""A pool that grows between two runs."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from must_keras.data.sources import ImagesOnly, TolerantSource
from must_keras.errors import UserError
from must_keras.recipe import Pool
from must_keras.stages import label, pools
from must_keras.workdir import Workdir, describe


@pytest.fixture
def photos(tmp_path):
    for name in ("b.png", "d.png", "deep/c.png"):
        save(tmp_path / "photos" / name, 10)
    return tmp_path / "photos"


def save(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((3, 4, 3), value, np.uint8)).save(path)


def freeze(recipe, photos, workdir, *, new=True):
    pool = Pool(source=ImagesOnly(name="photos", root=photos))
    return pools.frozen(dataclasses.replace(recipe, pools=(pool,)), workdir, new=new)


def ids(pool):
    return [pool.source.image_id(i) for i in range(len(pool.source))]


def test_new_images_are_a_next_block(recipe, photos, tmp_path):
    workdir = Workdir(tmp_path / "run")
    (first,) = freeze(recipe, photos, workdir).pools
    assert first.source.name == "photos" and ids(first) == ["b.png", "d.png", "deep/c.png"]
    (again,) = freeze(recipe, photos, workdir).pools
    assert describe(again.source) == describe(first.source)
    save(photos / "a.png", 20)
    save(photos / "e.png", 30)
    old, block = freeze(recipe, photos, workdir).pools
    assert describe(old.source) == describe(first.source)
    assert block.source.name == "photos_block2" and ids(block) == ["a.png", "e.png"]
    assert block.source.image(1)[0, 0, 0] == 30
    listed = json.loads((tmp_path / "run" / "pools" / "photos.json").read_text())
    assert [[file[0] for file in files] for files in listed] == [ids(first), ids(block)]
    assert all(size > 0 and len(sha256) == 64 for files in listed for _, size, sha256 in files)


def test_only_the_new_block_is_labelled(recipe, photos, tmp_path):
    workdir = Workdir(tmp_path / "run")
    before = freeze(recipe, photos, workdir)
    save(photos / "a.png", 20)
    after = freeze(recipe, photos, workdir)
    teacher = recipe.teachers[0]
    inputs = [
        {source.name: describe(label.inputs(r, teacher, source, "0")) for source in sources}
        for r in (before, after)
        for sources in [label.sources_to_label(r, teacher)]
    ]
    assert set(inputs[1]) - set(inputs[0]) == {"photos_block2"}
    assert all(inputs[1][name] == value for name, value in inputs[0].items())


def test_images_that_are_gone_or_other_cannot_be_read(recipe, photos, tmp_path, capsys):
    workdir = Workdir(tmp_path / "run")
    freeze(recipe, photos, workdir)
    (photos / "d.png").unlink()
    (photos / "deep" / "c.png").write_bytes(b"other")
    (pool,) = freeze(recipe, photos, workdir).pools
    assert ids(pool) == ["b.png", "d.png", "deep/c.png"]
    with pytest.raises(UserError, match="'photos': d.png is gone since it was listed"):
        pool.source.image(1)
    with pytest.raises(UserError, match="c.png has changed since it was listed: 5 bytes, then"):
        pool.source.image(2)
    tolerant = TolerantSource(pool.source)
    assert [tolerant.image(i).shape for i in range(3)] == [(3, 4, 3), (1, 1, 3), (1, 1, 3)]
    assert tolerant.unreadable == {1, 2} and "is gone" in capsys.readouterr().err


def test_looking_lists_nothing(recipe, photos, tmp_path):
    workdir = Workdir(tmp_path / "run")
    (pool,) = freeze(recipe, photos, workdir, new=False).pools
    assert isinstance(pool.source, ImagesOnly) and not (tmp_path / "run").exists()


def test_drawn_pools_stay_as_they_are(recipe, tmp_path):
    assert pools.frozen(recipe, Workdir(tmp_path / "run"), new=True).pools == recipe.pools


def test_another_runs_list_goes_on_where_its_labels_may_be_taken(recipe, photos, tmp_path, capsys):
    first = freeze(recipe, photos, Workdir(tmp_path / "one")).pools
    save(photos / "a.png", 20)
    second = Workdir(tmp_path / "two", (tmp_path / "one",))
    old, block = freeze(recipe, photos, second).pools
    assert describe(old.source) == describe(first[0].source) and ids(block) == ["a.png"]
    assert "photos: new images: 1, block 2" in capsys.readouterr().out
    assert [ids(pool) for pool in freeze(recipe, photos, second).pools] == [ids(old), ids(block)]
    # A pool of the same name with other files is another one.
    for file in photos.rglob("*.png"):
        Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(file, compress_level=0)
    (pool,) = freeze(recipe, photos, Workdir(tmp_path / "three", (tmp_path / "one",))).pools
    assert ids(pool) == ["a.png", "b.png", "d.png", "deep/c.png"]
