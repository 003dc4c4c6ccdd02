import dataclasses

import pytest

from must_keras.errors import UserError
from must_keras.workdir import Part, Workdir, check_root, describe, other_runs


@dataclasses.dataclass(frozen=True)
class Run:
    steps: int
    rates: tuple[float, ...]


def test_a_part_is_finished_only_when_it_says_so(tmp_path):
    part = Workdir(tmp_path).teacher("a")
    assert part.result() is None
    assert not part.is_finished(Run(3, (0.1,)))
    part.begin()
    (part.folder / "half").write_text("x")
    assert part.result() is None
    part.finish(Run(3, (0.1,)), {"value": float("nan")})
    assert part.is_finished(Run(3, (0.1,)))
    assert part.result() == {"value": None}


def test_other_inputs_are_named(tmp_path):
    part = Part(tmp_path / "p")
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
    (mine.begin() / "half").write_text("unfinished")
    assert mine.is_finished(Run(3, (0.1,)))
    assert mine.result() == {"top1": 0.5} and mine.model_path.read_text() == "weights"
    assert not (mine.folder / "half").exists() and "taken from" in capsys.readouterr().out
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
    (part.folder / "half").write_text("x")

    def killed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("must_keras.workdir.write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            part.begin({"version": 2})
    part.begin({"version": 2})
    assert [path.name for path in part.folder.iterdir()] == ["begun.json"]
