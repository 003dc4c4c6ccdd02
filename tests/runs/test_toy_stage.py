"""A further stage needs one file and a place in the order: the rest follows from what it declares."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from fakes.tiny_run import draw, recipe_with
from must_keras import stages
from must_keras.errors import UserError
from must_keras.runs import plan
from must_keras.runs.executor import Executor
from must_keras.runs.plan import Action
from must_keras.runs.run import Run
from must_keras.stages.status import status
from runs import toy_stage

# The report comes last: it collects what all stages have found.
STAGES = (*stages.load()[:-1], toy_stage.STAGE, stages.load()[-1])
# A picture of each kind more than the others: the classes differ in number.
COUNTS = {"trees": {"elm": 3.0, "oak": 4.0}, "houses": {"high": 3.0, "low": 4.0}}


def executor_of(data, path, **options) -> Executor:
    return Executor(STAGES, load=lambda: recipe_with(data), workdir=path, strategy="one", **options)


def kill_at(call, kill):
    """The function that counts classes; at some call of it, the process is killed."""
    whole, calls = toy_stage.count_classes, []

    def count_classes(examples, task, *, indices):
        calls.append((task.name, *indices))
        if len(calls) == call:
            kill()
        return whole(examples, task, indices=indices)

    toy_stage.count_classes = count_classes
    return calls


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    draw(folder)
    for name, kind in (("trees", "oak"), ("houses", "low")):
        train = folder / name / "train"
        Image.open(train / kind / "0.png").rotate(90).save(train / kind / "more.png")
    return folder


@pytest.fixture(scope="module")
def whole(data) -> Run:
    """A run of the stage and of the report."""
    path = data / "whole"
    for name in ("histogram", "report"):
        executor_of(data, path).make(name)
    return Run(recipe=recipe_with(data), path=path)


@pytest.fixture
def lines(capsys):
    """A function: what `--stage=status` prints of the stage, {name: state}."""

    def read(data, path, **options) -> dict[str, str]:
        executor_of(data, path, **options).read(status, new=True, others=True)
        found = capsys.readouterr().out.splitlines()
        return {x[10:50].strip(): x[51:] for x in found if x.startswith("histogram ")}

    return read


def test_it_runs_and_stands_in_the_report(whole):
    report = json.loads((whole.path / "report.json").read_text())
    assert report["histogram"] == {name: {"classes": counts} for name, counts in COUNTS.items()}
    assert report["seconds"].keys() == {"histogram"}
    for name in COUNTS:
        folder = whole.path / "histogram" / name
        picture = np.asarray(Image.open(folder / "pictures" / "histogram.png"))
        black = (picture == 0).all(-1).sum(0)[:: toy_stage.UNIT] / toy_stage.UNIT
        assert list(black) == list(COUNTS[name].values())


def test_status_shows_it(data, whole, tmp_path, lines):
    assert lines(data, tmp_path / "new") == dict.fromkeys(COUNTS, "not begun, will be made")
    assert lines(data, whole.path) == dict.fromkeys(COUNTS, "complete")


def test_what_is_complete_is_not_made_again(data, whole, capsys):
    made = [path.stat().st_mtime_ns for path in whole.path.rglob("finished.json")]
    executor_of(data, whole.path).make("histogram")
    assert "histogram: trees, houses are complete (skipped)" in capsys.readouterr().out
    assert made == [path.stat().st_mtime_ns for path in whole.path.rglob("finished.json")]


def test_only_one_of_its_artifacts_is_made(data, tmp_path):
    executor_of(data, tmp_path / "run", only=("houses",)).make("histogram")
    assert [path.name for path in (tmp_path / "run" / "histogram").iterdir()] == ["houses"]
    with pytest.raises(UserError, match="only=castles; .*trees, houses"):
        executor_of(data, tmp_path / "run", only=("castles",)).make("histogram")


def test_another_run_reuses_it(data, whole, tmp_path, lines, monkeypatch, capsys):
    monkeypatch.setattr(toy_stage, "count_classes", None)
    theirs = whole.path / "histogram"
    expected = {name: f"reused from {theirs / name}" for name in COUNTS}
    assert lines(data, tmp_path / "mine", reuse=whole.path) == expected
    executor_of(data, tmp_path / "mine", reuse=whole.path).make("histogram")
    assert f"reused from {theirs / 'trees'}" in capsys.readouterr().out
    for name in COUNTS:
        file = pathlib.Path(name, "pictures", "histogram.png")
        assert (tmp_path / "mine" / "histogram" / file).samefile(theirs / file)


def test_other_images_stop_it(data, whole):
    """The artifact of the changed set alone must be made again."""
    extra = data / "houses" / "train" / "low" / "extra.png"
    Image.open(extra.with_name("0.png")).save(extra)
    try:
        found = plan.of(Run(recipe=recipe_with(data), path=whole.path), STAGES, "histogram")
    finally:
        extra.unlink()
    assert [item.action for item in found.items] == [Action.KEEP, Action.BLOCK]
    assert str(whole.path / "histogram" / "houses") in found.obstacle


class Killed(BaseException):
    """Stands for the end of the process."""


def end():
    raise Killed


def in_a_process(data, path) -> None:
    """Run the stage in a process that kills itself."""
    code = (
        "import os, pathlib, sys; from runs import test_toy_stage as t; data, path = map(pathlib.Path, sys.argv[1:])\n"
        "t.kill_at(10, lambda: os.kill(os.getpid(), 9)); t.executor_of(data, path).make('histogram')"
    )
    here = pathlib.Path(__file__).parent
    folders = os.pathsep.join(map(str, (here.parents[1], here.parent)))
    command = [sys.executable, "-c", code, str(data), str(path)]
    process = subprocess.run(command, env=os.environ | {"PYTHONPATH": folders}, check=False)
    assert process.returncode == -signal.SIGKILL


def in_this_process(data, path) -> None:
    kill_at(10, end)
    with pytest.raises(Killed):
        executor_of(data, path).make("histogram")


@pytest.mark.parametrize(
    "killed", [in_this_process, pytest.param(in_a_process, marks=pytest.mark.slow)]
)
def test_it_is_resumed_where_it_was_killed(data, whole, tmp_path, lines, monkeypatch, killed):
    monkeypatch.setattr(toy_stage, "count_classes", toy_stage.count_classes)
    path = tmp_path / "run"
    killed(data, path)
    states = {"trees": "complete", "houses": "begun, 2 of 7, will be resumed"}
    assert lines(data, path) == states
    monkeypatch.undo()
    calls = kill_at(-1, end)
    executor_of(data, path).make("histogram")
    assert calls == [("houses", index) for index in range(2, 7)]
    found = {
        str(file.relative_to(run)): file.read_bytes()
        for run in (path, whole.path)
        for file in (run / "histogram").rglob("*.*")
        if file.is_file()
    }
    assert found
    for name, content in found.items():
        assert (path / name).read_bytes() == (whole.path / name).read_bytes() == content
