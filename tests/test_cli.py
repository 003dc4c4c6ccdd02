"""The program `must-keras`: its commands, their help, and what they ask of a run."""

import json
import pathlib
import subprocess
import sys
import time

import pytest

from must_keras import cli, command
from must_keras.errors import UserError
from must_keras.request import Request

ROOT = pathlib.Path(__file__).resolve().parents[1]
NAMES = (
    "init", "run", "export", "status", "check", "plan", "verify", "diff", "labels export", "labels import", "predict", "compare", "repeat",
    "replay",
)  # fmt: skip


@pytest.fixture
def asked(monkeypatch):
    """What is asked of requests, which are not made: (method, request, further arguments)."""
    found = []
    for name in ("make", "status", "check", "plan", "verify", "diff", "export", "import_corrected"):
        monkeypatch.setattr(
            Request,
            name,
            lambda *given, name=name, **options: found.append((name, *given, *options.values())),
        )
    return found


def test_the_list_of_commands():
    assert tuple(one.name for one in cli.COMMANDS) == NAMES


def test_help_takes_less_than_a_second_and_imports_nothing_heavy():
    code = (
        "import sys; from must_keras import cli; status = cli.main(); "
        "print(sorted({'tensorflow', 'keras'} & set(sys.modules)), status)"
    )
    start = time.process_time()
    answer = subprocess.run(
        [sys.executable, "-c", code.replace("cli.main()", "0")], cwd=ROOT, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    assert answer.stdout.split() == ["[]", "0"]
    assert time.process_time() - start < 1


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_help(name, capsys):
    with pytest.raises(SystemExit) as end:
        command.run_one_of(cli.COMMANDS, [*name.split(), "--help"])
    assert end.value.code == 0
    assert f"usage: must-keras {name}" in capsys.readouterr().out


def test_the_program_lists_its_commands(capsys):
    with pytest.raises(SystemExit) as end:
        command.run_one_of(cli.COMMANDS, ["--help"])
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert all(f"    {name}" in out for name in NAMES)


def test_options_become_a_request(asked):
    options = ["--workdir=w", "--only=a,b", "--reuse=r", "--data_dir=d"]
    more = ["--stage=student", "--strategy=one", "--label_engine=ray"]
    common = {
        "experiment": "scenes:seed=1", "workdir": pathlib.Path("w"), "only": ("a", "b"),
        "reuse": pathlib.Path("r"), "data_dir": "d",
    }  # fmt: skip
    assert command.run_one_of(cli.COMMANDS, ["run", "scenes:seed=1", *options, *more]) == 0
    assert command.run_one_of(cli.COMMANDS, ["diff", "scenes:seed=1", "x/y", *options]) == 0
    assert asked == [
        ("make", Request(**common, strategy="one", label_engine="ray"), "student"),
        ("diff", Request(**common), pathlib.Path("x/y")),
    ]


@pytest.mark.parametrize("name", ["status", "check", "plan", "verify"])
def test_a_view_is_asked_of_a_recipe(name, asked):
    assert command.run_one_of(cli.COMMANDS, [name, "scenes"]) == 0
    assert asked == [(name, Request(experiment="scenes"))]


def test_labels_leave_a_run_and_come_back(asked):
    words = ["labels", "export", "scenes", "--to=out", "--format=coco", "--threshold=0.5"]
    assert command.run_one_of(cli.COMMANDS, [*words, "--least-certain=50"]) == 0
    request = Request(experiment="scenes")
    to = pathlib.Path("out")
    assert asked.pop() == ("export", request, to, "coco", 0.5, None, None, 50, True)
    words = ["labels", "import", "scenes", "a.json", "--to=out", "--format=coco", "--pool=pile"]
    assert command.run_one_of(cli.COMMANDS, words) == 0
    corrected = pathlib.Path("a.json")
    assert asked == [("import_corrected", request, corrected, to, "coco", None, "pile", None)]


def test_a_folder_stands_for_the_recipe_that_it_records(asked, tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"experiment": "scenes:seed=1", "seed": 1}))
    assert command.run_one_of(cli.COMMANDS, ["check", str(tmp_path)]) == 0
    assert asked == [("check", Request(experiment="scenes:seed=1", workdir=tmp_path))]


def test_a_recipe_that_a_folder_names_runs_only_where_it_is_trusted(asked, tmp_path, capsys):
    (tmp_path / "run.json").write_text(json.dumps({"experiment": "/a/mine.py:x=1"}))
    assert command.run_one_of(cli.COMMANDS, ["check", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "/a/mine.py" in line and "set --trusted" in line and not asked
    assert command.run_one_of(cli.COMMANDS, ["check", str(tmp_path), "--trusted"]) == 0
    assert asked == [("check", Request(experiment="/a/mine.py:x=1", workdir=tmp_path))]


def test_the_status_of_a_folder_is_read_as_data(asked, tmp_path, capsys):
    recipe = {"teachers": [{"name": "boxes"}]}
    run = {"experiment": "/a/mine.py:x=1", "recipe": recipe}
    (tmp_path / "run.json").write_text(json.dumps(run))
    assert command.run_one_of(cli.COMMANDS, ["status", str(tmp_path)]) == 0
    assert "teachers/boxes" in capsys.readouterr().out and not asked
    assert command.run_one_of(cli.COMMANDS, ["status", str(tmp_path), "--trusted"]) == 0
    assert asked == [("status", Request(experiment="/a/mine.py:x=1", workdir=tmp_path))]


@pytest.mark.parametrize("content", [None, {}, {"experiment": None}, {"experiment": 3}])
def test_folders_that_name_no_recipe(content, tmp_path):
    if content is not None:
        (tmp_path / "run.json").write_text(json.dumps(content))
    with pytest.raises(Exception, match=r"run\.json"):
        Request.of(str(tmp_path))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rnu"], "there is no command 'rnu'; did you mean 'run'?"),
        ([], "required: COMMAND"),
        (["run"], "required: recipe"),
        (["run", "scenes", "--stge=x"], "unknown option --stge; did you mean 'stage'?"),
        (["run", "scenes", "--stage=studnt"], "--stage=studnt; did you mean 'student'?"),
        (["run", "scenes", "more"], "unexpected argument 'more'"),
        (["run", "scenez"], "unknown recipe 'scenez'; did you mean 'scenes'?"),
        (["repeat", "scenes:seed=1"], "give seed by seeds instead"),
        (["predict", "x.jpg"], "--model, --out"),
        (
            ["labels"],
            "no command 'labels'; did you mean 'labels import'? allowed are labels export,",
        ),
        (["labels", "exprt", "x"], "no command 'labels exprt'; did you mean 'labels export'?"),
        (["labels", "export", "scenes"], "required: --to, --format"),
    ],
)
def test_mistakes_are_one_line(words, message, capsys):
    assert command.run_one_of(cli.COMMANDS, words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and message in line


def test_a_stage_that_only_looks_is_a_command_of_its_own():
    with pytest.raises(UserError) as error:
        Request().make("status")
    assert "student" in error.value.allowed and "status" not in error.value.allowed
