"""Pseudo-label datasets of several teachers: made in one pass, continued, verified, compared, planned."""

import contextlib
import dataclasses
import json
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from absl import flags
from absl.testing import flagsaver
from PIL import Image

from fakes.label_recipe import foreign, light, lights
from making import check, make
from must_keras import main
from must_keras.config.recipe import Pool, Recipe, Student
from must_keras.data.sources import ImagesOnly
from must_keras.errors import DataError, UserError
from must_keras.files import locked
from must_keras.modeling.backbone import ResNet
from must_keras.pseudo_labels import checks, labeler
from must_keras.pseudo_labels.store import PseudoLabelReader
from must_keras.runs.run import Run
from must_keras.stages import label, student
from must_keras.tasks import Classification, Segmentation
from must_keras.training.config import TrainingConfig
from must_keras.training.network import Network
from must_keras.training.optimizers import AdamW

COUNT, PER_SHARD = 23, 5


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    writer = label.PseudoLabelWriter
    monkeypatch.setattr(
        label, "PseudoLabelWriter", lambda *a, **k: writer(*a, **k, records_per_shard=PER_SHARD)
    )


@pytest.fixture
def pool(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "pool").mkdir()
    for i in range(COUNT):
        pixels = rng.integers(0, 256, (20 + i % 3, 30, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "pool" / f"{i:02}.png")
    return tmp_path / "pool"


def recipe_of(pool, **changes) -> Recipe:
    training = TrainingConfig(steps=2, batch=2, learning_rate=1e-3, optimizer=AdamW())
    values = {
        "name": "labels",
        "seed": 0,
        "network": Network(backbone=ResNet.small(), size=64, channels=16),
        "teachers": (
            foreign("light", light, 16, Classification(name="kind", classes=("dark", "light"))),
            foreign("lights", lights, 32, Segmentation(name="parts", classes=("dark", "light"))),
        ),
        "pools": (Pool(source=ImagesOnly(name="pool", root=pool)),),
        "student": Student(training=training),
        "transfers": (),
        "starts": ("random",),
        "evaluation_batch": 2,
    }
    return Recipe(**(values | changes))


def made(run) -> dict[str, bytes]:
    files = sorted((run.path / "labels").rglob("*"))
    kept = (".npy", ".json", ".jsonl")
    return {
        str(path.relative_to(run.path)): path.read_bytes()
        for path in files
        if path.is_file()
        and ("tfrecord" in path.name or path.suffix in kept)
        and path.name not in ("progress.json", "finished.json")
    }


def taught(recipe, path, **changes) -> Run:
    """Return a run whose teachers are complete."""
    run = Run(recipe=recipe, path=path, **changes)
    make("teacher", run)
    return run


def labeled(recipe, path, **changes) -> Run:
    run = taught(recipe, path, **changes)
    make("label", run)
    return run


def test_one_pass_decodes_once_and_gives_the_bytes_of_one_teacher_at_a_time(
    pool, tmp_path, monkeypatch
):
    recipe, reads = recipe_of(pool), []
    image = ImagesOnly.image
    monkeypatch.setattr(labeler, "TolerantSource", counting(reads, labeler.TolerantSource))
    together = labeled(recipe, tmp_path / "together")
    # The last image of a range that ends in half a batch fills it up.
    assert set(reads) == set(range(COUNT)) and len(reads) <= COUNT + 5
    assert ImagesOnly.image is image
    apart = taught(recipe, tmp_path / "apart")
    for name in ("lights", "light"):
        make("label", apart, only=(name,))
    assert made(together) == made(apart) and len(made(together)) > 20
    results = [together.labels(name, "pool").result() for name in ("light", "lights")]
    assert [result.labelled for result in results] == [COUNT, COUNT]
    check(together)
    assert (together.path / "labels.html").is_file()


def counting(reads, tolerant):
    class Counting(tolerant):
        def image(self, index):
            reads.append(index)
            return super().image(index)

    return Counting


@contextlib.contextmanager
def interrupted(monkeypatch, happens):
    """Within, Ctrl-C comes at the image of which that is true."""

    class Interrupted(labeler.TolerantSource):
        def image(self, index):
            if happens(index):
                raise KeyboardInterrupt
            return super().image(index)

    with monkeypatch.context() as patch:
        patch.setattr(labeler, "TolerantSource", Interrupted)
        with pytest.raises((KeyboardInterrupt, tf.errors.OpError)):
            yield


@pytest.mark.parametrize("after", [1, 7, 20])
def test_what_is_interrupted_goes_on_to_the_same_bytes(pool, tmp_path, monkeypatch, after):
    recipe, reads = recipe_of(pool), []
    whole, again = labeled(recipe, tmp_path / "whole"), taught(recipe, tmp_path / "again")
    with interrupted(monkeypatch, lambda index: reads.append(index) or len(reads) > after):
        make("label", again)
    make("label", again)
    assert made(again) == made(whole)


def test_unreadable_images_are_in_quarantine(pool, tmp_path):
    (pool / "03.png").write_bytes(b"no picture")
    data = (pool / "11.png").read_bytes()
    (pool / "11.png").write_bytes(data[: len(data) // 2])
    recipe = recipe_of(pool)
    run = labeled(recipe, tmp_path / "run")
    for name in ("light", "lights"):
        labels = run.labels(name, "pool")
        quarantine = (labels.folder / "quarantine.jsonl").read_text()
        lines = [json.loads(line) for line in quarantine.splitlines()]
        assert [(line["index"], line["id"]) for line in lines] == [(3, "03.png"), (11, "11.png")]
        assert all("cannot be read as a picture" in line["reason"] for line in lines)
        assert labels.result().labelled == COUNT - 2
        assert PseudoLabelReader(
            labels.folder, recipe.pools[0].source, recipe.teachers[0].task
        ).is_empty(3)


def test_too_many_unreadable_images_end_the_labeling(pool, tmp_path):
    for i in range(1, 12):
        (pool / f"{i:02}.png").write_bytes(b"no picture")
    recipe = recipe_of(pool, max_unreadable=0.2)
    message = (
        r"source 'pool': 11 of 23 images cannot be read so far, .*=0.2 of them; the first: .*01"
    )
    with pytest.raises(DataError, match=message):
        labeled(recipe, tmp_path / "run")
    labeled(recipe_of(pool, max_unreadable=0.5), tmp_path / "other")


def test_images_that_an_earlier_process_could_not_read_count(pool, tmp_path, monkeypatch):
    monkeypatch.setattr(labeler, "MAX_UNREADABLE_IMAGES", 3)
    for i in (0, 1, 2, 20, 21, 22):
        (pool / f"{i:02}.png").write_bytes(b"no picture")
    # 4.6 of 23 may be unreadable.
    run = taught(recipe_of(pool, max_unreadable=0.2), tmp_path / "run")
    with interrupted(monkeypatch, lambda index: index >= 15):
        make("label", run)
    assert sorted(run.labels("light", "pool").folder.glob("labels-*"))
    with pytest.raises(
        DataError, match="[56] of 23 images .* the first: '00.png' could not be read"
    ):
        make("label", run)


def test_a_foreign_model_that_is_asked_otherwise_is_another_teacher(pool, tmp_path):
    recipe = recipe_of(pool)
    one = labeled(recipe, tmp_path / "one")
    item = recipe.teachers[0]
    scaled = dataclasses.replace(item, model=dataclasses.replace(item.model, scale=(2.0,) * 3))
    changed = recipe_of(pool, teachers=(scaled, recipe.teachers[1]))
    two = labeled(changed, tmp_path / "two", others=(one.path,))
    before, after = made(one), made(two)
    light = [name for name in before if "light/" in name and "tfrecord" in name]
    assert light and all(before[name] != after[name] for name in light)
    others = [name for name in before if "lights/" in name]
    assert others and all(before[name] == after[name] for name in others)
    columns = [student.artifact(run).inputs["columns"] for run in (one, two)]
    assert columns[0] != columns[1]


def test_a_broken_shard_is_named_and_made_again(pool, tmp_path, capsys):
    run = labeled(recipe_of(pool), tmp_path / "run")
    checks.verify(run)
    assert capsys.readouterr().out.count("23 records, as they were written") == 2
    before = made(run)
    folder = run.labels("lights", "pool").folder
    shard = sorted(folder.glob("labels-*"))[2]
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(bytes(data))
    with pytest.raises(DataError, match="1 pseudo-label datasets are broken"):
        checks.verify(run)
    assert f"{folder}: {shard.name}: its bytes are not those" in capsys.readouterr().out
    untouched = {p: p.stat().st_mtime_ns for p in folder.glob("labels-*") if p != shard}
    make("label", run)
    assert made(run) == before
    assert all(path.stat().st_mtime_ns == time for path, time in untouched.items())


def test_two_datasets_are_compared(pool, tmp_path, capsys):
    recipe = recipe_of(pool)
    one = labeled(recipe, tmp_path / "one")
    dark = foreign(
        "light", lambda images: light(255.0 - np.asarray(images)), 16, recipe.teachers[0].task
    )
    other = labeled(recipe_of(pool, teachers=(dark, recipe.teachers[1])), tmp_path / "other")
    for name, expected in (("light", 0.0), ("lights", 1.0)):
        checks.compare(one, other.labels(name, "pool").folder)
        said = capsys.readouterr().out
        values = [float(line.split(":")[1]) for line in said.splitlines() if line.startswith("  ")]
        assert values[0] == pytest.approx(expected, abs=0.3 if name == "light" else 1e-6), said
    with pytest.raises(UserError, match="light/pond.*light/pool"):
        checks.compare(one, tmp_path / "light" / "pond")


def test_a_plan_writes_nothing(pool, tmp_path, capsys):
    run = Run(recipe=recipe_of(pool), path=tmp_path / "run")
    with pytest.raises(UserError, match="'light' is not complete: run stage=.teacher"):
        checks.print_plan(run)
    make("teacher", run)
    before = sorted(run.path.rglob("*"))
    checks.print_plan(run)
    said = capsys.readouterr().out
    assert "pool: 23 images, about" in said and "for light, lights" in said
    assert "bytes an image" in said and "GiB of memory" in said
    assert sorted(run.path.rglob("*")) == before


def test_the_size_is_told_after_the_first_shard(pool, tmp_path, capsys):
    run = labeled(recipe_of(pool), tmp_path / "run")
    said = re.search(
        r"pool: bytes an image: light (\d+), lights (\d+); 0.00 GB in all, \d+ GB",
        (capsys.readouterr().out),
    )
    for name, each in zip(("light", "lights"), said.groups(), strict=True):
        # Shards and their indices; an .npy file has a head of its own.
        files = [*run.labels(name, "pool").folder.glob("*-of-00005*")]
        total = sum(path.stat().st_size for path in files if path.suffix != ".json")
        assert int(each) == pytest.approx(total / COUNT, rel=0.1)


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        ("rey", "did you mean 'ray'"),
        ("local:workers=2", "label_engine=.local:workers=2"),
        ("ray:workers=0", "ray:workers=<1 and up>"),
        ("ray:cpus=2", "ray:workers=<1 and up>"),
        ("ray:workers", "'ray:workers': 'workers' is not of the form"),
    ],
)
def test_mistakes_in_the_engine(tmp_path, engine, message):
    if not flags.FLAGS.is_parsed():
        flags.FLAGS(["main"])
    given = {"stage": "label", "workdir": str(tmp_path / "run"), "label_engine": engine}
    with flagsaver.flagsaver(**given), pytest.raises(UserError, match=message):
        main.main(["main"])
    assert not (tmp_path / "run").exists()


def test_two_processes_do_not_work_in_one_folder(tmp_path):
    code = f"""
import pathlib, time
from must_keras.files import locked
with locked(pathlib.Path({str(tmp_path)!r})):
    print("in", flush=True)
    time.sleep(60)
"""
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "in\n"
    message = rf"another process works here \(process {other.pid} on"
    with pytest.raises(UserError, match=message), locked(tmp_path):
        pass
    other.kill()
    other.wait()
    with locked(tmp_path):
        pass
