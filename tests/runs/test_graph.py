import dataclasses
import pathlib
import shutil

import pytest

from must_keras.runs import executor
from must_keras.errors import UserError
from must_keras.runs.marks import check_root
from must_keras.pseudo_labels import leakage
from must_keras.runs import graph
from must_keras.runs.workdir import Workdir


def named(recipe, workdir) -> set[str]:
    """The folders that the error asks to delete, below the workdir."""
    with pytest.raises(UserError) as error:
        graph.check(recipe, workdir)
    folders = str(error.value).split("delete what must be made again: ")[1].split(" ")
    return {folder.removeprefix(f"{workdir.root}/") for folder in folders}


def test_a_whole_run_and_an_empty_one_are_as_asked(recipe, workdir, tmp_path):
    graph.check(recipe, workdir)
    graph.check(recipe, dataclasses.replace(workdir, root=tmp_path / "new"))


def test_another_student_names_what_is_made_from_it_too(recipe, workdir):
    training = dataclasses.replace(recipe.student.training, steps=7)
    other = dataclasses.replace(
        recipe, student=dataclasses.replace(recipe.student, training=training)
    )
    found = named(other, workdir)
    assert found == {"student", "export"} | {
        f"transfers/{t.name}/student/full-fpn-all/seed0" for t in recipe.transfers
    }
    with pytest.raises(UserError, match=r"student.training.steps = \d+, the recipe now says 7"):
        graph.check(other, workdir)


def test_what_was_made_from_a_deleted_teacher_is_named_at_once(recipe, workdir):
    shutil.rmtree(workdir.teacher("shapes").folder)
    found = named(recipe, workdir)
    assert {"labels/shapes/pool", "student", "export"} <= found
    assert "transfers/dev_class/teacher-shapes/full-fpn-all/seed0" in found
    assert not any(folder.startswith(("teachers", "labels/objects")) for folder in found)
    for folder in found:
        shutil.rmtree(workdir.root / folder)
    graph.check(recipe, workdir)


def test_a_stage_minds_what_it_makes_and_reads(recipe, workdir):
    """A pool that grew: what is new is labeled before anybody deletes the student."""
    shutil.rmtree(workdir.labels("shapes", "pool").folder)
    for stage in ("teacher", "label"):
        graph.check(recipe, workdir, stage)
    with pytest.raises(
        UserError, match=r"student was made without .*labels/shapes/pool\. .*--stage=label, choose"
    ):
        graph.check(recipe, workdir, "student")


def test_all_that_another_run_has_is_taken_at_once(recipe, workdir, tmp_path):
    shutil.rmtree(workdir.student.folder)
    mine = dataclasses.replace(workdir, root=tmp_path / "mine", others=(workdir.root,))
    graph.check(recipe, mine)
    assert mine.teacher("shapes").result() == {} and mine.labels("shapes", "pool").result()
    assert mine.student.result() is None and mine.export.result() is None
    taken = {step.stage for step in graph.steps(recipe, mine) if step.part.result() is not None}
    assert taken == {"teacher", "label", "transfer"}


def test_a_folder_is_that_of_a_run_before_anything_is_taken(recipe, workdir, tmp_path, monkeypatch):
    mine = Workdir(tmp_path / "mine", (workdir.root,))
    mine.root.mkdir()

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copytree", interrupted)
        with pytest.raises(KeyboardInterrupt):
            executor._prepare("all", recipe, mine, "one")
    mine.teacher("shapes").folder.mkdir(parents=True, exist_ok=True)
    check_root(mine.root)
    executor._prepare("all", recipe, mine, "one")
    assert mine.student.result() == workdir.student.result()


def test_a_comparison_that_was_interrupted_is_taken_from_another_run(recipe, workdir, tmp_path):
    source = leakage.sources(recipe)[0]
    mine = Workdir(tmp_path / "mine", (workdir.root,))
    mine.leaks(source.name).begin({"images": "others"})
    graph.check(recipe, mine, "label")
    assert mine.leaks(source.name).result() == workdir.leaks(source.name).result()


def test_the_way_out_of_a_grown_pool_is_named_for_a_run_in_the_current_folder(
    tmp_path, monkeypatch
):
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path / "run")
    told = graph._grown((), Workdir(pathlib.Path()))
    assert f"--workdir={tmp_path}/run-2" in told


@pytest.mark.parametrize("baseline", ["supervised", "selfsup"])
def test_what_a_baseline_learns_from_is_compared_where_no_label_stage_was(
    recipe, workdir, tmp_path, monkeypatch, baseline
):
    compared = []
    monkeypatch.setattr(leakage, "run", lambda recipe, workdir: compared.append(workdir))
    executor._compare(baseline, recipe, workdir)
    assert not compared
    shutil.rmtree(workdir.root / "leaks")
    executor._compare(baseline, recipe, workdir)
    assert compared == [workdir]
