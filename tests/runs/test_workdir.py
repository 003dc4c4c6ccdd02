import dataclasses
import os

import pytest

from must_keras.errors import UserError
from must_keras.files import unshare
from must_keras.runs.marks import check_own, check_root
from must_keras.training.fitting import save_part
from must_keras.training.summaries import Loggers
from must_keras.runs.workdir import Artifact, Workdir, describe, other_runs


@dataclasses.dataclass(frozen=True)
class Run:
    steps: int
    rates: tuple[float, ...]


def test_a_part_is_finished_only_when_it_says_so(tmp_path):
    part = Workdir(tmp_path).teacher("a")
    assert part.result() is None
    assert not part.is_finished(Run(3, (0.1,)))
    part.begin()
    (part.folder / "metrics.jsonl").write_text("x")
    assert part.result() is None
    part.finish(Run(3, (0.1,)), {"value": float("nan")})
    assert part.is_finished(Run(3, (0.1,)))
    assert part.result() == {"value": None}


def test_other_inputs_are_named(tmp_path):
    part = Artifact(tmp_path / "p")
    part.begin()
    part.finish({"training": Run(3, (0.1, 0.2))}, {})
    with pytest.raises(UserError, match=r"training.rates\[1\] = 0.2, the recipe now says 0.3"):
        part.is_finished({"training": Run(3, (0.1, 0.3))})


def test_describe_makes_plain_data():
    assert describe({"a": Run(1, (2.0,)), "b": None}) == {
        "a": {"type": "Run", "steps": 1, "rates": [2.0]},
        "b": None,
    }
    with pytest.raises(TypeError, match="cannot describe object"):
        describe(object())


def test_the_same_part_is_taken_from_another_run(tmp_path, capsys):
    theirs = Workdir(tmp_path / "one").teacher("a")
    (theirs.begin() / "model.keras").write_text("weights")
    theirs.finish(Run(3, (0.1,)), {"top1": 0.5})
    mine = Workdir(tmp_path / "two", (tmp_path / "one",)).teacher("a")
    assert not mine.is_finished(Run(4, (0.1,))) and not mine.folder.exists()
    (mine.begin() / "metrics.jsonl").write_text("unfinished")
    assert mine.is_finished(Run(3, (0.1,)))
    assert mine.result() == {"top1": 0.5} and mine.model_path.read_text() == "weights"
    assert not (mine.folder / "metrics.jsonl").exists() and "taken from" in capsys.readouterr().out
    mine.begin()
    assert theirs.model_path.read_text() == "weights"
    assert not list((tmp_path / "two" / "teachers").glob("*.tmp"))


def test_a_part_of_its_own_is_never_replaced(tmp_path):
    for name, steps in (("one", 3), ("two", 4)):
        part = Workdir(tmp_path / name).student
        part.begin()
        part.finish(Run(steps, ()), {"from": name})
    mine = Workdir(tmp_path / "two", (tmp_path / "one",)).student
    with pytest.raises(UserError, match="steps = 4, the recipe now says 3"):
        mine.is_finished(Run(3, ()))
    assert mine.result() == {"from": "two"}


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
    with pytest.raises(UserError, match=r"--reuse=.*no_run is no folder of a run"):
        other_runs(runs / "a", runs / "no_run")


def test_a_folder_that_is_no_run_is_refused_and_left_alone(tmp_path):
    check_root(tmp_path / "new")
    (tmp_path / "home").mkdir()
    for name in (".DS_Store", "Thumbs.db", "lock"):
        (tmp_path / "home" / name).write_text("x")
    check_root(tmp_path / "home")
    (tmp_path / "home" / "student").mkdir()
    with pytest.raises(UserError, match="home is no folder of a run.*'student'"):
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
    part = Workdir(tmp_path / "run", (tmp_path / "other",)).student
    part.folder.mkdir(parents=True)
    (part.folder / "thesis.txt").write_text("years")
    theirs = Workdir(tmp_path / "other").student
    theirs.begin()
    theirs.finish({"steps": 3}, {})
    for work in (
        part.begin,
        lambda: part.resume({"steps": 3}),
        lambda: part.is_finished({"steps": 3}),
    ):
        with pytest.raises(
            UserError, match="student contains 'thesis.txt', which no run has written"
        ):
            work()
    assert [path.name for path in part.folder.iterdir()] == ["thesis.txt"]


def test_unfinished_work_of_other_inputs_stays(tmp_path):
    part = Workdir(tmp_path).student
    checkpoint = part.resume({"training": {"batch": 8}}) / "checkpoints"
    checkpoint.mkdir()
    (checkpoint / "step-9").write_text("three days")
    with pytest.raises(UserError, match=r"begun with training.batch = 8, the recipe now says 4"):
        part.resume({"training": {"batch": 4}})
    assert part.resume({"training": {"batch": 8}}) == part.folder
    assert (checkpoint / "step-9").read_text() == "three days"


def test_an_interrupted_emptying_can_be_done_again(tmp_path, monkeypatch):
    part = Workdir(tmp_path).export
    part.begin({"version": 1})
    (part.folder / "metrics.jsonl").write_text("x")

    def killed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("must_keras.runs.workdir.write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            part.begin({"version": 2})
    part.begin({"version": 2})
    assert [path.name for path in part.folder.iterdir()] == ["begun.json"]


def test_a_person_s_file_among_ours_is_never_deleted(tmp_path):
    other = Workdir(tmp_path / "other").student
    other.begin()
    other.finish({"steps": 3}, {})
    for number, name in enumerate((
        "notes.txt", ".git/HEAD", "mine/model.keras", "pictures/a.txt", "tensorboard/a.png",
        "checkpoints/best.npz", "tmp0123abcd/notes.txt", "model.keras.bak", "tensorboard/train/notes",
    )):  # fmt: skip
        part = Workdir(tmp_path / f"run{number}", (other.folder.parent,)).student
        for own in ("model.keras", "tensorboard/train/events.out.tfevents.1", "pictures/a.png"):
            path = part.begin({"steps": 2}) / own
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("ours")
        (part.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (part.folder / name).write_text("years")
        for work in (part.begin, lambda p=part: p.is_finished({"steps": 3})):
            with pytest.raises(UserError, match=rf"student contains '{name}', which no run has"):
                work()
        assert (part.folder / name).read_text() == "years"


def test_what_a_run_and_systems_write_is_emptied(tmp_path):
    part = Workdir(tmp_path).student
    for name in (
        "model.keras", "metrics.jsonl", "progress.json.tmp", "answers.npz", "pictures/a.png",
        "tensorboard/train/events.out.tfevents.1.host", "checkpoints/step-00000120.npz",
        "checkpoints/step-00000120.npz.tmp", "sweep/0.01/begun.json", "sweep/0.01/validated.json",
        "sweep/0.01/checkpoints/step-00000001.npz", "saved_model/variables/variables.index",
        "tmpab12_xyz", "tmp0123abcd/model.weights.h5", "backbone.keras", "labels-train.tfrecord-00000-of-00001.0123abcd.tmp", ".DS_Store",
        "pictures/Thumbs.db", "nonfinite-step-00000009/notes.txt",
    ):  # fmt: skip
        part.folder.mkdir(exist_ok=True)
        (part.folder / "begun.json").write_text("{}")
        (part.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (part.folder / name).write_text("x")
    part.begin()
    left = {path.name for path in part.folder.iterdir()}
    assert left == {"begun.json", ".DS_Store", "nonfinite-step-00000009"}


def test_rounds_in_a_folder_without_a_mark_are_looked_through(tmp_path):
    student = Workdir(tmp_path).round(2).student
    (student.begin() / "model.keras").write_text("x")
    check_own(tmp_path / "rounds")
    (tmp_path / "rounds" / "2" / "notes.txt").write_text("years")
    with pytest.raises(UserError, match=r"rounds contains '2/notes.txt'"):
        check_own(tmp_path / "rounds")


def test_what_is_kept_of_a_step_survives_what_is_taken_from_another_run(tmp_path):
    theirs = Workdir(tmp_path / "one").student
    theirs.begin()
    theirs.finish({}, {})
    mine = Workdir(tmp_path / "two", (tmp_path / "one",)).student
    kept = mine.begin({}) / "nonfinite-step-00000003"
    kept.mkdir()
    (kept / "step.json").write_text("{}")
    assert mine.is_finished({}) and (kept / "step.json").is_file()


def test_a_person_s_files_beside_checkpoints_stay_when_a_part_is_finished(tmp_path):
    part = Workdir(tmp_path).student
    checkpoints = part.begin() / "checkpoints"
    checkpoints.mkdir()
    for name in ("step-00000012.npz", "step-00000012 (1).npz", "step-00000024.npz.tmp"):
        (checkpoints / name).write_text("x")
    part.finish({}, {})
    assert [path.name for path in checkpoints.iterdir()] == ["step-00000012 (1).npz"]
    (checkpoints / "step-00000012 (1).npz").unlink()
    part.finish({}, {})
    assert not checkpoints.exists()


def test_shared_files_are_parted_before_they_are_written_into(tmp_path):
    theirs = Workdir(tmp_path / "one").student
    (theirs.begin() / "metrics.jsonl").write_text('{"step": 1}\n{"st')
    theirs.finish({}, {})
    mine = Workdir(tmp_path / "two", (tmp_path / "one",)).student
    assert mine.is_finished({})
    before = (theirs.folder / "metrics.jsonl").read_bytes()
    assert (mine.folder / "metrics.jsonl").stat().st_nlink == 2
    summaries = Loggers(mine.folder)
    summaries.numbers(2, "train", {"loss": 1.0})
    summaries.rewind({"metrics.jsonl": 3})
    summaries.close()
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

    theirs, mine = (Artifact(tmp_path / name) for name in ("one", "two"))
    (theirs.begin() / "model.keras").write_text("weights")
    os.link(theirs.model_path, mine.begin() / "model.keras")
    save_part(mine, Model())
    assert theirs.model_path.read_text() == "weights" and mine.model_path.read_text() == "new"
