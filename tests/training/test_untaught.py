"""Outputs that no label taught: which they are, and that nobody ever reads them as if they were."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from fakes.random_examples import KIND, NETWORK, NORM, PARTS, THINGS
from fakes.results import finish
from making import make
from must_keras.config.recipe import ExternalTeacher, ImportedLabels, Pool, Recipe, Student, Teacher
from must_keras.data.examples import ConcatenatedExamples, LabeledExamples, untaught
from must_keras.data.sources import LabelSpace, Source
from must_keras.data.sources.source import class_label, objects
from must_keras.data.splits import Splits
from must_keras.errors import DataError, UserError
from must_keras.inference.external import ExternalModel
from must_keras.inference.model import serve
from must_keras.pseudo_labels import checks
from must_keras.pseudo_labels.store import PseudoLabelReader
from must_keras.runs.run import Run
from must_keras.stages import rounds
from must_keras.tasks import Depth
from must_keras.training.building import build_model
from must_keras.training.config import TrainingConfig
from must_keras.training.initialization import FromModel
from must_keras.training.optimizers import AdamW
from must_keras.training.untaught import find, of_start

FAR = Depth(name="far", kind="relative_inverse", channels=8, num_convs=1)


def boxes(*, masks=(), ignore=(), count=1):
    """Some boxes, of which a few have masks, and a few are ignored."""
    return objects(
        boxes=np.tile([0.1, 0.1, 0.6, 0.6], (count, 1)),
        classes=np.zeros(count, int),
        masks=np.ones((count, 8, 8)),
        has_mask=np.isin(np.arange(count), masks),
        ignore=np.isin(np.arange(count), ignore),
    )


class Given(Source):
    """Random pictures with the labels that a test gives; counts how many were read."""

    def __init__(self, task, labels, name="given", is_labeled=True):
        self.name, self._task, self._labels, self.read = name, task, labels, []
        self.label_spaces = {task.name: LabelSpace.of(task)} if is_labeled else {}

    def __len__(self):
        return len(self._labels)

    def image_id(self, index):
        return f"{index}.png"

    def image(self, index):
        return np.random.default_rng(index).integers(0, 256, (48, 64, 3), np.uint8)

    def labels(self, index):
        self.read.append(index)
        found = self._labels[index] if self.label_spaces else None
        return {} if found is None else {self._task.name: found}

    def describe(self):
        return {"name": self.name, "labels": repr(self._labels)}


def splits(task, labels):
    return Splits(**{k: Given(task, labels, name=k) for k in ("train", "validation", "test")})


# ---- which they are -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "labels", "expected", "read"),
    [
        (THINGS, [boxes()] * 5, ("masks",), 5),
        (THINGS, [boxes(masks=[0])] * 5, (), 1),
        (THINGS, [boxes(), None, boxes(count=3, masks=[2]), boxes()], (), 3),
        # A mask of an ignored object teaches nothing; nor does an image without objects.
        (THINGS, [boxes(masks=[0], ignore=[0]), boxes(count=0)], ("masks",), 2),
        # "There is no object" teaches boxes.
        (THINGS, [boxes(count=0)], ("masks",), 1),
        (THINGS, [THINGS.labels.missing(), None], ("boxes", "masks"), 2),
        (dataclasses.replace(THINGS, with_masks=False), [boxes()] * 3, (), 1),
        (PARTS, [{"map": np.full((4, 4), 255, np.uint8)}] * 3, ("map",), 3),
        (PARTS, [{"map": np.array([[255, 0]], np.uint8)}] * 3, (), 1),
        (FAR, [{"depth": np.zeros((4, 4), np.float32)}, None], ("depth",), 2),
        (FAR, [{"depth": np.full((4, 4), 2.0, np.float32)}], ("depth",), 1),
        (KIND, [KIND.labels.missing()] * 2, ("probabilities",), 2),
        (KIND, [None, class_label(1, 3), None], (), 2),
    ],
)
def test_labels_are_read_until_everything_is_taught(task, labels, expected, read):
    source = Given(task, labels)
    found = untaught(LabeledExamples(source, [task]), [task])
    assert found == ({task.name: expected} if expected else {})
    assert source.read == list(range(read))


def test_any_part_of_a_union_teaches():
    first, second = (
        Given(THINGS, [boxes(masks=m)] * 3, name=n) for n, m in (("a", ()), ("b", [0]))
    )
    union = ConcatenatedExamples(
        [LabeledExamples(first, [THINGS]), LabeledExamples(second, [THINGS])]
    )
    assert untaught(union, [THINGS]) == {}
    assert (first.read, second.read) == ([0, 1, 2], [0])
    only = ConcatenatedExamples([LabeledExamples(second, [THINGS], indices=[2])])
    assert untaught(only, [THINGS, PARTS][:1]) == {} and second.read == [0, 2]


def model_of(*tasks, **changes):
    return build_model(NETWORK, tasks, seed=0, norm=NORM, **changes)


@pytest.fixture(scope="module")
def things():
    return model_of(THINGS)


def test_what_neither_start_nor_labels_teach(things, capsys):
    boxes_only, both = Given(THINGS, [boxes()] * 2), Given(THINGS, [boxes(masks=[0])] * 2)
    for known, source, copied, expected in (
        ({}, boxes_only, [], ("masks",)),
        # The start's mask head has learned elsewhere, or not.
        ({}, boxes_only, ["things"], ()),
        ({"things": ("masks",)}, boxes_only, ["things"], ("masks",)),
        ({"things": ("masks",)}, both, ["things"], ()),
    ):
        things.untaught = known
        find(things, LabeledExamples(source, [THINGS]), copied=copied, title="teacher x")
        assert things.untaught.get("things", ()) == expected
        told = capsys.readouterr().err
        assert ("masks of head 'things'" in told and "teacher x" in told) == bool(expected)


def test_a_head_that_nothing_teaches_is_refused(things):
    nobody = LabeledExamples(Given(THINGS, [THINGS.labels.missing(), None]), [THINGS])
    with pytest.raises(UserError, match="teacher x: none of 2 labels teaches head 'things'"):
        find(things, nobody, copied=[], title="teacher x")


# ---- a model without them -------------------------------------------------------------------


def test_a_model_leaves_them_out_of_all_that_it_predicts(things, tmp_path):
    things.untaught = {}
    whole = things.get_config()
    assert "untaught" not in whole
    things.untaught = {"things": ("masks",)}
    things.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    copy = loaded.clean_copy()
    images = np.zeros((1, 64, 64, 3), np.float32)
    for model in (things, loaded, copy):
        assert model.untaught == {"things": ("masks",)}
    served = serve(loaded, tf.constant(images))
    assert set(served) == {"things.boxes", "things.scores", "things.classes"}
    fresh = model_of(THINGS)
    FromModel(tmp_path / "model.keras").apply(fresh, NETWORK)
    assert fresh.untaught == {"things": ("masks",)}
    things.untaught = {}
    assert "things.masks" in serve(things, tf.constant(images))


@pytest.mark.slow
def test_an_export_has_none_and_lists_which(tmp_path, capsys):
    run = Run(recipe=recipe_of(detector([boxes()] * 2)), path=tmp_path)
    run.student.begin()
    model = model_of(THINGS)
    model.untaught = {"things": ("masks",)}
    model.save(run.student.model_path)
    finish(run.student)
    make("export", run)
    entry = json.loads((run.export.folder / "labels.json").read_text())["things"]
    assert entry["untaught"] == ["masks"]
    assert "masks of head 'things' were never taught" in capsys.readouterr().out


# ---- stages ---------------------------------------------------------------------------------

TRAINING = TrainingConfig(steps=1, batch=2, learning_rate=1e-3, optimizer=AdamW())


def recipe_of(*teachers, pool=None, **changes) -> Recipe:
    pool = pool or Given(THINGS, [None] * 3, name="pool", is_labeled=False)
    values = {
        "name": "untaught", "seed": 0, "network": NETWORK, "teachers": teachers,
        "pools": (Pool(source=pool),), "student": Student(training=TRAINING), "transfers": (),
        "starts": ("random",), "evaluation_batch": 2,
    }  # fmt: skip
    return Recipe(**(values | changes))


def detector(labels, **changes) -> Teacher:
    values = {
        "name": "things", "task": dataclasses.replace(THINGS, score_floor=0.01),
        "training": TRAINING, "loss_weight": 1.0,
    }  # fmt: skip
    values |= changes
    return Teacher(sets=splits(values["task"], labels), **values)


def records(run):
    reader = PseudoLabelReader(
        run.labels("things", "pool").folder, run.recipe.pools[0].source, run.recipe.tasks[0]
    )
    return [reader.read(i) for i in range(len(reader))]


def made(recipe, path, *names) -> Run:
    """Return a run after some stages."""
    run = Run(recipe=recipe, path=path)
    for name in names:
        make(name, run)
    return run


@pytest.mark.slow
def test_a_teacher_of_boxes_labels_no_mask_and_the_student_learns_none(tmp_path, capsys):
    """Also in a round: there the student labels."""
    recipe = recipe_of(detector([boxes()] * 2))
    recipe = dataclasses.replace(recipe, rounds=2, starts=("random", "rounds"))
    whole = Run(recipe=recipe, path=tmp_path)
    for number in (1, 2):
        one = rounds.begun_rounds(whole)[-1]
        run = one.run
        assert one.number == number
        make("teacher", run)
        assert "masks of head 'things' were never taught" in capsys.readouterr().err
        result = run.teacher("things").result()
        assert result.untaught == ["masks"]
        for numbers in (result.metrics, result.trivial):
            assert list(numbers) == ["box_ap50", "box_ap"]
        make("label", run)
        assert "without masks" in capsys.readouterr().out
        found = records(run)
        assert sum(len(record["boxes"]) for record in found) > 0
        for record in found:
            assert all(not code for code in record["masks"]) and record["mask_size"] == 1
        if number == 1:
            make("student", run)
            assert "student: masks of head 'things'" in capsys.readouterr().err
            result = run.student.result()
            assert result.untaught == {"things": ["masks"]}
            assert list(result.tasks["things"].metrics) == ["box_ap50", "box_ap"]
    model = keras.saving.load_model(run.teacher("things").model_path)
    assert model.untaught == {"things": ("masks",)}


def test_a_model_that_stays_as_it_is_reports_what_its_start_left_out(things, tmp_path, capsys):
    start = FromModel(tmp_path / "model.keras")
    things.untaught = {"things": ("masks",)}
    of_start(things, start, title="teacher x")
    told = capsys.readouterr()
    assert "teacher x: masks of head 'things'" in told.err and not told.out
    things.untaught = {"things": ("boxes", "masks")}
    with pytest.raises(UserError, match="no label has taught head 'things'"):
        of_start(things, start, title="teacher x")
    things.untaught = {}
    for text, is_known in (
        ("", False),
        ("{", False),
        ('{"inputs": {}, "result": {"untaught": []}}', True),
    ):
        (tmp_path / "finished.json").write_text(text)
        of_start(things, start, title="teacher x")
        assert ("count as taught" in capsys.readouterr().out) != is_known


@pytest.mark.parametrize("task", [PARTS, FAR], ids=lambda t: t.name)
def test_a_teacher_without_any_label_is_refused(task, tmp_path):
    recipe = recipe_of(detector([task.labels.missing()] * 2, task=task))
    with pytest.raises(UserError, match=f"none of 2 labels teaches head '{task.name}'"):
        made(recipe, tmp_path, "teacher")


@pytest.mark.slow
def test_what_a_start_was_taught_is_assumed_where_nothing_says_so(tmp_path, capsys, things):
    things.untaught = {}
    things.save(tmp_path / "model.keras")
    start, task = FromModel(tmp_path / "model.keras"), THINGS
    item = detector(
        [boxes()] * 2, task=task, start=start, training=dataclasses.replace(TRAINING, steps=0)
    )
    run = made(recipe_of(item), tmp_path / "run", "teacher")
    assert "all of its outputs count as taught" in capsys.readouterr().out
    assert run.teacher("things").result().untaught == []


def no_masks(images):
    count = len(images)
    return {
        "boxes": np.tile(np.float32([4, 4, 30, 30]), (count, 1, 1)),
        "scores": np.full((count, 1), 0.9, np.float32),
        "classes": np.zeros((count, 1), np.int32),
    }


def test_an_external_model_without_masks_has_no_mask_metric(tmp_path, capsys):
    item = ExternalTeacher(
        name="things", task=THINGS, loss_weight=1.0, sets=splits(THINGS, [boxes(masks=[0])] * 2),
        model=ExternalModel(model=no_masks, version="1", size=64, form="yxyx"),
    )  # fmt: skip
    result = made(recipe_of(item), tmp_path, "teacher").teacher("things").result()
    assert result.untaught == ["masks"] and "mask_ap" not in result.metrics
    assert "mask_ap" not in result.trivial
    assert "masks of head 'things' are not labeled" in capsys.readouterr().out


def imported(task, labels) -> ImportedLabels:
    return ImportedLabels(
        name=task.name, task=task, labels=Given(task, labels, name="made"), origin="me",
        loss_weight=1.0,
    )  # fmt: skip


def test_imported_labels_without_masks(tmp_path):
    run = made(recipe_of(imported(THINGS, [boxes()] * 3)), tmp_path, "teacher")
    assert run.teacher("things").result().untaught == ["masks"]
    nothing = imported(FAR, [FAR.labels.missing()] * 3)
    with pytest.raises(UserError, match="none of 3 labels teaches head 'far'"):
        made(recipe_of(nothing), tmp_path / "far", "teacher")


# ---- inverted depth -------------------------------------------------------------------------


def ramps(*, inverted=False):
    """Inverse depth that grows to the right, or the other way round."""
    ramp = np.tile(np.linspace(0.2, 1.0, 64, dtype=np.float32), (48, 1))
    return [{"depth": 1.2 - ramp if inverted else ramp}] * 3


def from_left(images):
    images = np.asarray(images)
    return np.tile(np.linspace(1.0, 0.2, 64, dtype=np.float32), (len(images), 64, 1))


@pytest.mark.parametrize("inverted", [False, True])
def test_imported_labels_that_are_inverted_are_reported(tmp_path, capsys, inverted):
    recipe = recipe_of(
        imported(FAR, ramps(inverted=inverted)), pool=Given(FAR, ramps(), name="pool")
    )
    run = made(recipe, tmp_path, "teacher", "label")
    told = capsys.readouterr().err
    assert ("labels of far for pool" in told and "inverted" in told) == inverted
    quality = run.labels("far", "pool").result().quality
    assert next(iter(quality)) == "delta1"
    assert quality["correlation"] == pytest.approx(-1.0 if inverted else 1.0, abs=1e-3)


def test_an_external_teacher_that_is_inverted_is_reported(tmp_path, capsys):
    model = ExternalModel(model=from_left, version="1", size=64, form="relative_inverse")
    item = ExternalTeacher(
        name="midas", task=FAR, loss_weight=1.0, sets=splits(FAR, ramps()), model=model
    )
    run = made(recipe_of(item), tmp_path, "teacher")
    told = capsys.readouterr().err
    assert "warning: teacher midas on 'test'" in told and 'form="meters"' in told
    result = run.teacher("midas").result()
    metrics = result.metrics
    assert metrics["correlation"] < -0.9 and next(iter(metrics)) == "delta1"
    assert metrics["delta1"] <= result.trivial["delta1"]


# ---- datasets that are verified -----------------------------------------------------------------


def test_pseudo_labels_without_masks_are_verified_and_compared(tmp_path, capsys):
    """--verify and --diff: of datasets without masks, and of one with masks beside one without."""
    runs = {}
    for name, masks in (("with", [0]), ("without", [])):
        recipe = recipe_of(imported(THINGS, [boxes(masks=masks)] * 3))
        runs[name] = made(recipe, tmp_path / name, "teacher", "label")
    folders = {name: run.labels("things", "pool").folder for name, run in runs.items()}
    capsys.readouterr()
    for name, run in runs.items():
        checks.verify(run)
        assert f"{folders[name]}: 3 records, as they were written" in capsys.readouterr().out
    # Of boxes alone nothing is known about masks: no figure is made up.
    checks.compare(runs["with"], folders["without"])
    assert capsys.readouterr().out.splitlines()[1:] == [
        "  precision50: 1.0000", "  recall50: 1.0000", "  mask_iou: unknown"
    ]  # fmt: skip
    shard = next(folders["without"].glob("labels-*"))
    data = bytearray(shard.read_bytes())
    data[20] ^= 255
    shard.write_bytes(data)
    with pytest.raises(DataError, match="1 pseudo-label datasets are broken"):
        checks.verify(runs["without"])
