"""Label columns of several teachers: made in one pass, continued, verified, compared, planned."""

import contextlib
import dataclasses
import json
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from label_recipe import foreign, light, lights
from must_keras.config.recipe import Pool, Recipe, Student
from must_keras.data.sources import ImagesOnly
from must_keras.errors import DataError, UserError
from must_keras.files import locked
from must_keras.modeling.backbone import ResNet
from must_keras.pseudo_labels import checks, labeler
from must_keras.pseudo_labels.store import PseudoLabelReader
from must_keras.runs import executor, graph
from must_keras.runs.workdir import Workdir
from must_keras.stages import label, student, teacher
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


def made(workdir) -> dict[str, bytes]:
    files = sorted((workdir.root / "labels").rglob("*"))
    kept = (".npy", ".json", ".jsonl")
    return {
        str(path.relative_to(workdir.root)): path.read_bytes()
        for path in files
        if path.is_file()
        and ("tfrecord" in path.name or path.suffix in kept)
        and path.name not in ("progress.json", "finished.json")
    }


def run(recipe, root, only=()) -> Workdir:
    workdir = Workdir(root)
    teacher.run(recipe, workdir, ())
    label.run(recipe, workdir, only)
    return workdir


def test_one_pass_decodes_once_and_gives_the_bytes_of_one_teacher_at_a_time(
    pool, tmp_path, monkeypatch
):
    recipe, reads = recipe_of(pool), []
    image = ImagesOnly.image
    monkeypatch.setattr(labeler, "TolerantSource", counting(reads, labeler.TolerantSource))
    together = run(recipe, tmp_path / "together")
    # The last image of a range that ends in half a batch fills it up.
    assert set(reads) == set(range(COUNT)) and len(reads) <= COUNT + 5
    assert ImagesOnly.image is image
    apart = Workdir(tmp_path / "apart")
    teacher.run(recipe, apart, ())
    for name in ("lights", "light"):
        label.run(recipe, apart, (name,))
    assert made(together) == made(apart) and len(made(together)) > 20
    results = [together.labels(name, "pool").result() for name in ("light", "lights")]
    assert [result["labelled"] for result in results] == [COUNT, COUNT]
    graph.check(recipe, together)
    assert (together.root / "labels.html").is_file()


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
    recipe = recipe_of(pool)
    whole = run(recipe, tmp_path / "whole")
    reads = []

    workdir = Workdir(tmp_path / "again")
    teacher.run(recipe, workdir, ())
    with interrupted(monkeypatch, lambda index: reads.append(index) or len(reads) > after):
        label.run(recipe, workdir, ())
    label.run(recipe, workdir, ())
    assert made(workdir) == made(whole)


def test_unreadable_images_are_in_quarantine(pool, tmp_path):
    (pool / "03.png").write_bytes(b"no picture")
    data = (pool / "11.png").read_bytes()
    (pool / "11.png").write_bytes(data[: len(data) // 2])
    recipe = recipe_of(pool)
    workdir = run(recipe, tmp_path / "run")
    for name in ("light", "lights"):
        part = workdir.labels(name, "pool")
        lines = [json.loads(x) for x in (part.folder / "quarantine.jsonl").read_text().splitlines()]
        assert [(line["index"], line["id"]) for line in lines] == [(3, "03.png"), (11, "11.png")]
        assert all("cannot be read as a picture" in line["reason"] for line in lines)
        assert part.result()["labelled"] == COUNT - 2
        assert PseudoLabelReader(
            part.folder, recipe.pools[0].source, recipe.teachers[0].task
        ).is_empty(3)


def test_too_many_unreadable_images_end_the_labeling(pool, tmp_path):
    for i in range(1, 12):
        (pool / f"{i:02}.png").write_bytes(b"no picture")
    recipe = recipe_of(pool, max_unreadable=0.2)
    message = (
        r"source 'pool': 11 of 23 images cannot be read so far, .*=0.2 of them; the first: .*01"
    )
    with pytest.raises(DataError, match=message):
        run(recipe, tmp_path / "run")
    run(recipe_of(pool, max_unreadable=0.5), tmp_path / "other")


def test_images_that_an_earlier_process_could_not_read_count(pool, tmp_path, monkeypatch):
    monkeypatch.setattr(labeler, "_FEW", 3)
    for i in (0, 1, 2, 20, 21, 22):
        (pool / f"{i:02}.png").write_bytes(b"no picture")
    # 4.6 of 23 may be unreadable.
    recipe, workdir = recipe_of(pool, max_unreadable=0.2), Workdir(tmp_path / "run")
    teacher.run(recipe, workdir, ())
    with interrupted(monkeypatch, lambda index: index >= 15):
        label.run(recipe, workdir, ())
    assert sorted(workdir.labels("light", "pool").folder.glob("labels-*"))
    with pytest.raises(
        DataError, match="[56] of 23 images .* the first: '00.png' could not be read"
    ):
        label.run(recipe, workdir, ())


def test_a_foreign_model_that_is_asked_otherwise_is_another_teacher(pool, tmp_path):
    recipe = recipe_of(pool)
    one = run(recipe, tmp_path / "one")
    item = recipe.teachers[0]
    scaled = dataclasses.replace(item, model=dataclasses.replace(item.model, scale=(2.0,) * 3))
    changed = recipe_of(pool, teachers=(scaled, recipe.teachers[1]))
    two = Workdir(tmp_path / "two", (one.root,))
    teacher.run(changed, two, ())
    label.run(changed, two, ())
    before, after = made(one), made(two)
    light = [name for name in before if "light/" in name and "tfrecord" in name]
    assert light and all(before[name] != after[name] for name in light)
    others = [name for name in before if "lights/" in name]
    assert others and all(before[name] == after[name] for name in others)
    student_inputs = [student.inputs(r, w) for r, w in ((recipe, one), (changed, two))]
    assert student_inputs[0]["columns"] != student_inputs[1]["columns"]


def test_a_broken_shard_is_named_and_made_again(pool, tmp_path, capsys):
    recipe = recipe_of(pool)
    workdir = run(recipe, tmp_path / "run")
    checks.verify(recipe, workdir, ())
    assert capsys.readouterr().out.count("23 records, as they were written") == 2
    before = made(workdir)
    folder = workdir.labels("lights", "pool").folder
    shard = sorted(folder.glob("labels-*"))[2]
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(bytes(data))
    with pytest.raises(DataError, match="1 label columns are broken"):
        checks.verify(recipe, workdir, ())
    assert f"{folder}: {shard.name}: its bytes are not those" in capsys.readouterr().out
    untouched = {p: p.stat().st_mtime_ns for p in folder.glob("labels-*") if p != shard}
    label.run(recipe, workdir, ())
    assert made(workdir) == before
    assert all(path.stat().st_mtime_ns == time for path, time in untouched.items())


def test_two_columns_are_compared(pool, tmp_path, capsys):
    recipe = recipe_of(pool)
    one = run(recipe, tmp_path / "one")
    dark = foreign(
        "light", lambda images: light(255.0 - np.asarray(images)), 16, recipe.teachers[0].task
    )
    other = run(recipe_of(pool, teachers=(dark, recipe.teachers[1])), tmp_path / "other")
    for name, expected in (("light", 0.0), ("lights", 1.0)):
        checks.compare(recipe, one, other.labels(name, "pool").folder)
        said = capsys.readouterr().out
        values = [float(line.split(":")[1]) for line in said.splitlines() if line.startswith("  ")]
        assert values[0] == pytest.approx(expected, abs=0.3 if name == "light" else 1e-6), said
    with pytest.raises(UserError, match="has no column light/pond; did you mean 'light/pool'"):
        checks.compare(recipe, one, tmp_path / "light" / "pond")


def test_a_plan_writes_nothing(pool, tmp_path, capsys):
    recipe = recipe_of(pool)
    workdir = Workdir(tmp_path / "run")
    with pytest.raises(UserError, match="'light' is not finished"):
        checks.plan(recipe, workdir, ())
    teacher.run(recipe, workdir, ())
    before = sorted(workdir.root.rglob("*"))
    checks.plan(recipe, workdir, ())
    said = capsys.readouterr().out
    assert "pool: 23 images, about" in said and "for light, lights" in said
    assert "bytes an image" in said and "GiB of memory" in said
    assert sorted(workdir.root.rglob("*")) == before


def test_the_size_is_told_after_the_first_shard(pool, tmp_path, capsys):
    workdir = run(recipe_of(pool), tmp_path / "run")
    said = re.search(
        r"pool: bytes an image: light (\d+), lights (\d+); 0.00 GB in all, \d+ GB",
        (capsys.readouterr().out),
    )
    for name, each in zip(("light", "lights"), said.groups(), strict=True):
        # Shards and their indices; an .npy file has a head of its own.
        files = [*workdir.labels(name, "pool").folder.glob("*-of-00005*")]
        total = sum(path.stat().st_size for path in files if path.suffix != ".json")
        assert int(each) == pytest.approx(total / COUNT, rel=0.1)


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        ("rey", "did you mean 'ray'"),
        ("local:workers=2", "--label_engine=local:workers=2"),
        ("ray:workers=0", "ray:workers=<1 and up>"),
        ("ray:cpus=2", "ray:workers=<1 and up>"),
        ("ray:workers", "--label_engine: 'workers' is not of the form"),
    ],
)
def test_mistakes_in_the_engine(pool, tmp_path, engine, message):
    with pytest.raises(UserError, match=message):
        executor.run(
            "label", recipe=lambda: recipe_of(pool), workdir=tmp_path / "run", only=(),
            strategy="one", label_engine=engine,
        )  # fmt: skip
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
