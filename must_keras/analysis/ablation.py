"""Ablation of one value of a recipe: finished runs that differ in it alone, as points of a curve.

A point is a value, a trial is a seed. Within a seed transfer seeds are averaged, and so are runs
that have the same value in other ways (as many teachers, but other ones); then an interval is taken
over seeds. Differences are taken within a seed, because its runs share their artifacts.
"""

import dataclasses
import itertools
import json
import pathlib
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from must_keras.analysis import combined, comparison
from must_keras.analysis.curves import panels, png
from must_keras.data.sources.source import without_keys
from must_keras.errors import UserError, not_allowed

POOL_IMAGES = "pool_images"

# A number where it is one, else a name.
Value = float | str
Interval = dict[str, Any]

# What may differ at any depth.
_ANYWHERE = (*combined.SEEDS, "rates_from")
# What may differ besides: starts, and what these are made from.
_BESIDES = ("starts", "rounds", "supervised", "selfsup")
# What differs with another pool or another teacher.
_ALONG = {POOL_IMAGES: ("pools",), "teachers": ("teachers", "pools")}


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """A finished run of an ablation.

    Attributes:
        folder: its folder.
        value: the ablated value.
        seed: the recipe's.
        recipe: run.json's, without seeds and what else may differ.
        rows: its transfer runs, as in report.json.

    Example:
        >>> run = FinishedRun(folder=pathlib.Path("runs/a"), value=3.0, seed=0, recipe={}, rows=())
        >>> run.variant
        '{}'
    """

    folder: pathlib.Path
    value: Value
    seed: int
    recipe: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]

    @property
    def variant(self) -> str:
        """The recipe as text: recipes with the same value may differ in what holds it."""
        return json.dumps(self.recipe, sort_keys=True)


def read(folders: Iterable[pathlib.Path], over: str) -> list[FinishedRun]:
    """Return finished runs that differ in one value and their seeds, in the order of the values.

    Args:
        folders: of the runs.
        over: "pool_images", or the path of a value in run.json's recipe: names of fields, and of
            items of lists, joined by dots; the value of a list is its length.

    Raises:
        UserError: a folder is not that of a finished run, the runs differ in more, or a seed lacks
            a run that another one has.
    """
    runs = [_read(folder, over) for folder in dict.fromkeys(folders)]
    for run in runs[1:]:
        rests = {one.folder: _without(one.recipe, over) for one in (runs[0], run)}
        combined.check_same(rests, f"differ in more than {over}")
    trials: dict[tuple[int, str], FinishedRun] = {}
    variants: dict[Value, dict[int, set[str]]] = {}
    for run in runs:
        other = trials.setdefault((run.seed, run.variant), run)
        if other is not run:
            raise UserError.at(other.folder, f"and {run.folder} are the same run: seed {run.seed}")
        variants.setdefault(run.value, {}).setdefault(run.seed, set()).add(run.variant)
    for value, by_seed in variants.items():
        if any(found != next(iter(by_seed.values())) for found in by_seed.values()):
            raise UserError(f"{over}={value}: each seed needs runs of the same recipes")
    return sorted(runs, key=lambda run: (isinstance(run.value, str), run.value))


def curve(runs: Sequence[FinishedRun], protocol: str, student: str = "student") -> dict[str, Any]:
    """Return values and mean gains, at every point, of the starts that all runs have.

    Args:
        runs: as `read` returns them.
        protocol: the folder name of its transfer runs.
        student: the start whose gains are compared with that at the first point.

    Returns:
        {"points": [{"value", "runs": folders, "seeds"}],
        "sets": {set: {"metric", "starts": {start: [an interval and its "values" by seed, or None,
        at each point]}}},
        "gain": {"sets": names, "starts": the same}: the mean normalized gain over the sets on
        which it is known of all these starts in all runs and whose images none was trained on,
        "differences": [the student's gain minus that at the first point, within each seed]}.
    """
    rows = [
        row | {"run": run.folder}
        for run in runs
        for row in comparison.by_protocol(run.rows).get(protocol, [])
    ]
    table = comparison.Table(rows)
    # The random start first, then the student.
    starts = sorted(
        set.intersection(*(table.starts_of.get(run.folder, set()) for run in runs)),
        key=lambda s: (s != "random", s != "student", s),
    )
    sets = table.common(starts, "with_task") if "random" in starts else []
    points = [(v, list(group)) for v, group in itertools.groupby(runs, lambda run: run.value)]

    def line(number: Callable[..., float | None], *of: Any) -> list[Interval | None]:
        return [
            _interval(_by_seed(of_value, lambda run: number(run.folder, *of)))
            for _, of_value in points
        ]

    gains = {start: line(table.mean_gain, start, sets) for start in starts}
    seeds = [point["values"] if point else {} for point in gains.get(student, [])]
    return {
        "points": [
            {
                "value": value,
                "runs": [str(run.folder) for run in of_value],
                "seeds": sorted({run.seed for run in of_value}),
            }
            for value, of_value in points
        ],
        "sets": {
            name: {
                "metric": table.metrics[name],
                "starts": {start: line(table.value, name, start) for start in starts},
            }
            for name in table.sets
        },
        "gain": {"sets": sets, "starts": gains},
        "differences": [
            _interval({seed: point[seed] - seeds[0][seed] for seed in point if seed in seeds[0]})
            for point in seeds
        ],
    }


def curves(runs: Sequence[FinishedRun]) -> dict[str, dict[str, Any]]:
    """Return {protocol: its `curve`}."""
    names = dict.fromkeys(name for run in runs for name in comparison.by_protocol(run.rows))
    return {name: curve(runs, name) for name in names}


def picture(curves: Mapping[str, Mapping[str, Any]], over: str) -> bytes:
    """Return the charts of `plot` as PNG."""
    return png(plot(curves, over))


def plot(curves: Mapping[str, Mapping[str, Any]], over: str) -> Figure:
    """Plot the mean gain, its differences and every set of all protocols, one chart each.

    Args:
        curves: as `ablation.curves` returns them.
        over: the ablated value, see `read`.
    """
    found = {}
    for protocol, of_protocol in curves.items():
        several = f", {protocol}" if len(curves) > 1 else ""
        gain = of_protocol["gain"]
        lines = {start: points for start, points in gain["starts"].items() if start != "random"}
        found[f"mean over {len(gain['sets'])} sets{several}"] = ("normalized gain", lines)
        differences = {"student": of_protocol["differences"]}
        title = f"difference to the first point, same seeds{several}"
        found[title] = ("normalized gain", differences)
        for name, of_set in of_protocol["sets"].items():
            found[name + several] = (of_set["metric"], of_set["starts"])
    values = [point["value"] for point in next(iter(curves.values()))["points"]]
    return panels(found, values, over.replace("_", " "))


def table(found: Mapping[str, Any], over: str, student: str = "student") -> str:
    """Return the student's values and gains at every point in Markdown; ± is half an interval."""
    nothing = [None] * len(found["points"])
    gain = found["gain"]
    lines = [
        (name, of_set["metric"], of_set["starts"].get(student, nothing), ".3f")
        for name, of_set in found["sets"].items()
    ]
    title = f"mean normalized gain ({len(gain['sets'])})"
    lines.append((title, "", gain["starts"].get(student, nothing), "+.3f"))
    lines.append(("difference to the first point, same seeds", "", found["differences"], "+.3f"))
    values = [str(point["value"]) for point in found["points"]]
    cells = [[name, what, *(_cell(i, form) for i in row)] for name, what, row, form in lines]
    return combined.markdown([[over, "metric", *values], *cells])


def _cell(interval: Interval | None, form: str) -> str:
    if interval is None:
        return "–"
    half = "" if interval["low"] is None else f" ± {interval['high'] - interval['mean']:.3f}"
    return format(interval["mean"], form) + half


def _read(folder: pathlib.Path, over: str) -> FinishedRun:
    recipe, report = combined.read(folder)
    value = _pool_images(recipe, report) if over == POOL_IMAGES else _plain(_at(recipe, over))
    kept = {key: inner for key, inner in recipe.items() if key not in _BESIDES}
    return FinishedRun(
        folder=folder,
        value=value,
        seed=recipe["seed"],
        recipe=without_keys(kept, _ANYWHERE),
        rows=report["transfers"],
    )


def _pool_images(recipe: Mapping[str, Any], report: Mapping[str, Any]) -> int:
    """Return the number of images of the pools, of all sources that were searched for leakage."""
    pools = {pool["source"]["name"] for pool in recipe["pools"]}
    return sum(found["images"] for name, found in report["leaks"].items() if name in pools)


def _at(recipe: Any, path: str) -> Any:
    found = recipe
    for name in path.split("."):
        inside = _inside(found)
        if name not in inside:
            allowed = [POOL_IMAGES, *inside] if found is recipe else list(inside)
            raise not_allowed(f"over={path}: the recipe has no {name!r}", name, allowed, key="over")
        found = inside[name]
    return found


def _inside(value: Any) -> dict[str, Any]:
    """Return the next steps of a path: fields, or the items of a list by their names."""
    if isinstance(value, list):
        return {str(item["name"]): item for item in value if isinstance(item, dict)}
    return value if isinstance(value, dict) else {}


def _plain(value: Any) -> Value:
    if isinstance(value, list):
        return len(value)
    if isinstance(value, dict):
        return str(value.get("type"))
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number else str(value).lower()


def _without(recipe: Mapping[str, Any], over: str) -> Any:
    """Return a recipe without what may differ in the runs of an ablation."""
    if over in _ALONG:
        return {key: value for key, value in recipe.items() if key not in _ALONG[over]}
    return _cut(recipe, over.split("."))


def _cut(value: Any, path: Sequence[str]) -> Any:
    """Return plain data without the value at a path."""
    name, *rest = path
    if isinstance(value, list):
        return [_cut(i, rest) if name in _inside([i]) else i for i in value]
    if not rest:
        return {key: inner for key, inner in value.items() if key != name}
    return {key: _cut(inner, rest) if key == name else inner for key, inner in value.items()}


def _by_seed(
    runs: Sequence[FinishedRun], number: Callable[[FinishedRun], float | None]
) -> dict[int, float]:
    """Return {seed: mean over its runs} of the seeds with all numbers known."""
    numbers: dict[int, list[float | None]] = {}
    for run in runs:
        numbers.setdefault(run.seed, []).append(number(run))
    known = {seed: values for seed, values in numbers.items() if None not in values}
    return {seed: statistics.fmean(known[seed]) for seed in sorted(known)}


def _interval(by_seed: Mapping[int, float]) -> Interval | None:
    if not by_seed:
        return None
    return dataclasses.asdict(comparison.t_interval([*by_seed.values()])) | {"values": by_seed}
