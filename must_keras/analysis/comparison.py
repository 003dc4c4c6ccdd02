"""Comparison of the starts of transfer runs: normalized gains, and intervals over runs.

A run is everything that one seed of a recipe makes: teachers, pseudo labels, student, baselines and
transfer runs. The downstream sets of one run share their teachers and student, so they are no
independent trials: they are averaged first, and only the means of different runs are counted.
Transfer seeds within a run are averaged before that.
"""

import dataclasses
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from scipy.special import stdtrit

from must_keras.runs.results import size_name
from must_keras.tasks.evaluation import find_metric

# Values of report.json; pages and tables have words of their own (see `sentences`). "unclear": the
# interval contains zero, or one run has none. "unknown": there is no set to compare on.
Verdict = Literal["helps", "hurts", "unclear", "unknown"]

ONE_RUN = (
    "This is one run, so no difference has a confidence interval: that needs runs of the recipe "
    "with other seeds, each with teachers and a student of its own (must-keras repeat, or "
    "must-keras compare for runs that are complete)."
)

_CONFIDENCE = 0.95
# How much of a downstream set a start was trained on, from the least to the most.
_ALIGNED = ("none", "task", "images", "set")
# Those that a comparison admits, by its key in report.json.
_ADMITTED = {"with_task": ("none", "task"), "without_task": ("none",)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean and its 95 % confidence interval.

    Attributes:
        mean: of the values.
        low: the lower end; None where there is one value.
        high: the upper end; None where there is one value.
        count: number of values.

    Example:
        >>> t_interval([0.5])
        Interval(mean=0.5, low=None, high=None, count=1)
    """

    mean: float
    low: float | None
    high: float | None
    count: int


def t_interval(values: Sequence[float]) -> Interval:
    """Return Student's interval: mean ± t s / sqrt(n), with n - 1 degrees of freedom.

    Args:
        values: n >= 1, independent of each other; s is their sample standard deviation.
    """
    mean, count = statistics.fmean(values), len(values)
    if count < 2:
        return Interval(mean=mean, low=None, high=None, count=count)
    # As scipy.stats.t.ppf, to the bit, without a second for importing scipy.stats.
    quantile = float(stdtrit(count - 1, 0.5 + _CONFIDENCE / 2.0))
    half = quantile * statistics.stdev(values) / math.sqrt(count)
    return Interval(mean=mean, low=mean - half, high=mean + half, count=count)


def normalized_gain(value: float | None, random: float | None, metric: str) -> float | None:
    """Return (value - random) / (1 - random), the closed share of the gap to a perfect score.

    Args:
        value: of a start, in [0, 1]; None: not scored.
        random: of the random start.
        metric: its name.

    Returns:
        None where one value is unknown, the random start is perfect, or lower values are better.
    """
    is_share = find_metric(metric).is_share
    known = is_share and value is not None and random is not None and random < 1.0
    return (value - random) / (1.0 - random) if known else None


def by_protocol(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Return {protocol: its rows}; a protocol is named as the folder of its transfer runs."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        size = size_name(row["shots"], row.get("samples"))
        found.setdefault(f"{row['mode']}-{row['neck']}-{size}", []).append(row)
    return found


def compare(rows: Sequence[Mapping[str, Any]], student: str = "student") -> dict[str, Any]:
    """Compare the starts of one protocol over one run or several.

    Args:
        rows: as report.json's "transfers", of one protocol; "run" names the run of a row and is
            absent where there is one run. The known values of several transfer seeds are averaged.
        student: the start that is compared with all others.

    Returns:
        {"runs": number of runs; a start that a run lacks is compared in the others,
        "complete_runs": number of those that have all starts,
        "sets": {set: {"metric", "starts": {start: {"value": mean over the complete runs, or over
        all where none is complete, "gain": normalized, "aligned", "runs"}}}}; unknown is None,
        "means": {start: {"with_task", "without_task"}}: mean gains, in the complete runs, over the
        sets that are scored there and whose images no start was trained on; "without_task" omits
        those whose kind of task a start was trained on,
        "sets_with_task", "sets_without_task": the names of these sets,
        "differences": {start: {"with_task", "without_task": {"mean", "low", "high", "count" of the
        runs' differences student - start, "sets": names, "verdict"}}}: over the sets whose images
        neither of the two was trained on}.
    """
    table = Table(rows)
    starts = table.starts
    common = {key: table.common(starts, key) for key in _ADMITTED}
    others = [start for start in starts if start != student] if student in starts else []
    return {
        "runs": len(table.runs),
        "complete_runs": len(table.complete_runs),
        "sets": {name: table.line(name) for name in table.sets},
        "means": {
            start: {
                key: _mean(table.mean_gain(run, start, sets) for run in table.complete_runs)
                for key, sets in common.items()
            }
            for start in starts
        },
        **{f"sets_{key}": sets for key, sets in common.items()},
        "differences": {
            other: {key: table.difference(student, other, key) for key in _ADMITTED}
            for other in others
        },
    }


def of_every_run(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the rows of the starts that all runs have; [] where all runs have the same starts."""
    table = Table(rows)
    shared = [start for start in table.starts if table.runs_of([start]) == table.runs]
    return [row for row in rows if row["start"] in shared] if shared != table.starts else []


def sentences(comparison: Mapping[str, Any]) -> list[str]:
    """Return one sentence for each start that the student is compared with.

    Of one run no difference has an interval: see ONE_RUN.

    Args:
        comparison: as `compare` returns it.

    Example:
        >>> rows = [{"set": "a", "metric": "top1", "aligned": "none"} | row for row in (
        ...     {"start": "random", "value": 0.2}, {"start": "student", "value": 0.6})]
        >>> sentences(compare(rows))
        ['Student vs. random: +0.500 mean normalized gain over 1 set.']
    """
    found = []
    for start, by_sets in comparison["differences"].items():
        difference, without = by_sets["with_task"], by_sets["without_task"]
        text = f"Student vs. {start}: {_described(difference)}"
        if 0 < len(without["sets"]) < len(difference["sets"]):
            text += f"; where neither was trained on the kind of task: {_described(without)}"
        found.append(f"{text}.")
    return found


def _described(difference: Mapping[str, Any]) -> str:
    number = len(difference["sets"])
    if not number:
        return "no set is scored for both whose images neither was trained on"
    mean = f"{difference['mean']:+.3f} mean normalized gain over {plural(number, 'set')}"
    low, high = difference["low"], difference["high"]
    if low is None:
        return mean
    verdict = "not significant (95 % interval contains zero)"
    if low > 0.0 or high < 0.0:
        verdict = f"significantly {'better' if low > 0.0 else 'worse'}"
    runs = plural(difference["count"], "run")
    return f"{mean}, 95 % interval [{low:+.3f}, {high:+.3f}] from {runs}: {verdict}"


def plural(count: int, noun: str) -> str:
    """Return a count with its noun: "1 set", "2 sets"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


class Table:
    """Values by run, set and start.

    Args:
        rows: see `compare`.

    Attributes:
        runs: in the order of the rows.
        sets: the same.
        starts: the same.
        metrics: {set: its metric}.
        starts_of: {run: its starts}.
        complete_runs: those that have all starts.

    Example:
        >>> row = {"set": "a", "start": "random", "metric": "top1", "value": 0.2, "aligned": "none"}
        >>> Table([row]).value(None, "a", "random")
        0.2
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]]):
        self.runs = list(dict.fromkeys(row.get("run") for row in rows))
        self.sets = list(dict.fromkeys(row["set"] for row in rows))
        self.starts = list(dict.fromkeys(row["start"] for row in rows))
        self.metrics = {row["set"]: row["metric"] for row in rows}
        self._values: dict[tuple[Any, str, str], list[float]] = {}
        self._aligned: dict[tuple[str, str], str] = {}
        self.starts_of: dict[Any, set[str]] = {run: set() for run in self.runs}
        for row in rows:
            self.starts_of[row.get("run")].add(row["start"])
            of_set = (row["set"], row["start"])
            self._aligned[of_set] = max(
                self._aligned.get(of_set, "none"), row["aligned"], key=_ALIGNED.index
            )
            if row["value"] is not None and math.isfinite(row["value"]):
                self._values.setdefault((row.get("run"), *of_set), []).append(row["value"])
        self.complete_runs = self.runs_of(self.starts)

    def runs_of(self, starts: Sequence[str]) -> list[Any]:
        """Return the runs that have transfer runs from all of `starts` and from random weights."""
        wanted = {*starts, "random"}
        return [run for run in self.runs if wanted <= self.starts_of[run]]

    def value(self, run: Any, name: str, start: str) -> float | None:
        """Return the mean over a run's transfer seeds."""
        values = self._values.get((run, name, start))
        return statistics.fmean(values) if values else None

    def gain(self, run: Any, name: str, start: str) -> float | None:
        """Return the normalized gain over the random start of the same run."""
        random = self.value(run, name, "random")
        return normalized_gain(self.value(run, name, start), random, self.metrics[name])

    def mean_gain(self, run: Any, start: str, sets: Sequence[str]) -> float | None:
        """Return the mean over sets; None where a gain is unknown."""
        return _mean(self.gain(run, name, start) for name in sets)

    def common(self, starts: Sequence[str], key: str) -> list[str]:
        """Return the sets on which `starts` can be compared in all runs that have them."""
        runs = self.runs_of(starts)
        return [
            name
            for name in (self.sets if runs else ())
            if all(self.gain(run, name, start) is not None for run in runs for start in starts)
            and all(self._aligned.get((name, s), "none") in _ADMITTED[key] for s in starts)
        ]

    def line(self, name: str) -> dict[str, Any]:
        """Return a set's row of the matrix."""
        return {
            "metric": self.metrics[name],
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

    def difference(self, student: str, other: str, key: str) -> dict[str, Any]:
        """Return the interval, over runs, of the student's mean gain minus another start's."""
        pair = [student, other]
        sets, runs = self.common(pair, key), self.runs_of(pair)
        if not sets:
            nothing = {"mean": None, "low": None, "high": None, "count": 0}
            return nothing | {"sets": [], "verdict": "unknown"}
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
        return "hurts"
    return "unclear"


def _mean(values: Iterable[float | None]) -> float | None:
    known = list(values)
    return statistics.fmean(known) if known and None not in known else None
