import dataclasses
import os

import pytest

from must_keras.stages import status, student
from must_keras.workdir import Workdir


@pytest.fixture
def told(capsys):
    """{(stage, name): state} and the lines after them, of what status prints."""

    def tell(recipe, workdir):
        status.run(recipe, workdir)
        lines = capsys.readouterr().out.splitlines()
        end = next(i for i, line in enumerate(lines) if line.startswith(("next:", "all stages")))
        states = {(x[:9].strip(), x[10:50].strip()): x[51:] for x in lines[:end]}
        return states, lines[end:]

    return tell


def test_everything_is_finished(recipe, workdir, told):
    states, end = told(recipe, workdir)
    assert set(states.values()) == {"finished"}
    assert list(states)[-2:] == [("export", ""), ("report", "")]
    assert end == ["all stages are finished"]


def test_nothing_is_begun(recipe, tmp_path, told):
    states, end = told(recipe, Workdir(tmp_path / "new"))
    assert set(states.values()) == {"not begun"}
    assert end == ["next: --stage=teacher"]
    assert not (tmp_path / "new").exists()


def test_a_report_is_needed_and_as_new_as_the_parts(recipe, workdir, told):
    (workdir.root / "report.html").unlink()
    states, end = told(recipe, workdir)
    assert states["report", ""] == "not begun" and end == ["next: --stage=report"]
    (workdir.root / "report.html").write_text("")
    made = (workdir.export.folder / "finished.json").stat()
    for name in ("report.json", "report.html"):
        os.utime(workdir.root / name, ns=(made.st_atime_ns, made.st_mtime_ns - 1))
    states, end = told(recipe, workdir)
    assert states["report", ""] == "older than a part" and end == ["next: --stage=report"]


def test_a_part_of_another_recipe_is_told_with_what_differs(recipe, workdir, told):
    training = dataclasses.replace(recipe.student.training, steps=7)
    other = dataclasses.replace(
        recipe, student=dataclasses.replace(recipe.student, training=training)
    )
    states, (following, reason) = told(other, workdir)
    assert [key for key, state in states.items() if state != "finished"] == [("student", "")]
    assert states["student", ""] == "made with another recipe"
    assert following == "next: --stage=student"
    assert "student.training.steps" in reason and "says 7" in reason


def test_what_was_made_from_another_teacher_or_student_is_not_finished(recipe, workdir, told):
    name = recipe.teachers[0].name
    workdir.teacher(name).model_path.write_text("trained again")
    states, (following, _) = told(recipe, workdir)
    different = [key for key, state in states.items() if state == "made with another recipe"]
    assert different and all(s == "label" and n.startswith(name) for s, n in different)
    assert following == "next: --stage=label"

    workdir.teacher(name).model_path.write_text(name)
    workdir.student.finish(student.inputs(recipe, workdir), {"parameters": 2})
    states, (following, _) = told(recipe, workdir)
    different = {key for key, state in states.items() if state == "made with another recipe"}
    assert {s for s, _ in different} == {"transfer", "export"}
    assert all("from student" in n for s, n in different if s == "transfer")
    assert following == "next: --stage=transfer"


def test_a_missing_column_comes_before_the_student(recipe, workdir, told):
    (workdir.labels("shapes", "pool").folder / "finished.json").unlink()
    states, end = told(recipe, workdir)
    assert states["label", "shapes for pool"] == "not begun"
    assert states["student", ""] == "finished"  # Its columns are not known: it cannot be compared.
    assert end == ["next: --stage=label"]


def test_work_that_was_begun_says_how_far_it_is(recipe, tmp_path, told):
    folder = Workdir(tmp_path).teacher("shapes").begin()
    (folder / "progress.json").write_text('{"pid": 1, "step": 20, "of": 50}')
    states, end = told(recipe, Workdir(tmp_path))
    assert states["teacher", "shapes"] == "begun, 20 of 50" and end == ["next: --stage=teacher"]
