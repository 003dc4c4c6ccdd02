import dataclasses
import os
import re

import pytest

from must_keras.runs import status
from must_keras.stages import student
from must_keras.runs.workdir import Workdir

ENDS = re.compile("next:|all stages|--stage=all stops:")
HASH = re.compile(r"[0-9a-f]{16}")


def again(states) -> dict:
    """What must be made again, with the reason."""
    return {k: state for k, state in states.items() if state.startswith("must be made again")}


@pytest.fixture
def told(capsys):
    """{(stage, name): state} and the lines after them, of what status prints."""

    def tell(recipe, workdir):
        status.run(recipe, workdir)
        lines = capsys.readouterr().out.splitlines()
        end = next(i for i, line in enumerate(lines) if ENDS.match(line))
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
    assert set(states.values()) == {"not begun, will be made"}
    assert end == ["next: --stage=teacher"]
    assert not (tmp_path / "new").exists()


def test_a_report_is_needed_and_as_new_as_the_parts(recipe, workdir, told):
    (workdir.root / "report.html").unlink()
    states, end = told(recipe, workdir)
    assert states["report", ""] == "not begun, will be made" and end == ["next: --stage=report"]
    (workdir.root / "report.html").write_text("")
    made = (workdir.export.folder / "finished.json").stat()
    for name in ("report.json", "report.html"):
        os.utime(workdir.root / name, ns=(made.st_atime_ns, made.st_mtime_ns - 1))
    states, end = told(recipe, workdir)
    assert states["report", ""].startswith("older than a part")
    assert end == ["next: --stage=report"]


def test_a_part_of_another_recipe_is_told_with_what_differs(recipe, workdir, told):
    training = dataclasses.replace(recipe.student.training, steps=7)
    other = dataclasses.replace(
        recipe, student=dataclasses.replace(recipe.student, training=training)
    )
    states, (reason,) = told(other, workdir)
    stale = again(states)
    assert next(iter(stale)) == ("student", "")
    assert "student.training.steps" in stale["student", ""]
    made_from_it = {("export", "")} | {k for k in states if "from student" in k[1]}
    assert set(stale) == {("student", "")} | made_from_it and len(made_from_it) > 1
    assert all("from " + str(workdir.student.folder) in stale[key] for key in made_from_it)
    assert "student.training.steps" in reason and "says 7" in reason


def test_what_was_made_from_another_teacher_or_student_is_not_finished(recipe, workdir, told):
    name = recipe.teachers[0].name
    workdir.teacher(name).model_path.write_text("trained again")
    states, (reason,) = told(recipe, workdir)
    first = next(iter(again(states)))
    assert first[0] == "label" and first[1].startswith(name)
    assert "before the weights of the teacher" in again(states)[first]
    assert {"student", "transfer", "export"} <= {stage for stage, _ in again(states)}
    assert reason.startswith("--stage=all stops:") and not HASH.search(reason)

    workdir.teacher(name).model_path.write_text(name)
    workdir.student.finish(student.inputs(recipe, workdir), {"parameters": 2})
    states, _ = told(recipe, workdir)
    assert {s for s, _ in again(states)} == {"transfer", "export"}
    assert all("from student" in n for s, n in again(states) if s == "transfer")


def test_a_missing_column_comes_before_the_student(recipe, workdir, told):
    (workdir.labels("shapes", "pool").folder / "finished.json").unlink()
    states, end = told(recipe, workdir)
    assert states["label", "shapes for pool"] == "not begun, will be made"
    column = workdir.labels("shapes", "pool").folder
    assert again(states)["student", ""].endswith(f"it was made without {column}")
    assert end[0] == "next: --stage=label" and "Make that alone again by --stage=label" in end[1]


def test_work_that_was_begun_says_how_far_it_is(recipe, tmp_path, told):
    folder = Workdir(tmp_path).teacher("shapes").begin()
    (folder / "progress.json").write_text('{"pid": 1, "step": 20, "of": 50}')
    states, end = told(recipe, Workdir(tmp_path))
    assert states["teacher", "shapes"] == "begun, 20 of 50, will be resumed"
    assert end == ["next: --stage=teacher"]
