"""A student that labels for the next one: which rounds there are, and what they are made of."""

import dataclasses
import json
import re
from collections.abc import Sequence

import keras
import numpy as np
import pytest

import pages
from fakes.few_layers import NETWORK, FewLayers
from fakes.results import finish
from fakes.tiny_run import draw, make, recipe_with, status
from must_keras import stages
from must_keras.config.recipe import Labeler, Pool
from must_keras.errors import DataError, UserError
from must_keras.pseudo_labels.store import PseudoLabelReader
from must_keras.runs import plan, pools
from must_keras.runs.artifact import Artifact
from must_keras.runs.fingerprint import describe
from must_keras.runs.results import RoundScores, Scored
from must_keras.runs.run import Run
from must_keras.stages import rounds
from must_keras.stages import teacher as teacher_stage
from must_keras.stages.rounds import Round
from must_keras.training.network import Network

STARTS = ("random", "student", "rounds")
STAGES = stages.load()


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


def finish_student(
    run: Run, validation: dict[str, float], test: float = 0.5, of: Sequence[Artifact] = ()
) -> None:
    """A student that is complete; its numbers are as `fit_heads` leaves them."""
    (student,) = of or (run.student,)
    student.begin()
    student.model_path.write_text(str(run.path))
    rows = [{"step": 1, "split": "train", "loss": 3.0}]
    for split, values in (("validation", validation), ("test", dict.fromkeys(validation, test))):
        for head, value in values.items():
            key = "top1" if len(validation) == 1 else f"{head}_top1"
            rows.append({"step": 1, "split": split, key: value, "other": 9.0})
    (student.folder / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    metrics = {"top1": test, "other": 9.0}
    tasks = {head: Scored(metrics=metrics, trivial={}) for head in validation}
    finish(student, tasks=tasks, model_sha256=str(validation))


def next_round(run: Run) -> Run | None:
    """The run of the round that is made next."""
    further = next(rounds.STAGE.further(run), None)
    return None if further is None else further.run


def the_best(run: Run) -> Artifact:
    """The stage's artifact that has the best student."""
    return list(rounds.STAGE.artifacts(run))[-1]


@pytest.mark.parametrize(
    ("values", "best", "number", "why"),
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
    recipe, tmp_path, values, best, number, why
):
    """On validation: on test each is worse than the one before."""
    run = Run(recipe=recipe, path=tmp_path)
    students = [run.round(k, recipe) for k in range(1, len(values) + 1)]
    for k, (one, value) in enumerate(zip(students, values, strict=True), 1):
        finish_student(one, {"trees": value}, test=1.0 - 0.1 * k)
    following = next_round(run)
    assert (following and following.path) == (tmp_path / "rounds" / str(number) if number else None)
    if best is None:
        with pytest.raises(UserError, match=rf"rounds/{number}/student is not complete"):
            rounds.STAGE.make(run, [the_best(run)])
        return
    rounds.STAGE.make(run, [the_best(run)])
    result = run.rounds.result()
    assert result.best == best
    assert run.rounds.model_path.read_text() == str(students[best - 1].path)
    assert [one.mean for one in result.rounds] == values
    assert result.rounds[0].test["trees"]["top1"] == pytest.approx(0.9)
    assert re.search(why, result.stopped)


def test_the_mean_is_that_of_the_heads_that_are_scored(recipe, tmp_path):
    run = Run(recipe=recipe, path=tmp_path)
    finish_student(run, {"trees": 0.2, "houses": 0.6})
    one = Round(number=1, run=run)
    assert one.scores().validation == {"trees": 0.2, "houses": 0.6}
    assert one.scores().mean == pytest.approx(0.4)
    (tmp_path / "student" / "metrics.jsonl").write_text("")
    with pytest.raises(DataError, match=r"no metric of a validation split; delete .*student"):
        one.scores()


def test_a_students_errors_count_the_other_way_round(recipe, tmp_path):
    run = Run(recipe=recipe, path=tmp_path)
    run.student.begin()
    rows = '{"split": "validation", "step": 1, "rmse": 2.0}\n'
    (run.student.folder / "metrics.jsonl").write_text(rows)
    finish(run.student, tasks={"far": Scored(metrics={"rmse": 1.0}, trivial={})})
    assert Round(number=1, run=run).scores().mean == -2.0


def test_a_round_has_the_last_students_heads_as_teachers(recipe, tmp_path):
    run = Run(recipe=recipe, path=tmp_path)
    finish_student(run, {"trees": 0.5})
    finish_student(run.round(2, recipe), {"trees": 0.6})
    first, _, third = rounds.begun_rounds(run)
    assert third.run.path == tmp_path / "rounds" / "3"
    (taught,) = third.run.recipe.teachers
    assert taught.start.path == tmp_path / "rounds" / "2" / "student" / "model.keras"
    (trained,) = recipe.teachers
    again = dataclasses.replace(taught, start=trained.start, training=trained.training)
    assert again == trained and taught.training.steps == 0
    assert first.run is run


LARGE = Network(backbone=FewLayers(is_residual=True), size=64, channels=8)


OWN = (Labeler(network=LARGE),)


@pytest.fixture(scope="module")
def large(data):
    """Three rounds, of which the first has a larger student; transfers start from the rounds."""
    return recipe_with(data, rounds=3, starts=("random", "rounds"), labelers=OWN)


@pytest.mark.parametrize(
    ("values", "best", "number"),
    [([0.9], None, 2), ([0.9, 0.2], None, 3), ([0.9, 0.2, 0.3], 3, 0), ([0.9, 0.2, 0.1], 2, 0)],
)
def test_a_labeler_is_never_the_best_and_ends_nothing(large, tmp_path, values, best, number):
    run = Run(recipe=large, path=tmp_path)
    for k, value in enumerate(values, 1):
        finish_student(run.round(k, large), {"trees": value})
    following = next_round(run)
    assert (following and following.path) == (tmp_path / "rounds" / str(number) if number else None)
    if best:
        rounds.STAGE.make(run, [the_best(run)])
        assert run.rounds.result().best == best
        assert all(one.parameters is not None for one in run.rounds.result().rounds)


def test_each_round_has_the_networks_of_its_student_and_of_its_teachers(large, tmp_path):
    run = Run(recipe=large, path=tmp_path)
    for k in (1, 2):
        finish_student(run.round(k, large), {"trees": 0.5})
    recipes = [one.run.recipe for one in rounds.begun_rounds(run)]
    assert [one.first_student.network for one in recipes] == [LARGE, NETWORK, NETWORK]
    assert [one.teachers[0].network for one in recipes] == [None, LARGE, None]
    assert {one.network for one in recipes} == {NETWORK}, "that of the transfers"
    (teacher,) = recipes[1].teachers
    inputs = teacher_stage.artifact(rounds.begun_rounds(run)[1].run, teacher).inputs
    assert inputs["network"] == describe(LARGE)


@pytest.mark.slow
def test_a_large_student_labels_for_a_small_one(large, tmp_path):
    """Resumed between the rounds; the small one is exported and transferred."""
    run = Run(recipe=dataclasses.replace(large, rounds=2), path=tmp_path / "run")
    for stage in ("teacher", "label", "student"):
        make(stage, run.recipe, run.path)
    with pytest.MonkeyPatch.context() as killed, pytest.raises(ZeroDivisionError):
        killed.setattr("must_keras.stages.student.fit", lambda *a, **k: 1 / 0)
        make("rounds", run.recipe, run.path)
    made = {path: path.stat().st_mtime_ns for path in run.path.rglob("finished.json")}
    for stage in ("rounds", "transfer", "export", "report"):
        make(stage, run.recipe, run.path)
    assert made == {path: path.stat().st_mtime_ns for path in made}
    second = second_of(run)
    models = {
        one.model_path: keras.saving.load_model(one.model_path)
        for one in (run.student, second.teacher("trees"), second.student, run.rounds)
    }
    assert [model.size for model in models.values()] == [(64, 64), (64, 64), (32, 32), (32, 32)]
    first, taught, *_ = models.values()
    assert all(map(np.array_equal, first.get_weights(), taught.get_weights()))
    result = run.rounds.result()
    assert result.best == 2
    sizes = [one.parameters for one in result.rounds]
    assert sizes == [run.student.result().parameters, second.student.result().parameters]
    assert sizes[0] > sizes[1]
    report = json.loads((run.path / "report.json").read_text())
    assert {row["start"] for row in report["transfers"]} == {"random", "rounds"}
    exported = keras.saving.load_model(run.path / "export" / "backbone.keras")
    ours = models[run.rounds.model_path].get_layer("backbone").get_weights()
    assert all(map(np.array_equal, exported.get_weights(), ours))
    page = pages.parse((run.path / "report.html").read_text())
    assert str(sizes[0]) in pages.text(page).replace(",", "")


@pytest.fixture
def fakes(monkeypatch) -> list[tuple[str, str]]:
    """(stage, folder of the round) of what is made; nothing is trained, and scores are given."""
    made, of_name = [], {stage.name: stage for stage in STAGES}

    def fake(name, values_of):
        def make(run, pending):
            made.append((name, run.path.name))
            for artifact in pending:
                (artifact.begin() / "model.keras").write_text(str(artifact.folder))
                finish(artifact, **values_of(artifact))

        monkeypatch.setattr(of_name[name], "make", make)

    fake("teacher", lambda artifact: {})
    fake("label", lambda artifact: {"teacher_sha256": artifact.inputs["teacher_sha256"]})
    monkeypatch.setattr(of_name["label"], "conclude", lambda run, stages: None)

    def learn(run, pending):
        made.append(("student", run.path.name))
        finish_student(run, {"trees": {"run": 0.5, "2": 0.7, "3": 0.6}[run.path.name]}, of=pending)

    monkeypatch.setattr(of_name["student"], "make", learn)
    return made


def test_rounds_are_made_until_one_is_no_better(data, tmp_path, fakes):
    """Each with the pool as it was listed at first, whatever has come to its folder since."""
    (shown,) = recipe_with(data).pools
    unlisted = recipe_with(data, rounds=5, starts=STARTS, pools=(Pool(source=shown.source),))
    run = Run(recipe=unlisted, path=tmp_path / "run")
    listed = pools.frozen(run, new=True)
    listed.path.mkdir()
    listed.record()
    pools.keep(listed)
    names = ("teacher", "label", "student")
    for name in (*names, "rounds"):
        make(name, unlisted, run.path)
    assert fakes == [(stage, number) for number in ("run", "2", "3") for stage in names]
    for number in (2, 3):
        again = pools.frozen(run.round(number, unlisted), new=False)
        assert describe(again.recipe.pools) == describe(listed.recipe.pools)
        assert not (again.path / "run.json").exists(), "it is no run of its own"


def test_more_rounds_keep_those_that_are_made(data, tmp_path, fakes):
    run = Run(recipe=recipe_with(data, rounds=2, starts=STARTS), path=tmp_path / "run")
    for name in ("teacher", "label", "student", "rounds"):
        make(name, run.recipe, run.path)
    assert run.rounds.result().best == 2
    kept = run.round(2, run.recipe).student.folder / "finished.json"
    before = kept.stat().st_mtime_ns
    make("rounds", recipe_with(data, rounds=3, starts=STARTS), run.path)
    assert run.rounds.result().best == 2 and len(run.rounds.result().rounds) == 3
    assert kept.stat().st_mtime_ns == before and [n for _, n in fakes[3:]] == ["2"] * 3 + ["3"] * 3


@pytest.fixture(scope="module")
def whole(two, data):
    """Two rounds and what follows; the second student fails once, and is scored as better."""
    run, patch = Run(recipe=two, path=data / "run"), pytest.MonkeyPatch()

    def scores(one):
        if not one.run.student.is_there:
            return None
        value, tasks = 0.1 * one.number, one.run.student.result().tasks
        test = {head: scored.metrics for head, scored in tasks.items()}
        return RoundScores(round=one.number, validation={"trees": value}, mean=value, test=test)

    with patch.context() as scored:
        scored.setattr(Round, "scores", scores)
        for stage in ("teacher", "label", "student"):
            make(stage, two, run.path)
        with patch.context() as killed:
            killed.setattr("must_keras.stages.student.fit", lambda *a, **k: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                make("rounds", two, run.path)
        made = {path: path.stat().st_mtime_ns for path in run.path.rglob("finished.json")}
        assert second_of(run).teacher("trees").folder / "finished.json" in made
        for stage in ("rounds", "transfer", "report"):
            make(stage, two, run.path)
        assert made == {path: path.stat().st_mtime_ns for path in made}
        yield run


def second_of(run: Run) -> Run:
    return run.round(2, run.recipe)


def weights(path, layer):
    return keras.saving.load_model(path).get_layer(layer).get_weights()


def test_a_student_labels_for_the_next(whole, two):
    second = second_of(whole)
    head = weights(second.teacher("trees").model_path, "trees")
    assert all(map(np.array_equal, weights(whole.student.model_path, "trees"), head))
    assert not np.array_equal(head[0], weights(second.student.model_path, "trees")[0])
    (pool,) = two.pools
    task = two.teachers[0].task
    readers = [
        PseudoLabelReader(run.labels("trees", "pile").folder, pool.source, task)
        for run in (whole, second)
    ]
    predicted = [np.stack([c.read(i)["probabilities"] for i in range(6)]) for c in readers]
    assert not np.allclose(*predicted)


def test_true_labels_win_in_every_round(whole):
    for run in (whole, second_of(whole)):
        origins = run.student.result().origins
        assert origins["trees_train"]["trees"].pseudo == 0
        assert origins["pile"]["trees"].true == 0 < origins["pile"]["trees"].pseudo


def test_the_best_student_is_a_start_and_stands_in_the_report(whole):
    report = json.loads((whole.path / "report.json").read_text())
    assert report["rounds"]["best"] == 2 and report["rounds"]["stopped"] == "all 2 rounds are made"
    assert [one["round"] for one in report["rounds"]["rounds"]] == [1, 2]
    rows = {row["start"]: row for row in report["transfers"]}
    assert list(rows) == list(STARTS)
    assert rows["rounds"]["copied"] == rows["student"]["copied"] == ["backbone"]
    page = pages.parse((whole.path / "report.html").read_text())
    (best,) = (line for line in page.iter("tr") if any(c.get("class") == "best" for c in line[1:2]))
    assert pages.text(best[0]) == "2", "the round with the best mean on validation"
    best = second_of(whole).student
    assert whole.rounds.result().model_sha256 == best.result().model_sha256
    assert whole.rounds.model_path.read_bytes() == best.model_path.read_bytes()


def test_nothing_is_made_again_and_status_names_all(whole, two, capsys):
    before = {path: path.stat().st_mtime_ns for path in whole.path.rglob("finished.json")}
    make("rounds", two, whole.path)
    status(two, whole.path)
    assert before == {path: path.stat().st_mtime_ns for path in whole.path.rglob("finished.json")}
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    for words in ("2: teacher trees", "2: label trees for pile", "2: student", "the best student"):
        assert ["rounds", *words.split(), "complete"] in lines


@pytest.mark.parametrize("name", ["all", "transfer"])
def test_another_run_reuses_the_rounds(whole, tmp_path, name):
    mine = dataclasses.replace(whole, path=tmp_path / "mine", others=(whole.path,))
    found = plan.of(mine, STAGES, name)
    found.check()
    found.reuse()
    assert second_of(mine).student.result() == second_of(whole).student.result()
    assert mine.rounds.result() == whole.rounds.result()
    assert mine.supervised.is_there == (name == "all" and whole.supervised.is_there)


def test_more_rounds_go_on_with_those_that_are_made(whole, recipe):
    more = dataclasses.replace(whole, recipe=recipe)
    found = plan.of(more, STAGES)
    found.check()
    renewed = [item.artifact.name for item in found.items if item.action is plan.Action.RENEW]
    assert renewed == ["the best student"]
    assert next_round(more).path == whole.path / "rounds" / "3"


def test_transfers_stay_where_the_first_student_of_complete_rounds_is_gone(whole):
    aside = whole.path / "aside"
    whole.student.folder.rename(aside)
    found = plan.of(whole, STAGES, "transfer")
    aside.rename(whole.student.folder)
    actions = {
        item.artifact.stage: item.action for item in found.items if "rounds" in item.artifact.name
    }
    assert actions["transfer"] is plan.Action.KEEP


def test_another_student_names_what_it_has_taught(whole):
    changed = whole.student.model_path
    kept = changed.read_bytes()
    changed.write_bytes(kept + b" ")
    try:
        with pytest.raises(UserError, match=r"start.sha256.*delete.*rounds/2/teachers/trees"):
            plan.of(whole, STAGES).check()
    finally:
        changed.write_bytes(kept)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rounds": 0}, "rounds=0: at least 1"),
        ({"rounds": 1, "starts": STARTS}, "starts=rounds"),
        ({"labelers": OWN, "starts": ("random",)}, "rounds=1: at least 2 are needed"),
        ({"labelers": OWN, "starts": ("random",), "rounds": 2}, "add 'rounds'"),
        (
            {"labelers": OWN, "starts": STARTS, "rounds": 2},
            r"starts=student: the first student has the network of labelers\[0\].*'rounds' has it",
        ),
        ({"labelers": (LARGE,)}, "labelers contain a Network, expected a Labeler"),
    ],
)
def test_recipes_that_cannot_be(data, changes, message):
    with pytest.raises(UserError, match=message):
        recipe_with(data, **changes)


def test_without_a_transfer_that_starts_from_them_there_are_no_rounds(data, tmp_path):
    idle = recipe_with(data, rounds=3)
    assert not rounds.STAGE.is_wanted(Run(recipe=idle, path=tmp_path))
    items = plan.of(Run(recipe=idle, path=tmp_path), STAGES).items
    assert "rounds" not in {item.artifact.stage for item in items}
    with pytest.raises(UserError, match='stage="rounds": no transfer of this recipe'):
        make("rounds", idle, tmp_path / "run")
