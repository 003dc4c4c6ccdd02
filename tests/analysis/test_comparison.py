import json
import math

import numpy as np
import pytest
from scipy import stats

from must_keras import command, compare
from must_keras.analysis import combined, comparison
from must_keras.errors import UserError


def row(downstream, start, value, *, run=None, seed=0, aligned="none", metric="top1", **more):
    found = {
        "set": downstream, "start": start, "seed": seed, "value": value, "metric": metric,
        "aligned": aligned, "mode": "full", "neck": "fpn", "shots": None,
    }  # fmt: skip
    return found | ({} if run is None else {"run": run}) | more


def runs(gains: list[dict[str, float]], **more) -> list[dict]:
    """Rows of several runs with one set; the random start is at 0."""
    return [
        row("a", start, value, run=run, **more)
        for run, values in enumerate(gains)
        for start, value in ({"random": 0.0} | values).items()
    ]


def test_numbers_of_images_in_all_are_protocols_of_their_own():
    rows = [row("a", "random", 0.2), row("a", "random", 0.1, samples=100)]
    rows += [row("a", "student", 0.3, samples=100), row("a", "random", 0.1, shots=100)]
    found = {name: len(some) for name, some in comparison.by_protocol(rows).items()}
    assert found == {"full-fpn-all": 1, "full-fpn-100samples": 2, "full-fpn-100": 1}


def test_the_interval_is_that_of_a_t_test():
    values = np.random.default_rng(0).normal(0.1, 0.2, 7).tolist()
    found = comparison.t_interval(values)
    low, high = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.mean == pytest.approx(np.mean(values)) and found.count == 7


def test_the_interval_of_two_values_by_hand():
    # s / sqrt(2) = |a - b| / 2, and t with one degree of freedom has its 97.5 % point at 12.706.
    found = comparison.t_interval([0.1, 0.3])
    assert found.mean == pytest.approx(0.2)
    assert (found.high - found.mean, found.mean - found.low) == pytest.approx(
        (1.2706,) * 2, abs=1e-4
    )


def test_one_value_has_no_interval():
    assert comparison.t_interval([0.5]) == comparison.Interval(
        mean=0.5, low=None, high=None, count=1
    )


@pytest.mark.parametrize(
    ("value", "random", "metric", "gain"),
    [
        (0.6, 0.2, "top1", 0.5),
        (0.1, 0.2, "miou", -0.125),
        (0.2, 0.2, "delta1", 0.0),
        (1.0, 0.2, "box_ap50", 1.0),
        (0.9, 1.0, "top1", None),
        (None, 0.2, "top1", None),
        (0.9, None, "top1", None),
        (0.3, 0.4, "abs_rel", None),
    ],
)
def test_gains_are_shares_of_what_the_random_start_lacks(value, random, metric, gain):
    found = comparison.normalized_gain(value, random, metric)
    assert found is None if gain is None else found == pytest.approx(gain)


@pytest.mark.parametrize(
    ("differences", "verdict", "words"),
    [
        ((0.1, 0.12, 0.11), "helps", {"+0.110", "significantly better"}),
        ((-0.1, -0.12, -0.11), "hurts", {"-0.110", "significantly worse"}),
        ((0.3, -0.1, 0.1), "unclear", {"+0.100", "not significant"}),
    ],
)
def test_the_verdict(differences, verdict, words):
    rows = runs([{"student": 0.5, "teacher-x": 0.5 - d} for d in differences])
    compared = comparison.compare(rows)
    found = compared["differences"]["teacher-x"]["with_task"]
    low, high = stats.ttest_1samp(differences, 0.0).confidence_interval(0.95)
    assert found["verdict"] == verdict and (found["low"], found["high"]) == pytest.approx(
        (low, high)
    )
    sentence = next(s for s in comparison.sentences(compared) if "teacher-x" in s)
    for fact in (*words, "3 runs", "1 set", f"[{low:+.3f}, {high:+.3f}]"):
        assert fact in sentence
    others = {"significantly better", "significantly worse", "not significant"}
    assert sum(other in sentence for other in others) == 1


def test_one_run_has_no_interval():
    rows = [row("a", "random", 0.2), row("a", "student", 0.9), row("a", "student", 0.8, seed=1)]
    compared = comparison.compare(rows)
    found = compared["differences"]["random"]["with_task"]
    assert found["low"] is None and found["verdict"] == "unclear"
    assert found["mean"] == pytest.approx(0.65 / 0.8)
    (sentence,) = comparison.sentences(compared)
    assert "+0.813" in sentence and "interval" not in sentence and "significant" not in sentence


def test_sets_are_averaged_within_a_run_before_runs_are_counted():
    """Ten sets of two runs are two values, not twenty."""
    random = np.random.default_rng(1)
    gains = random.uniform(0.0, 1.0, (2, 10))
    rows = [
        row(f"set{k}", start, float(gains[run, k]) if start == "student" else 0.0, run=run)
        for run in range(2)
        for k in range(10)
        for start in ("random", "student")
    ]
    found = comparison.compare(rows)["differences"]["random"]["with_task"]
    low, high = stats.ttest_1samp(gains.mean(axis=1), 0.0).confidence_interval(0.95)
    assert found["count"] == 2 and (found["low"], found["high"]) == pytest.approx((low, high))


def test_the_random_start_of_the_same_run_is_what_is_gained_on():
    rows = [
        row("a", "random", 0.0, run=0), row("a", "student", 0.5, run=0),
        row("a", "random", 0.5, run=1), row("a", "student", 0.5, run=1),
    ]  # fmt: skip
    assert comparison.compare(rows)["means"]["student"]["with_task"] == pytest.approx(0.25)


def test_a_start_that_some_runs_do_not_have_is_compared_in_the_others():
    """Five seeds of the most important starts, three of all."""
    rows = runs([{"student": 0.5, "moco": 0.4}, {"student": 0.7, "moco": 0.2}, {"student": 0.9}])
    found = comparison.compare(rows)
    assert found["runs"] == 3
    by_start = {start: d["with_task"] for start, d in found["differences"].items()}
    assert (by_start["random"]["count"], by_start["moco"]["count"]) == (3, 2)
    assert by_start["random"]["mean"] == pytest.approx(0.7)
    assert by_start["moco"]["mean"] == pytest.approx(0.3)
    # Values and means stand beside each other where all are known.
    cells = found["sets"]["a"]["starts"]
    assert found["complete_runs"] == 2 and {cell["runs"] for cell in cells.values()} == {2}
    assert cells["student"]["value"] == pytest.approx(0.6)
    assert found["means"]["student"]["with_task"] == pytest.approx(0.6)
    assert found["means"]["moco"]["with_task"] == pytest.approx(0.3)


def test_the_starts_of_every_run_have_a_table_of_their_own(tmp_path, capsys):
    folders = [finished_run(tmp_path / str(k), k, value) for k, value in enumerate((0.6, 0.7, 0.9))]
    for folder in folders[:2]:
        rows = json.loads((folder / "report.json").read_text())["transfers"]
        rows.append(row("a", "moco", 0.3))
        (folder / "report.json").write_text(json.dumps({"transfers": rows}))
    run = json.loads((folders[2] / "run.json").read_text())
    run["recipe"]["starts"] = ["random", "student"]
    (folders[2] / "run.json").write_text(json.dumps(run))
    found = combined.show(folders)["full-fpn-all"]
    printed = capsys.readouterr().out
    assert "full-fpn-all, means of 2 runs" in printed and "| 0.200 | 0.650* | 0.300 |" in printed
    assert "full-fpn-all, means of 3 runs" in printed and "| 0.200 | 0.733* |" in printed
    # The rows of means agree with the difference over the same runs.
    means = found["of_every_run"]["means"]
    difference = found["differences"]["random"]["with_task"]
    assert difference["count"] == 3
    assert means["student"]["with_task"] == pytest.approx(difference["mean"])


def test_sets_that_a_start_saw_are_left_out_and_kinds_of_task_shown_apart():
    rows = [
        row("plain", "random", 0.0), row("plain", "student", 0.2), row("plain", "teacher-x", 0.1),
        row("kind", "random", 0.0), row("kind", "student", 0.6, aligned="task"),
        row("kind", "teacher-x", 0.2),
        row("seen", "random", 0.0), row("seen", "student", 0.9, aligned="set"),
        row("seen", "teacher-x", 0.1),
        row("half", "random", 0.0), row("half", "student", 0.3),
        row("half", "teacher-x", 0.9, aligned="images"),
    ]  # fmt: skip
    found = comparison.compare(rows)
    assert found["sets_with_task"] == ["plain", "kind"] and found["sets_without_task"] == ["plain"]
    assert found["means"]["student"] == pytest.approx({"with_task": 0.4, "without_task": 0.2})
    assert found["differences"]["teacher-x"]["with_task"]["sets"] == ["plain", "kind"]
    assert found["differences"]["random"]["with_task"]["sets"] == ["plain", "kind", "half"]
    assert found["sets"]["seen"]["starts"]["student"]["aligned"] == "set"
    sentence = comparison.sentences(found)[0]
    assert "random: +0.367 mean normalized gain over 3 sets" in sentence
    assert "+0.250 mean normalized gain over 2 sets" in sentence


@pytest.mark.parametrize("unknown", [None, math.nan])
def test_a_set_that_is_not_known_in_every_run_is_left_out(unknown):
    rows = runs([{"student": 0.5}, {"student": 0.7}])
    rows += [row("b", "random", 0.0, run=k) for k in range(2)]
    rows += [row("b", "student", 0.1, run=0), row("b", "student", unknown, run=1)]
    found = comparison.compare(rows)
    assert found["differences"]["random"]["with_task"]["sets"] == ["a"]
    assert found["sets"]["b"]["starts"]["student"] == {
        "value": 0.1, "gain": 0.1, "aligned": "none", "runs": 1,
    }  # fmt: skip
    nothing = comparison.compare([row("a", "random", 0.1), row("a", "student", unknown)])
    assert nothing["differences"]["random"]["with_task"]["verdict"] == "unknown"
    assert "no set is scored for both" in comparison.sentences(nothing)[0]
    json.dumps(nothing, allow_nan=False)


def test_without_a_student_or_a_row_there_is_no_sentence():
    assert comparison.sentences(comparison.compare([row("a", "random", 0.1)])) == []
    assert comparison.compare([])["differences"] == {}


def finished_run(folder, seed: int, student: float, **recipe):
    rows = [row("a", "random", 0.2), row("a", "student", student, aligned="task")]
    folder.mkdir()
    value = {"recipe": {"seed": seed, "steps": 3} | recipe}
    (folder / "run.json").write_text(json.dumps(value))
    (folder / "report.json").write_text(json.dumps({"transfers": rows}))
    return folder


def test_runs_are_combined(tmp_path):
    folders = [finished_run(tmp_path / str(k), k, 0.6 + 0.01 * k) for k in range(3)]
    rows = combined.rows(folders)
    assert [r["run"] for r in rows] == [str(f) for f in folders for _ in range(2)]
    compared = comparison.compare(rows)
    assert compared["runs"] == 3
    assert compared["differences"]["random"]["with_task"]["verdict"] == "helps"
    assert "| a | top1 | 0.200 | 0.610* |" in combined.table(compared)


def test_the_command_prints_and_writes_what_it_finds(tmp_path, capsys):
    folders = [finished_run(tmp_path / str(k), k, 0.6 + 0.01 * k) for k in range(2)]
    path = tmp_path / "c.json"
    words = [*map(str, folders), f"--to={path}"]
    assert command.run_alone(compare.COMMAND, words) == 0
    out = capsys.readouterr().out
    assert "full-fpn-all" in out and "Student vs. random" in out
    assert json.loads(path.read_text())["full-fpn-all"]["runs"] == 2
    assert command.run_alone(compare.COMMAND, words) == 2
    assert str(path) in capsys.readouterr().err


def test_runs_that_do_not_belong_together_are_refused(tmp_path):
    one = finished_run(tmp_path / "one", 0, 0.5)
    cases = {
        "their seeds are equal": finished_run(tmp_path / "same", 0, 0.6),
        "steps is 3, 4": finished_run(tmp_path / "other", 1, 0.6, steps=4),
        "has no run.json": tmp_path / "nothing",
    }
    short = finished_run(tmp_path / "short", 2, 0.6)
    (short / "report.json").write_text(json.dumps({"transfers": [row("a", "random", 0.2)]}))
    cases["no complete transfer run to a from student"] = short
    for words, folder in cases.items():
        with pytest.raises(UserError, match=words):
            combined.rows([one, folder])
