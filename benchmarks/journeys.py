"""How far a reader has to go: files and functions that a stage opens, in the order of its calls.

    python -m benchmarks.journeys [--list]

Makes a tiny run of the default recipe in a temporary folder and follows two commands of it, one
that labels a pool and one that transfers, from main to the network. Two ways are counted:

- "opened": all functions of the orchestration, in the order in which they are called for the first
  time. A return is a step to a file that was opened before and left since.
- "way": the functions that stand on the stack when the network is first called, which is what a
  reader follows who asks how main comes to it.

Orchestration is what is between the plain modules, as errors and files, and the ends of a way:
tasks, data, models, training, inference, operations, and how a pseudo label is stored. Prints one
JSON line for each; --list prints the functions as well.
"""

import argparse
import itertools
import json
import pathlib
import sys
import tempfile
from collections.abc import Callable, Iterable
from types import CodeType, FrameType
from typing import Any

from absl import flags

import must_keras
from must_keras import command, main

PACKAGE = pathlib.Path(must_keras.__file__).parent
# Folders and modules whose functions end a way; some names are those of earlier commits.
ENDS = (
    "data", "inference", "modeling", "models", "ops", "prediction", "pseudo_labels/duplicates.py",
    "pseudo_labels/store", "self_supervised", "selfsup", "synthetic", "tasks", "training",
)  # fmt: skip
PLAIN = (
    "arrays.py", "command.py", "errors.py", "experiment.py", "files.py", "interruption.py",
    "json_files.py", "naming.py", "progress.py", "recorded.py", "versions.py",
)  # fmt: skip
# The first of these calls of a process that trains or labels is that of the network.
NETWORK = ("Predictor.outputs", "MultiTaskModel.compute_loss")
RECIPE = (
    "--experiment=scenes:images=40,pool_images=48,teacher_steps=1,student_steps=1,"
    "transfer_steps=1,transfer_seeds=1"
)
ONLY = {"label": "objects", "transfer": "dev_boxes"}
Place = tuple[str, str]


class Journey:
    """The functions of the package that are called, in the order of their first calls.

    Attributes:
        opened: (file relative to the package, function) of the orchestration, each once.
        way: the same of those that lead from main to the network.
    """

    def __init__(self) -> None:
        self.opened: list[Place] = []
        self.way: list[Place] = []
        self._seen: set[CodeType] = set()

    def follow(self, call: Callable[[], Any]) -> Any:
        """Return what a call returns, and note the functions that it opens on this thread."""
        sys.setprofile(self._notice)
        try:
            return call()
        finally:
            sys.setprofile(None)

    def _notice(self, frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event != "call" or code in self._seen:
            return
        self._seen.add(code)
        self.opened += _orchestration(code)
        if not self.way and code.co_qualname in NETWORK:
            while frame := frame.f_back:
                self.way = [*_orchestration(frame.f_code), *self.way]


def _orchestration(code: CodeType) -> Iterable[Place]:
    """The place of a function, if it belongs to the orchestration."""
    path = pathlib.Path(code.co_filename)
    # Comprehensions and lambdas belong to the function around them.
    if path.is_relative_to(PACKAGE) and not code.co_name.startswith("<"):
        file = path.relative_to(PACKAGE).as_posix()
        if not file.startswith((*(f"{end}/" for end in ENDS), *ENDS, *PLAIN)):
            yield file, code.co_qualname


def figures(places: Iterable[Place]) -> dict[str, int]:
    """Numbers of functions, of files, and of returns to a file that was left."""
    files = [file for file, _ in places]
    left: set[str] = set()
    returns = 0
    for last, file in itertools.pairwise(files):
        if file != last:
            left.add(last)
            returns += file in left
    return {"functions": len(files), "files": len(set(files)), "returns": returns}


def run(stage: str, workdir: str, *more: str) -> None:
    """Run a stage as the command line does, in this process.

    Raises:
        RuntimeError: the command failed.
    """
    given = ["main", f"--stage={stage}", f"--workdir={workdir}", RECIPE, "--strategy=one", *more]
    flags.FLAGS.unparse_flags()
    rest = flags.FLAGS(given)
    if status := command._status(main.main, rest):
        raise RuntimeError(f"{' '.join(given)}: status {status}")


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
            for kind, places in (("opened", journey.opened), ("way", journey.way)):
                print(json.dumps({"journey": stage, "counted": kind} | figures(places)))
                for file, name in places if arguments.list else ():
                    print(f"    {file}: {name}")


if __name__ == "__main__":
    main_()
