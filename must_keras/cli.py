"""The program `must-keras`: a command for each thing that people do with runs and models."""

import argparse
import dataclasses
import importlib.metadata
import pathlib
import sys
from typing import Any

from must_keras import command, compare, labels, predict, repeat, replay, stages
from must_keras.api.opened import open_run
from must_keras.command import Command
from must_keras.errors import UserError, not_allowed
from must_keras.exports import LiteRT, Onnx
from must_keras.request import Request

_STAGES = ", ".join(("all", *stages.NAMES))
_FORMATS = {form.name: form for form in (Onnx(), LiteRT())}


def _names(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.split(",")))


def _of_recipe(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "recipe",
        help="a recipe of must_keras or the path of your own, with arguments, as in "
        "'scenes:seed=1,starts=random+student'; or the folder of a run",
    )
    add("--workdir", type=pathlib.Path, help="the run's folder; default is runs/<recipe>")
    add("--only", type=_names, default=(), help="teachers, methods or transfers: name,name")
    add("--reuse", type=pathlib.Path, help="another run, whose equal artifacts are reused")
    add("--data_dir", help="where TFDS keeps its data sets")
    add("--trusted", action="store_true", help="run the recipe that a run's folder names")


def _of_run(parser: argparse.ArgumentParser) -> None:
    _of_recipe(parser)
    add = parser.add_argument
    add("--stage", default="all", help=f"one of {_STAGES}; complete work is skipped")
    add("--strategy", default="auto", help="devices: auto, one, mirrored, multiworker or tpu")
    add(
        "--label_engine", default="local", help="where labels are made: local, ray or ray:workers=4"
    )


def _of_diff(parser: argparse.ArgumentParser) -> None:
    _of_recipe(parser)
    parser.add_argument("other", type=pathlib.Path, help="another run's labels/<teacher>/<source>")


def _of_init(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "data", nargs="+", help="folders, files or tfds:<name>; with answers: PATH:unit=millimeters"
    )
    add("--to", type=pathlib.Path, required=True, help="the recipe's file, a new .py")


def _init(given: argparse.Namespace) -> None:
    with command.quiet_import():
        from must_keras.inspection import init
    init(given.data, given.to)


def _of_export(parser: argparse.ArgumentParser) -> None:
    _of_recipe(parser)
    add = parser.add_argument
    formats = ", ".join(_FORMATS)
    add("--format", type=_names, default=(), help=f"further formats, name,name: {formats}")
    add("--heads", type=_names, default=(), help="heads that they have, name,name; default is all")


def _export(given: argparse.Namespace) -> None:
    for name in given.format:
        if name not in _FORMATS:
            raise not_allowed(f"format={name}", name, _FORMATS, key="format")
    if given.heads and not given.format:
        raise UserError.of("", "heads", ",".join(given.heads), "give their format too")
    forms = [dataclasses.replace(_FORMATS[name], heads=given.heads) for name in given.format]
    _request(given, exports=tuple(forms)).make("export")


def _request(given: argparse.Namespace, **further: Any) -> Request:
    names = ("workdir", "only", "reuse", "data_dir", "trusted")
    return Request.of(given.recipe, **{name: getattr(given, name) for name in names}, **further)


def _status(given: argparse.Namespace) -> None:
    # A folder alone is read as data: what comes next would take its recipe, which is a program.
    if pathlib.Path(given.recipe).is_dir() and not given.trusted:
        print(open_run(given.recipe).status())
    else:
        _request(given).status()


def _run(given: argparse.Namespace) -> None:
    request = _request(given, strategy=given.strategy, label_engine=given.label_engine)
    request.make(given.stage)


COMMANDS = (
    Command(
        name="init",
        summary="Look at folders of data, print what they contain, and write a recipe for them.",
        add_arguments=_of_init,
        main=_init,
    ),
    Command(
        name="run",
        summary="Make what is not complete of a run; the same command resumes it.",
        add_arguments=_of_run,
        main=_run,
    ),
    Command(
        name="export",
        summary="Export the student of a run, to ONNX or LiteRT too.",
        add_arguments=_of_export,
        main=_export,
    ),
    Command(
        name="status",
        summary="Print what of a run is complete, and what comes next.",
        add_arguments=_of_recipe,
        main=_status,
    ),
    Command(
        name="check",
        summary="Print how many of the student's examples have true, pseudo and missing labels.",
        add_arguments=_of_recipe,
        main=lambda given: _request(given).check(),
    ),
    Command(
        name="plan",
        summary="Print the hours, gigabytes and memory that labeling takes; write nothing.",
        add_arguments=_of_recipe,
        main=lambda given: _request(given).plan(),
    ),
    Command(
        name="verify",
        summary="Read the pseudo labels of a run back, and compare them with their ledgers.",
        add_arguments=_of_recipe,
        main=lambda given: _request(given).verify(),
    ),
    Command(
        name="diff",
        summary="Compare the pseudo labels of a run with those of another.",
        add_arguments=_of_diff,
        main=lambda given: _request(given).diff(given.other),
    ),
    labels.EXPORT,
    labels.IMPORT,
    predict.COMMAND,
    compare.COMMAND,
    repeat.COMMAND,
    replay.COMMAND,
)


def main() -> int:
    """Run the command that the command line names; return its exit status."""
    if sys.argv[1:] == ["--version"]:
        print(importlib.metadata.version("must_keras"))
        return 0
    return command.run_one_of(COMMANDS)


if __name__ == "__main__":
    sys.exit(main())
