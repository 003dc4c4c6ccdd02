"""The wording of typical messages, in full; all other tests ask errors for their fields.

A message has what failed, where, the value received, what is allowed, and what to do next.
"""

import argparse
import ast
import pathlib
import re

import pytest
from absl import flags

from must_keras import cli, command, experiment, interruption, main, naming
from must_keras.data.io.images import read_image
from must_keras.data.sources import CocoJson
from must_keras.data.splits import Splits
from must_keras.errors import DataError, UserError, argument
from must_keras.inference.external import ExternalModel
from must_keras.inference.model import Model
from must_keras.inference.results import Results
from must_keras.json_files import json_lines, read_json
from must_keras.log import LOG
from must_keras.training.strategy import make_strategy

PACKAGE = pathlib.Path(main.__file__).parent
# What has flags of its own.
PROGRAMS = ("cli", "command", "compare", "labels", "main", "predict", "repeat")


def model(**changed):
    arguments = {"model": len, "version": "1", "size": 8, "form": "logits"}
    return ExternalModel(**(arguments | changed))


def saved_model(folder):
    (folder / "saved_model.pb").write_bytes(b"")
    return Model.load(folder)


def read(folder, text, kind, reader=read_json):
    (folder / "a.json").write_text(text)
    return list(reader(folder / "a.json", kind, remedy="delete it to make it again"))


MESSAGES = {
    # Arguments of a recipe, and names in it.
    "unknown recipe 'scene'; did you mean 'scenes'? allowed are ": lambda _: experiment.find("scene"),
    "recipe scenes has no argument 'sead'; did you mean 'seed'? allowed are ": lambda _: (
        experiment.load("scenes", {"sead": "1"}, data_dir=None)
    ),
    "recipe scenes: seed='one': expected int": lambda _: (
        experiment.load("scenes", {"seed": "one"}, data_dir=None)
    ),
    "recipe x: teacher 'con' names a folder: Windows opens a device of this name; choose another "
    "name": lambda _: naming.check_name("con", "recipe x: teacher"),
    "recipe x: the teachers 'cats' and 'Cats' have one name on disks that ignore case or the form "
    "of accents; rename one of them": lambda _: (
        naming.check_distinct(["cats", "Cats"], "recipe x", "teachers")
    ),
    # Arguments of Python.
    "Splits: train is an int, expected a Source": lambda _: Splits(train=1, validation=2, test=3),
    "strategy=tow; allowed are auto, one, mirrored, multiworker, tpu": lambda _: (
        make_strategy("tow")
    ),
    "an external model: scale=(1.0, 0.0, 1.0): expected no 0": lambda _: model(scale=(1.0, 0.0, 1.0)),
    "an external model: colors='bgra'; did you mean 'bgr'? allowed are rgb, bgr": lambda _: (
        model(colors="bgra")
    ),
    # Files.
    "{folder}/a.json cannot be read as JSON: Expecting property name enclosed in double quotes: "
    "line 1 column 2 (char 1)": lambda folder: (
        (folder / "a.json").write_text("{"),
        CocoJson(name="boxes", images=folder, annotations=folder / "a.json", head="boxes"),
    ),
    "there is no file {folder}/gone.png": lambda folder: read_image(folder / "gone.png"),
    "{folder}/a.json is damaged: its rows[1].value is 'x', expected a number or null; delete it to "
    "make it again": lambda folder: (
        read(folder, '{"rows": [{}, {"value": "x"}]}', dict[str, list[dict[str, float | None]]])
    ),
    "{folder}/a.json is damaged: line 2: it is no JSON at column 1: Expecting value; delete it to "
    "make it again": lambda folder: read(folder, "3\n<<\n", int, json_lines),
    "{folder}/gone is not there: did you mean 'gone-1'? allowed are gone-1; expected a run's "
    "folder, the folder of its student or of a teacher, a model.keras, or an exported "
    "saved_model": lambda folder: ((folder / "gone-1").mkdir(), Model.load(folder / "gone")),
    "{folder} is a SavedModel, a program that runs with your rights. If you know who made it, set "
    "trusted=True; or give a run's folder or a model.keras, which are read as data": saved_model,
    "{folder} is not empty; give a new folder": lambda folder: (
        (folder / "mine.txt").write_text("mine"), Results(folder, ())
    ),
}  # fmt: skip


@pytest.mark.parametrize("message", MESSAGES)
def test_messages_of_the_library(message, tmp_path):
    with pytest.raises((UserError, DataError)) as error:
        MESSAGES[message](tmp_path)
    found, expected = str(error.value), message.format(folder=tmp_path)
    assert found.startswith(expected) if expected.endswith("allowed are ") else found == expected


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (UserError.of("", "workdir", "x", "it is a file"), 2,
         "error: --workdir='x': it is a file"),
        (UserError(f'run {argument("stage", "label")} first'), 2, "error: run --stage=label first"),
        (DataError("a.csv: line 3 is empty"), 3, "error: a.csv: line 3 is empty"),
        (KeyboardInterrupt(), 130, "interrupted; re-run the same command to resume"),
        (interruption.Interrupted("SIGTERM at step 3 of 9, which is saved"), 75,
         "interrupted: SIGTERM at step 3 of 9, which is saved; re-run the same command to resume"),
        (interruption.Interrupted("Ctrl-C; complete artifacts are kept", by_keyboard=True), 130,
         "interrupted: Ctrl-C; complete artifacts are kept; re-run the same command to resume"),
        (OSError(28, "No space left on device", "runs/a/x"), 2,
         "error: runs/a/x: No space left on device"),
    ],
)  # fmt: skip
def test_messages_of_a_program(error, status, message, capsys):
    assert main.STAGES  # Its flags are defined.
    if not flags.FLAGS.is_parsed():
        flags.FLAGS(["main"])

    def fail():
        raise error

    assert command._status(fail, flags.FLAGS) == status
    assert capsys.readouterr().err == f"{message}\n"


# ---- arguments and flags ------------------------------------------------------------------------


def test_the_library_names_no_flags():
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.relative_to(PACKAGE).with_suffix("").as_posix() in PROGRAMS:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
            if is_text and re.search(r"(?<![\w-])--[a-z]", node.value):
                found.append(f"{path.relative_to(PACKAGE)}:{node.lineno}: {node.value}")
    assert not found


def test_the_arguments_of_a_run_are_flags_of_both_programs():
    parser = argparse.ArgumentParser()
    next(one for one in cli.COMMANDS if one.name == "run").add_arguments(parser)
    known = {text for action in parser._actions for text in action.option_strings}
    assert {f"--{name}" for name in command.OF_RUNS} <= known
    assert set(command.OF_RUNS) <= {f.name for f in flags.FLAGS.get_flags_for_module(main)}


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ('run stage="label" first', "run --stage=label first"),
        (f"{argument('workdir', 'a b')}, {argument('reuse', '../a')}, which is read",
         "'--workdir=a b' --reuse=../a, which is read"),
        (argument("reuse", 'say "é"\\'), "'--reuse=say \"é\"\\'"),
        ("choose another `workdir`, or the same `only`", "choose another --workdir, or the same --only"),
        # Other arguments, and folders of such names.
        ('task="label", by `size`', 'task="label", by `size`'),
        ("/a/stage=3/workdir: stage=3", "/a/stage=3/workdir: stage=3"),
    ],
)  # fmt: skip
def test_programs_print_arguments_as_flags(message, shown):
    assert command.as_flags(message) == shown


def test_what_a_run_reports_names_flags_in_a_program_alone(capsys):
    def report():
        LOG.info('next: stage="label"')
        LOG.warning("warning: choose another `workdir`")

    assert command._status(report, ()) == 0
    report()
    out, err = capsys.readouterr()
    assert out.splitlines() == ["next: --stage=label", 'next: stage="label"']
    assert err.splitlines() == [
        "warning: choose another --workdir", "warning: choose another `workdir`",
    ]  # fmt: skip
