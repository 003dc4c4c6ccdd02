"""A student that labels for the next one: which rounds there are, and what they are made of."""

import contextlib
import dataclasses
import json
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from must_keras.config.recipe import Pool
from must_keras.errors import DataError, UserError
from must_keras.pseudo_labels.store import PseudoLabelReader
from must_keras.runs import executor, graph, pools, status
from must_keras.runs.workdir import Workdir, describe
from must_keras.stages import rounds
from must_keras.stages.rounds import Round
from woods import draw, recipe_with, run

STARTS = ("random", "student", "rounds")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rounds")
    draw(folder)
    return folder


@pytest.fixture(scope="module")
def recipe(data):
    return recipe_with(data, rounds=3, starts=STARTS)


@pytest.fixture(scope="module")
def two(data):
    return recipe_with(data, rounds=2, starts=STARTS)


def finish_student(workdir: Workdir, validation: dict[str, float], test: float = 0.5) -> None:
    """A student that says it is finished; its numbers are as `fit_heads` leaves them."""
    part = workdir.student
    part.begin()
    part.model_path.write_text(str(workdir.root))
    rows = [{"step": 1, "split": "train", "loss": 3.0}]
    for split, values in (("validation", validation), ("test", dict.fromkeys(validation, test))):
        for head, value in values.items():
            key = "top1" if len(validation) == 1 else f"{head}_top1"
            rows.append({"step": 1, "split": split, key: value, "other": 9.0})
    (part.folder / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    tasks = {head: {"metrics": {"top1": test, "other": 9.0}} for head in validation}
    part.finish({}, {"tasks": tasks, "model_sha256": str(validation), "parameters": 1})


@pytest.mark.parametrize(
    ("values", "best", "next_round", "why"),
    [
        ([0.5], None, 2, None),
        ([0.5, 0.6], None, 3, None),
        ([0.5, 0.6, 0.7], 3, 0, "all 3 rounds are made"),
        ([0.5, 0.4], 1, 0, r"round 2 is not better .* \(0.5000 and 0.4000\)"),
        ([0.5, 0.5], 1, 0, "round 2 is not better"),
        ([0.5, 0.6, 0.6], 2, 0, r"round 3 is not better .* \(0.6000 and 0.6000\)"),
    ],
)
def test_it_ends_with_the_first_student_that_is_not_better(
    recipe, tmp_path, values, best, next_round, why
):
    """On validation: on test each is worse than the one before."""
    workdir = Workdir(tmp_path)
    for number, value in enumerate(values, 1):
        folder = workdir if number == 1 else workdir.round(number)
        finish_student(folder, {"trees": value}, test=1.0 - 0.1 * number)
    assert rounds.following(recipe, workdir) == next_round
    if best is None:
        with pytest.raises(UserError, match=rf"rounds/{next_round}/student is not finished"):
            rounds.run(recipe, workdir, ())
        return
    rounds.run(recipe, workdir, ())
    result = workdir.rounds.result()
    assert result["best"] == best
    chosen = workdir if best == 1 else workdir.round(best)
    assert workdir.rounds.model_path.read_text() == str(chosen.root)
    assert [one["mean"] for one in result["rounds"]] == values
    assert result["rounds"][0]["test"]["trees"]["top1"] == pytest.approx(0.9)
    assert re.search(why, result["stopped"])


def test_the_mean_is_that_of_the_heads_that_are_scored(recipe, tmp_path):
    finish_student(Workdir(tmp_path), {"trees": 0.2, "houses": 0.6})
    one = Round(number=1, recipe=recipe, workdir=Workdir(tmp_path))
    assert one.validation() == {"trees": 0.2, "houses": 0.6}
    assert one.mean() == pytest.approx(0.4)
    (tmp_path / "student" / "metrics.jsonl").write_text("")
    with pytest.raises(DataError, match=r"no metric of a validation split: delete .*student"):
        one.mean()


def test_a_students_errors_count_the_other_way_round(recipe, tmp_path):
    part = Workdir(tmp_path).student
    part.begin()
    (part.folder / "metrics.jsonl").write_text('{"split": "validation", "step": 1, "rmse": 2.0}\n')
    part.finish({}, {"tasks": {"far": {"metrics": {"rmse": 1.0}}}, "model_sha256": ""})
    assert Round(number=1, recipe=recipe, workdir=Workdir(tmp_path)).mean() == -2.0


def test_a_round_has_the_last_students_heads_as_teachers(recipe, tmp_path):
    third = rounds.of(recipe, Workdir(tmp_path), 3)
    assert third.workdir.root == tmp_path / "rounds" / "3"
    (taught,) = third.recipe.teachers
    assert taught.start.path == tmp_path / "rounds" / "2" / "student" / "model.keras"
    (trained,) = recipe.teachers
    again = dataclasses.replace(taught, start=trained.start, training=trained.training)
    assert again == trained and taught.training.steps == 0
    assert rounds.of(recipe, Workdir(tmp_path), 1).recipe is recipe


def test_rounds_are_made_until_one_is_no_better(data, tmp_path):
    """Each with the pool as it was listed at first, whatever has come to its folder since."""
    workdir, made = Workdir(tmp_path / "run"), []
    (trained,) = recipe_with(data).pools
    unlisted = recipe_with(data, rounds=5, starts=STARTS, pools=(Pool(source=trained.source),))
    listed = pools.frozen(unlisted, workdir, new=True)
    pools.keep(listed, workdir)
    finish_student(workdir, {"trees": 0.5})

    def make(stage, recipe, folder, only):
        made.append((stage, folder.root.name, only))
        again = pools.frozen(unlisted, folder, new=False)
        assert describe(again.pools) == describe(listed.pools) == describe(recipe.pools)
        if stage == "student":
            finish_student(folder, {"trees": {"2": 0.7, "3": 0.6}[folder.root.name]})

    executor._make_rounds(listed, workdir, make, tf.distribute.get_strategy())
    names = ("teacher", "label", "student")
    assert made == [(stage, number, ()) for number in ("2", "3") for stage in names]


def test_whoever_is_not_the_chief_does_none_of_its_work(monkeypatch):
    """Alone, under a strategy of its own, every process would call itself the chief."""
    inside, done = [], []

    @contextlib.contextmanager
    def alone(devices):
        inside.append(devices)
        yield
        inside.pop()

    monkeypatch.setattr(executor, "chief_alone", alone)
    monkeypatch.setattr(executor, "is_chief", lambda: bool(inside))
    executor._alone(tf.distribute.get_strategy(), done.append, "work")
    assert not done
    monkeypatch.setattr(executor, "is_chief", lambda: not inside)
    executor._alone(tf.distribute.get_strategy(), done.append, "work")
    assert done == ["work"]


@pytest.fixture(scope="module")
def whole(two, data):
    """Two rounds and what follows; the second student fails once, and is told to be better."""
    workdir, patch = Workdir(data / "run"), pytest.MonkeyPatch()

    def validation(one):
        finished = one.workdir.student.result() is not None
        return {"trees": 0.1 * one.number} if finished else None

    with patch.context() as told:
        told.setattr(Round, "validation", validation)
        for stage in ("teacher", "label", "student"):
            run(stage, two, workdir.root)
        with patch.context() as killed:
            killed.setattr("must_keras.stages.student.fit_part", lambda *a, **k: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                run("rounds", two, workdir.root)
        made = {path: path.stat().st_mtime_ns for path in workdir.root.rglob("finished.json")}
        assert workdir.round(2).teacher("trees").folder / "finished.json" in made
        for stage in ("rounds", "transfer", "report"):
            run(stage, two, workdir.root)
        assert made == {path: path.stat().st_mtime_ns for path in made}
        yield workdir


def weights(path, layer):
    return keras.saving.load_model(path).get_layer(layer).get_weights()


def test_a_student_labels_for_the_next(whole, two):
    second = whole.round(2)
    head = weights(second.teacher("trees").model_path, "trees")
    assert all(map(np.array_equal, weights(whole.student.model_path, "trees"), head))
    assert not np.array_equal(head[0], weights(second.student.model_path, "trees")[0])
    (pool,) = two.pools
    task = two.teachers[0].task
    columns = [
        PseudoLabelReader(w.labels("trees", "pile").folder, pool.source, task)
        for w in (whole, second)
    ]
    said = [np.stack([c.read(i)["probabilities"] for i in range(6)]) for c in columns]
    assert not np.allclose(*said)


def test_true_labels_win_in_every_round(whole):
    for workdir in (whole, whole.round(2)):
        origins = workdir.student.result()["origins"]
        assert origins["trees_train"]["trees"].keys() == {"true", "pseudo", "missing"}
        assert origins["trees_train"]["trees"]["pseudo"] == 0
        assert origins["pile"]["trees"]["true"] == 0 < origins["pile"]["trees"]["pseudo"]


def test_the_best_student_is_a_start_and_stands_in_the_report(whole):
    report = json.loads((whole.root / "report.json").read_text())
    assert report["rounds"]["best"] == 2 and report["rounds"]["stopped"] == "all 2 rounds are made"
    assert [one["round"] for one in report["rounds"]["rounds"]] == [1, 2]
    rows = {row["start"]: row for row in report["transfers"]}
    assert list(rows) == list(STARTS)
    assert rows["rounds"]["copied"] == rows["student"]["copied"] == ["backbone"]
    assert (
        "The start “rounds” is the student of round 2" in (whole.root / "report.html").read_text()
    )
    best = whole.round(2).student
    assert whole.rounds.result()["model_sha256"] == best.result()["model_sha256"]
    assert whole.rounds.model_path.read_bytes() == best.model_path.read_bytes()


def test_nothing_is_made_again_and_status_names_all(whole, two, capsys):
    before = {path: path.stat().st_mtime_ns for path in whole.root.rglob("finished.json")}
    run("rounds", two, whole.root)
    status.run(two, whole)
    assert before == {path: path.stat().st_mtime_ns for path in whole.root.rglob("finished.json")}
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    for words in ("2: teacher trees", "2: label trees for pile", "2: student", "the best student"):
        assert ["rounds", *words.split(), "finished"] in lines


def test_another_run_takes_the_rounds(whole, two, tmp_path):
    mine = Workdir(tmp_path / "mine", (whole.root,))
    for _ in range(2):  # Each look knows what the last one took.
        graph.check(two, mine)
    assert mine.round(2).student.result() == whole.round(2).student.result()


def test_more_rounds_go_on_with_those_that_are_made(whole, recipe):
    graph.check(recipe, whole)
    assert rounds.following(recipe, whole) == 3


def test_another_student_names_what_it_has_taught(whole, two):
    changed = whole.student.model_path
    kept = changed.read_bytes()
    changed.write_bytes(kept + b" ")
    try:
        with pytest.raises(UserError, match=r"start.sha256.*delete.*rounds/2/teachers/trees"):
            graph.check(two, whole)
    finally:
        changed.write_bytes(kept)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rounds": 0}, "rounds=0: at least 1"),
        ({"rounds": 1, "starts": STARTS}, "starts=rounds"),
    ],
)
def test_recipes_that_cannot_be(data, changes, message):
    with pytest.raises(UserError, match=message):
        recipe_with(data, **changes)


def test_without_a_transfer_that_starts_from_them_there_are_no_rounds(data, tmp_path):
    idle = recipe_with(data, rounds=3)
    assert idle.wanted_rounds == 1
    assert "rounds" not in {step.stage for step in graph.steps(idle, Workdir(tmp_path))}
    with pytest.raises(UserError, match="--stage=rounds: no transfer of this recipe"):
        run("rounds", idle, tmp_path / "run")
