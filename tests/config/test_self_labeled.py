"""What a recipe says of self-labeled heads and of dropped heads."""

import dataclasses

import pytest

from fakes.few_layers import FewLayers, Pretrained
from fakes.random_examples import NORM
from must_keras import experiment
from must_keras.errors import UserError
from must_keras.runs.fingerprint import describe
from must_keras.stages import student as student_stage
from must_keras.tasks.features import Features
from must_keras.training.self_labeled import SelfLabeled

TINY = {"images": "40", "pool_images": "48", "transfer_seeds": "1"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Known(Pretrained):
    """With a digest for its weights."""

    def checkpoint_sha256(self):
        return "a" * 64


HEAD = SelfLabeled(task=Features(name="seen", backbone=Known()), loss_weight=0.5)


def changed(run, **changes):
    student = dataclasses.replace(run.recipe.student, **changes)
    return dataclasses.replace(run, recipe=dataclasses.replace(run.recipe, student=student))


def inputs(run) -> dict:
    return student_stage.artifact(run).inputs


def test_an_option_that_is_off_is_no_input(run):
    """A complete student of a recipe without these options stays valid."""
    plain = inputs(run)
    assert set(plain["student"]) == {"training", "union"}
    assert inputs(changed(run, self_labeled=(), drop_heads=0.0)) == plain
    assert student_stage.artifact(run).is_complete()
    dropped = inputs(changed(run, drop_heads=0.5))
    assert dropped["student"].pop("drop_heads") == 0.5 and dropped == plain
    seen = inputs(changed(run, self_labeled=(HEAD,)))
    assert seen["student"].pop("self_labeled") == [describe(HEAD.task)]
    assert seen["loss_weights"].pop("seen")["value"] == 0.5 and seen == plain


def test_weights_of_the_features_are_inputs(run):
    other = dataclasses.replace(HEAD, loss_weight=1.0)
    assert inputs(changed(run, self_labeled=(HEAD,))) != inputs(changed(run, self_labeled=(other,)))
    assert describe(HEAD.task)["sha256"] == "a" * 64


@pytest.mark.parametrize(
    ("weighting", "value", "source"),
    [("formula", 0.5, "given"), ("equal", 1.0, "equal"), ("uncertainty", 0.5, "learned")],
)
def test_its_loss_weight_is_that_of_any_head(weighting, value, source):
    recipe = experiment.load("scenes", TINY | {"weighting": weighting}, data_dir="nowhere")
    student = dataclasses.replace(recipe.student, self_labeled=(HEAD,))
    weights = dataclasses.replace(recipe, student=student).loss_weights()
    assert list(weights) == [*recipe.loss_weights(), "seen"]
    assert (weights["seen"].value, weights["seen"].source) == (value, source)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"drop_heads": 1.0}, r"drop_heads=1.0: expected a number in \[0, 1\)"),
        ({"drop_heads": -0.1}, "drop_heads=-0.1: expected a number"),
        ({"drop_heads": "half"}, "drop_heads is a str, expected a number"),
        ({"self_labeled": HEAD}, "self_labeled is no tuple"),
        ({"self_labeled": (HEAD.task,)}, "self_labeled contain a Features, expected a SelfLabeled"),
    ],
)
def test_what_cannot_be_is_named(recipe, change, message):
    with pytest.raises(UserError, match=f"the student: {message}"):
        dataclasses.replace(recipe.student, **change)


def test_a_weight_must_be_positive_and_a_name_new(recipe):
    for weight in (0.0, float("nan"), float("inf")):
        with pytest.raises(UserError, match=r"'seen': loss_weight=.*: expected a number above 0"):
            dataclasses.replace(HEAD, loss_weight=weight)
    task = dataclasses.replace(HEAD.task, name="shapes")
    student = dataclasses.replace(
        recipe.student, self_labeled=(dataclasses.replace(HEAD, task=task),)
    )
    with pytest.raises(UserError, match="two heads are named 'shapes'"):
        dataclasses.replace(recipe, student=student)


def test_scenes_takes_a_file(tmp_path):
    path = tmp_path / "backbone.keras"
    FewLayers().build((64, 64), NORM).save(path)
    given = {"feature_teacher": str(path), "feature_weight": "2", "drop_heads": "0.25"}
    student = experiment.load("scenes", TINY | given, data_dir="nowhere").student
    (head,) = student.self_labeled
    assert (head.name, head.loss_weight, student.drop_heads) == ("features", 2.0, 0.25)
    head.task.preflight()
    path.write_bytes(b"damaged")
    with pytest.raises(UserError, match="cannot be read as a model"):
        head.task.preflight()
