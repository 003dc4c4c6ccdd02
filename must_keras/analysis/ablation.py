"""What one value of a recipe does: finished runs that differ in it alone, as points of a curve.

A point is a value, a trial is a seed. Within a seed transfer seeds are averaged, and so are runs
that have the same value in other ways (as many teachers, but other ones); then an interval is taken
over seeds. Differences are taken within a seed, because its runs share their parts.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from must_keras.analysis import combined, comparison
from must_keras.analysis.comparison import t_interval
from must_keras.data.sources.source import without_keys
from must_keras.errors import UserError
from must_keras.experiment import nearest
from must_keras.runs.fingerprint import first_difference

POOL_IMAGES = "pool_images"

# A number where it is one, else a name.
Value = float | str
Interval = dict[str, Any]

# What may differ at any depth.
_ANYWHERE = (*combined.SEEDS, "rates_from")
# What may differ besides: other starts are other lines, and what these are made from.
_BESIDES = ("starts", "rounds", "supervised", "selfsup")
# What differs with another pool or another teacher.
_ALONG = {POOL_IMAGES: ("pools",), "teachers": ("teachers", "pools")}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """A finished run.

    Attributes:
        folder: its own.
        value: of what is looked at.
        seed: the recipe's.
        recipe: run.json's, but for seeds and what may differ.
        rows: its transfers.
    """

    folder: pathlib.Path
    value: Value
    seed: int
    recipe: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]

    def variant(self) -> str:
        """Which of the recipes with this value it is."""
        return json.dumps(self.recipe, sort_keys=True)


def read(folders: Iterable[pathlib.Path], over: str) -> list[Run]:
    """Finished runs that differ in one value and their seeds, in the order of the values.

    Args:
        folders: of the runs.
        over: "pool_images", or the path of a value in run.json's recipe: names of fields, and of
            items of lists, joined by dots; a list counts by its length.

    Raises:
        UserError: a folder holds no finished run, they differ in more, or a seed lacks a run that
            another one has.
    """
    runs = [_read(folder, over) for folder in dict.fromkeys(folders)]
    rests = [_without(run.recipe, over) for run in runs]
    for run, rest in zip(runs, rests, strict=True):
        difference = first_difference(rests[0], rest)
        if difference is not None:
            field, was, now = difference
            raise UserError(
                f"{runs[0].folder} and {run.folder} differ in more than {over}: {field} is "
                f"{was}, {now}"
            )
    trials: dict[tuple[int, str], Run] = {}
    variants: dict[Value, dict[int, set[str]]] = {}
    for run in runs:
        other = trials.setdefault((run.seed, run.variant()), run)
        if other is not run:
            raise UserError(f"{other.folder} and {run.folder} are the same run: seed {run.seed}")
        variants.setdefault(run.value, {}).setdefault(run.seed, set()).add(run.variant())
    for value, by_seed in variants.items():
        if any(found != next(iter(by_seed.values())) for found in by_seed.values()):
            raise UserError(f"{over}={value}: each seed needs runs of the same recipes")
    return sorted(runs, key=lambda run: (isinstance(run.value, str), run.value))


def curve(runs: Sequence[Run], protocol: str, student: str = "student") -> dict[str, Any]:
    """Values and mean gains of the starts that all runs have, at every point, of one protocol.

    Args:
        runs: as `read` gives them.
        protocol: as a folder of transfers is called.
        student: the start whose gains are compared with that at the first point.

    Returns:
        {"points": [{"value", "runs": folders, "seeds"}],
        "sets": {set: {"metric", "starts": {start: [an interval and its "values" by seed, or None,
        at each point]}}},
        "gain": {"sets": names, "starts": the same}: the mean normalized gain over the sets on
        which it is known of all these starts in all runs, and of which none has seen the images,
        "differences": [the student's gain minus that at the first point, within each seed]}.
    """
    found = {
        run.folder: comparison.compare(comparison.by_protocol(run.rows).get(protocol, []))["sets"]
        for run in runs
    }
    metrics = {name: line["metric"] for of_run in found.values() for name, line in of_run.items()}
    lines = [{s for line in of_run.values() for s in line["starts"]} for of_run in found.values()]
    starts = sorted(set.intersection(*lines), key=_order)

    def cell(run: Run, name: str, start: str) -> Mapping[str, Any]:
        line = found[run.folder].get(name, {"starts": {}})
        return line["starts"].get(start, {"value": None, "gain": None, "aligned": "none"})

    def counts(name: str) -> bool:
        cells = [cell(run, name, start) for run in runs for start in starts]
        return all(c["gain"] is not None and c["aligned"] in ("none", "task") for c in cells)

    sets = [name for name in metrics if counts(name)]

    def gain(run: Run, start: str) -> float | None:
        gains = [cell(run, name, start)["gain"] for name in sets]
        return statistics.fmean(gains) if gains else None

    gains = {start: _by_seed(runs, lambda run, s=start: gain(run, s)) for start in starts}
    of_student = gains.get(student, [])
    return {
        "points": [
            {
                "value": value,
                "runs": [str(run.folder) for run in of_value],
                "seeds": sorted({run.seed for run in of_value}),
            }
            for value, of_value in _by_value(runs).items()
        ],
        "sets": {
            name: {
                "metric": metric,
                "starts": {
                    start: _intervals(
                        _by_seed(runs, lambda run, n=name, s=start: cell(run, n, s)["value"])
                    )
                    for start in starts
                },
            }
            for name, metric in metrics.items()
        },
        "gain": {"sets": sets, "starts": {s: _intervals(points) for s, points in gains.items()}},
        "differences": _intervals(
            [
                {seed: point[seed] - of_student[0][seed] for seed in point if seed in of_student[0]}
                for point in of_student
            ]
        ),
    }


def curves(runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """{protocol: its `curve`}."""
    names = dict.fromkeys(name for run in runs for name in comparison.by_protocol(run.rows))
    return {name: curve(runs, name) for name in names}


def picture(curves: Mapping[str, Mapping[str, Any]], over: str) -> bytes:
    """Charts of the mean gain, of its differences and of every set, of all protocols, as PNG."""
    from must_keras.analysis.curves import panels  # matplotlib is slow to import.

    found = {}
    for protocol, of_protocol in curves.items():
        several = f", {protocol}" if len(curves) > 1 else ""
        gain = of_protocol["gain"]
        lines = {start: points for start, points in gain["starts"].items() if start != "random"}
        found[f"mean over {len(gain['sets'])} sets{several}"] = ("normalized gain", lines)
        differences = {"student": of_protocol["differences"]}
        found[f"minus the first, within seeds{several}"] = ("normalized gain", differences)
        for name, of_set in of_protocol["sets"].items():
            found[name + several] = (of_set["metric"], of_set["starts"])
    values = [point["value"] for point in next(iter(curves.values()))["points"]]
    return panels(found, values, over.replace("_", " "))


def table(found: Mapping[str, Any], over: str, student: str = "student") -> str:
    """The student's values and gains at every point, in Markdown; ± is half of an interval."""
    nothing = [None] * len(found["points"])
    lines = [
        [name, of_set["metric"], *_cells(of_set["starts"].get(student, nothing), ".3f")]
        for name, of_set in found["sets"].items()
    ]
    gain = found["gain"]
    title = f"mean normalized gain ({len(gain['sets'])})"
    lines.append([title, "", *_cells(gain["starts"].get(student, nothing), "+.3f")])
    lines.append(["minus the first, within seeds", "", *_cells(found["differences"], "+.3f")])
    values = [str(point["value"]) for point in found["points"]]
    return combined.markdown([[over, "metric", *values], *lines])


def _cells(intervals: Sequence[Interval | None], form: str) -> list[str]:
    return [
        "–"
        if interval is None
        else format(interval["mean"], form)
        + ("" if interval["low"] is None else f" ± {interval['high'] - interval['mean']:.3f}")
        for interval in intervals
    ]


def _read(folder: pathlib.Path, over: str) -> Run:
    recipe, report = combined.read(folder)
    value = _pool_images(recipe, report) if over == POOL_IMAGES else _plain(_at(recipe, over))
    kept = {key: inner for key, inner in recipe.items() if key not in _BESIDES}
    return Run(
        folder=folder,
        value=value,
        seed=recipe["seed"],
        recipe=without_keys(kept, _ANYWHERE),
        rows=report["transfers"],
    )


def _pool_images(recipe: Mapping[str, Any], report: Mapping[str, Any]) -> int:
    """The images of the pools: of all that was compared with the test splits."""
    pools = {pool["source"]["name"] for pool in recipe["pools"]}
    return sum(found["images"] for name, found in report["leaks"].items() if name in pools)


def _at(recipe: Any, path: str) -> Any:
    found = recipe
    for name in path.split("."):
        inside = _inside(found)
        if name not in inside:
            allowed = [POOL_IMAGES, *inside] if found is recipe else list(inside)
            raise UserError(f"--over={path}: {name!r} is not there; {nearest(name, allowed)}")
        found = inside[name]
    return found


def _inside(value: Any) -> dict[str, Any]:
    """What a path can go on with: fields, or the items of a list by their names."""
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
    """A recipe without what may be different in runs that are compared."""
    if over in _ALONG:
        return {key: value for key, value in recipe.items() if key not in _ALONG[over]}
    return _cut(recipe, over.split("."))


def _cut(value: Any, path: Sequence[str]) -> Any:
    """A description without what a path leads to."""
    name, *rest = path
    if isinstance(value, list):
        return [_cut(i, rest) if name in _inside([i]) else i for i in value]
    if not rest:
        return {key: inner for key, inner in value.items() if key != name}
    return {key: _cut(inner, rest) if key == name else inner for key, inner in value.items()}


def _order(start: str) -> tuple[bool, bool, str]:
    """The random start first, then the student."""
    return start != "random", start != "student", start


def _by_value(runs: Sequence[Run]) -> dict[Value, list[Run]]:
    found: dict[Value, list[Run]] = {}
    for run in runs:
        found.setdefault(run.value, []).append(run)
    return found


def _by_seed(runs: Sequence[Run], number: Callable[[Run], float | None]) -> list[dict[int, float]]:
    """{seed: the mean over its runs} at each point, of the seeds of which all numbers are known."""
    points = []
    for of_value in _by_value(runs).values():
        numbers: dict[int, list[float | None]] = {}
        for run in of_value:
            numbers.setdefault(run.seed, []).append(number(run))
        known = {seed: found for seed, found in numbers.items() if None not in found}
        points.append({seed: statistics.fmean(known[seed]) for seed in sorted(known)})
    return points


def _intervals(points: Sequence[Mapping[int, float]]) -> list[Interval | None]:
    return [
        dataclasses.asdict(t_interval(list(by_seed.values()))) | {"values": by_seed}
        if by_seed
        else None
        for by_seed in points
    ]
