"""One recipe with several seeds: what each run is asked, and what is kept of it."""

import json
import types

import pytest

from must_keras import experiment, repeat
from must_keras.errors import UserError

RECIPE = "def recipe(*, seed: int = 0, size: int = 8, rates_from: str | None = None): ..."


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """Runs that are not made but say that they were: (experiment, folder) of each."""
    found = []

    def run(command, check):
        flags = dict(flag.removeprefix("--").split("=", 1) for flag in command[3:])
        _, arguments = experiment.parse(flags["experiment"])
        folder = tmp_path / flags["workdir"]
        folder.mkdir(parents=True, exist_ok=True)
        seed = int(arguments["seed"])
        recipe = {"recipe": {"seed": seed}}
        (folder / "run.json").write_text(json.dumps(recipe))
        rows = [
            {
                "set": "a", "start": start, "seed": 0, "value": value + seed / 8, "mode": "full",
                "metric": "top1", "aligned": "none", "neck": "fpn", "shots": None,
                "git_commit": "abc",
            }
            for start, value in (("random", 0.2), ("student", 0.5))
        ]  # fmt: skip
        if arguments.get("size") == "16" and "rates_from" not in arguments:
            rows[0]["sweep"] = [{"learning_rate": 0.1, "chosen": True}]
        (folder / "report.json").write_text(json.dumps({"transfers": rows}))
        found.append((arguments, flags["workdir"]))
        return types.SimpleNamespace(returncode=0 if seed < 9 else 2)

    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(RECIPE)
    # Its own name alone: what is imported meanwhile starts processes too.
    monkeypatch.setattr(repeat, "subprocess", types.SimpleNamespace(run=run))
    return found


def test_every_seed_is_a_run_and_the_first_chooses_learning_rates(asked, tmp_path, capsys):
    repeat.repeat("mine.py:size=16", ["1", "2"], workdir="runs/m")
    assert asked == [
        ({"size": "16", "seed": "1"}, "runs/m-seed1"),
        ({"size": "16", "seed": "2", "rates_from": "runs/m-seed1"}, "runs/m-seed2"),
    ]
    printed = capsys.readouterr().out
    assert "| a | top1 | 0.388 | 0.688 |" in printed and "2 runs" in printed


def test_where_nothing_is_chosen_nothing_is_taken(asked):
    repeat.repeat("mine.py:size=8", ["0", "1"])
    assert [arguments for arguments, _ in asked] == [
        {"size": "8", "seed": "0"}, {"size": "8", "seed": "1"},
    ]  # fmt: skip


def test_a_line_of_every_transfer_is_kept_once(asked, tmp_path):
    path = tmp_path / "results" / "all.jsonl"
    for seeds in (["0"], ["0", "1"]):
        repeat.repeat("mine.py", seeds, to=str(path))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(r["run_seed"], r["start"], r["value"]) for r in rows] == [
        (0, "random", 0.2), (0, "student", 0.5), (1, "random", 0.325), (1, "student", 0.625),
    ]  # fmt: skip
    assert {r["git_commit"] for r in rows} == {"abc"}


def test_numbers_of_another_recipe_are_not_taken_for_these(asked, tmp_path):
    """As those of a smaller one, which was tried first."""
    path = tmp_path / "all.jsonl"
    repeat.repeat("mine.py", ["0"], to=str(path))
    text = path.read_text()
    path.write_text(text.replace("0.5", "0.4"))
    with pytest.raises(UserError, match="a from student, seed 0") as error:
        repeat.repeat("mine.py", ["0"], to=str(path))
    assert (error.value.path, error.value.key, error.value.value) == (path, "to", 0.5)
    assert path.read_text() == text.replace("0.5", "0.4")


def test_a_transfer_keeps_the_commit_that_made_it(tmp_path):
    cell = {
        "set": "a", "start": "random", "mode": "full", "neck": "fpn", "shots": None, "value": 0,
    }  # fmt: skip
    rows = [cell | {"seed": 0, "git_commit": "older"}, cell | {"seed": 1, "git_commit": "abc"}]
    repeat._keep(rows, tmp_path, 3, tmp_path / "all.jsonl")
    kept = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    assert [(row["run_seed"], row["git_commit"]) for row in kept] == [(3, "older"), (3, "abc")]


def test_transfers_that_differ_in_their_number_of_images_are_kept_both(tmp_path):
    cell = {
        "set": "a", "start": "random", "mode": "full", "neck": "fpn", "shots": None, "seed": 0,
    }  # fmt: skip
    rows = [cell | {"value": 0.5}, cell | {"value": 0.4, "samples": 100}]
    for _ in range(2):
        repeat._keep(rows, tmp_path, 3, tmp_path / "all.jsonl")
    kept = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    assert [(row.get("samples"), row["value"]) for row in kept] == [(None, 0.5), (100, 0.4)]


def test_a_run_that_fails_ends_it_with_its_status(asked):
    with pytest.raises(SystemExit) as end:
        repeat.repeat("mine.py", ["9", "1"])
    assert end.value.code == 2 and len(asked) == 1


@pytest.mark.parametrize(
    ("text", "seeds", "key", "value"),
    [
        ("mine.py", ["1", "1"], "seeds", "1,1"),
        ("mine.py", ["one"], "seeds", "one"),
        ("mine.py", [], "seeds", ""),
        ("mine.py:seed=1", ["0"], "experiment", "mine.py:seed=1"),
        ("other.py", ["0"], "seed", None),
    ],
)
def test_mistakes_are_reported_before_anything_runs(asked, tmp_path, text, seeds, key, value):
    (tmp_path / "other.py").write_text("def recipe(*, size: int = 8): ...")
    with pytest.raises(UserError) as error:
        repeat.repeat(text, seeds)
    assert (error.value.key, error.value.value) == (key, value)
    assert not asked


def test_rates_that_a_recipe_cannot_take_are_refused(asked, tmp_path):
    (tmp_path / "other.py").write_text("def recipe(*, seed: int = 0): ...")
    with pytest.raises(UserError) as error:
        repeat.repeat("other.py", ["0"], rates_from="runs/x")
    assert error.value.key == "rates_from" and error.value.allowed == ("seed",)
    assert not asked
