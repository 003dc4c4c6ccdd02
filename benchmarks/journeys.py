"""How far a reader has to go: files and functions that a stage opens, in the order of its calls.

    python -m benchmarks.journeys [--list]

Makes a tiny run of the default recipe in a temporary folder and follows two commands of it, one
that labels a pool and one that transfers, from main to the training loop. A function is opened when
it is called for the first time; a return is a step to a file that was opened before and left since.
Functions of tasks, data, training, models and operations are not counted: they end the way. Prints
one JSON line a journey; --list prints the functions as well.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import tempfile
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

from absl import flags

import must_keras
from must_keras import command, main

PACKAGE = pathlib.Path(must_keras.__file__).parent
# Their functions are the ends of a way.
ENDS = (
    "data", "modeling", "models", "ops", "self_supervised", "selfsup", "synthetic", "tasks",
    "training",
)  # fmt: skip
RECIPE = (
    "--experiment=scenes:images=40,pool_images=48,teacher_steps=1,student_steps=1,"
    "transfer_steps=1,transfer_seeds=1"
)
ONLY = {"label": "objects", "transfer": "dev_boxes"}


class Journey:
    """The functions of the package that are called, in the order of their first calls.

    Attributes:
        way: (file relative to the package, function), each once.
    """

    def __init__(self) -> None:
        self.way: list[tuple[str, str]] = []
        self._opened: set[CodeType] = set()

    def follow(self, call: Callable[[], Any]) -> Any:
        """Return what a call returns, and note the functions that it opens on this thread."""
        sys.setprofile(self._notice)
        try:
            return call()
        finally:
            sys.setprofile(None)

    def _notice(self, frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        # Comprehensions and lambdas belong to the function around them.
        if event != "call" or code in self._opened or code.co_name.startswith("<"):
            return
        self._opened.add(code)
        path = pathlib.Path(code.co_filename)
        if path.is_relative_to(PACKAGE):
            file = path.relative_to(PACKAGE)
            if file.parts[0] not in ENDS:
                self.way.append((file.as_posix(), code.co_qualname))

    def figures(self) -> dict[str, int]:
        """Numbers of functions, of files, and of returns to a file that was left."""
        left: set[str] = set()
        returns, current = 0, ""
        for file, _ in self.way:
            if file != current:
                left.add(current)
                returns += file in left
                current = file
        return {
            "functions": len(self.way),
            "files": len({file for file, _ in self.way}),
            "returns": returns,
        }


def run(stage: str, workdir: str, *more: str) -> None:
    """Run a stage as the command line does, in this process.

    Raises:
        RuntimeError: the command failed.
    """
    arguments = [
        "main",
        f"--stage={stage}",
        f"--workdir={workdir}",
        RECIPE,
        "--strategy=one",
        *more,
    ]
    flags.FLAGS.unparse_flags()
    rest = flags.FLAGS(arguments)
    if status := command._status(main.main, rest):
        raise RuntimeError(f"{' '.join(arguments)}: status {status}")


def main_() -> None:
    """Print the figures of both journeys."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--list", action="store_true", help="print the functions as well")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workdir = f"{folder}/run"
        for before, stage in (("teacher", "label"), ("student", "transfer")):
            run(before, workdir)
            journey = Journey()
            journey.follow(lambda stage=stage: run(stage, workdir, f"--only={ONLY[stage]}"))
            if stage == "label":
                run("label", workdir)
            print(json.dumps({"journey": stage} | journey.figures()))
            for file, name in journey.way if arguments.list else ():
                print(f"    {file}: {name}")


if __name__ == "__main__":
    main_()
