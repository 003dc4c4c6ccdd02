"""A tiny run with repeat factors and best weights kept: results, report, inputs, refusals."""

import json

import pytest

import pages
from fakes.random_examples import training
from fakes.tiny_run import draw, make, recipe_with
from must_keras.config.recipe import Student, Teacher
from must_keras.data.repeat_factors import RepeatFactors
from must_keras.errors import UserError
from must_keras.report.results import RunResults
from must_keras.report.sections import heads
from must_keras.runs.run import Run
from must_keras.stages import student
from must_keras.training.best import KeepBest
from must_keras.training.loggers import read_metrics

RUN = training(6, learning_rate=0.01, keep_best=KeepBest(every=1, patience=2))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("best")
    draw(folder)
    return folder


def recipe_of(data, run=RUN):
    plain = recipe_with(data)
    (teacher,) = plain.teachers
    options = {"training": run, "repeat_factors": RepeatFactors(threshold=1.0)}
    with_best = Teacher(name="trees", task=teacher.task, sets=teacher.sets, **options)
    return recipe_with(data, teachers=(with_best,), student=Student(**options))


@pytest.mark.slow
def test_teacher_and_student_keep_their_best_step_and_the_report_states_it(data, capsys):
    run = Run(recipe=recipe_of(data), path=data / "run")
    for stage in ("teacher", "label", "student", "report"):
        make(stage, run.recipe, run.path)
    report = json.loads((run.path / "report.json").read_text())
    for artifact, result in (
        (run.teacher("trees"), report["teachers"]["trees"]), (run.student, report["student"]),
    ):  # fmt: skip
        kept = result["kept"]
        found = {row.step: row.values for row in read_metrics(artifact.folder, split="validation")}
        values = {step: one["top1"] for step, one in found.items()}
        assert kept["value"] == max(values.values()) and kept["step"] <= kept["trained"] <= 6
        assert result["images_seen"] == 4 * kept["trained"]
        assert kept["step"] == min(step for step, v in values.items() if v == kept["value"])
        # The validation set is the test set here: the kept weights are those that are scored.
        scored = result.get("metrics") or result["tasks"]["trees"]["metrics"]
        assert scored["top1"] == pytest.approx(kept["value"])
        assert (artifact.folder / "details" / "trees.json").is_file()
    sentences = pages.texts(
        pages.section(heads.training_curves, RunResults(run=run, report=report)), "li"
    )
    assert [text.split(":")[0] for text in sentences] == ["teacher trees", "student"]
    assert f"the weights of step {kept['step']} of {kept['trained']} are kept" in sentences[1]
    printed = capsys.readouterr().out
    assert f"student: step {kept['trained']}: top1" in printed
    # Half of the teacher's images have each class: sqrt(2).
    assert "teacher trees: repeat factors up to 1.41: " in printed
    assert "student: repeat factors up to 1." in printed


def test_validation_images_are_an_input_only_where_they_choose_the_weights(data):
    recipe = recipe_of(data)
    assert student.validation_inputs(training(6), recipe.teachers) == {}
    found = student.validation_inputs(recipe.student.training, recipe.teachers)
    assert found == {"validation": {"trees": recipe.teachers[0].sets.validation}}


def test_repeat_factors_are_an_input_only_where_they_are_given(data):
    plain, recipe = recipe_with(data), recipe_of(data)
    for one, is_given in ((plain, False), (recipe, True)):
        assert ("repeat_factors" in one.student.options()) is is_given
        depends = one.teachers[0].depends_on(one.network, one.seed)
        assert ("repeat_factors" in depends) is is_given


def test_transfers_refuse_it_since_all_starts_have_the_same_steps(data):
    (transfer,) = recipe_with(data).transfers
    with pytest.raises(UserError, match="transfer 'houses': keep_best=.*same steps"):
        type(transfer)(name="houses", task=transfer.task, sets=transfer.sets, training=RUN)
