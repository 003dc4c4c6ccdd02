"""A student that starts from a teacher of its own run, with an equal share of each source."""

import dataclasses

import numpy as np
import pytest

from fakes.few_layers import NETWORK
from fakes.tiny_run import RUN, draw, make, recipe_with
from must_keras.config.recipe import Student
from must_keras.errors import UserError
from must_keras.modeling.loading import load_model
from must_keras.runs.run import Run
from must_keras.stages import student as student_stage
from must_keras.stages import supervised as supervised_stage
from must_keras.training.initialization import FromBackbone, FromTeacher

# A student that keeps its initial weights, so that they can be compared.
STILL = dataclasses.replace(RUN, learning_rate=1e-12)


def changed(run, **changes) -> Run:
    student = dataclasses.replace(run.recipe.student, **changes)
    return dataclasses.replace(run, recipe=dataclasses.replace(run.recipe, student=student))


def test_a_teacher_of_the_run_becomes_the_file_of_its_backbone(run):
    start = FromTeacher("shapes")
    found = run.initialization(start)
    assert found == FromBackbone(run.teacher("shapes").model_path)
    assert run.initialization(found) is found and run.can_start(found) and run.can_start(start)
    plain, from_it = run, changed(run, start=start)
    inputs = [student_stage.artifact(one).inputs for one in (plain, from_it)]
    assert inputs[1].pop("start")["type"] == "FromBackbone" != inputs[0].pop("start")["type"]
    assert inputs[0] == inputs[1]


def test_the_student_waits_for_the_teacher(run, tmp_path):
    begun = dataclasses.replace(changed(run, start=FromTeacher("shapes")), path=tmp_path / "new")
    assert not begun.can_start(begun.recipe.student.start)
    assert student_stage.artifact(begun).inputs is None
    needs = [need.folder.name for need in student_stage.starting_teacher(begun)]
    assert needs == ["shapes"] and not student_stage.starting_teacher(run)


def test_what_is_no_teacher_of_the_network_is_refused(run):
    with pytest.raises(UserError, match=r"FromTeacher\('shape'\) needs .* mean 'shapes'"):
        changed(run, start=FromTeacher("shape"))
    with pytest.raises(UserError, match="rounds=2: with a teacher of the run"):
        recipe = changed(run, start=FromTeacher("shapes")).recipe
        dataclasses.replace(recipe, rounds=2)
    with pytest.raises(UserError, match="teacher 'shapes': start is a FromTeacher"):
        dataclasses.replace(run.recipe.teachers[0], start=FromTeacher("objects"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ground_truth_share": 0.5}, "ground_truth_share=0.5: equal_sources=True"),
        ({"repeats": {"pool": 2}}, "repeats=.*: equal_sources=True"),
        ({"equal_sources": 1}, "equal_sources is an int"),
    ],
)
def test_equal_shares_exclude_other_shares(changes, words):
    with pytest.raises(UserError, match=words):
        Student(**({"training": RUN, "equal_sources": True} | changes))


def test_equal_shares_need_two_sources_and_are_an_input(run):
    with pytest.raises(UserError, match="equal_sources=True: there is one source, pool"):
        changed(run, equal_sources=True, union=False)
    inputs = student_stage.artifact(changed(run, equal_sources=True)).inputs
    assert inputs["student"].pop("equal_sources") is True
    assert inputs == student_stage.artifact(run).inputs


@pytest.mark.slow
def test_a_student_begins_with_the_backbone_of_its_teacher(tmp_path):
    draw(tmp_path)
    student = Student(training=STILL, start=FromTeacher("trees"), equal_sources=True)
    recipe = recipe_with(
        tmp_path, student=student, supervised=STILL, starts=("random", "student", "supervised")
    )
    run = Run(recipe=recipe, path=tmp_path / "run")
    for stage in ("teacher", "label", "student", "supervised"):
        make(stage, recipe, run.path)
    assert supervised_stage.artifact(run).is_complete()
    teacher = load_model(run.teacher("trees").model_path, remedy="")
    for artifact in (run.student, run.supervised):
        found = load_model(artifact.model_path, remedy="").get_layer("backbone")
        for mine, its in zip(
            found.trainable_weights, teacher.get_layer("backbone").trainable_weights, strict=True
        ):
            np.testing.assert_allclose(mine, its, atol=1e-5)
    counts = run.student.result().origins["trees_train"]["trees"]
    assert (counts.true, counts.pseudo) == (500, 0) and recipe.network == NETWORK
