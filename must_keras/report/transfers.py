"""What the page says of transfers: a table and a comparison for every protocol, and curves."""

from __future__ import annotations

import collections
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from must_keras.analysis import comparison, curves
from must_keras.config.recipe import Recipe
from must_keras.inference.scoring import sign
from must_keras.report import summary
from must_keras.training.network import NECK

_MEANS = {
    "with_task": "mean normalized gain",
    "without_task": "mean normalized gain where no start is marked *",
}


def number(value: float | None) -> str:
    """A number of a table; a dash where it is not known."""
    if value is None:
        return "–"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def verdicts(report: Mapping[str, Any]) -> list[str]:
    """One of all transfers, or one of each protocol where there are several."""
    found = comparison.by_protocol(report["transfers"])
    if len(found) < 2:
        return [summary.verdict(report["transfers"])]
    return [f"{name}: {summary.verdict(rows)}" for name, rows in found.items()]


def tables(recipe: Recipe, report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """{"title", "lines", "means", "seen", "copied", "sentences", "sweeps"} of every protocol."""
    found = []
    groups = comparison.by_protocol(report["transfers"])
    titles = {str(protocol): protocol.title() for protocol in recipe.protocols}
    for name in groups or titles:
        rows, compared = groups.get(name, []), report["comparisons"].get(name)
        found.append(
            {
                "title": titles.get(name, name),
                "lines": _lines(recipe, rows, compared),
                "means": _means(compared, recipe.start_names),
                "seen": [_seen(report, start) for start in recipe.start_names],
                "copied": [_copied(rows, start) for start in recipe.start_names],
                "sentences": comparison.sentences(compared) if compared else [],
                "sweeps": _sweeps(rows),
            }
        )
    return found


def low_shot(report: Mapping[str, Any]) -> list[tuple[str, bytes]]:
    """(title, PNG) of every set that was transferred to with several numbers of images."""
    points: dict[str, dict[str, dict[int, list[float]]]] = {}
    metrics = {}
    for row in report["transfers"]:
        if row["value"] is not None:
            of_start = points.setdefault(row["set"], {}).setdefault(row["start"], {})
            of_start.setdefault(row["images"], []).append(row["value"])
            metrics[row["set"]] = row["metric"]
    found = []
    for name, by_start in points.items():
        if any(len(of_start) > 1 for of_start in by_start.values()):
            lines = {
                start: [(images, statistics.fmean(v)) for images, v in sorted(of_start.items())]
                for start, of_start in by_start.items()
            }
            found.append((name, curves.against_images(name, lines, metrics[name])))
    return found


def _lines(
    recipe: Recipe, rows: Sequence[dict[str, Any]], compared: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    """A line of the transfer table for every set, with a cell for every start."""
    several = recipe.transfer_seeds > 1
    found = []
    for name, by_start in summary.table(rows).items():
        first = next(iter(by_start.values()))[0]
        better = sign(first["metric"])
        averages = {
            start: better * statistics.fmean(summary.known_values(seeds))
            for start, seeds in by_start.items()
            if summary.known_values(seeds)
        }
        best = {start for start, value in averages.items() if value == max(averages.values())}
        gains = compared["sets"][name]["starts"] if compared else {}
        cells = [
            _cell(
                by_start.get(start, []),
                is_best=start in best,
                several=several,
                gain=gains.get(start, {}).get("gain"),
            )
            for start in recipe.start_names
        ]
        found.append({"set": name, "cells": cells} | {k: first[k] for k in ("metric", "trivial")})
    return found


def _cell(
    rows: Sequence[dict[str, Any]], *, is_best: bool, several: bool, gain: float | None
) -> dict[str, str]:
    """{"text", "classes", "title"} of a set from one start.

    With several seeds the text is the mean ± sample standard deviation (number of seeds), over
    the seeds that could be scored.
    """
    values = summary.known_values(rows)
    if not values:
        return {"text": "–", "classes": "", "title": ""}
    text = number(statistics.fmean(values))
    if len(values) > 1:
        text += f" ± {number(statistics.stdev(values))}"
    if several:
        text += f" ({len(values)})"
    first = rows[0]
    classes = ["best"] * is_best + ["aligned"] * (first["aligned"] != "none")
    told = [
        f"{len(values)} seed(s)",
        f"{first['images']} images",
        f"{first['steps']} steps",
        f"learning rate {first['learning_rate']:g}",
        f"normalized gain {number(gain)}",
        f"aligned: {first['aligned']}",
        f"copied: {_named(first['copied']) or 'nothing'}",
        f"{first['mode']}, neck {first['neck']}, shots {first['shots'] or 'all'}",
    ]
    return {"text": text, "classes": " ".join(classes), "title": ", ".join(told)}


def _means(
    compared: Mapping[str, Any] | None, starts: Sequence[str]
) -> list[tuple[str, list[str]]]:
    """(title, a text for every start) of the lines under the transfer table."""
    found = []
    for key, title in _MEANS.items():
        number_of_sets = len(compared[f"sets_{key}"]) if compared else 0
        means = compared["means"] if compared else {}
        values = [means.get(start, {}).get(key) for start in starts]
        texts = ["–" if value is None else f"{value:+.3f}" for value in values]
        sets = f"{number_of_sets} {'set' if number_of_sets == 1 else 'sets'}"
        found.append((f"{title} ({sets})", texts))
    return found


def _seen(report: Mapping[str, Any], start: str) -> str:
    """How many images a start's training has seen, repeated ones again; a round's are its own."""
    teachers = {f"teacher-{name}": made for name, made in report.get("teachers", {}).items()}
    student = report.get("student") or {}
    trained = {"student": student, "rounds": student, "supervised": report.get("supervised") or {}}
    made = (trained | teachers | (report.get("selfsup") or {})).get(start, {})
    number = 0 if start == "random" else made.get("images_seen")
    return "–" if number is None else f"{number:,}"


def _copied(rows: Sequence[dict[str, Any]], start: str) -> str:
    """What of a start's weights its transfers began with."""
    sets = {row["set"]: row["copied"] for row in rows if row["start"] == start}
    if not sets:
        return "–"
    counts = collections.Counter(part for parts in sets.values() for part in parts)
    texts = [
        _named([part]) + (f" ({count} of {len(sets)} sets)" if count < len(sets) else "")
        for part, count in counts.items()
    ]
    return ", ".join(texts) or "nothing"


def _named(parts: Sequence[str]) -> str:
    return ", ".join("pyramid" if part == NECK else part for part in parts)


def _sweeps(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """{"set", "start", "metric", "images", "runs": [(rate, value on validation, chosen)]}."""
    return [
        {
            "set": row["set"],
            "start": row["start"],
            "metric": row["metric"],
            "images": row["validation_images"],
            "runs": [
                (f"{run['learning_rate']:g}", number(run["value"]), run["chosen"])
                for run in row["sweep"]
            ],
        }
        for row in rows
        if row.get("sweep")
    ]
