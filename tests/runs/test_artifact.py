"""An artifact's folder: begun, resumed, complete, reused, and never a person's files."""

import dataclasses
import os

import pytest

from must_keras.errors import UserError
from must_keras.files import unshare
from must_keras.runs.artifact import Artifact
from must_keras.runs.fingerprint import describe
from must_keras.runs.marks import check_own, check_root
from must_keras.runs.results import Result
from must_keras.runs.run import Run, other_runs
from must_keras.training.loggers import Loggers
from must_keras.training.loop import save_artifact


@dataclasses.dataclass(frozen=True)
class Steps:
    steps: int
    rates: tuple[float, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Value(Result):
    value: float | None
    more: int | None = None


def run_of(path, *others) -> Run:
    """A run whose recipe nobody asks for."""
    return Run(recipe=None, path=path, others=others)


def made_from(artifact: Artifact, inputs) -> Artifact:
    """The artifact, declared to be made from these inputs."""
    return artifact.declare(find_inputs=lambda: inputs)


def finish(artifact: Artifact, inputs, result=None) -> Artifact:
    """Make the artifact from these inputs."""
    declared = made_from(artifact, inputs)
    declared.begin()
    declared.finish(result or {})
    return declared


def test_an_artifact_is_complete_only_when_it_is_finished(tmp_path):
    artifact = made_from(run_of(tmp_path).artifact("a", result_type=Value), Steps(3, (0.1,)))
    assert artifact.result() is None and not artifact.is_there
    assert not artifact.is_complete()
    artifact.begin()
    (artifact.folder / "metrics.jsonl").write_text("x")
    assert artifact.result() is None and artifact.made_from() == describe(Steps(3, (0.1,)))
    artifact.finish(Value(value=float("nan")))
    assert artifact.is_complete() and artifact.is_there
    assert artifact.result() == Value(value=None)
    artifact.amend(value=2.0, more=1)
    assert artifact.result() == Value(value=2.0, more=1) and artifact.is_complete()


def test_what_an_artifact_is_made_from_stays_once_it_is_known(tmp_path):
    """finished.json records what the work began with, whatever has changed since."""
    found = [None, {"steps": 3}, {"steps": 4}]
    artifact = run_of(tmp_path).artifact("student").declare(find_inputs=lambda: found.pop(0))
    assert artifact.inputs is None
    artifact.begin()
    artifact.finish({})
    assert artifact.made_from() == {"steps": 3} and found == [{"steps": 4}]


def test_other_inputs_are_named(tmp_path):
    artifact = Artifact(folder=tmp_path / "p")
    finish(artifact, {"training": Steps(3, (0.1, 0.2))})
    other = made_from(artifact, {"training": Steps(3, (0.1, 0.3))})
    with pytest.raises(UserError, match=r"training.rates\[1\] = 0.2.* 0.3"):
        other.is_complete()


def test_an_outdated_artifact_that_is_renewed_stays_until_it_is_made_or_reused(tmp_path):
    finish(run_of(tmp_path / "other").artifact("rounds"), {"rounds": 4}, {"best": 4})
    artifact = run_of(tmp_path / "run", tmp_path / "other").artifact("rounds")
    finish(artifact, {"rounds": 2})
    (artifact.folder / "2" / "student").mkdir(parents=True)
    outdated = made_from(artifact, {"rounds": 3}).declare(is_renewed=True)
    assert not outdated.is_complete() and outdated.made_from() == {"rounds": 2}
    assert (artifact.folder / "2" / "student").is_dir()
    again = made_from(artifact, {"rounds": 4}).declare(is_renewed=True)
    assert again.is_complete() and again.result() == {"best": 4}


def test_describe_makes_plain_data():
    assert describe({"a": Steps(1, (2.0,)), "b": None}) == {
        "a": {"type": "Steps", "steps": 1, "rates": [2.0]},
        "b": None,
    }
    with pytest.raises(TypeError, match="cannot describe object"):
        describe(object())


def test_the_same_artifact_is_reused_from_another_run(tmp_path, capsys):
    theirs = made_from(run_of(tmp_path / "one").artifact("teachers", "a"), Steps(3, (0.1,)))
    (theirs.begin() / "model.keras").write_text("weights")
    theirs.finish({"top1": 0.5})
    mine = run_of(tmp_path / "two", tmp_path / "one").artifact("teachers", "a")
    other = made_from(mine, Steps(4, (0.1,)))
    assert not other.is_complete() and not mine.folder.exists()
    mine = made_from(mine, Steps(3, (0.1,)))
    (mine.begin() / "metrics.jsonl").write_text("unfinished")
    assert mine.is_complete()
    assert mine.result() == {"top1": 0.5} and mine.model_path.read_text() == "weights"
    assert not (mine.folder / "metrics.jsonl").exists()
    assert f"reused from {theirs.folder}" in capsys.readouterr().out
    mine.begin()
    assert theirs.model_path.read_text() == "weights"
    assert not list((tmp_path / "two" / "teachers").glob("*.tmp"))


def test_an_artifact_of_its_own_is_never_replaced(tmp_path):
    for name, steps in (("one", 3), ("two", 4)):
        finish(run_of(tmp_path / name).artifact("student"), Steps(steps, ()), {"stopped": name})
    mine = made_from(run_of(tmp_path / "two", tmp_path / "one").artifact("student"), Steps(3, ()))
    with pytest.raises(UserError, match="steps = 4.* 3"):
        mine.is_complete()
    assert mine.result() == {"stopped": "two"}


def test_runs_are_looked_for_beside_and_where_asked(tmp_path):
    runs = tmp_path / "runs"
    for name in ("a", "b", "no_run"):
        (runs / name).mkdir(parents=True)
    (tmp_path / "far").mkdir()
    for folder in (runs / "a", runs / "b", tmp_path / "far"):
        (folder / "run.json").write_text("{}")
    assert other_runs(runs / "a", None) == (runs / "b",)
    assert other_runs(runs / "new", tmp_path / "far") == (tmp_path / "far", runs / "a", runs / "b")
    assert other_runs(tmp_path / "elsewhere", None) == ()
    with pytest.raises(UserError, match=r'reuse=".*no_run" is no folder of a run'):
        other_runs(runs / "a", runs / "no_run")


def test_a_folder_that_is_no_run_is_refused_and_left_alone(tmp_path):
    check_root(tmp_path / "new")
    (tmp_path / "home").mkdir()
    for name in (".DS_Store", "Thumbs.db", "lock"):
        (tmp_path / "home" / name).write_text("x")
    check_root(tmp_path / "home")
    (tmp_path / "home" / "student").mkdir()
    with pytest.raises(UserError, match="home.* is no folder of a run.*'student'"):
        check_root(tmp_path / "home")
    # Somebody's own run.json marks nothing.
    (tmp_path / "home" / "run.json").write_text('{"distance": "10 km"}')
    with pytest.raises(UserError, match="is no folder of a run"):
        check_root(tmp_path / "home")
    (tmp_path / "home" / "run.json").write_text('{"recipe": {}, "seed": 0, "versions": {}}')
    check_root(tmp_path / "home")
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="is a file"):
        check_root(tmp_path / "file")


def test_a_person_s_files_are_never_emptied(tmp_path):
    artifact = made_from(
        run_of(tmp_path / "run", tmp_path / "other").artifact("student"), {"steps": 3}
    )
    artifact.folder.mkdir(parents=True)
    (artifact.folder / "thesis.txt").write_text("years")
    finish(run_of(tmp_path / "other").artifact("student"), {"steps": 3})
    for work in (artifact.begin, artifact.resume, artifact.is_complete):
        with pytest.raises(
            UserError, match="student contains 'thesis.txt', which no run has written"
        ):
            work()
    assert [path.name for path in artifact.folder.iterdir()] == ["thesis.txt"]


def test_unfinished_work_of_other_inputs_stays(tmp_path):
    artifact, other = (
        made_from(run_of(tmp_path).artifact("student"), {"training": {"batch": batch}})
        for batch in (8, 4)
    )
    checkpoint = artifact.resume() / "checkpoints"
    checkpoint.mkdir()
    (checkpoint / "step-9").write_text("three days")
    with pytest.raises(UserError, match=r"begun with training.batch = 8.* 4"):
        other.resume()
    assert artifact.resume() == artifact.folder
    assert (checkpoint / "step-9").read_text() == "three days"


def test_an_interrupted_emptying_can_be_done_again(tmp_path, monkeypatch):
    artifact, other = (made_from(run_of(tmp_path).export, {"version": v}) for v in (1, 2))
    artifact.begin()
    (artifact.folder / "metrics.jsonl").write_text("x")

    def killed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("must_keras.runs.artifact.write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            other.begin()
    other.begin()
    assert [path.name for path in artifact.folder.iterdir()] == ["begun.json"]


def test_a_person_s_file_among_ours_is_never_deleted(tmp_path):
    other = finish(run_of(tmp_path / "other").artifact("student"), {"steps": 3})
    for number, name in enumerate((
        "notes.txt", ".git/HEAD", "mine/model.keras", "pictures/a.txt", "tensorboard/a.png",
        "checkpoints/best.npz", "tmp0123abcd/notes.txt", "model.keras.bak", "tensorboard/train/notes",
    )):  # fmt: skip
        artifact = run_of(tmp_path / f"run{number}", other.folder.parent).artifact("student")
        artifact, longer = (made_from(artifact, {"steps": steps}) for steps in (2, 3))
        for own in ("model.keras", "tensorboard/train/events.out.tfevents.1", "pictures/a.png"):
            path = artifact.begin() / own
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("ours")
        (artifact.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (artifact.folder / name).write_text("years")
        for work in (artifact.begin, longer.is_complete):
            with pytest.raises(UserError, match=rf"student contains '{name}', which no run has"):
                work()
        assert (artifact.folder / name).read_text() == "years"


def test_what_a_run_and_systems_write_is_emptied(tmp_path):
    artifact = run_of(tmp_path).artifact("student")
    for name in (
        "model.keras", "metrics.jsonl", "progress.json.tmp", "answers.npz", "pictures/a.png",
        "tensorboard/train/events.out.tfevents.1.host", "checkpoints/step-00000120.npz",
        "checkpoints/step-00000120.npz.tmp", "sweep/0.01/begun.json", "sweep/0.01/validated.json",
        "sweep/0.01/checkpoints/step-00000001.npz", "saved_model/variables/variables.index",
        "tmpab12_xyz", "tmp0123abcd/model.weights.h5", "backbone.keras", "labels-train.tfrecord-00000-of-00001.0123abcd.tmp", ".DS_Store",
        "pictures/Thumbs.db", "nonfinite-step-00000009/notes.txt",
    ):  # fmt: skip
        artifact.folder.mkdir(exist_ok=True)
        (artifact.folder / "begun.json").write_text("{}")
        (artifact.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (artifact.folder / name).write_text("x")
    artifact.begin()
    left = {path.name for path in artifact.folder.iterdir()}
    assert left == {"begun.json", ".DS_Store", "nonfinite-step-00000009"}


def test_rounds_in_a_folder_without_a_mark_are_looked_through(tmp_path):
    student = run_of(tmp_path).round(2, None).student
    (student.begin() / "model.keras").write_text("x")
    check_own(tmp_path / "rounds")
    (tmp_path / "rounds" / "2" / "notes.txt").write_text("years")
    with pytest.raises(UserError, match=r"rounds contains '2/notes.txt'"):
        check_own(tmp_path / "rounds")


def test_what_is_kept_of_a_step_survives_what_is_reused_from_another_run(tmp_path):
    finish(run_of(tmp_path / "one").artifact("student"), {})
    mine = made_from(run_of(tmp_path / "two", tmp_path / "one").artifact("student"), {})
    kept = mine.begin() / "nonfinite-step-00000003"
    kept.mkdir()
    (kept / "step.json").write_text("{}")
    assert mine.is_complete() and (kept / "step.json").is_file()


def test_a_person_s_files_beside_checkpoints_stay_when_an_artifact_is_complete(tmp_path):
    artifact = run_of(tmp_path).artifact("student")
    checkpoints = artifact.begin() / "checkpoints"
    checkpoints.mkdir()
    for name in ("step-00000012.npz", "step-00000012 (1).npz", "step-00000024.npz.tmp"):
        (checkpoints / name).write_text("x")
    artifact.finish({})
    assert [path.name for path in checkpoints.iterdir()] == ["step-00000012 (1).npz"]
    (checkpoints / "step-00000012 (1).npz").unlink()
    artifact.finish({})
    assert not checkpoints.exists()


def test_shared_files_are_parted_before_they_are_written_into(tmp_path):
    theirs = made_from(run_of(tmp_path / "one").artifact("student"), {})
    (theirs.begin() / "metrics.jsonl").write_text('{"step": 1}\n{"st')
    theirs.finish({})
    mine = made_from(run_of(tmp_path / "two", tmp_path / "one").artifact("student"), {})
    assert mine.is_complete()
    before = (theirs.folder / "metrics.jsonl").read_bytes()
    assert (mine.folder / "metrics.jsonl").stat().st_nlink == 2
    loggers = Loggers(mine.folder)
    loggers.scalars(2, "train", {"loss": 1.0})
    loggers.rewind({"metrics.jsonl": 3})
    loggers.close()
    assert (theirs.folder / "metrics.jsonl").read_bytes() == before
    path = mine.folder / "metrics.jsonl"
    assert path.stat().st_size == 3 and path.stat().st_nlink == 1
    unshare(path)
    unshare(mine.folder / "gone")


def test_shared_event_files_are_parted_before_they_are_cut(tmp_path):
    first = tmp_path / "one" / "tensorboard" / "train" / "events.out.tfevents.1"
    other = tmp_path / "two" / "tensorboard" / "train" / "events.out.tfevents.1"
    for path in (first, other):
        path.parent.mkdir(parents=True)
    first.write_bytes(b"0123456789")
    os.link(first, other)
    Loggers(tmp_path / "two").rewind({"tensorboard/train/events.out.tfevents.1": 4})
    assert first.read_bytes() == b"0123456789" and other.read_bytes() == b"0123"


def test_a_model_that_another_run_shares_keeps_its_bytes(tmp_path):
    class Model:
        def save(self, path):
            path.write_text("new")

    theirs, mine = (Artifact(folder=tmp_path / name) for name in ("one", "two"))
    (theirs.begin() / "model.keras").write_text("weights")
    os.link(theirs.model_path, mine.begin() / "model.keras")
    save_artifact(mine, Model())
    assert theirs.model_path.read_text() == "weights" and mine.model_path.read_text() == "new"
