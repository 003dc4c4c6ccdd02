"""What the executor does with stages that only declare: here two of them, which write nothing."""

import contextlib

import pytest

from fakes.tiny_run import draw, recipe_with
from must_keras.errors import UserError
from must_keras.runs import executor
from must_keras.runs.executor import Executor
from must_keras.runs.run import Run
from must_keras.runs.stage import Further, Stage


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("executor")
    draw(folder)
    return recipe_with(folder)


class Fake(Stage):
    """A stage of one artifact, by default the chief's.

    Args:
        made: (name of the stage, name of the run's folder) of what is made.
        inputs: returns what the artifact is made from; by default the name of the run's folder.
        declared: more of what the artifact declares.
    """

    def __init__(
        self,
        name,
        made,
        *,
        needs=(),
        by_all_workers=False,
        is_shown=True,
        rounds=0,
        inputs=lambda run: {"run": run.path.name},
        **declared,
    ):
        self.name, self._made, self._needs, self._rounds = name, made, needs, rounds
        self._inputs, self._declared = inputs, declared
        self.by_all_workers, self.is_shown = by_all_workers, is_shown

    def artifacts(self, run):
        needs = tuple(artifact for stage in self._needs for artifact in stage.artifacts(run))
        yield run.artifact(self.name).declare(
            stage=self.name,
            find_inputs=self._inputs and (lambda: self._inputs(run)),
            needs=needs,
            **self._declared,
        )

    def make(self, run, pending):
        self._made.append((self.name, run.path.name))
        for artifact in pending:
            artifact.begin()
            artifact.finish({})

    def further(self, run):
        for number in range(2, 2 + self._rounds):
            yield Further(run.round(number, run.recipe), self._needs)


def make(stages, recipe, path, name="all", **options):
    Executor(stages, load=lambda: recipe, workdir=path, strategy="one", **options).make(name)


def test_stages_are_made_in_order_and_once(recipe, tmp_path, capsys):
    made = []
    first = Fake("first", made, by_all_workers=True)
    stages = (first, Fake("second", made, needs=(first,)))
    for _ in range(2):
        make(stages, recipe, tmp_path / "run")
    assert made == [("first", "run"), ("second", "run")]
    assert "first: it is complete (skipped)" in capsys.readouterr().out


def test_a_stage_does_not_run_before_what_it_needs(recipe, tmp_path):
    made = []
    first = Fake("first", made)
    with pytest.raises(UserError, match='run stage="first" first'):
        make((first, Fake("second", made, needs=(first,))), recipe, tmp_path / "run", "second")
    assert not made


def test_a_hidden_stage_is_made_for_the_stage_that_needs_it(recipe, tmp_path):
    made = []
    hidden = Fake("hidden", made, is_shown=False)
    stages = (Fake("first", made), hidden, Fake("second", made, needs=(hidden,)))
    make(stages, recipe, tmp_path / "run", "first")
    assert made == [("first", "run")]
    make(stages, recipe, tmp_path / "run", "second")
    assert made[1:] == [("hidden", "run"), ("second", "run")]


class Pair(Fake):
    """Two artifacts, "one" and "two", each made from those of the same name."""

    def artifacts(self, run):
        needed = [artifact for stage in self._needs for artifact in stage.artifacts(run)]
        for name in ("one", "two"):
            yield run.artifact(self.name, name).declare(
                stage=self.name,
                name=name,
                group=name,
                find_inputs=lambda: {},
                needs=tuple(artifact for artifact in needed if artifact.name == name),
            )

    def make(self, run, pending):
        super().make(run, pending)
        self._made[-1] = (self.name, *(artifact.name for artifact in pending))


def test_of_a_hidden_stage_only_the_selected_groups_are_made(recipe, tmp_path):
    made = []
    first = Pair("first", made)
    hidden = Pair("hidden", made, needs=(first,), is_shown=False)
    stages = (first, hidden, Pair("second", made, needs=(hidden,)))
    make(stages, recipe, tmp_path / "run", "first", only=("two",))
    make(stages, recipe, tmp_path / "run", "second", only=("two",))
    assert made == [("first", "two"), ("hidden", "two"), ("second", "two")]
    with pytest.raises(UserError, match='run stage="first" first'):
        make(stages, recipe, tmp_path / "run", "second")


def test_inputs_that_become_known_late_stop_the_run_before_it_learns_from_them(recipe, tmp_path):
    made, known = [], {"value": 1}

    class Counting(Fake):
        def revisit(self, run, artifact):
            known["value"] = 2

    first = Counting("first", made)
    second = Fake(
        "second", made, needs=(first,), inputs=lambda run: known["value"] and known.copy()
    )
    stages = (first, second, Fake("third", made, needs=(second,)))
    make(stages, recipe, tmp_path / "run")
    known["value"] = None
    with pytest.raises(UserError) as error:
        make(stages, recipe, tmp_path / "run")
    assert all(str(tmp_path / "run" / name) in str(error.value) for name in ("second", "third"))
    assert len(made) == 3


def test_a_hidden_artifact_that_is_reused_counts_as_a_new_one(recipe, tmp_path):
    made, tests = [], {"tests": 1}
    renewed = {"is_shown": False, "is_renewed": True, "restarts": True}
    hidden = Fake("hidden", made, inputs=lambda run: tests.copy(), **renewed)
    second = Fake(
        "second",
        made,
        needs=(hidden,),
        inputs=lambda run: (
            (found := next(hidden.artifacts(run))).result_of(found.inputs) and tests.copy()
        ),
    )
    stages = (Fake("first", made), hidden, second, Fake("third", made, needs=(second,)))

    def write(run, pending):
        for artifact in pending:
            artifact.begin()
            artifact.finish(tests)

    hidden.make = write
    make(stages, recipe, tmp_path / "runs" / "old")
    tests["tests"] = 2
    make(stages, recipe, tmp_path / "runs" / "new", "second")
    with pytest.raises(UserError) as error:
        make(stages, recipe, tmp_path / "runs" / "old")
    folder = tmp_path / "runs" / "old"
    assert all(str(folder / name) in str(error.value) for name in ("second", "third"))


def test_a_complete_artifact_whose_inputs_are_not_known_is_left_to_its_stage(recipe, tmp_path):
    made, known = [], {"value": 1}
    stage = Fake("first", made, inputs=lambda run: known["value"] and known.copy())
    make((stage,), recipe, tmp_path / "run")
    known["value"] = None

    def missing(run, pending):
        raise UserError("what it is made from is missing")

    stage.make = missing
    with pytest.raises(UserError, match="what it is made from is missing"):
        make((stage,), recipe, tmp_path / "run")


def test_an_artifact_without_declared_inputs_is_not_reused(recipe, tmp_path):
    made = []
    stages = (Fake("first", made, inputs=None),)
    for name in ("a", "b"):
        make(stages, recipe, tmp_path / "runs" / name)
    assert made == [("first", "a"), ("first", "b")]


def test_runs_within_a_run_come_before_its_own_artifacts(recipe, tmp_path):
    made = []
    first = Fake("first", made)
    stages = (first, Fake("last", made, needs=(first,), rounds=2))
    make(stages, recipe, tmp_path / "run")
    assert made == [("first", "run"), ("first", "2"), ("first", "3"), ("last", "run")]
    assert Run(recipe=recipe, path=tmp_path / "run" / "rounds" / "2").artifact("first").is_there


def test_whoever_is_not_the_chief_does_none_of_its_work(recipe, tmp_path, monkeypatch):
    """Alone, under a strategy of its own, every process would call itself the chief."""
    inside = []

    @contextlib.contextmanager
    def alone(devices):
        inside.append(devices)
        yield
        inside.pop()

    monkeypatch.setattr(executor, "on_chief", alone)
    # What the chief finds: nothing is complete yet.
    monkeypatch.setattr(executor, "broadcast_from_chief", lambda find: 0.0)
    for is_chief in (lambda: bool(inside), lambda: not inside):
        monkeypatch.setattr(executor, "is_chief", is_chief)
        made, path = [], tmp_path / f"run {is_chief()}"
        stages = (Fake("chief", made), Fake("workers", made, by_all_workers=True))
        make(stages, recipe, path)
        names = ["chief", "workers"] if is_chief() else ["workers"]
        assert made == [(name, path.name) for name in names]
        assert (path / "run.json").exists() == (path / "seconds.json").exists() == is_chief()
