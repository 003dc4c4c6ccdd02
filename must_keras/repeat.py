"""One recipe with several seeds: `python -m must_keras.repeat --experiment=NAME --seeds=0,1,2`.

Each seed is a run of its own, of all stages, in runs/<experiment>-seed<k>, as made by

    python -m must_keras.main --experiment=NAME:seed=K --workdir=runs/NAME-seedK

Where the first run has several learning rates, those that it chooses are taken by the others, if
the recipe has an argument `rates_from`. Every transfer becomes a line of --to; then the runs are
compared as by must_keras.compare. What is finished is not made again.
"""

from __future__ import annotations

import json
import pathlib
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags

from must_keras import command, experiment
from must_keras.errors import UserError
from must_keras.files import json_lines, read_json, replacing
from must_keras.runs.marks import RUN

# What tells one transfer from another.
_CELL = ("run_seed", "set", "start", "mode", "neck", "shots", "seed")


def repeat(
    text: str,
    seeds: Sequence[str],
    *,
    workdir: str | None = None,
    to: str | None = None,
    rates_from: str | None = None,
    options: Sequence[str] = (),
) -> None:
    """Makes the runs that are not finished, one after the other, and compares them.

    Args:
        text: what `--experiment` says.
        seeds: different whole numbers.
        workdir: where runs go, with -seed<k> behind it; None: runs/<experiment>.
        to: a file of JSON lines; transfers that it does not have yet are added.
        rates_from: a finished run, whose learning rates the first seed takes too.
        options: further flags of must_keras.main.

    Raises:
        UserError: the recipe cannot be repeated, the seeds are not seeds, or the file has other
            numbers of the same transfers.
        SystemExit: a run ended with this status, after it said why.
    """
    numbers = _whole_numbers(seeds)
    name, arguments = experiment.parse(text)
    for key, flag in (("seed", "--seeds"), ("rates_from", "--rates_from")):
        if key in arguments:
            raise UserError(f"--experiment={text}: {key} is given by {flag} alone")
    with command.without_greetings():
        takes = experiment.parameters(name)
        from must_keras.analysis import combined
    if "seed" not in takes:
        raise UserError(f"--experiment={name}: the recipe has no argument named seed")
    if rates_from and "rates_from" not in takes:
        raise UserError(f"--rates_from={rates_from}: {name} has no argument of this name")
    root = workdir or str(experiment.default_workdir(name, arguments))
    folders = [pathlib.Path(f"{root}-seed{seed}") for seed in numbers]
    for seed, folder in zip(numbers, folders, strict=True):
        given = arguments | {"seed": str(seed)}
        if rates_from and "rates_from" in takes:
            given["rates_from"] = rates_from
        status = _run(name, given, folder, options)
        if status:
            raise SystemExit(status)
        if not rates_from and any("sweep" in transfer for transfer in _transfers(folder)):
            rates_from = str(folder)
        if to:
            _keep(folder, seed, pathlib.Path(to))
    combined.show(folders)


def _whole_numbers(texts: Sequence[str]) -> list[int]:
    if not texts or len(set(texts)) < len(texts) or not all(t.isdecimal() for t in texts):
        raise UserError(f"--seeds={','.join(texts)}: different whole numbers, at least one")
    return [int(text) for text in texts]


def _run(
    name: str, arguments: Mapping[str, str], folder: pathlib.Path, options: Sequence[str]
) -> int:
    """The exit status of one run."""
    text = ",".join(f"{key}={shlex.quote(value)}" for key, value in arguments.items())
    given = [f"--experiment={name}:{text}", f"--workdir={folder}", *options]
    print(f"{folder}: {given[0]}", flush=True)
    return subprocess.run([sys.executable, "-m", "must_keras.main", *given], check=False).returncode


def _transfers(folder: pathlib.Path) -> list[dict[str, Any]]:
    from must_keras.analysis import combined

    return combined.read_report(folder)["transfers"]


def _keep(folder: pathlib.Path, seed: int, path: pathlib.Path) -> None:
    """Adds the transfers that the file does not have yet; nothing is taken away from it.

    Raises:
        UserError: it has other numbers of a transfer: those of another recipe.
    """
    remedy = "give a new file, or mend that line"
    form = dict.fromkeys((*_CELL, "value"), object)
    known = {_cell(row): row for row in json_lines(path, form=form, remedy=remedy)}
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    text += "" if text.endswith("\n") or not text else "\n"
    remedy = "run its recipe again: it is written anew, and what is finished stays"
    commit = read_json(folder / RUN, form={"git_commit": object}, remedy=remedy)["git_commit"]
    # A transfer that says its own commit may be older than the run's last command.
    origin = {"run_seed": seed, "git_commit": commit}
    rows = [origin | transfer for transfer in _transfers(folder)]
    for row in rows:
        if known.get(_cell(row), row)["value"] != row["value"]:
            raise UserError(
                f"--to={path} has other numbers of {row['set']} from {row['start']}, seed {seed}, "
                f"than {folder}: they are of another recipe or commit; give a new file"
            )
    new = [row for row in rows if _cell(row) not in known]
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(text + "".join(f"{json.dumps(row)}\n" for row in new))


def _cell(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[key] for key in _CELL)


def run() -> None:
    """The entry point; its flags are defined here, because must_keras.main has some of the same."""
    text = flags.DEFINE_string("experiment", "scenes_benchmark", "As must_keras.main's.")
    seeds = flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds; the first chooses learning rates.")
    workdir = flags.DEFINE_string(
        "workdir", None, "Where runs go, with -seed<k> behind it; default is runs/<experiment>."
    )
    to = flags.DEFINE_string(
        "to", None, "A file of JSON lines: all transfers that are not in it yet, with their commit."
    )
    rates_from = flags.DEFINE_string(
        "rates_from", None, "A finished run, whose learning rates the first seed takes too."
    )
    passed = {
        name: flags.DEFINE_string(name, None, "As must_keras.main's.")
        for name in ("strategy", "data_dir", "label_engine")
    }

    def main(argv: list[str]) -> None:
        command.expect_flags_alone(argv)
        given = [f"--{name}={flag.value}" for name, flag in passed.items() if flag.value]
        repeat(
            text.value,
            seeds.value,
            workdir=workdir.value,
            to=to.value,
            rates_from=rates_from.value,
            options=given,
        )

    command.run(main)


if __name__ == "__main__":
    run()
