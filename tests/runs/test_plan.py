"""What a stage would do with the artifacts of a run, and what stops it before it writes."""

import dataclasses
import pathlib
import re
import shutil

import pytest

from must_keras import stages
from must_keras.errors import UserError
from must_keras.runs import plan, pools, preflight
from must_keras.runs.executor import Executor
from must_keras.runs.marks import check_root
from must_keras.runs.plan import Action
from must_keras.runs.run import Run

STAGES = stages.load()


def of(run, name="all"):
    return plan.of(run, STAGES, name)


def blocked(run) -> set[str]:
    """The folders that the obstacle asks to delete, below the run's."""
    found = of(run)
    named = found.obstacle.split("delete what must be made again: ")[1].split(" ")
    folders = [item.artifact.folder for item in found.items if item.action is Action.BLOCK]
    assert named == [str(folder) for folder in folders]
    return {str(folder.relative_to(run.path)) for folder in folders}


def test_a_whole_run_and_an_empty_one_are_as_asked(run, tmp_path):
    whole, new = of(run), of(dataclasses.replace(run, path=tmp_path / "new"))
    assert {item.action for item in whole.items} == {Action.KEEP} and whole.obstacle is None
    assert {item.action for item in new.items} == {Action.MAKE} and new.obstacle is None
    named = [
        [(item.artifact.stage, item.artifact.name) for item in found.items]
        for found in (whole, new)
    ]
    assert named[0] == named[1]
    assert not (tmp_path / "new").exists()


def test_another_student_names_what_is_made_from_it_too(run, longer):
    assert blocked(longer) == {"student", "export"} | {
        f"transfers/{t.name}/student/full-fpn-all/seed0" for t in run.recipe.transfers
    }
    with pytest.raises(UserError, match=r"student.training.steps = \d+.* 7"):
        of(longer).check()


def test_what_was_made_from_a_deleted_teacher_is_named_at_once(run):
    shutil.rmtree(run.teacher("shapes").folder)
    found = blocked(run)
    assert {"labels/shapes/pool", "student", "export"} <= found
    assert "transfers/dev_class/teacher-shapes/full-fpn-all/seed0" in found
    assert not any(folder.startswith(("teachers", "labels/objects")) for folder in found)
    for folder in found:
        shutil.rmtree(run.path / folder)
    of(run).check()


def test_a_stage_minds_what_it_makes_and_reads(run):
    """A pool that grew: what is new is labeled before anybody deletes the student."""
    shutil.rmtree(run.labels("shapes", "pool").folder)
    for name in ("teacher", "label"):
        of(run, name).check()
    with pytest.raises(
        UserError, match=r'student was made without .*labels/shapes/pool\. .*stage="label", choose'
    ):
        of(run, "student").check()


def test_all_that_another_run_has_is_reused_at_once(run, tmp_path):
    shutil.rmtree(run.student.folder)
    mine = dataclasses.replace(run, path=tmp_path / "mine", others=(run.path,))
    found = of(mine)
    found.check()
    assert not mine.path.exists() and found.reuse()
    assert mine.teacher("shapes").result() and mine.labels("shapes", "pool").result()
    assert mine.student.result() is None and mine.export.result() is None
    reused = {i.artifact.stage for i in found.items if i.artifact.result() is not None}
    assert reused == {"teacher", "leakage", "label", "transfer"}
    assert not of(mine).reuse()


def test_what_starts_afresh_does_not_mind_what_it_left(run):
    folder = run.leakage("pool").folder
    (folder / "finished.json").unlink()
    (folder / "begun.json").write_text("")
    (item,) = (i for i in of(run, "label").items if i.artifact.folder == folder)
    assert item.action is Action.MAKE


@pytest.fixture
def mine(run, tmp_path, monkeypatch) -> Run:
    """A new run that reuses the complete one, whose data are not checked."""
    monkeypatch.setattr(preflight, "check_data", lambda run: None)
    return dataclasses.replace(run, path=tmp_path / "mine", others=(run.path,))


def make(mine, name="all") -> None:
    (other,) = mine.others
    executor = Executor(
        STAGES, load=lambda: mine.recipe, workdir=mine.path, strategy="one", reuse=other
    )
    executor.make(name)


def test_a_folder_is_that_of_a_run_before_anything_is_reused(run, mine, monkeypatch):
    run.record()

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copytree", interrupted)
        with pytest.raises(KeyboardInterrupt):
            make(mine)
    mine.teacher("shapes").folder.mkdir(parents=True, exist_ok=True)
    check_root(mine.path)
    make(mine, "export")
    assert mine.export.result() == run.export.result()


def test_a_comparison_that_was_interrupted_is_reused_from_another_run(run, mine):
    name = mine.recipe.student_sources[0].name
    mine.leakage(name).declare(find_inputs=lambda: {"images": "others"}).begin()
    found = of(mine, "label")
    found.check()
    found.reuse()
    assert mine.leakage(name).result() == run.leakage(name).result()


def test_the_way_out_of_a_grown_pool_is_named_for_a_run_in_the_current_folder(
    recipe, tmp_path, monkeypatch
):
    """Its name is "." there, and the folder beside it needs one."""
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path / "run")
    run = Run(recipe=recipe, path=pathlib.Path())
    grown = pools.Change(
        name="pile", listed=1, new=("a.png",), replaced=(), gone=(),
        networks=(
            pools.Trained(
                name="student", artifact=run.student, sources=frozenset(), is_finished=True
            ),
        ),
    )  # fmt: skip
    monkeypatch.setattr(pools, "changes", lambda run: [grown])
    assert re.search(rf'workdir="{tmp_path}/run-2"', of(run).obstacle)


@pytest.mark.parametrize("name", ["supervised", "selfsup"])
def test_what_a_baseline_learns_from_is_compared_where_no_label_stage_was(recipe, tmp_path, name):
    """By the hidden stage that its artifacts need."""
    starts = (*recipe.starts, "supervised", "simclr")
    run = Run(recipe=dataclasses.replace(recipe, starts=starts), path=tmp_path)
    stage = next(stage for stage in STAGES if stage.name == name)
    (artifact,) = stage.artifacts(run)
    needed = {need.folder for need in artifact.needs if need.stage == "leakage"}
    sources = run.recipe.labeled_sources if name == "supervised" else run.recipe.student_sources
    assert needed == {run.leakage(source.name).folder for source in sources}
    assert artifact.inputs is None
