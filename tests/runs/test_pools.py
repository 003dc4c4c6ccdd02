"""A pool that grows between two runs."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from fakes.results import finish
from must_keras.config.recipe import Pool
from must_keras.data.examples import LabeledExamples, PseudoLabels
from must_keras.data.sources import (
    CsvClasses,
    ImagesOnly,
    ListedFile,
    ListedFiles,
    TolerantSource,
    without_labels,
)
from must_keras.errors import UserError
from must_keras.runs import pools
from must_keras.runs.fingerprint import describe
from must_keras.runs.run import Run
from must_keras.stages import label
from must_keras.tasks import Classification


@pytest.fixture
def photos(tmp_path):
    for name in ("b.png", "d.png", "deep/c.png"):
        save(tmp_path / "photos" / name, 10)
    return tmp_path / "photos"


def save(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((3, 4, 3), value, np.uint8)).save(path)


@pytest.fixture
def of_photos(recipe, photos):
    """A function: the recipe with one pool, the photos that are there now."""

    def now():
        pool = Pool(source=ImagesOnly(name="photos", root=photos))
        return dataclasses.replace(recipe, pools=(pool,))

    return now


def freeze(recipe, path, *others, new=True):
    """The run in a folder, whose lists of pools are as they are after a stage."""
    run = pools.frozen(Run(recipe=recipe, path=path, others=others), new=new)
    if new:
        pools.keep(run)
    return run


def pools_of(recipe, path, *others, new=True):
    return freeze(recipe, path, *others, new=new).recipe.pools


def ids(pool):
    return [pool.source.image_id(i) for i in range(len(pool.source))]


def test_new_images_are_a_next_block(of_photos, photos, tmp_path):
    (first,) = pools_of(of_photos(), tmp_path / "run")
    assert first.source.name == "photos" and ids(first) == ["b.png", "d.png", "deep/c.png"]
    (again,) = pools_of(of_photos(), tmp_path / "run")
    assert describe(again.source) == describe(first.source)
    save(photos / "a.png", 20)
    save(photos / "e.png", 30)
    old, block = pools_of(of_photos(), tmp_path / "run")
    assert describe(old.source) == describe(first.source)
    assert block.source.name == "photos_block2" and ids(block) == ["a.png", "e.png"]
    assert block.source.image(1)[0, 0, 0] == 30
    text = (tmp_path / "run" / "pools" / "photos.jsonl").read_text()
    listed = [json.loads(line) for line in text.splitlines()]
    for number, images in enumerate((first, block)):
        assert [image_id for n, image_id, _, _ in listed if n == number] == ids(images)
    assert all(size > 0 and len(sha256) == 64 for _, _, size, sha256 in listed)


def test_how_a_block_is_read_depends_on_its_own_images(of_photos, photos, tmp_path):
    (first,) = pools_of(of_photos(), tmp_path / "run")
    save(photos / "a.tif", 20)
    old, block = pools_of(of_photos(), tmp_path / "run")
    assert describe(old.source) == describe(first.source)
    described = describe(block.source)
    assert described["tiff"]
    (photos / "a.tif").unlink()
    _, gone = pools_of(of_photos(), tmp_path / "run")
    assert describe(gone.source) == described


def test_only_the_new_block_is_labeled(of_photos, photos, tmp_path):
    before = freeze(of_photos(), tmp_path / "run")
    save(photos / "a.png", 20)
    after = freeze(of_photos(), tmp_path / "run")
    teacher = before.recipe.teachers[0]
    made = before.teacher(teacher.name)
    (made.begin() / "model.keras").write_text("weights")
    finish(made)
    inputs = [
        {
            source.name: label.artifact(run, teacher, source).inputs
            for source, _ in run.label_sets(teacher)
        }
        for run in (before, after)
    ]
    assert set(inputs[1]) - set(inputs[0]) == {"photos_block2"}
    assert all(inputs[1][name] == value for name, value in inputs[0].items())


def test_images_that_are_gone_or_other_cannot_be_read(of_photos, photos, tmp_path, capsys):
    freeze(of_photos(), tmp_path / "run")
    (photos / "d.png").unlink()
    (photos / "deep" / "c.png").write_bytes(b"other")
    pool, block = pools_of(of_photos(), tmp_path / "run")
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


def test_what_is_gone_has_no_label(photos):
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

    examples = LabeledExamples(
        listed, [task], {"kind": PseudoLabels(reader=Record(), threshold=None)}
    )
    found = {examples.source.image_id(i): examples.origins(i)["kind"] for i in range(len(examples))}
    assert found == {
        "b.png": "true",
        "d.png": "missing",
        "deep/c.png": "missing",
        "f.png": "pseudo",
    }


def test_ground_truth_counts_for_the_student_and_not_for_pseudo_labels(photos, tmp_path):
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


def test_a_view_lists_nothing(of_photos, tmp_path):
    (pool,) = pools_of(of_photos(), tmp_path / "run", new=False)
    assert isinstance(pool.source, ImagesOnly) and not (tmp_path / "run").exists()


def test_drawn_pools_stay_as_they_are(recipe, tmp_path):
    assert pools_of(recipe, tmp_path / "run") == recipe.pools


def test_another_runs_list_goes_on_where_its_labels_may_be_reused(
    of_photos, photos, tmp_path, capsys
):
    first = pools_of(of_photos(), tmp_path / "one")
    save(photos / "a.png", 20)
    others = (tmp_path / "two", tmp_path / "one")
    old, block = pools_of(of_photos(), *others)
    assert describe(old.source) == describe(first[0].source) and ids(block) == ["a.png"]
    assert "photos: 1 new images, photos_block2" in capsys.readouterr().out
    assert [ids(pool) for pool in pools_of(of_photos(), *others)] == [ids(old), ids(block)]
    # A pool of the same name with other files is another one.
    for file in photos.rglob("*.png"):
        Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(file, compress_level=0)
    (pool,) = pools_of(of_photos(), tmp_path / "three", tmp_path / "one")
    assert ids(pool) == ["a.png", "b.png", "d.png", "deep/c.png"]


def test_files_are_compared_for_another_list_only_where_there_is_one(
    of_photos, tmp_path, monkeypatch
):
    other, compared = tmp_path / "other", []
    freeze(of_photos(), other)
    there = pools._there
    monkeypatch.setattr(pools, "_there", lambda source: compared.append(1) or there(source))
    for others in ((tmp_path / "nothing",), (other,)):
        freeze(of_photos(), tmp_path / "run", *others, new=False)
        assert len(compared) == (others == (other,))
