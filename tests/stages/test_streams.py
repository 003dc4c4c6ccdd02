"""A tiny run with self-labeled heads: beside those of the student, and alone as a start."""

import dataclasses
import json

import keras
import numpy as np
import pytest

import pages
from fakes.tiny_run import RUN, draw, make, recipe_with
from must_keras.config.recipe import Student
from must_keras.errors import UserError
from must_keras.runs.fingerprint import describe
from must_keras.runs.run import Run
from must_keras.self_supervised import Contrast, Jigsaw, RandomViews, Rotation, SelfLabeling
from must_keras.training.self_labeled import SelfLabeled

CROPS = RandomViews(jitter_share=0.0, gray_share=0.0, blur_share=0.0)
ROTATION = SelfLabeled(task=Rotation(), loss_weight=0.5)
JIGSAW = SelfLabeled(task=Jigsaw(grid=2, orders=6), loss_weight=0.5)
CONTRAST = SelfLabeled(
    task=Contrast(views=CROPS, temperature=1.0), loss_weight=1.0, sources=("pile",)
)
LONGER = dataclasses.replace(RUN, ema=True)


def recipe_of(data, **changes):
    values = {
        "student": Student(training=LONGER, self_labeled=(ROTATION, CONTRAST)),
        "selfsup": (SelfLabeling(name="pretext", training=LONGER, tasks=(ROTATION, JIGSAW)),),
        "starts": ("random", "student", "pretext"),
        "mode": "frozen",
    }
    return recipe_with(data, **(values | changes))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("streams")
    draw(folder)
    return folder


@pytest.fixture(scope="module")
def whole(data) -> Run:
    run = Run(recipe=recipe_of(data), path=data / "run")
    make("all", run.recipe, run.path)
    return run


@pytest.mark.slow
def test_both_are_starts_of_frozen_transfers(whole):
    report = json.loads((whole.path / "report.json").read_text())
    rows = {row["start"]: row["copied"] for row in report["transfers"]}
    assert rows == {"random": [], "student": ["backbone"], "pretext": ["backbone"]}
    saved = keras.saving.load_model(whole.self_supervised("pretext").model_path)
    assert sorted(saved.output) == ["C2", "C3", "C4", "C5"]
    student = keras.saving.load_model(whole.student.model_path)
    assert list(student.output) == ["trees"] and list(student.input) == ["image", "area"]


@pytest.mark.slow
def test_heads_are_scored_against_chance(whole):
    report = json.loads((whole.path / "report.json").read_text())
    own = report["student"]["self_labeled"]
    assert list(own) == ["rotation", "contrast"]
    # Six images of one set are one batch of four and one of two.
    chance = (8 / 7 + 4 / 3) / 12
    assert own["contrast"]["trivial"] == {"partner_top1": pytest.approx(chance)}
    assert 0 <= own["contrast"]["metrics"]["partner_top1"] <= 1
    pretext = report["selfsup"]["pretext"]
    assert list(pretext["self_labeled"]) == ["rotation", "jigsaw"] and pretext["method"] == (
        "SelfLabeling"
    )
    for scored in (own["rotation"], *pretext["self_labeled"].values()):
        assert scored["metrics"].keys() == scored["trivial"].keys() and "top1" in scored["metrics"]
    page = pages.parse((whole.path / "report.html").read_text())
    cells = [pages.text(cell) for cell in pages.row(page, "pretext")]
    assert cells[1].endswith("images without labels (SelfLabeling)")
    titles = [line[:2] for line in pages.rows(page)]
    assert ["start", "self-labeled head"] in titles


@pytest.mark.slow
def test_every_loss_is_logged(whole):
    for part, heads in (
        (whole.student, ("trees", "rotation", "contrast")),
        (whole.self_supervised("pretext"), ("rotation", "jigsaw")),
    ):
        rows = [json.loads(x) for x in (part.folder / "metrics.jsonl").read_text().splitlines()]
        steps = [row for row in rows if row["split"] == "train"]
        assert [row["step"] for row in steps] == [1, 2, 3]
        for row in steps:
            assert {f"{head}_loss" for head in heads} <= row.keys()
            assert np.isfinite(row["loss"])


def test_inputs_are_tasks_weights_and_sources():
    limited = dataclasses.replace(ROTATION, sources=("pile",))
    heavier = dataclasses.replace(ROTATION, loss_weight=2.0)

    def inputs(*tasks):
        return describe(SelfLabeling(name="pretext", training=RUN, tasks=tasks))

    (found,) = inputs(ROTATION)["tasks"]
    assert found["loss_weight"] == 0.5 and found["task"] == describe(ROTATION.task)
    others = [inputs(head) for head in (limited, heavier, JIGSAW)]
    assert all(inputs(ROTATION) != other for other in others)
    # The loss weights of a student are inputs of their own.
    student = Student(training=RUN, self_labeled=(ROTATION,))
    assert student.options() == {"self_labeled": [ROTATION.task]}
    student = dataclasses.replace(student, self_labeled=(limited,))
    described = {"task": ROTATION.task, "sources": ("pile",)}
    assert student.options() == {"self_labeled": [described]}


def test_sources_are_blocks_of_pools(data):
    assert recipe_of(data).on_blocks((CONTRAST, ROTATION)) == (CONTRAST, ROTATION)


UNKNOWN = dataclasses.replace(ROTATION, sources=("pail",))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda data: recipe_of(data, student=Student(training=RUN, self_labeled=(UNKNOWN,))),
            "'rotation': sources names the source 'pail'; did you mean 'pile'",
        ),
        (
            lambda data: recipe_of(data, selfsup=(SelfLabeling(training=RUN, tasks=(UNKNOWN,)),)),
            "'rotation': sources names the source 'pail'; did you mean 'pile'",
        ),
        (
            lambda _: Student(
                training=dataclasses.replace(RUN, accumulate=2), self_labeled=(CONTRAST,)
            ),
            "the student: self-labeled head 'contrast': accumulate=2 would compare images with "
            "microbatches of their batch; choose accumulate=1",
        ),
        (
            lambda _: SelfLabeling(
                training=dataclasses.replace(RUN, batch=1), tasks=(JIGSAW, CONTRAST)
            ),
            "head 'contrast': batch=1 has no image to compare with; choose batch=2 or more",
        ),
        (lambda _: SelfLabeling(training=RUN, tasks=()), r"tasks=\(\): at least one is needed"),
        (
            lambda _: SelfLabeling(training=RUN, tasks=(JIGSAW, JIGSAW)),
            "two heads are named 'jigsaw'",
        ),
        (
            lambda _: SelfLabeling(training=RUN, tasks=(JIGSAW.task,)),
            "tasks contain a Jigsaw, expected a SelfLabeled",
        ),
        (
            lambda _: SelfLabeling(
                training=RUN, tasks=(dataclasses.replace(JIGSAW, task=Jigsaw(name="a b")),)
            ),
            "'a b'",
        ),
        (lambda _: dataclasses.replace(ROTATION, sources="pile"), "sources is no tuple"),
    ],
)
def test_what_cannot_be_is_named(data, change, message):
    with pytest.raises(UserError, match=message):
        change(data)


def test_microbatches_are_fine_where_nothing_is_compared():
    halves = dataclasses.replace(RUN, accumulate=2)
    assert Student(training=halves, self_labeled=(ROTATION, JIGSAW)).self_labeled
    assert SelfLabeling(training=halves, tasks=(JIGSAW,)).heads == (JIGSAW,)
