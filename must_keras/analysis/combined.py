"""Comparison of several finished runs of one recipe: their report.json as one table."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict, get_type_hints

from must_keras.analysis import comparison
from must_keras.data.sources.source import without_keys
from must_keras.errors import UserError
from must_keras.json_files import read_json
from must_keras.runs.fingerprint import first_difference
from must_keras.runs.marks import RUN
from must_keras.runs.results import TransferResult

_REPORT = "report.json"


# Keys by which transfer runs of two runs are matched.
_KEYS = ("set", "start", "mode", "neck", "shots", "samples", "seed", "metric")
# What is read of a transfer run, with its types.
_TYPES = get_type_hints(TransferResult)
_Row = TypedDict(
    "_Row",
    {key: _TYPES[key] for key in (*_KEYS, "aligned", "value")} | {"samples": NotRequired[int]},
)


class _Report(TypedDict):
    """What is read of report.json."""

    transfers: list[_Row]


class _Run(TypedDict):
    """What is read of run.json."""

    recipe: dict[str, Any]


# What runs may differ in: seeds, where learning rates come from, which starts they have, and what
# their students are exported to.
SEEDS = ("seed", "data_seed")
_CHOICES = ("rates_from", "starts", "exports")


def rows(folders: Sequence[pathlib.Path]) -> list[dict[str, Any]]:
    """Return all transfer runs in the report.json of some runs, each with "run", its folder.

    Raises:
        UserError: a folder has no report, two runs have the same seeds or different recipes, or
            one lacks transfer runs of another one though its recipe has the start.
    """
    recipes, found = {}, {}
    for folder in dict.fromkeys(folders):
        recipes[folder], report = read(folder)
        found[folder] = [row | {"run": str(folder)} for row in report["transfers"]]
        seeds = without_keys(recipes[folder], _CHOICES)
        for other in list(found)[:-1]:
            if without_keys(recipes[other], _CHOICES) == seeds:
                raise UserError(f"{other} and {folder} are the same run: their seeds are equal")
    first, *others = found
    for folder in others:
        same = {one: without_keys(recipes[one], (*SEEDS, *_CHOICES)) for one in (first, folder)}
        check_same(same, "are runs of different recipes")
        sides = {first: found[first], folder: found[folder]}
        if recipes[first].get("starts") != recipes[folder].get("starts"):
            both = set.intersection(*({row["start"] for row in side} for side in sides.values()))
            sides = {k: [r for r in side if r["start"] in both] for k, side in sides.items()}
        _check_complete(sides)
    return [row for of_run in found.values() for row in of_run]


def check_same(sides: Mapping[pathlib.Path, Any], problem: str) -> None:
    """Raise UserError where what two runs should have in common differs.

    Args:
        sides: {folder of the run: plain data}.
        problem: "are runs of different recipes".

    Example:
        >>> check_same({pathlib.Path("a"): {"steps": 3}, pathlib.Path("b"): {"steps": 3}}, "differ")
    """
    difference = first_difference(*sides.values())
    if difference is not None:
        field, was, now = difference
        raise UserError(f"{' and '.join(map(str, sides))} {problem}: {field} is {was}, {now}")


def _check_complete(sides: Mapping[pathlib.Path, Sequence[Mapping[str, Any]]]) -> None:
    """Raise UserError where one of two runs lacks a transfer run of the other."""
    keys = {
        folder: {tuple(r.get(key) for key in _KEYS) for r in side} for folder, side in sides.items()
    }
    for folder in reversed(keys):
        missing = set.union(*keys.values()) - keys[folder]
        if missing:
            name, start, *_ = sorted(missing, key=str)[0]
            raise UserError(
                f"{folder} has no complete transfer run to {name} from {start}, which another run "
                "has: complete it and its report, or give both runs the same `only`"
            )


def show(folders: Sequence[pathlib.Path]) -> dict[str, dict[str, Any]]:
    """Print a table and verdicts for every protocol of some runs; return their numbers.

    Where some runs have more starts than others, the table is that of the runs with all starts, and
    a second one, "of_every_run", has the starts that all runs have.

    Raises:
        UserError: see `rows`.
    """
    compared = {}
    for name, of_protocol in comparison.by_protocol(rows(folders)).items():
        compared[name] = found = comparison.compare(of_protocol)
        _print_table(name, found)
        if shared := comparison.of_every_run(of_protocol):
            found["of_every_run"] = comparison.compare(shared)
            _print_table(name, found["of_every_run"])
        verdicts = comparison.sentences(found)
        print("\n".join(verdicts) or "There is no transfer run from the student to compare.")
        if len(verdicts) > 1:
            print("Each interval stands alone: of twenty such verdicts one may be chance.")
        print()
    if compared and all(found["runs"] == 1 for found in compared.values()):
        print(f"{comparison.ONE_RUN}\n")
    return compared


def _print_table(name: str, compared: Mapping[str, Any]) -> None:
    runs = comparison.plural(compared["complete_runs"] or compared["runs"], "run")
    print(f"{name}, means of {runs}\n\n{table(compared)}\n")


def read(folder: pathlib.Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (run.json's recipe, report.json) of a finished run.

    Raises:
        UserError: the folder has none.
        DataError: one is damaged.
    """
    for name in (RUN, _REPORT):
        if not (folder / name).exists():
            raise UserError.at(folder, f"has no {name}: it is no folder of a finished run")
    remedy = "run its recipe again: it is written anew, and what is finished stays"
    recipe = read_json(folder / RUN, _Run, remedy=remedy)["recipe"]
    return recipe, read_report(folder)


def read_report(folder: pathlib.Path) -> dict[str, Any]:
    """Return report.json of a run.

    Raises:
        DataError: it is missing or damaged.
    """
    return read_json(folder / _REPORT, _Report, remedy='run its stage="report" again')


def table(compared: Mapping[str, Any]) -> str:
    """Return the matrix of sets and starts in Markdown: means over runs; * marks aligned starts."""
    starts = list(compared["means"])
    lines = [["downstream set", "metric", *starts]]
    for name, of_set in compared["sets"].items():
        cells = [of_set["starts"].get(start) for start in starts]
        texts = [cell and _number(cell["value"], ".3f") for cell in cells]
        marks = ["*" if cell and cell["aligned"] != "none" else "" for cell in cells]
        texts = [f"{text or '–'}{mark}" for text, mark in zip(texts, marks, strict=True)]
        lines.append([name, of_set["metric"], *texts])
    for key, title in (
        ("with_task", "mean normalized gain"),
        ("without_task", "the same without sets marked *"),
    ):
        count = len(compared[f"sets_{key}"])
        if count:
            gains = [_number(compared["means"][start][key], "+.3f") for start in starts]
            lines.append([f"{title} ({count})", "", *gains])
    return markdown(lines)


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """Return a table whose first line is its header."""
    ruled = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in ruled)


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
