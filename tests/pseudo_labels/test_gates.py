"""Images too far from a teacher's own: measured once, without a label, and told."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from fakes.few_layers import NETWORK
from fakes.random_examples import training
from fakes.results import finish
from making import check, make, results
from must_keras import stages
from must_keras.config.domain_gate import DomainGate
from must_keras.config.recipe import Pool, Recipe, Student, Teacher
from must_keras.data.examples import LabeledExamples, PseudoLabels
from must_keras.data.pipeline import evaluation_batches
from must_keras.data.sources import FolderPerClass, ImagesOnly, Subset
from must_keras.data.splits import Splits
from must_keras.errors import DataError, UserError
from must_keras.ops.gaussians import Gaussian
from must_keras.pseudo_labels import gates, training_set
from must_keras.report.sections import labels as labels_section
from must_keras.runs.fingerprint import describe
from must_keras.runs.run import Run
from must_keras.stages import gate, label, rounds, student, teacher
from must_keras.stages.check import check as check_origins
from must_keras.stages.status import status
from must_keras.tasks import Classification
from must_keras.training.building import build_model

RUN = training(3, batch=4, learning_rate=0.01)
FAR = (1, 4)
COUNT = 6


def smooth(seed):
    """A light gradient of the teacher's own kind."""
    random = np.random.default_rng(seed)
    rows = np.linspace(random.uniform(120, 140), random.uniform(160, 180), 40)
    return np.broadcast_to(rows[:, None, None], (40, 48, 3)).astype(np.uint8)


def noise(seed):
    return np.random.default_rng(seed).integers(0, 256, (40, 48, 3)).astype(np.uint8)


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Own images in two splits; pools of which FAR are noise, and one image cannot be read."""
    folder = tmp_path_factory.mktemp("gates")
    for i in range(20):
        save(folder / "own" / ("train" if i < 12 else "test") / "ab"[i % 2] / f"{i}.png", smooth(i))
    for i in range(COUNT):
        save(folder / "pile" / f"{i}.png", (noise if i in FAR else smooth)(100 + i))
        save(folder / "heap" / f"{i}.png", noise(200 + i))
    (folder / "pile" / f"{COUNT}.png").write_bytes(b"no picture")
    return folder


def recipe_of(data, quantile=1.0, **changes) -> Recipe:
    train, test = (
        FolderPerClass(name=f"own_{part}", root=data / "own" / part, head="own")
        for part in ("train", "test")
    )
    one = Teacher(
        name="own",
        task=Classification(name="own", classes=("a", "b")),
        sets=Splits(train=train, validation=test, test=test),
        training=RUN,
        gate=None if quantile is None else DomainGate(quantile=quantile),
    )
    pile, heap = (ImagesOnly(name=name, root=data / name) for name in ("pile", "heap"))
    values = {
        "name": "gates",
        "seed": 0,
        "network": NETWORK,
        "teachers": (one,),
        "pools": (Pool(source=pile, truth=pile), Pool(source=heap, truth=heap)),
        "student": Student(training=RUN),
        "transfers": (),
        "starts": ("random", "student"),
        "evaluation_batch": 4,
        "max_unreadable": 1.0,
    }
    return Recipe(**(values | changes))


@pytest.fixture(scope="module")
def made(data, tmp_path_factory):
    """A run with a teacher of random weights and its labels, without a gate."""
    run = Run(recipe=recipe_of(data, None), path=tmp_path_factory.mktemp("made") / "run")
    (one,) = run.recipe.teachers
    artifact = teacher.artifact(run, one)
    artifact.begin()
    build_model(NETWORK, [one.task], seed=1, norm=RUN.norm()).save(artifact.model_path)
    finish(artifact)
    make("label", run)
    return run


@pytest.fixture(scope="module")
def measured(made, data, tmp_path_factory):
    """The same run, and the distances for a gate."""
    path = tmp_path_factory.mktemp("measured") / "run"
    shutil.copytree(made.path, path)
    run = Run(recipe=recipe_of(data), path=path)
    make("label", run)
    return run


@pytest.fixture
def run(measured, tmp_path):
    """A copy of it, to be changed."""
    shutil.copytree(measured.path, tmp_path / "run")
    return dataclasses.replace(measured, path=tmp_path / "run")


def of_quantile(run, quantile):
    (one,) = run.recipe.teachers
    chosen = None if quantile is None else DomainGate(quantile=quantile)
    one = dataclasses.replace(one, gate=chosen)
    return dataclasses.replace(run, recipe=dataclasses.replace(run.recipe, teachers=(one,)))


def distances_of(run, source) -> np.ndarray:
    return np.load(run.distances("own", source).folder / gates.DISTANCES)


def files(folder) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "finished.json"
    }


def test_distances_are_those_of_a_slow_version(measured):
    one, model = measured.recipe.teachers[0], None
    model = tf.keras.models.load_model(measured.teacher("own").model_path, compile=False)

    def vectors(source, count):
        batches = evaluation_batches(
            LabeledExamples(source, []), (), size=32, batch=4, ranges=[range(count)]
        )
        found = []
        for x, y in batches:
            c4 = model.get_layer("backbone")(tf.cast(x["image"], tf.float32))["C4"].numpy()
            for level, area, index in zip(c4, x["area"].numpy(), y["index"].numpy(), strict=True):
                if index < 0:
                    continue
                # A cell of C4 is 16 pixels a side; the images are 40 x 48, so rows are padded.
                rows, columns = (
                    np.array([max(0, min(b, 16 * i + 16) - max(a, 16 * i)) for i in range(2)])
                    for a, b in ((area[0], area[2]), (area[1], area[3]))
                )
                weights = np.outer(rows, columns)[..., None]
                mean = (level * weights).sum((0, 1)) / weights.sum()
                found.append(mean / np.linalg.norm(mean))
        return np.array(found)

    gaussian = Gaussian.fit(vectors(one.sets.train, 12))
    pile = measured.recipe.pools[0].source
    expected = gaussian.distances(vectors(Subset(pile, range(COUNT), name="x"), COUNT))
    found = distances_of(measured, "pile")
    assert found.dtype == np.float32 and found.shape == (COUNT + 1,)
    np.testing.assert_allclose(found[:COUNT], expected, rtol=1e-4)
    assert np.isinf(found[COUNT])
    limit = gaussian.distances(vectors(one.sets.validation, 8)).max()
    assert gates.limit(measured, one) == pytest.approx(limit, rel=1e-4)


def test_labels_beyond_the_gate_are_missing(made, measured, capsys):
    def origins(run):
        union = training_set.of_student(run)
        return {
            part.source.name: [part.origins(i)["own"] for i in range(len(part))]
            for part in union.parts
        }

    before, after = origins(made), origins(measured)
    assert before["pile"] == ["pseudo"] * COUNT + ["missing"]
    assert after == {
        "own_train": ["true"] * 12,
        "pile": ["missing" if i in (*FAR, COUNT) else "pseudo" for i in range(COUNT + 1)],
        "heap": ["missing"] * COUNT,
    }
    part = training_set.of_student(measured).parts[1]
    assert part.load(FAR[0])[1]["own"]["labelled"] == 0.0
    assert part.load(0)[1]["own"]["labelled"] == 1.0
    counts = check_origins(measured)
    assert counts["heap"]["own"]["pseudo"] == 0 and counts["pile"]["own"]["pseudo"] > 0


def test_complete_labels_stay_and_only_distances_are_measured(made, run, capsys):
    for path, content in files(made.path / "labels").items():
        assert (run.path / "labels" / path).read_bytes() == content
    states = {}
    capsys.readouterr()
    status(of_quantile(made, 0.9), stages.load())
    for line in capsys.readouterr().out.splitlines():
        states[line[:9].strip(), line[10:50].strip()] = line[51:]
    assert states["label", "own for pile"] == "complete"
    assert states["gate", "own"] == "not begun, will be made"
    assert states["gate", "own for pile"] == "not begun, will be made"


def test_another_quantile_costs_a_student_alone(run, capsys):
    wanted = of_quantile(run, 0.5)
    folder = run.path / "gates"
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    make("label", wanted)
    out = capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    limit = np.sort(np.load(run.calibration("own").folder / gates.DISTANCES))[3]
    number = (distances_of(run, "pile") > limit).sum()
    assert number > 3
    assert f"own: {number} of 7 images of pile are beyond the gate" in out
    assert "own: 6 of 6 images of heap are beyond the gate" in out
    assert "the 0.5 quantile of its 8 validation images" in out
    old, new = (student.artifact(one).inputs for one in (run, wanted))
    assert old["gates"]["own"].pop("gate") == {"type": "DomainGate", "quantile": 1.0}
    assert new["gates"]["own"].pop("gate") == {"type": "DomainGate", "quantile": 0.5}
    assert old == new


def test_without_a_gate_nothing_is_declared(made, run):
    off = of_quantile(run, None)
    assert gate.artifacts(off) == () and gates.inputs(off) == {}
    one = student.artifact(off)
    assert "gates" not in one.inputs and not any(need.stage == "gate" for need in one.needs)
    assert describe(one.inputs) == describe(student.artifact(made).inputs)
    on = student.artifact(run).inputs
    assert {k: v for k, v in on.items() if k != "gates"} == one.inputs
    source, (of_label,) = run.recipe.pools[0].source, off.recipe.teachers
    inputs = label.artifact(off, of_label, source).inputs
    assert inputs == label.artifact(run, run.recipe.teachers[0], source).inputs
    assert gate.STAGE.report(off) == {}


def test_a_student_of_another_gate_is_named(run, tmp_path):
    one = student.artifact(run)
    one.begin()
    finish(one)
    check(run, "student")
    with pytest.raises(UserError, match=r"gates.own.gate.quantile = 1.0, the recipe now has 0.5"):
        check(of_quantile(run, 0.5), "student")
    with pytest.raises(UserError, match="gates"):
        check(of_quantile(run, None), "student")


def test_the_same_bytes_after_an_interruption(run, monkeypatch):
    whole = files(run.path / "gates")
    assert len(whole) == 4
    shutil.rmtree(run.path / "gates")
    measure, calls = Gaussian.distances, []

    def dies(self, vectors):
        calls.append(len(vectors))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return measure(self, vectors)

    monkeypatch.setattr(Gaussian, "distances", dies)
    with pytest.raises(KeyboardInterrupt):
        make("gate", run)
    # Of the validation images they are complete, of the pool there are none.
    assert sorted(files(run.path / "gates")) == [
        "own/calibration/distances.npy",
        "own/calibration/statistics.npz",
        "own/sources/pile/begun.json",
    ]
    with pytest.raises(UserError, match="sources/pile has no distances for the gate of teacher"):
        training_set.of_student(run)
    assert student.artifact(run).inputs is None
    monkeypatch.undo()
    make("gate", run)
    assert files(run.path / "gates") == whole


def test_another_teacher_is_measured_anew(run):
    before = distances_of(run, "pile")
    path = run.teacher("own").model_path
    build_model(NETWORK, [run.recipe.teachers[0].task], seed=2, norm=RUN.norm()).save(path)
    make("gate", run)
    assert not np.array_equal(distances_of(run, "pile"), before)


def test_other_runs_have_the_same_distances(run, data, tmp_path, capsys):
    shutil.rmtree(run.path / "gates" / "own" / "sources" / "heap")
    new = Run(recipe=recipe_of(data, 0.9), path=tmp_path / "new", others=(run.path,))
    shutil.copytree(run.path / "teachers", new.path / "teachers")
    capsys.readouterr()
    make("label", new)
    out = capsys.readouterr().out
    for name in ("calibration", "sources/pile"):
        assert f"{new.path}/gates/own/{name}: reused from {run.path}/gates/own/{name}" in out
    assert "gates/own/sources/heap: reused" not in out
    assert len(distances_of(new, "heap")) == COUNT


def test_a_damaged_file_is_named(run):
    folder = run.distances("own", "pile").folder
    np.save(folder / gates.DISTANCES, np.zeros(3, "<f4"))
    with pytest.raises(DataError, match=f"{folder}/distances.npy is damaged: .*; delete {folder}"):
        training_set.of_student(run)
    calibration = run.calibration("own").folder
    np.savez(calibration / gates.STATISTICS, mean=np.zeros(3))
    shutil.rmtree(folder)
    with pytest.raises(DataError, match=r"statistics.npz is damaged: its arrays have the shapes"):
        make("gate", run)


def test_what_a_gate_leaves_out_is_reported(run):
    found = gate.STAGE.report(run)["gates"]["own"]
    assert found["sources"] == {
        "pile": {"images": 7, "beyond": len(FAR) + 1},
        "heap": {"images": 6, "beyond": 6},
    }
    assert found["quantile"] == 1.0 and found["validation_images"] == 8
    json.dumps(found, allow_nan=False)
    page = "".join(map(str, labels_section.datasets(results(run))))
    assert "own: 3 of 7 images of pile are beyond the gate" in page


def test_a_round_measures_with_its_own_teachers(run, tmp_path):
    inner = rounds._of(dataclasses.replace(run, path=tmp_path / "other"), 2).run
    assert inner.recipe.teachers[0].gate == DomainGate(quantile=1.0)
    folders = {one.folder for one in gate.artifacts(inner)}
    assert inner.path / "gates" / "own" / "sources" / "pile" in folders


class FakeRecords:
    def is_empty(self, index):
        return index == 2


def test_beyond_and_empty_are_missing():
    labels = PseudoLabels(reader=FakeRecords(), threshold=None)
    assert [labels.is_missing(i) for i in range(3)] == [False, False, True]
    labels = dataclasses.replace(labels, beyond=np.array([True, False, False]))
    assert [labels.is_missing(i) for i in range(3)] == [True, False, True]
