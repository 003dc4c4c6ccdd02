"""A pool that grows between two runs."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from must_keras.data.examples import LabeledExamples, PseudoLabels
from must_keras.data.sources import CsvClasses, ImagesOnly, ListedFile, ListedFiles, TolerantSource, without_labels
from must_keras.errors import UserError
from must_keras.config.recipe import Pool
from must_keras.stages import label
from must_keras.runs import pools
from must_keras.tasks import Classification
from must_keras.runs.workdir import Workdir, describe


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
    found = pools.frozen(dataclasses.replace(recipe, pools=(pool,)), workdir, new=new)
    if new:
        pools.keep(found, workdir)
    return found


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
    text = (tmp_path / "run" / "pools" / "photos.jsonl").read_text()
    listed = [json.loads(line) for line in text.splitlines()]
    for number, images in enumerate((first, block)):
        assert [image_id for n, image_id, _, _ in listed if n == number] == ids(images)
    assert all(size > 0 and len(sha256) == 64 for _, _, size, sha256 in listed)


def test_how_a_block_is_read_depends_on_its_own_images(recipe, photos, tmp_path):
    workdir = Workdir(tmp_path / "run")
    (first,) = freeze(recipe, photos, workdir).pools
    save(photos / "a.tif", 20)
    old, block = freeze(recipe, photos, workdir).pools
    assert describe(old.source) == describe(first.source)
    described = describe(block.source)
    assert described["tiff"]
    (photos / "a.tif").unlink()
    _, gone = freeze(recipe, photos, workdir).pools
    assert describe(gone.source) == described


def test_only_the_new_block_is_labeled(recipe, photos, tmp_path):
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
    pool, block = freeze(recipe, photos, workdir).pools
    assert ids(pool) == ["b.png", "d.png", "deep/c.png"] and ids(block) == ["deep/c.png"]
    assert "photos: 2 images are gone or replaced" in capsys.readouterr().out
    with pytest.raises(UserError, match="'photos': d.png is gone since it was listed"):
        pool.source.image(1)
    with pytest.raises(UserError, match="c.png has changed since it was listed"):
        pool.source.image(2)
    assert [pool.source.is_gone(i) for i in range(3)] == [False, True, True]
    save(photos / "b.png", 11)
    assert pool.source.is_gone(0) and not pool.source.is_missing(0), "as large as before"
    save(photos / "b.png", 10)
    tolerant = TolerantSource(pool.source)
    assert [tolerant.image(i).shape for i in range(3)] == [(3, 4, 3), (1, 1, 3), (1, 1, 3)]
    assert set(tolerant.unreadable) == {1, 2} and "is gone" in capsys.readouterr().err


def test_what_is_gone_has_no_label(recipe, photos, tmp_path):
    """Neither a teacher's, whose record is still there, nor a true one."""
    save(photos / "f.png", 10)
    (photos / "tags.csv").write_text("file,class\nb.png,x\nd.png,y\n")
    tags = CsvClasses(name="photos", images=photos, csv_file=photos / "tags.csv", head="kind")
    listed = ListedFiles(tags, [ListedFile.of(tags, i) for i in range(len(tags))], name="photos")
    task = Classification(name="kind", classes=("x", "y"))
    (photos / "d.png").unlink()
    save(photos / "deep" / "c.png", 11)

    class Record:
        is_empty = staticmethod(lambda index: False)
        read = staticmethod(lambda index: {"classes": [0, 1], "probabilities": [0.6, 0.4]})

    said = LabeledExamples(listed, [task], {"kind": PseudoLabels(column=Record(), threshold=None)})
    found = {said.source.image_id(i): said.origins(i)["kind"] for i in range(len(said))}
    assert found == {
        "b.png": "true",
        "d.png": "missing",
        "deep/c.png": "missing",
        "f.png": "pseudo",
    }


def test_true_labels_count_for_the_student_and_not_for_columns(recipe, photos, tmp_path):
    def described(text):
        (tmp_path / "tags.csv").write_text(f"file,class\nb.png,{text}\n")
        tags = CsvClasses(
            name="photos", images=photos, csv_file=tmp_path / "tags.csv", head="kind",
            classes=("x", "y"),
        )  # fmt: skip
        listed = ListedFiles(
            tags, [ListedFile.of(tags, i) for i in range(len(tags))], name="photos"
        )
        return describe(listed), describe(without_labels(listed))

    (one, images), (other, same) = described("x"), described("y")
    assert one != other and images == same


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
    assert "photos: 1 new images, photos_block2" in capsys.readouterr().out
    assert [ids(pool) for pool in freeze(recipe, photos, second).pools] == [ids(old), ids(block)]
    # A pool of the same name with other files is another one.
    for file in photos.rglob("*.png"):
        Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(file, compress_level=0)
    (pool,) = freeze(recipe, photos, Workdir(tmp_path / "three", (tmp_path / "one",))).pools
    assert ids(pool) == ["a.png", "b.png", "d.png", "deep/c.png"]


def test_files_are_looked_at_for_another_list_only_where_there_is_one(
    recipe, photos, tmp_path, monkeypatch
):
    other, looked = tmp_path / "other", []
    freeze(recipe, photos, Workdir(other))
    size = pools._size
    monkeypatch.setattr(pools, "_size", lambda *args: looked.append(1) or size(*args))
    for others in ((tmp_path / "nothing",), (other,)):
        freeze(recipe, photos, Workdir(tmp_path / "run", others), new=False)
        assert len(looked) == 3 * (others == (other,))
