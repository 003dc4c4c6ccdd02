"""Whether the student is the better start: gains over sets, then an interval over runs.

A run is everything that one seed of a recipe makes: teachers, labels, student, baselines and
transfers. Sets of one run share their teachers and student, so they are no independent trials:
they are averaged first, and only the means of different runs are counted. Transfer seeds within a
run are averaged before that.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from scipy import stats

from must_keras.inference.scoring import sign

Verdict = Literal["helps", "does not help", "cannot be told from noise", "cannot be compared"]

# Metrics from 0 to 1 of which more is better are compared; the others have no largest value.
_CONFIDENCE = 0.95
_SEEN = ("images", "set")
# From the least to the most that a start has seen of a set.
_ALIGNED = ("none", "task", *_SEEN)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean, and where the true mean is with a confidence of 95 %.

    Attributes:
        mean: of the values.
        low: the lower end; None where there is one value.
        high: the upper end; None where there is one value.
        count: how many values.
    """

    mean: float
    low: float | None
    high: float | None
    count: int


def t_interval(values: Sequence[float]) -> Interval:
    """Mean ± t s / sqrt(n): Student's interval, s the sample standard deviation, n - 1 degrees.

    Args:
        values: at least one, independent of each other.
    """
    mean, count = statistics.fmean(values), len(values)
    if count < 2:
        return Interval(mean=mean, low=None, high=None, count=count)
    quantile = float(stats.t.ppf(0.5 + _CONFIDENCE / 2.0, count - 1))
    half = quantile * statistics.stdev(values) / math.sqrt(count)
    return Interval(mean=mean, low=mean - half, high=mean + half, count=count)


def normalised_gain(value: float | None, random: float | None, metric: str) -> float | None:
    """(value - random) / (1 - random): the share of what the random start lacks that is gained.

    None where one of them is not known, the random start lacks nothing, or the metric is no share
    of which more is better.
    """
    known = value is not None and random is not None and random < 1.0 and sign(metric) > 0
    return (value - random) / (1.0 - random) if known else None


def by_protocol(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """{protocol: its rows}, named as the folders of transfers are."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        shots = "all" if row["shots"] is None else row["shots"]
        found.setdefault(f"{row['mode']}-{row['neck']}-{shots}", []).append(row)
    return found


def compare(rows: Sequence[Mapping[str, Any]], student: str = "student") -> dict[str, Any]:
    """What the transfers of one protocol show, of one run or of several.

    Args:
        rows: as report.json's "transfers", of one protocol; "run" names the run of a row and is
            absent where there is one run. Of several seeds of a run the known values are averaged.
        student: the start that is compared with all others.

    Returns:
        {"runs": how many; a start that a run does not have is compared in the others,
        "complete_runs": how many of them have all starts,
        "sets": {set: {"metric", "starts": {start: {"value": mean over these runs, or over all
        where none is complete, "gain": normalized, "aligned", "runs"}}}}, None where nothing is
        known,
        "means": {start: {"with_task", "without_task"}}: mean gains, in the runs that have all
        starts, over the sets that are scored there and of which no start has seen the images;
        "without_task" leaves out those whose kind of task a start was trained on;
        "sets_with_task", "sets_without_task": which these are,
        "differences": {start: {"with_task", "without_task": {"mean", "low", "high", "count" of
        the runs' differences student - start, "sets": names, "verdict"}}}: over the sets of which
        neither of the two has seen the images}.
    """
    table = _Table(rows)
    starts = table.starts
    all_sets = {
        key: table.common(starts, with_task=key == "with_task")
        for key in ("with_task", "without_task")
    }
    others = [start for start in starts if start != student] if student in starts else []
    return {
        "runs": len(table.runs),
        "complete_runs": len(table.complete_runs),
        "sets": {name: table.line(name) for name in table.sets},
        "means": {
            start: {
                key: _mean(table.mean_gain(run, start, sets) for run in table.complete_runs)
                for key, sets in all_sets.items()
            }
            for start in starts
        },
        "sets_with_task": all_sets["with_task"],
        "sets_without_task": all_sets["without_task"],
        "differences": {
            other: {key: table.difference(student, other, key == "with_task") for key in all_sets}
            for other in others
        },
    }


def of_every_run(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows of starts that all runs have, where some runs have more; else nothing."""
    table = _Table(rows)
    shared = [start for start in table.starts if table.runs_of([start]) == table.runs]
    return [row for row in rows if row["start"] in shared] if shared != table.starts else []


def sentences(comparison: Mapping[str, Any]) -> list[str]:
    """A verdict for each other start in plain words, with its numbers."""
    found = []
    for start, by_sets in comparison["differences"].items():
        difference, without = by_sets["with_task"], by_sets["without_task"]
        text = f"Against {start} the student's start {_told(difference)}"
        if 0 < len(without["sets"]) < len(difference["sets"]):
            text += f"; without the kinds of task that one of them knows, it {_told(without)}"
        found.append(f"{text}.")
    return found


def _told(difference: Mapping[str, Any]) -> str:
    if difference["verdict"] == "cannot be compared":
        return "cannot be compared: no set is scored for both of which neither saw the images"
    number = len(difference["sets"])
    over = f"{number} set{'' if number == 1 else 's'}"
    what = f"{difference['mean']:+.3f} of normalized gain, mean over {over}"
    verdict = difference["verdict"]
    if difference["low"] is None:
        return f"{verdict} ({what}; one run has no interval)"
    ends = f"[{difference['low']:+.3f}, {difference['high']:+.3f}]"
    verdict = "makes a difference that " + verdict if verdict.startswith("cannot") else verdict
    return f"{verdict} ({what}; 95 % interval {ends} over {difference['count']} runs)"


class _Table:
    """Values by run, set and start."""

    def __init__(self, rows: Sequence[Mapping[str, Any]]):
        self.runs = list(dict.fromkeys(row.get("run") for row in rows))
        self.sets = list(dict.fromkeys(row["set"] for row in rows))
        self.starts = list(dict.fromkeys(row["start"] for row in rows))
        self._metrics = {row["set"]: row["metric"] for row in rows}
        self._values: dict[tuple[Any, str, str], list[float]] = {}
        self._aligned: dict[tuple[str, str], str] = {}
        self._starts_of: dict[Any, set[str]] = {run: set() for run in self.runs}
        for row in rows:
            self._starts_of[row.get("run")].add(row["start"])
            of_set = (row["set"], row["start"])
            self._aligned[of_set] = max(
                self._aligned.get(of_set, "none"), row["aligned"], key=_ALIGNED.index
            )
            if row["value"] is not None and math.isfinite(row["value"]):
                self._values.setdefault((row.get("run"), *of_set), []).append(row["value"])
        self.complete_runs = self.runs_of(self.starts)

    def runs_of(self, starts: Sequence[str]) -> list[Any]:
        """The runs that have transfers from all of some starts, and from random weights."""
        wanted = {*starts, "random"}
        return [run for run in self.runs if wanted <= self._starts_of[run]]

    def value(self, run: Any, name: str, start: str) -> float | None:
        """The mean of a run's seeds."""
        values = self._values.get((run, name, start))
        return statistics.fmean(values) if values else None

    def gain(self, run: Any, name: str, start: str) -> float | None:
        """Against the random start of the same run."""
        random = self.value(run, name, "random")
        return normalised_gain(self.value(run, name, start), random, self._metrics[name])

    def mean_gain(self, run: Any, start: str, sets: Sequence[str]) -> float | None:
        """The mean over sets of which every gain is known."""
        return _mean(self.gain(run, name, start) for name in sets)

    def common(self, starts: Sequence[str], *, with_task: bool) -> list[str]:
        """The sets on which some starts can be compared in all runs that have them."""
        allowed = ("none", "task") if with_task else ("none",)
        runs = self.runs_of(starts)

        def counts(name: str) -> bool:
            is_known = bool(runs) and all(
                self.gain(run, name, start) is not None for run in runs for start in starts
            )
            return is_known and all(
                self._aligned.get((name, start), "none") in allowed for start in starts
            )

        return [name for name in self.sets if counts(name)]

    def line(self, name: str) -> dict[str, Any]:
        """A set's row of the matrix."""
        return {
            "metric": self._metrics[name],
            "starts": {
                start: {
                    "value": _mean(self._over_runs(self.value, name, start)),
                    "gain": _mean(self._over_runs(self.gain, name, start)),
                    "aligned": self._aligned[name, start],
                    "runs": len(self._over_runs(self.value, name, start)),
                }
                for start in self.starts
                if (name, start) in self._aligned
            },
        }

    def difference(self, student: str, other: str, with_task: bool) -> dict[str, Any]:
        """The interval over runs of the student's mean gain minus another start's."""
        pair = [student, other]
        sets, runs = self.common(pair, with_task=with_task), self.runs_of(pair)
        if not sets:
            nothing = {"mean": None, "low": None, "high": None, "count": 0}
            return nothing | {"sets": [], "verdict": "cannot be compared"}
        found = t_interval(
            [self.mean_gain(run, student, sets) - self.mean_gain(run, other, sets) for run in runs]
        )
        return dataclasses.asdict(found) | {"sets": sets, "verdict": _verdict(found)}

    def _over_runs(
        self, number: Callable[[Any, str, str], float | None], name: str, start: str
    ) -> list[float]:
        found = [number(run, name, start) for run in self.complete_runs or self.runs]
        return [value for value in found if value is not None]


def _verdict(difference: Interval) -> Verdict:
    if difference.low is not None and difference.low > 0.0:
        return "helps"
    if difference.high is not None and difference.high < 0.0:
        return "does not help"
    return "cannot be told from noise"


def _mean(values: Iterable[float | None]) -> float | None:
    known = list(values)
    return statistics.fmean(known) if known and None not in known else None
