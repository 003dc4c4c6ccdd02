"""Thresholds chosen by precision, from the teacher's validation images to the report."""

import dataclasses
import re
import types

import numpy as np
import pytest

import pages
from fakes.random_examples import NETWORK, THINGS
from fakes.results import finish
from making import check, make, results
from must_keras.config.recipe import ExternalTeacher, Pool, Recipe, Student, Teacher
from must_keras.data.sources import ImagesOnly, LabelSpace, Source
from must_keras.data.splits import Splits
from must_keras.data.strong_views import StrongViews
from must_keras.errors import UserError
from must_keras.inference.external import ExternalModel
from must_keras.inference.visualization import save
from must_keras.pseudo_labels import checks, training_set
from must_keras.report.sections import heads as on_the_page
from must_keras.runs.marks import PREDICTION_COUNTS
from must_keras.runs.run import Run
from must_keras.stages import student as student_stage
from must_keras.tasks import Depth, Segmentation
from must_keras.tasks.thresholds import DROPPED, AtPrecision, check_threshold
from must_keras.training.building import build_model
from must_keras.training.config import TrainingConfig
from must_keras.training.initialization import FromModel
from must_keras.training.optimizers import AdamW

TRAINING = TrainingConfig(steps=2, batch=2, learning_rate=1e-3, optimizer=AdamW())
PARTS = Segmentation(name="parts", classes=("dark", "light"), channels=8, num_convs=1)
BOXES = dataclasses.replace(THINGS, name="boxes", classes=("cat", "dog"), with_masks=False)
# Gray pictures; what is said of them, how surely, and whether it is so:
#   250 light or a cat 0.98 yes, 200 0.78 yes, 150 0.59 no; 20 dark or a dog 0.92 no, 60 0.76 no.
VALUES, LIGHT = (250, 200, 150, 20, 60), (True, True, False, True, True)
POOL = (220, 170, 100, 30)
LEFT = np.array([0.0, 0.0, 1.0, 0.5], np.float32)


class Grays(Source):
    """A cat in the left half of what is light."""

    def __init__(self, name):
        self.name = name
        self.label_spaces = {"parts": LabelSpace.of(PARTS), "boxes": LabelSpace.of(BOXES)}

    def __len__(self):
        return len(VALUES)

    def image_id(self, index):
        return str(index)

    def image(self, index):
        return np.full((64, 64, 3), VALUES[index], np.uint8)

    def labels(self, index):
        number = int(LIGHT[index] and VALUES[index] > 127)
        return {
            "parts": {"map": np.full((64, 64), int(LIGHT[index]), np.uint8)},
            "boxes": {
                "boxes": np.tile(LEFT, (number, 1)),
                "classes": np.zeros(number, np.int32),
                "masks": np.zeros((number, 1, 1), np.uint8),
                "has_mask": np.zeros(number, bool),
                "ignore": np.zeros(number, bool),
                "labelled": np.ones((), np.float32),
            },
        }

    def describe(self):
        return {"name": self.name}


def grays():
    return Splits(train=Grays("grays"), validation=Grays("grays_v"), test=Grays("grays_t"))


def lights(images):
    # Just over a byte: it is the next lower one that a column keeps.
    share = (np.asarray(images).mean(-1) + 0.5) / 255.5
    return np.stack([1.0 - share, share], axis=-1).astype("float32")


def cats(images, sure=None):
    share = np.asarray(images).mean((1, 2, 3)) / 255.0
    is_dog = share < 0.5
    scores = np.where(is_dog, 1.0 - share, share) if sure is None else np.full(len(share), sure)
    nothing = np.zeros(len(share))
    return {
        "boxes": np.tile(LEFT * 64, (len(share), 2, 1)),
        "scores": np.stack([scores, nothing], axis=1).astype("float32"),
        "classes": np.stack([is_dog, nothing - 1], axis=1).astype("int32"),
    }


def foreign(task, function, form, threshold, **changes) -> ExternalTeacher:
    model = ExternalModel(model=function, version="1", size=64, form=form)
    values = {"name": task.name, "task": task, "model": model, "loss_weight": 1.0, "sets": grays()}
    return ExternalTeacher(**(values | {"threshold": threshold} | changes))


def segmenter(threshold, **changes):
    return foreign(PARTS, lights, "probabilities", threshold, **changes)


def detector(threshold, function=cats, **changes):
    return foreign(BOXES, function, "yxyx", threshold, **changes)


@pytest.fixture
def pool(tmp_path):
    for i, value in enumerate(POOL):
        save(tmp_path / "pool" / f"{i}.png", np.full((64, 64, 3), value, np.uint8))
    return ImagesOnly(name="pool", root=tmp_path / "pool")


def recipe_of(pool, *teachers) -> Recipe:
    return Recipe(
        name="chosen",
        seed=0,
        network=NETWORK,
        teachers=teachers,
        pools=(Pool(source=pool),),
        student=Student(training=TRAINING),
        transfers=(),
        starts=("random",),
        evaluation_batch=2,
    )


def labeled(recipe, path) -> Run:
    run = Run(recipe=recipe, path=path)
    make("teacher", run)
    make("label", run)
    return run


def seen(run) -> list[dict]:
    """Return the labels of the pool's images that the student learns from."""
    examples = training_set.of_student(run)
    return [examples.load(i)[1] for i in range(4)]


def test_maps_are_read_at_chosen_thresholds_by_label_and_student_and_report(pool, tmp_path, capsys):
    recipe = recipe_of(pool, segmenter(AtPrecision(0.8)))
    run = labeled(recipe, tmp_path / "run")
    said = capsys.readouterr()
    assert "thresholds of parts at precision 0.8: 0.784, for 1 of 2 classes" in said.out
    warning = "parts at precision 0.8: 1 class is dropped: dark (of 20 or more predictions at most 0.0% are right)"
    assert warning in said.err
    result = run.labels("parts", "pool").result()
    # Of 220, 170, 100 and 30 only the first is light enough.
    assert result.threshold == [None, 0.784] and result.class_counts == {
        "dark": 0.0, "light": 1.0,
    }  # fmt: skip
    maps = [labels["parts"]["map"] for labels in seen(run)]
    assert [np.unique(m).tolist() for m in maps] == [[1], [255], [255], [255]]
    make("student", run)
    assert warning in capsys.readouterr().err
    assert run.student.result().tasks["parts"].metrics
    check(run)
    found = results(run).report["thresholds"]["parts"]
    assert (found["value"], found["minimum"]) == (0.8, 20)
    pixels = 64 * 64
    assert found["classes"] == {
        "dark": {
            "threshold": None, "answers": 0, "precision": None, "recall": 0.0,
            "dropped": "of 20 or more predictions at most 0.0% are right",
        },
        "light": {
            "threshold": 0.784, "answers": 2 * pixels, "precision": 1.0, "recall": 0.5,
            "dropped": None,
        },
    }  # fmt: skip


def test_another_precision_makes_the_student_again_and_nothing_else(pool, tmp_path, capsys):
    recipe = recipe_of(pool, segmenter(AtPrecision(0.8)))
    run = labeled(recipe, tmp_path / "run")
    student = student_stage.artifact(run)
    student.begin()
    finish(student)
    folder = run.labels("parts", "pool").folder
    files = {path: path.stat().st_mtime_ns for path in folder.glob("labels-*")}
    picture = (folder / "pictures" / "parts.png").read_bytes()
    moved = recipe_of(pool, segmenter(AtPrecision(0.6)))
    with pytest.raises(UserError) as error:
        check(dataclasses.replace(run, recipe=moved))
    text = str(error.value)
    assert re.search(r"student was made .*thresholds.parts\[1\] = 0.784, .* 0.588", text)
    assert text.endswith(f"must be made again: {student.folder}")
    # A folder of its own reuses teacher and labels.
    other = Run(recipe=moved, path=tmp_path / "other", others=(run.path,))
    check(other)
    capsys.readouterr()
    make("teacher", other)
    make("label", other)
    assert "labels of parts for pool: read at another threshold" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in files} == files
    reused = other.labels("parts", "pool")
    assert [(reused.folder / p.name).samefile(p) for p in files] == [True] * len(files)
    assert reused.result().class_counts == {"dark": 0.0, "light": 2.0}
    assert run.labels("parts", "pool").result().class_counts["light"] == 1.0
    # The picture shows the labels as they are read now; the other run's stays.
    assert (folder / "pictures" / "parts.png").read_bytes() == picture
    assert (reused.folder / "pictures" / "parts.png").read_bytes() != picture
    assert other.student.result() is None
    maps = [labels["parts"]["map"] for labels in seen(other)]
    assert [np.unique(m).tolist() for m in maps] == [[1], [1], [255], [255]]
    checks.compare(other, folder)
    assert "at the same threshold" in capsys.readouterr().out


def test_boxes_of_a_dropped_class_are_told_and_ignored(pool, tmp_path, capsys):
    recipe = recipe_of(pool, detector(AtPrecision(0.8, minimum=2)))
    run = labeled(recipe, tmp_path / "run")
    why = "1 class is dropped: dog (of 2 or more predictions at most 0.0% are right)"
    assert why in capsys.readouterr().err
    found = [labels["boxes"] for labels in seen(run)]
    # 220: a cat. 170: too unsure, background. 100 and 30: a dog, if one can believe it.
    assert [f["classes"].tolist() for f in found] == [[0], [], [1], [1]]
    assert [f["ignore"].tolist() for f in found] == [[False], [], [True], [True]]
    values = results(run)
    assert values.report["thresholds"]["boxes"]["classes"]["cat"] == {
        "threshold": 0.784, "answers": 2, "precision": 1.0, "recall": 1.0, "dropped": None,
    }  # fmt: skip
    item = recipe.teachers[0]
    chosen, dropped, counts = on_the_page.threshold_sentences(item, values)
    assert "0.784" in chosen and "80%" in chosen and dropped == f"Of 2 classes {why}."
    per_image = on_the_page.labels_per_image(item, values)
    assert per_image == {
        "ground truth": {"cat": 0.4, "dog": 0}, "pseudo labels": {"cat": 0.25, "dog": 0}
    }  # fmt: skip
    assert "0.40 in ground truth, 0.25 in pseudo labels" in counts
    precision, labels = on_the_page.threshold_charts(item, values)
    assert precision.axes[0].get_title() == "boxes: precision and recall on validation"
    assert precision.axes[0].collections[0].get_offsets().tolist() == [[0.784, 1.0]]
    assert precision.axes[0].lines[2].get_ydata() == [0.8, 0.8]
    assert labels.axes[0].get_title() == "boxes: labels per image"
    heights = [[bar.get_height() for bar in bars] for bars in labels.axes[0].containers]
    assert heights == [[0.4, 0.0], [0.25, 0.0]]
    shown = pages.section(on_the_page.each_head, values)
    assert {chosen, dropped, counts} <= set(pages.texts(shown, "p"))
    # Looked at with another recipe, before the label stage has looked again.
    (told,) = on_the_page.threshold_sentences(detector(0.3), values)
    assert "another threshold" in told and "run the label stage" in told


def test_a_teacher_without_counts_is_seen_again_by_the_teacher_stage(pool, tmp_path, capsys):
    """As teachers of older runs are, and those that had a number for a threshold."""
    build_model(NETWORK, [PARTS], seed=3, norm={"momentum": 0.9, "epsilon": 1e-4}).save(
        tmp_path / "saved.keras"
    )
    trained = Teacher(
        name="parts",
        task=PARTS,
        sets=grays(),
        training=dataclasses.replace(TRAINING, steps=0),
        loss_weight=1.0,
        start=FromModel(tmp_path / "saved.keras"),
        threshold=AtPrecision(0.1),
    )
    for place, item in enumerate((trained, segmenter(AtPrecision(0.8)))):
        run = Run(recipe=recipe_of(pool, item), path=tmp_path / f"run{place}")
        make("teacher", run)
        path = run.teacher("parts").folder / PREDICTION_COUNTS
        before, finished = path.read_bytes(), path.with_name("finished.json").read_bytes()
        path.unlink()
        check(run)
        with pytest.raises(UserError, match="'parts' .*stage=.teacher"):
            make("label", run)
        (told,) = on_the_page.threshold_sentences(item, results(run))
        assert "run the teacher stage" in told
        numbers = dataclasses.replace(item, threshold=0.5)
        make("teacher", dataclasses.replace(run, recipe=recipe_of(pool, numbers)))
        assert not path.exists()
        capsys.readouterr()
        make("teacher", run)
        assert "parts: its predictions for validation images" in capsys.readouterr().out
        assert path.read_bytes() == before
        assert path.with_name("finished.json").read_bytes() == finished


def test_labels_without_scores_are_refused(pool, tmp_path):
    """One that says so; one that is sure of everything."""
    hard = types.SimpleNamespace(
        name="hard", task=PARTS, sets=grays(), threshold=AtPrecision(0.8), has_scores=False,
        ignore_from=None, weight_by_score=False,
    )  # fmt: skip
    with pytest.raises(UserError, match="'hard' has no scores: a threshold cannot be chosen"):
        check_threshold(hard)
    check_threshold(types.SimpleNamespace(**(vars(hard) | {"threshold": 0.5})))
    recipe = recipe_of(pool, detector(AtPrecision(0.8), lambda images: cats(images, 1.0)))
    run = Run(recipe=recipe, path=tmp_path / "run")
    make("teacher", run)
    with pytest.raises(UserError, match="'boxes' has no scores .* a threshold cannot be chosen"):
        make("label", run)
    assert not run.labels("boxes", "pool").folder.exists()


def test_a_threshold_cannot_be_chosen_for_every_teacher():
    with pytest.raises(UserError, match="'parts': AtPrecision chooses .* give sets"):
        segmenter(AtPrecision(0.8), sets=None)
    far = Depth(name="far", channels=8, num_convs=1)
    with pytest.raises(UserError, match="far: labels of kind 'metric' take no threshold"):
        foreign(far, lights, "metric", AtPrecision(0.8))
    # A class may be dropped by hand.
    assert segmenter((0.5, DROPPED)).threshold == (0.5, DROPPED)


def test_what_may_be_an_object_is_ignored_by_the_student_alone(pool, tmp_path, capsys):
    """Of 220, 170, 100 and 30: cats 0.86 and 0.67, dogs 0.61 and 0.88."""
    item = detector(0.8)
    before = labeled(recipe_of(pool, item), tmp_path / "run")
    assert [label["boxes"]["ignore"].tolist() for label in seen(before)] == [
        [False],
        [],
        [],
        [False],
    ]
    inputs = student_stage.artifact(before).inputs
    assert "ignore_from" not in inputs
    files = {path: path.stat().st_mtime_ns for path in before.path.rglob("labels-*")}
    after = recipe_of(pool, dataclasses.replace(item, ignore_from=0.65))
    capsys.readouterr()
    run = labeled(after, before.path)
    assert "labels of boxes for pool: read at another threshold" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in files} == files
    assert run.labels("boxes", "pool").result().ignore_from == 0.65
    assert [label["boxes"]["ignore"].tolist() for label in seen(run)] == [
        [False],
        [True],
        [],
        [False],
    ]
    assert student_stage.artifact(run).inputs == inputs | {"ignore_from": {"boxes": 0.65}}
    make("label", run)
    assert "another threshold" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            {"ignore_from": 0.9},
            "ignore_from=0.9: expected at least 0.05 and less than the threshold, 0.5",
        ),
        ({"ignore_from": 0.01}, "ignore_from=0.01: expected at least 0.05"),
        ({"ignore_from": float("nan")}, "ignore_from=nan: expected at least 0.05"),
        (
            {"ignore_from": 0.2, "threshold": None},
            "ignore_from=0.2: a threshold above it is needed",
        ),
        ({"ignore_from": 1.0, "threshold": AtPrecision(0.8)}, "less than the threshold, 1"),
    ],
)
def test_nothing_can_be_ignored_there(change, why):
    with pytest.raises(UserError, match=f"teacher 'boxes': .*{why}") as found:
        dataclasses.replace(detector(0.5), **change)
    assert found.value.key == "ignore_from" and found.value.value == pytest.approx(
        change["ignore_from"], nan_ok=True
    )


def test_maps_have_no_background_to_hide():
    with pytest.raises(UserError, match="ignore_from=0.3: labels of kind 'map' have no background"):
        segmenter(0.5, ignore_from=0.3)


def test_images_of_a_source_come_more_often(pool, tmp_path):
    before = labeled(recipe_of(pool, detector(0.8)), tmp_path / "run")
    inputs = student_stage.artifact(before).inputs
    assert "repeats" not in inputs["student"]
    student = dataclasses.replace(before.recipe.student, repeats={"pool": 3})
    run = dataclasses.replace(before, recipe=dataclasses.replace(before.recipe, student=student))
    once, often = (training_set.of_student(one) for one in (before, run))
    assert [often.image_id(i) for i in range(len(often))] == [
        once.image_id(i) for i in range(len(once))
    ] * 3
    now = student_stage.artifact(run).inputs
    assert now["student"].pop("repeats") == {"pool": 3} and now == inputs


def test_views_and_shares_are_inputs_of_the_student_where_they_are_asked_for(pool, tmp_path):
    before = labeled(recipe_of(pool, detector(0.8)), tmp_path / "run")
    inputs = student_stage.artifact(before).inputs
    assert set(inputs["student"]) == {"training", "union"}
    options = {"strong_views": StrongViews(hue=0.1), "ground_truth_share": 0.5}
    student = dataclasses.replace(before.recipe.student, **options)
    run = dataclasses.replace(before, recipe=dataclasses.replace(before.recipe, student=student))
    now = student_stage.artifact(run).inputs
    assert now["student"].pop("ground_truth_share") == 0.5
    assert now["student"].pop("strong_views")["hue"] == 0.1
    assert now == inputs
