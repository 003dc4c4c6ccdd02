"""The transfers of several finished runs of one recipe, for stages/report/comparison.py."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from must_keras.analysis import comparison
from must_keras.data.sources.source import without_keys
from must_keras.errors import UserError, damaged
from must_keras.files import Form, check_form, read_json
from must_keras.runs.fingerprint import first_difference
from must_keras.runs.workdir import RUN

_REPORT = "report.json"
# What is read of a transfer.
_ROW = {
    "set": str, "start": str, "mode": str, "neck": str, "shots": (int, type(None)), "seed": int,
    "value": (float, type(None)),
}  # fmt: skip
# What is compared of a transfer too.
_COMPARED = _ROW | {"metric": str, "aligned": str}
# What runs may differ in: seeds, where learning rates come from, and which starts they have.
SEEDS = ("seed", "data_seed")
_CHOICES = ("rates_from", "starts")


def rows(folders: Sequence[pathlib.Path]) -> list[dict[str, Any]]:
    """All transfers of some runs' report.json, each with "run", its folder.

    Raises:
        UserError: a folder holds no report, two runs have the same seeds, were made by different
            recipes, or one has transfers that another has not, though its recipe has the start.
    """
    found: dict[pathlib.Path, list[dict[str, Any]]] = {}
    recipes: dict[pathlib.Path, dict[str, Any]] = {}
    for folder in dict.fromkeys(folders):
        recipes[folder], report = read(folder)
        found[folder] = [row | {"run": str(folder)} for row in report["transfers"]]
    first, *others = found
    for folder in others:
        _check_recipes(first, recipes[first], folder, recipes[folder])
        ours, theirs = found[first], found[folder]
        if recipes[first].get("starts") != recipes[folder].get("starts"):
            both = {row["start"] for row in ours} & {row["start"] for row in theirs}
            ours, theirs = ([r for r in side if r["start"] in both] for side in (ours, theirs))
        _check_cells(first, ours, folder, theirs)
    for folder in found:
        seeds = without_keys(recipes[folder], _CHOICES)
        same = [other for other in found if without_keys(recipes[other], _CHOICES) == seeds]
        if len(same) > 1:
            raise UserError(f"{same[0]} and {same[1]} are the same run: their seeds are equal")
    return [row for of_run in found.values() for row in of_run]


def show(folders: Sequence[pathlib.Path]) -> dict[str, dict[str, Any]]:
    """Prints a table and a verdict for every protocol of some runs, and gives their numbers.

    Where some runs have more starts than others, the table is that of the runs with all starts, and
    a second one, "of_every_run", has the starts that all runs have.

    Raises:
        UserError: see rows.
    """
    compared = {}
    for name, of_protocol in comparison.by_protocol(rows(folders)).items():
        compared[name] = found = comparison.compare(of_protocol)
        print(f"{name}, means of {_runs(found)}\n\n{table(found)}\n")
        if shared := comparison.of_every_run(of_protocol):
            found["of_every_run"] = more = comparison.compare(shared)
            print(f"{name}, means of {_runs(more)}\n\n{table(more)}\n")
        print("\n".join(comparison.sentences(found)) or "There is no student to compare.")
        if len(found["differences"]) > 1:
            print("Each interval is for itself: of twenty such verdicts one may be chance.")
        print()
    return compared


def read(folder: pathlib.Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(run.json's recipe, report.json) of a finished run.

    Raises:
        UserError: the folder holds none.
        DataError: one is damaged.
    """
    for name in (RUN, _REPORT):
        if not (folder / name).exists():
            raise UserError(f"{folder} has no {name}: it is no folder of a finished run")
    remedy = "run its recipe again: it is written anew, and what is finished stays"
    recipe = read_json(folder / RUN, form={"recipe": dict}, remedy=remedy)["recipe"]
    return recipe, read_report(folder, row=_COMPARED)


def read_report(folder: pathlib.Path, *, row: Form = _ROW) -> dict[str, Any]:
    """Return report.json of a run.

    Args:
        folder: of the run.
        row: what each of "transfers" contains.

    Raises:
        DataError: it is missing or damaged.
    """
    path, remedy = folder / _REPORT, "run its --stage=report again"
    report = read_json(path, form={"transfers": list}, remedy=remedy)
    for number, found in enumerate(report["transfers"]):
        try:
            check_form(found, row)
        except ValueError as error:
            raise damaged(path, f"transfers[{number}]: {error}", remedy=remedy) from None
    return report


def table(compared: Mapping[str, Any]) -> str:
    """The matrix of sets and starts in Markdown: means over runs; * marks aligned starts."""
    starts = list(compared["means"])
    lines = [["downstream set", "metric", *starts]]
    for name, of_set in compared["sets"].items():
        cells = [_cell(of_set["starts"].get(start)) for start in starts]
        lines.append([name, of_set["metric"], *cells])
    for key, title in (
        ("with_task", "mean normalized gain"),
        ("without_task", "the same without sets marked *"),
    ):
        number = len(compared[f"sets_{key}"])
        gains = [_number(compared["means"][start][key], "+.3f") for start in starts]
        lines.append([f"{title} ({number})", "", *gains])
    return markdown(lines)


def _runs(compared: Mapping[str, Any]) -> str:
    count = compared["complete_runs"] or compared["runs"]
    return f"{count} run{'' if count == 1 else 's'}"


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """A table whose first line is its head."""
    ruled = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in ruled)


def _cell(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "–"
    return _number(found["value"], ".3f") + ("*" if found["aligned"] != "none" else "")


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _check_recipes(
    one: pathlib.Path, first: dict[str, Any], other: pathlib.Path, second: dict[str, Any]
) -> None:
    free = (*SEEDS, *_CHOICES)
    difference = first_difference(without_keys(first, free), without_keys(second, free))
    if difference is not None:
        field, was, now = difference
        raise UserError(f"{one} and {other} are runs of different recipes: {field} is {was}, {now}")


def _check_cells(
    one: pathlib.Path,
    first: Sequence[Mapping[str, Any]],
    other: pathlib.Path,
    second: Sequence[Mapping[str, Any]],
) -> None:
    keys = ("set", "start", "mode", "neck", "shots", "seed", "metric")
    sides = [{tuple(row[key] for key in keys) for row in of_run} for of_run in (first, second)]
    for folder, missing in ((other, sides[0] - sides[1]), (one, sides[1] - sides[0])):
        if missing:
            name, start, *_ = sorted(missing, key=str)[0]
            raise UserError(
                f"{folder} has no finished transfer to {name} from {start}, which another run has: "
                "finish it and its report, or take the same --only"
            )
