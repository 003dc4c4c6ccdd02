"""What options of the student change: runs with one option each beside default runs, seed by seed.

    python -m benchmarks.options runs/default-* runs/cutmix-* --to=options.jsonl

All runs are of one recipe by name, with a finished report. What a run changes is its arguments,
seeds and starts left out; a default run has no other. Prints two tables: differences of the mean
normalized gain on the downstream sets, over the random start of the default run of the same seed,
and differences of the student's own heads; each with its 95 % interval over the seeds. Writes the
numbers behind them, a JSON line each: those of every transfer and of every head.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from must_keras.analysis.combined import markdown
from must_keras.analysis.comparison import normalized_gain, t_interval

# Arguments that are no option.
_NO_OPTIONS = ("seed", "starts")


def changed(experiment: str) -> str:
    """Return the arguments of "NAME:key=value,..." that are options, as they stand there."""
    arguments = experiment.partition(":")[2].split(",")
    return ",".join(a for a in arguments if a and a.partition("=")[0] not in _NO_OPTIONS)


def rows(folder: pathlib.Path) -> list[dict[str, Any]]:
    """Return the figures of a run: of each transfer, and of each head of the student."""
    run, report = (json.loads((folder / name).read_text()) for name in ("run.json", "report.json"))
    common = {
        "run_seed": run["seed"],
        "changed": changed(run.get("experiment", "")),
        "git_commit": run["git_commit"],
    }
    heads = [
        {"head": name, "metric": next(iter(found["metrics"])), **found}
        for name, found in report["student"]["tasks"].items()
    ]
    return [common | row for row in (*report["transfers"], *heads)]


def gains(
    run: Iterable[Mapping[str, Any]], default: Iterable[Mapping[str, Any]]
) -> dict[str, float]:
    """Return {set: the student's normalized gain over the default run's random start}."""
    random = {row["set"]: row["value"] for row in default if row.get("start") == "random"}
    return {
        row["set"]: normalized_gain(row["value"], random[row["set"]], row["metric"])
        for row in run
        if row.get("start") == "student"
    }


def heads(run: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return {head of the student: its first metric}."""
    return {row["head"]: row["metrics"][row["metric"]] for row in run if "head" in row}


def difference(pairs: Sequence[tuple[float, float]]) -> str:
    """Return the mean of (with, without) differences, with its interval where there is one."""
    found = t_interval([with_option - default for with_option, default in pairs])
    ends = "" if found.low is None else f" [{found.low:+.3f}, {found.high:+.3f}]"
    return f"{found.mean:+.3f}{ends}"


def tables(runs: Iterable[Sequence[Mapping[str, Any]]]) -> tuple[str, str]:
    """Return the Markdown tables of downstream sets and of heads."""
    by_option: dict[str, dict[int, Sequence[Mapping[str, Any]]]] = {}
    for run in runs:
        by_option.setdefault(run[0]["changed"], {})[run[0]["run_seed"]] = run
    defaults = by_option.pop("")
    sets = list(gains(*[next(iter(defaults.values()))] * 2))
    names = list(heads(next(iter(defaults.values()))))
    downstream = [["option", "seeds", "all sets", *sets]]
    own = [["option", "seeds", *names]]
    for option, of_seeds in by_option.items():
        seeds = [seed for seed in sorted(of_seeds) if seed in defaults]
        sides = [
            (gains(of_seeds[seed], defaults[seed]), gains(defaults[seed], defaults[seed]))
            for seed in seeds
        ]
        means = [tuple(statistics.fmean(side.values()) for side in pair) for pair in sides]
        by_set = [difference([(one[name], other[name]) for one, other in sides]) for name in sets]
        downstream.append([f"`{option}`", str(len(seeds)), difference(means), *by_set])
        sides = [(heads(of_seeds[seed]), heads(defaults[seed])) for seed in seeds]
        by_head = [difference([(one[name], other[name]) for one, other in sides]) for name in names]
        own.append([f"`{option}`", str(len(seeds)), *by_head])
    return markdown(downstream), markdown(own)


def main() -> None:
    """Print the tables, and write the lines."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", nargs="+", type=pathlib.Path)
    parser.add_argument("--to", type=pathlib.Path, help="a new file of JSON lines")
    given = parser.parse_args()
    found = [rows(folder) for folder in given.runs]
    print("\n\n".join(tables(found)))
    if given.to:
        with given.to.open("x") as file:
            file.writelines(json.dumps(row) + "\n" for run in found for row in run)


if __name__ == "__main__":
    main()
