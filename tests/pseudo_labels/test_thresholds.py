"""Thresholds chosen by precision, from the teacher's validation images to the report."""

import dataclasses
import types

import numpy as np
import pytest

from must_keras.config.recipe import ExternalTeacher, Pool, Recipe, Student, Teacher
from must_keras.data.sources import ImagesOnly, LabelSpace, Source
from must_keras.data.splits import Splits
from must_keras.errors import UserError
from must_keras.inference.external import ExternalModel
from must_keras.inference.visualization import save
from must_keras.modeling.backbone import ResNet
from must_keras.pseudo_labels import checks, thresholds
from must_keras.report import page, summary
from must_keras.report import thresholds as on_the_page
from must_keras.runs import graph
from must_keras.runs.workdir import Workdir
from must_keras.stages import label, student, teacher
from must_keras.tasks import Depth, Segmentation
from must_keras.tasks.thresholds import DROPPED
from must_keras.training.config import TrainingConfig
from must_keras.training.initialization import FromModel
from must_keras.training.model import build_model
from must_keras.training.network import Network
from must_keras.training.optimizers import AdamW
from must_keras.training.thresholds import AtPrecision, check_threshold
from painted import THINGS

NETWORK = Network(backbone=ResNet.small(), size=64, channels=16)
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


def labeled(recipe, root) -> Workdir:
    workdir = Workdir(root)
    teacher.run(recipe, workdir, ())
    label.run(recipe, workdir, ())
    return workdir


def test_maps_are_read_at_chosen_thresholds_by_label_and_student_and_report(pool, tmp_path, capsys):
    recipe = recipe_of(pool, segmenter(AtPrecision(0.8)))
    workdir = labeled(recipe, tmp_path / "run")
    said = capsys.readouterr()
    assert "thresholds of parts at precision 0.8: 0.784, for 1 of 2 classes" in said.out
    warning = "parts at precision 0.8: 1 class is dropped: dark (of 20 or more answers at most 0.0% are right)"
    assert warning in said.err
    result = workdir.labels("parts", "pool").result()
    # Of 220, 170, 100 and 30 only the first is light enough.
    assert result["threshold"] == [None, 0.784] and result["class_counts"] == {
        "dark": 0.0, "light": 1.0,
    }  # fmt: skip
    maps = [student.training_set(recipe, workdir).load(i)[1]["parts"]["map"] for i in range(4)]
    assert [np.unique(m).tolist() for m in maps] == [[1], [255], [255], [255]]
    student.run(recipe, workdir, ())
    assert warning in capsys.readouterr().err
    assert workdir.student.result()["tasks"]["parts"]["metrics"]
    graph.check(recipe, workdir)
    found = summary.collect(recipe, workdir)["thresholds"]["parts"]
    assert (found["value"], found["minimum"]) == (0.8, 20)
    pixels = 64 * 64
    assert found["classes"] == {
        "dark": {
            "threshold": None, "answers": 0, "precision": None, "recall": 0.0,
            "dropped": "of 20 or more answers at most 0.0% are right",
        },
        "light": {
            "threshold": 0.784, "answers": 2 * pixels, "precision": 1.0, "recall": 0.5,
            "dropped": None,
        },
    }  # fmt: skip


def test_another_precision_makes_the_student_again_and_nothing_else(pool, tmp_path, capsys):
    recipe = recipe_of(pool, segmenter(AtPrecision(0.8)))
    workdir = labeled(recipe, tmp_path / "run")
    workdir.student.begin()
    workdir.student.finish(student.inputs(recipe, workdir), {})
    column = workdir.labels("parts", "pool").folder
    files = {path: path.stat().st_mtime_ns for path in column.glob("labels-*")}
    picture = (column / "pictures" / "parts.png").read_bytes()
    moved = recipe_of(pool, segmenter(AtPrecision(0.6)))
    with pytest.raises(UserError) as error:
        graph.check(moved, workdir)
    text = str(error.value)
    change = "student was made with thresholds.parts[1] = 0.784, the recipe now says 0.588"
    assert change in text
    assert text.endswith(f"must be made again: {workdir.student.folder}")
    # In a folder of its own it takes teacher and column along.
    other = Workdir(tmp_path / "other", (workdir.root,))
    graph.check(moved, other)
    capsys.readouterr()
    label.run(moved, other, ())
    assert "labels of parts for pool: read at another threshold" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in files} == files
    taken = other.labels("parts", "pool")
    assert [(taken.folder / p.name).samefile(p) for p in files] == [True] * len(files)
    assert taken.result()["class_counts"] == {"dark": 0.0, "light": 2.0}
    assert workdir.labels("parts", "pool").result()["class_counts"]["light"] == 1.0
    # The picture shows the labels as they are read now; the other run's stays.
    assert (column / "pictures" / "parts.png").read_bytes() == picture
    assert (taken.folder / "pictures" / "parts.png").read_bytes() != picture
    assert other.student.result() is None
    maps = [student.training_set(moved, other).load(i)[1]["parts"]["map"] for i in range(4)]
    assert [np.unique(m).tolist() for m in maps] == [[1], [1], [255], [255]]
    checks.compare(moved, other, column)
    assert "at the same threshold" in capsys.readouterr().out


def test_boxes_of_a_dropped_class_are_told_and_ignored(pool, tmp_path, capsys):
    recipe = recipe_of(pool, detector(AtPrecision(0.8, minimum=2)))
    workdir = labeled(recipe, tmp_path / "run")
    why = "1 class is dropped: dog (of 2 or more answers at most 0.0% are right)"
    assert why in capsys.readouterr().err
    found = [student.training_set(recipe, workdir).load(i)[1]["boxes"] for i in range(4)]
    # 220: a cat. 170: too unsure, background. 100 and 30: a dog, if one can believe it.
    assert [f["classes"].tolist() for f in found] == [[0], [], [1], [1]]
    assert [f["ignore"].tolist() for f in found] == [[False], [], [True], [True]]
    report = summary.collect(recipe, workdir)
    assert report["thresholds"]["boxes"]["classes"]["cat"] == {
        "threshold": 0.784, "answers": 2, "precision": 1.0, "recall": 1.0, "dropped": None,
    }  # fmt: skip
    item = recipe.teachers[0]
    told = on_the_page.sentences(item, recipe, workdir)
    assert "thresholds, 0.784, are the lowest at which 80% of its answers" in told[0]
    assert told[1] == f"Of 2 classes {why}."
    per_image = on_the_page.labels_per_image(item, recipe, workdir)
    assert per_image == {"true": {"cat": 0.4, "dog": 0}, "pseudo": {"cat": 0.25, "dog": 0}}
    assert "0.40 true, 0.25 pseudo" in told[2]
    titles = [title for title, _ in on_the_page.charts(item, recipe, workdir)]
    assert titles == ["boxes: what a threshold keeps of validation", "boxes: labels per image"]
    page.write(recipe, workdir, report, tmp_path / "report.html")
    assert told[1] in (tmp_path / "report.html").read_text()
    # Looked at with another recipe, before the label stage has looked again.
    told = on_the_page.sentences(detector(0.3), recipe, workdir)
    assert told == [
        "What is said of its pseudo labels is of another threshold: --stage=label looks at them "
        "again."
    ]


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
        recipe, workdir = recipe_of(pool, item), Workdir(tmp_path / f"run{place}")
        teacher.run(recipe, workdir, ())
        path = workdir.teacher("parts").folder / thresholds.ANSWERS
        before, finished = path.read_bytes(), path.with_name("finished.json").read_bytes()
        path.unlink()
        graph.check(recipe, workdir)
        with pytest.raises(UserError, match="'parts' is not finished, or nobody .*--stage=teacher"):
            label.run(recipe, workdir, ())
        assert on_the_page.sentences(item, recipe, workdir) == [
            "Its thresholds are not chosen yet: --stage=teacher counts its answers."
        ]
        numbers = dataclasses.replace(item, threshold=0.5)
        teacher.run(recipe_of(pool, numbers), workdir, ())
        assert not path.exists()
        teacher.run(recipe, workdir, ())
        assert "parts: its answers to validation images are counted" in capsys.readouterr().out
        assert path.read_bytes() == before
        assert path.with_name("finished.json").read_bytes() == finished


def test_labels_without_scores_are_refused(pool, tmp_path):
    """One that says so; one that is sure of everything."""
    hard = types.SimpleNamespace(
        name="hard", task=PARTS, sets=grays(), threshold=AtPrecision(0.8), has_scores=False
    )
    with pytest.raises(UserError, match="'hard' has no scores: a threshold cannot be chosen"):
        check_threshold(hard)
    check_threshold(types.SimpleNamespace(**(vars(hard) | {"threshold": 0.5})))
    recipe = recipe_of(pool, detector(AtPrecision(0.8), lambda images: cats(images, 1.0)))
    workdir = Workdir(tmp_path / "run")
    teacher.run(recipe, workdir, ())
    with pytest.raises(UserError, match="'boxes' has no scores .* a threshold cannot be chosen"):
        label.run(recipe, workdir, ())
    assert not workdir.labels("boxes", "pool").folder.exists()


def test_a_threshold_cannot_be_chosen_for_every_teacher():
    with pytest.raises(UserError, match="'parts': AtPrecision chooses .* give sets"):
        segmenter(AtPrecision(0.8), sets=None)
    far = Depth(name="far", channels=8, num_convs=1)
    with pytest.raises(UserError, match="far: labels of kind 'metric' take no threshold"):
        foreign(far, lights, "metric", AtPrecision(0.8))
    # A class may be dropped by hand.
    assert segmenter((0.5, DROPPED)).threshold == (0.5, DROPPED)
