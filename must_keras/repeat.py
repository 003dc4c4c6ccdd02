"""One recipe with several seeds: `must-keras repeat RECIPE --seeds=0,1,2`.

Each seed is a run of its own, of all stages, in runs/<recipe>-seed<k>, as made by

    must-keras run NAME:seed=K --workdir=runs/NAME-seedK

Where the first run sweeps learning rates, the others use the chosen ones, if the recipe has an
argument `rates_from`. Every transfer becomes a line of --to; then the runs are compared as by
`must-keras compare`. Complete artifacts are skipped.
"""

import argparse
import json
import pathlib
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict

from must_keras import command, experiment
from must_keras.errors import UserError
from must_keras.files import replacing
from must_keras.json_files import json_lines

# What identifies a transfer run.
_CELL = ("run_seed", "set", "start", "mode", "neck", "shots", "seed")
# Options of a run that each run gets.
_PASSED = ("strategy", "data_dir", "label_engine")
_Kept = TypedDict("_Kept", dict.fromkeys((*_CELL, "value"), Any) | {"samples": NotRequired[int]})


def _cell(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return *(row[key] for key in _CELL), row.get("samples")


def repeat(
    text: str,
    seeds: Sequence[str],
    *,
    workdir: str | None = None,
    to: str | None = None,
    rates_from: str | None = None,
    options: Sequence[str] = (),
) -> None:
    """Make the runs that are not complete, one after the other, and compare them.

    Args:
        text: the recipe with its arguments, see `experiment.parse`.
        seeds: different whole numbers.
        workdir: of the runs, before -seed<k>; None: runs/<recipe>.
        to: a file of JSON lines, to which missing transfers are added.
        rates_from: a complete run, whose learning rates the first seed uses too.
        options: further flags of must_keras.main.

    Raises:
        UserError: the recipe cannot be repeated, the seeds are not seeds, or the file contains
            other numbers of the same transfers; has the argument as `key`.
        SystemExit: a run ended with this status, after a message of its own.
    """
    if len(set(seeds)) < max(len(seeds), 1) or not all(seed.isdecimal() for seed in seeds):
        problem = "expected different whole numbers, at least one"
        raise UserError.of("", "seeds", ",".join(seeds), problem)
    name, arguments = experiment.parse(text)
    for key, flag in (("seed", "seeds"), ("rates_from", "rates_from")):
        if key in arguments:
            raise UserError.of("", "experiment", text, f"give {key} by {flag} instead")
    with command.quiet_import():
        allowed = experiment.parameters(name)
        from must_keras.analysis import combined
    for key in ("seed", *(["rates_from"] if rates_from else [])):
        if key not in allowed:
            raise UserError(f"recipe {name} has no argument {key}", key=key, allowed=allowed)
    root = workdir or str(experiment.default_workdir(name, arguments))
    folders = {int(seed): pathlib.Path(f"{root}-seed{int(seed)}") for seed in seeds}
    for seed, folder in folders.items():
        given = arguments | {"seed": str(seed)}
        if rates_from and "rates_from" in allowed:
            given["rates_from"] = rates_from
        status = _run(name, given, folder, options)
        if status:
            raise SystemExit(status)
        transfers = combined.read_report(folder)["transfers"]
        if not rates_from and any("sweep" in transfer for transfer in transfers):
            rates_from = str(folder)
        if to:
            _keep(transfers, folder, seed, pathlib.Path(to))
    combined.show(list(folders.values()))


def _run(
    name: str, arguments: Mapping[str, str], folder: pathlib.Path, options: Sequence[str]
) -> int:
    """Return the exit status of one run."""
    text = ",".join(f"{key}={shlex.quote(value)}" for key, value in arguments.items())
    given = [f"--experiment={name}:{text}", f"--workdir={folder}", *options]
    print(f"{folder}: {given[0]}", flush=True)
    return subprocess.run([sys.executable, "-m", "must_keras.main", *given], check=False).returncode


def _keep(
    transfers: Sequence[Mapping[str, Any]], folder: pathlib.Path, seed: int, path: pathlib.Path
) -> None:
    """Append the transfers of a run that a file does not contain yet.

    Raises:
        UserError: it contains other numbers of a transfer: those of another recipe.
    """
    remedy = "give a new file, or fix that line"
    known = {_cell(row): row for row in json_lines(path, _Kept, remedy=remedy)}
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    text += "" if text.endswith("\n") or not text else "\n"
    rows = [{"run_seed": seed, **transfer} for transfer in transfers]
    for row in rows:
        if known.get(_cell(row), row)["value"] != row["value"]:
            raise UserError(
                f"to={path} contains other numbers of {row['set']} from {row['start']}, seed "
                f"{row['seed']}, than {folder}: of another recipe or commit; give a new file",
                path=path,
                key="to",
                value=row["value"],
            )
    new = [row for row in rows if _cell(row) not in known]
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(text + "".join(f"{json.dumps(row)}\n" for row in new))


def _arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("recipe", help="as of `must-keras run`, without a seed")
    add("--seeds", default="0,1,2", help="by comma; the first may sweep learning rates")
    add("--workdir", help="folders of the runs, before -seed<k>; default is runs/<recipe>")
    add("--to", help="a file of JSON lines, to which missing transfers are added")
    add("--rates_from", help="a complete run, whose learning rates the first seed uses too")
    for name in _PASSED:
        add(f"--{name}", help="as of `must-keras run`")


def main(given: argparse.Namespace) -> None:
    """Make the runs and compare them."""
    repeat(
        given.recipe,
        given.seeds.split(","),
        workdir=given.workdir,
        to=given.to,
        rates_from=given.rates_from,
        options=[f"--{name}={getattr(given, name)}" for name in _PASSED if getattr(given, name)],
    )


COMMAND = command.Command(
    name="repeat",
    summary="Make the same run with several seeds, and compare the runs.",
    add_arguments=_arguments,
    main=main,
)

if __name__ == "__main__":
    sys.exit(command.run_alone(COMMAND))
