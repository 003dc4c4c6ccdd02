"""Training curves, class counts, reliability and thresholds as pictures."""

from __future__ import annotations

import io
import pathlib
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

from must_keras.errors import damaged
from must_keras.files import appended_lines

# (step, value), in the order of the steps.
Series = list[tuple[int, float]]

# A chart with more of them is not legible.
_MOST_CLASSES = 24


def read(path: pathlib.Path, kinds: tuple[str, ...] = ("loss",)) -> dict[str, Series]:
    """{name: its values} of the training lines of a metrics.jsonl.

    Args:
        path: of the file.
        kinds: what names end with, after an underscore if anything is before it.
    """
    series: dict[str, Series] = {}
    remedy = f"delete {path} to draw no curves of it"
    for row in appended_lines(path, form={"split": str, "step": int}, remedy=remedy):
        if row["split"] != "train":
            continue
        for key, value in row.items():
            if any(key == kind or key.endswith(f"_{kind}") for kind in kinds):
                if not isinstance(value, int | float):
                    raise damaged(path, f"a line has {key} = {value!r}", remedy=remedy)
                series.setdefault(key, []).append((row["step"], value))
    return series


def plot(title: str, series: dict[str, Series]) -> bytes:
    """Losses over the steps, on a logarithmic scale, as PNG."""
    if len(series) == 2:  # One head: its loss is the whole one.
        series = {name: points for name, points in series.items() if name != "loss"}
    named = {name.removesuffix("_loss"): points for name, points in series.items()}
    positive = all(value > 0 for points in series.values() for _, value in points)
    return lines(title, named, "loss", scale="log" if positive else "linear")


def lines(title: str, series: dict[str, Series], what: str, *, scale: str = "linear") -> bytes:
    """The series over the steps, as PNG."""
    figure, axes = pyplot.subplots(figsize=(4.2, 2.6), dpi=110)
    for name, points in series.items():
        steps, values = zip(*points, strict=True)
        marker = "o" if len(steps) == 1 else None
        label = name.replace("$", r"\$")
        axes.plot(steps, values, label=label, linewidth=1.4, marker=marker)
    axes.set_yscale(scale)
    return _png(figure, axes, title, "step", what)


def shares(title: str, counts: dict[str, dict[str, float]]) -> bytes:
    """Each class's share of the labels of several kinds, side by side, as PNG.

    Args:
        title: of the picture.
        counts: {kind of labels: {class: how much of it}}, with the same classes.
    """
    totals = {kind: sum(of_class.values()) or 1.0 for kind, of_class in counts.items()}
    parts = {
        kind: {name: value / totals[kind] for name, value in of_class.items()}
        for kind, of_class in counts.items()
    }
    return _classes(title, parts, "share")


def _classes(title: str, heights_of: dict[str, dict[str, float]], what: str) -> bytes:
    """Bars for every class, of several kinds of labels side by side."""
    first = next(iter(heights_of.values()))
    classes = sorted(first, key=lambda name: -first[name])[:_MOST_CLASSES]
    figure, axes = pyplot.subplots(figsize=(4.2, 2.6), dpi=110)
    width = 0.8 / len(heights_of)
    for place, (kind, of_class) in enumerate(heights_of.items()):
        heights = [of_class[name] for name in classes]
        lefts = [i + place * width for i in range(len(classes))]
        axes.bar(lefts, heights, width=width, align="edge", label=kind)
    names = [name.replace("$", r"\$") for name in classes]
    axes.set_xticks([i + 0.4 for i in range(len(classes))], names, rotation=60, ha="right")
    left_out = len(first) - len(classes)
    return _png(figure, axes, title, f"{left_out} more classes" if left_out else "", what)


def reliability(title: str, found: dict[str, list[int]], threshold: float | None) -> bytes:
    """How often answers of a confidence are right, as PNG, with the threshold."""
    figure, axes = pyplot.subplots(figsize=(4.2, 2.6), dpi=110)
    bins = len(found["answers"])
    pairs = list(zip(found["right"], found["answers"], strict=True))
    heights = [right / answers if answers else 0.0 for right, answers in pairs]
    axes.bar(
        [i / bins for i in range(bins)], heights, width=0.9 / bins, align="edge", label="right"
    )
    most = max(found["answers"])
    of_all = [answers / most for answers in found["answers"]]
    axes.step(
        [i / bins for i in range(bins + 1)], [*of_all, of_all[-1]], where="post", linewidth=1.0,
        color="gray", label="how many (relative)",
    )  # fmt: skip
    axes.plot([0, 1], [0, 1], linewidth=0.8, color="black")
    if threshold is not None:
        axes.axvline(threshold, linewidth=1.2, color="crimson", label="threshold")
    return _png(figure, axes, title, "confidence", "share")


def precision_recall(
    title: str,
    thresholds: list[float],
    means: dict[str, list[float]],
    *,
    chosen: list[tuple[float, float]],
    wanted: float | None,
) -> bytes:
    """Precision and recall against the threshold, as PNG.

    Args:
        title: of the picture.
        thresholds: the places of the points.
        means: {"precision": [...], "recall": [...]}, over classes; NaN where there is nothing.
        chosen: (threshold, precision) of every class that is kept.
        wanted: the precision that was asked for; None: thresholds were given.
    """
    figure, axes = pyplot.subplots(figsize=(4.2, 2.6), dpi=110)
    for name, values in means.items():
        axes.plot(thresholds, values, linewidth=1.4, label=f"{name}, mean of classes")
    if wanted is not None:
        axes.axhline(wanted, linewidth=0.8, color="black", linestyle="--")
    places, heights = zip(*chosen, strict=True) if chosen else ((), ())
    label = "each class at its threshold"
    axes.scatter(places, heights, s=14, color="crimson", label=label, zorder=3)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.03)
    return _png(figure, axes, title, "threshold", "share")


def against_images(title: str, lines: dict[str, list[tuple[int, float]]], metric: str) -> bytes:
    """A metric over the number of training images, on a logarithmic scale, as PNG.

    Args:
        title: of the picture.
        lines: {start: [(images, value)]}.
        metric: what the values are called.
    """
    figure, axes = pyplot.subplots(figsize=(4.2, 2.6), dpi=110)
    for name, points in lines.items():
        images, values = zip(*points, strict=True)
        axes.plot(images, values, label=name, linewidth=1.4, marker="o")
    axes.set_xscale("log")
    return _png(figure, axes, title, "labeled images", metric)


def panels(
    found: dict[str, tuple[str, dict[str, list[Any]]]], values: list[float | str], over: str
) -> bytes:
    """A chart for every panel, with intervals where there are any, and one legend, as PNG.

    Args:
        found: {title: (what the heights are, {line: at each value {"mean", "low", "high"} (ends
            may be None), or None})}.
        values: where the points are; names stand side by side.
        over: what the values are.
    """
    columns = min(3, len(found))
    rows = -(-len(found) // columns)
    figure, grid = pyplot.subplots(
        rows, columns, figsize=(4.2 * columns, 2.6 * rows + 0.4), dpi=110, squeeze=False
    )
    numbers = not any(isinstance(value, str) for value in values)
    places = values if numbers else range(len(values))
    names = list(dict.fromkeys(name for _, lines in found.values() for name in lines))
    drawn: dict[str, Any] = {}
    for axes, (title, (what, lines)) in zip(grid.flat, found.items(), strict=False):
        for name, points in lines.items():
            known = [(x, p) for x, p in zip(places, points, strict=True) if p is not None]
            means = [p["mean"] for _, p in known]
            below = [0.0 if p["low"] is None else p["mean"] - p["low"] for _, p in known]
            above = [0.0 if p["high"] is None else p["high"] - p["mean"] for _, p in known]
            drawn[name] = axes.errorbar(
                [x for x, _ in known], means, yerr=[below, above], label=name.replace("$", r"\$"),
                color=f"C{names.index(name)}", linewidth=1.4, marker="o", markersize=4, capsize=3,
            )  # fmt: skip
        if numbers and min(values) > 0 and max(values) >= 8 * min(values):
            axes.set_xscale("log")
            axes.minorticks_off()
        axes.set_xticks(places, [str(value).replace("$", r"\$") for value in values])
        _dress(axes, title, over, what)
    for axes in grid.flat[len(found) :]:
        axes.set_visible(False)
    legend = {"loc": "outside lower center", "ncols": 6, "fontsize": 8, "title_fontsize": 8}
    figure.set_layout_engine("constrained")
    figure.legend(handles=[*drawn.values()], title="mean and 95 % interval over seeds", **legend)
    return _saved(figure)


def per_image(title: str, counts: dict[str, dict[str, float]]) -> bytes:
    """How much of each class an image has in the labels of several kinds, as PNG.

    Args:
        title: of the picture.
        counts: {kind of labels: {class: mean per image}}, with the same classes.
    """
    return _classes(title, counts, "per image")


def _png(figure: Any, axes: Any, title: str, x: str, y: str) -> bytes:
    _dress(axes, title, x, y)
    axes.legend(fontsize=7)
    figure.tight_layout()
    return _saved(figure)


def _dress(axes: Any, title: str, x: str, y: str) -> None:
    # Names come from data: a dollar sign is no formula.
    axes.set_title(title.replace("$", r"\$"), fontsize=9)
    axes.set_xlabel(x, fontsize=8)
    axes.set_ylabel(y, fontsize=8)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.3)


def _saved(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    pyplot.close(figure)
    return buffer.getvalue()
