import os
import re

import numpy as np
import pytest

from fakes.results import finish
from must_keras import stages
from must_keras.api.opened import open_run
from must_keras.pseudo_labels import leakage
from must_keras.runs.run import Run
from must_keras.stages import student
from must_keras.stages.status import status

ENDS = re.compile('next:|all stages|stage="all" stops:')
HASH = re.compile(r"[0-9a-f]{16}")


def again(states) -> dict:
    """What must be made again, with the reason."""
    return {k: state for k, state in states.items() if state.startswith("must be made again")}


@pytest.fixture
def state_of(capsys):
    """{(stage, name): state} and the lines after them, of what status prints."""

    def read(run, **options):
        status(run, stages.load(), **options)
        lines = capsys.readouterr().out.splitlines()
        end = next(i for i, line in enumerate(lines) if ENDS.match(line))
        states = {(x[:9].strip(), x[10:50].strip()): x[51:] for x in lines[:end]}
        return states, lines[end:]

    return read


def test_everything_is_complete(run, state_of):
    states, end = state_of(run)
    assert set(states.values()) == {"complete"}
    assert list(states)[-2:] == [("export", ""), ("report", "")]
    assert end == ["all stages are complete"]
    assert state_of(run, command="must-keras run mine.py") == (states, end)


def test_nothing_is_begun(recipe, tmp_path, state_of):
    new = Run(recipe=recipe, path=tmp_path / "new")
    states, end = state_of(new)
    assert set(states.values()) == {"not begun, will be made"}
    assert end == ['next: stage="teacher"']
    left = "all that is left: must-keras run mine.py"
    assert state_of(new, command="must-keras run mine.py") == (states, [*end, left])
    assert not (tmp_path / "new").exists()


def test_what_a_hidden_stage_has_to_make_is_the_next_shown_stage_s(run, state_of):
    next(iter(leakage.artifacts(run))).folder.joinpath("finished.json").unlink()
    assert state_of(run)[1][0] == 'next: stage="label"'


def test_a_report_is_needed_and_as_new_as_the_artifacts(run, state_of):
    (run.path / "report.html").unlink()
    states, end = state_of(run)
    assert states["report", ""] == "not begun, will be made" and end == ['next: stage="report"']
    (run.path / "report.html").write_text("")
    made = (run.export.folder / "finished.json").stat()
    for name in ("report.json", "report.html"):
        os.utime(run.path / name, ns=(made.st_atime_ns, made.st_mtime_ns - 1))
    states, end = state_of(run)
    assert states["report", ""].startswith("older than an artifact")
    assert end == ['next: stage="report"']


def test_an_artifact_of_another_recipe_is_named_with_what_differs(run, longer, state_of):
    states, (reason,) = state_of(longer)
    stale = again(states)
    assert next(iter(stale)) == ("student", "")
    assert "student.training.steps" in stale["student", ""]
    made_from_it = {("export", "")} | {k for k in states if "from student" in k[1]}
    assert set(stale) == {("student", "")} | made_from_it and len(made_from_it) > 1
    assert all("from " + str(run.student.folder) in stale[key] for key in made_from_it)
    assert "student.training.steps" in reason and "7" in reason


def test_what_was_made_from_another_teacher_or_student_is_not_complete(run, state_of):
    name = run.recipe.teachers[0].name
    run.teacher(name).model_path.write_text("trained again")
    states, (reason,) = state_of(run)
    first = next(iter(again(states)))
    assert first[0] == "label" and first[1].startswith(name)
    assert "before the weights of the teacher" in again(states)[first]
    assert {"student", "transfer", "export"} <= {stage for stage, _ in again(states)}
    assert reason.startswith('stage="all" stops:') and not HASH.search(reason)

    run.teacher(name).model_path.write_text(name)
    finish(student.artifact(run), parameters=2)
    states, _ = state_of(run)
    assert {s for s, _ in again(states)} == {"transfer", "export"}
    assert all("from student" in n for s, n in again(states) if s == "transfer")


def test_missing_pseudo_labels_come_before_the_student(run, state_of):
    (run.labels("shapes", "pool").folder / "finished.json").unlink()
    states, end = state_of(run)
    assert states["label", "shapes for pool"] == "not begun, will be made"
    labels = run.labels("shapes", "pool").folder
    assert again(states)["student", ""].endswith(f"it was made without {labels}")
    assert end[0] == 'next: stage="label"' and 'Make that alone again by stage="label"' in end[1]


def test_the_progress_of_begun_work(recipe, tmp_path, state_of):
    run = Run(recipe=recipe, path=tmp_path)
    folder = run.teacher("shapes").begin()
    (folder / "progress.json").write_text('{"pid": 1, "step": 20, "of": 50}')
    states, end = state_of(run)
    assert states["teacher", "shapes"] == "begun, 20 of 50, will be resumed"
    assert end == ['next: stage="teacher"']


def test_the_checkpoint_from_which_a_training_resumes(recipe, tmp_path, state_of):
    run = Run(recipe=recipe, path=tmp_path)
    folder = run.teacher("shapes").begin()
    (folder / "progress.json").write_text('{"pid": 1, "step": 20, "of": 50}')
    (folder / "metrics.jsonl").write_text("")
    (state,) = [s for k, s in state_of(run)[0].items() if k == ("teacher", "shapes")]
    assert state == "begun, 20 of 50, without a checkpoint: will start from step 0"
    (folder / "checkpoints").mkdir()
    for step in (10, 15):
        np.savez(folder / "checkpoints" / f"step-{step:08d}.npz", state="{}")
    torn = folder / "checkpoints" / "step-00000020.npz"
    torn.write_bytes((folder / "checkpoints" / "step-00000015.npz").read_bytes()[:40])
    state = state_of(run)[0]["teacher", "shapes"]
    assert state == "begun, 20 of 50, will be resumed from the checkpoint of step 15"
    run.record()
    assert f"teachers/shapes {state}".split() in [
        line.split() for line in str(open_run(tmp_path).status()).splitlines()
    ]
