"""Charts: training curves, class frequencies, reliability, thresholds and ablations."""

import io
import pathlib
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from must_keras.training.loggers import read_metrics

# (step, value), in the order of the steps.
Series = list[tuple[int, float]]

# A chart with more classes is not legible.
MAX_CLASSES = 24
# Of one chart, inches, and dots per inch.
_WIDTH, _HEIGHT, _DPI = 4.2, 2.6, 110


def read(folder: pathlib.Path, kinds: tuple[str, ...] = ("loss",)) -> dict[str, Series]:
    """Return {name: its values} of the training lines of an artifact's metrics.jsonl.

    Args:
        folder: of the artifact; without the file there are no values.
        kinds: what names end with, after an underscore if anything is before it.
    """
    series: dict[str, Series] = {}
    remedy = "delete the file to plot no curves of it"
    for row in read_metrics(folder, split="train", remedy=remedy):
        for key, value in row.values.items():
            if any(key == kind or key.endswith(f"_{kind}") for kind in kinds):
                series.setdefault(key, []).append((row.step, value))
    return series


def png(figure: Figure) -> bytes:
    """Return a figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def losses(title: str, series: dict[str, Series]) -> Figure:
    """Plot losses over training steps, on a logarithmic scale where all are positive.

    Args:
        title: of the chart.
        series: as `read` returns them; the total "loss" of a single head is left out.
    """
    if len(series) == 2:
        series = {name: points for name, points in series.items() if name != "loss"}
    named = {
        "total" if name == "loss" else name.removesuffix("_loss"): points
        for name, points in series.items()
    }
    positive = all(value > 0 for points in series.values() for _, value in points)
    return lines(title, named, "loss", yscale="log" if positive else "linear")


def lines(
    title: str,
    series: dict[str, Series],
    y: str,
    *,
    x: str = "training step",
    xscale: str = "linear",
    yscale: str = "linear",
) -> Figure:
    """Plot one line for each series; `x` and `y` are the titles of the axes.

    Example:
        >>> figure = lines("student", {"objects": [(0, 2.0), (10, 1.5)]}, "loss")
        >>> figure.axes[0].get_xlabel()
        'training step'
    """
    figure, axes = _chart(title, x, y)
    for name, points in series.items():
        marker = "o" if len(points) == 1 or xscale == "log" else None
        axes.plot(*zip(*points, strict=True), label=name, linewidth=1.4, marker=marker)
    axes.set(xscale=xscale, yscale=yscale)
    return _finished(figure)


def classes(title: str, heights: dict[str, dict[str, float]], y: str) -> Figure:
    """Plot a bar for every class, with several kinds of labels side by side.

    Args:
        title: of the chart.
        heights: {kind of labels: {class: height}}, with the same classes; the highest of the
            first kind come first.
        y: the title of the axis.
    """
    first = next(iter(heights.values()))
    shown = sorted(first, key=lambda name: -first[name])[:MAX_CLASSES]
    more = len(first) - len(shown)
    figure, axes = _chart(title, f"{more} more classes" if more else "", y)
    width = 0.8 / len(heights)
    for place, (kind, of_class) in enumerate(heights.items()):
        lefts = [i + place * width for i in range(len(shown))]
        tops = [of_class[name] for name in shown]
        axes.bar(lefts, tops, width=width, align="edge", label=kind)
    places = [i + 0.4 for i in range(len(shown))]
    axes.set_xticks(places, shown, rotation=60, ha="right", parse_math=False)
    return _finished(figure)


def shares(counts: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Return {kind of labels: {class: its share of them}} from {kind: {class: count}}."""
    totals = {kind: sum(of_class.values()) or 1.0 for kind, of_class in counts.items()}
    return {
        kind: {name: value / totals[kind] for name, value in of_class.items()}
        for kind, of_class in counts.items()
    }


def reliability(title: str, found: dict[str, list[int]], threshold: float | None) -> Figure:
    """Plot the share of correct predictions against their confidence, with the threshold.

    Args:
        title: of the chart.
        found: {"answers", "right": counts of predictions and of correct ones in bins of equal
            width over [0, 1]}.
        threshold: one for all classes; None: no line.
    """
    figure, axes = _chart(title, "confidence", "share")
    counts = found["answers"]
    edges = [i / len(counts) for i in range(len(counts) + 1)]
    pairs = zip(found["right"], counts, strict=True)
    heights = [right / count if count else 0.0 for right, count in pairs]
    axes.bar(edges[:-1], heights, width=0.9 / len(counts), align="edge", label="correct")
    of_all = [count / max(counts) for count in counts]
    axes.step(
        edges, [*of_all, of_all[-1]], where="post", linewidth=1.0, color="gray",
        label="predictions (relative)",
    )  # fmt: skip
    axes.plot([0, 1], [0, 1], linewidth=0.8, color="black", label="calibrated")
    if threshold is not None:
        axes.axvline(threshold, linewidth=1.2, color="crimson", label="threshold")
    return _finished(figure)


def precision_recall(
    title: str,
    thresholds: list[float],
    means: dict[str, list[float]],
    *,
    chosen: list[tuple[float, float]],
    wanted: float | None,
) -> Figure:
    """Plot precision and recall against the threshold.

    Args:
        title: of the chart.
        thresholds: the places of the points.
        means: {"precision": [...], "recall": [...]}, over classes; NaN where there is nothing.
        chosen: (threshold, precision) of every class that is kept.
        wanted: the precision that the recipe asks for; None: it gives thresholds.
    """
    figure, axes = _chart(title, "threshold", "precision, recall")
    for name, values in means.items():
        axes.plot(thresholds, values, linewidth=1.4, label=f"{name}, mean over classes")
    if wanted is not None:
        style = {"linewidth": 0.8, "color": "black", "linestyle": "--"}
        axes.axhline(wanted, label="requested precision", **style)
    places, heights = zip(*chosen, strict=True) if chosen else ((), ())
    label = "precision of each class at its threshold"
    axes.scatter(places, heights, s=14, color="crimson", label=label, zorder=3)
    axes.set(xlim=(0, 1), ylim=(0, 1.03))
    return _finished(figure)


def confusion(title: str, names: list[str], counts: np.ndarray) -> Figure:
    """Plot for each true class, a line, the share of it that is predicted as each class.

    Args:
        title: of the chart.
        names: of K classes.
        counts: [K, K] of (true, predicted class).
    """
    figure = Figure(figsize=(_WIDTH, _WIDTH), dpi=_DPI)
    axes = figure.subplots()
    _label(axes, title, "predicted as", "ground truth")
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    axes.grid(False)
    size = 7 if len(names) <= 12 else 5
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right", parse_math=False)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    for true, predicted in np.argwhere(shares >= 0.005):
        share = shares[true, predicted]
        color = "white" if share > 0.5 else "black"
        text = f"{share:.2f}".lstrip("0") if share < 1 else "1"
        axes.text(predicted, true, text, ha="center", va="center", fontsize=size, color=color)
    figure.tight_layout()
    return figure


def panels(
    found: dict[str, tuple[str, dict[str, list[Any]]]], values: list[float | str], x: str
) -> Figure:
    """Plot one chart for every panel, with intervals where there are any, and one legend.

    Args:
        found: {title: (title of the y axis, {line: at each value {"mean", "low", "high"} (ends may
            be None), or None})}.
        values: where the points are; names stand side by side.
        x: the title of the x axes.
    """
    columns = min(3, len(found))
    rows = -(-len(found) // columns)
    size = (_WIDTH * columns, _HEIGHT * rows + 0.4)
    figure = Figure(figsize=size, dpi=_DPI, layout="constrained")
    numbers = not any(isinstance(value, str) for value in values)
    places = values if numbers else range(len(values))
    names = list(dict.fromkeys(name for _, of_panel in found.values() for name in of_panel))
    plotted: dict[str, Any] = {}
    for number, (title, (y, of_panel)) in enumerate(found.items(), 1):
        axes = figure.add_subplot(rows, columns, number)
        for name, points in of_panel.items():
            known = [(x, p) for x, p in zip(places, points, strict=True) if p is not None]
            below = [0.0 if p["low"] is None else p["mean"] - p["low"] for _, p in known]
            above = [0.0 if p["high"] is None else p["high"] - p["mean"] for _, p in known]
            plotted[name] = axes.errorbar(
                [x for x, _ in known], [p["mean"] for _, p in known], yerr=[below, above],
                label=name, color=f"C{names.index(name)}", linewidth=1.4, marker="o", markersize=4,
                capsize=3,
            )  # fmt: skip
        if numbers and min(values) > 0 and max(values) >= 8 * min(values):
            axes.set_xscale("log")
            axes.minorticks_off()
        axes.set_xticks(places, map(str, values), parse_math=False)
        _label(axes, title, x, y)
    legend = {"loc": "outside lower center", "ncols": 6, "fontsize": 8, "title_fontsize": 8}
    title = "mean and 95 % interval over seeds"
    _plain(figure.legend(plotted.values(), plotted, title=title, **legend))
    return figure


def _chart(title: str, x: str, y: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=(_WIDTH, _HEIGHT), dpi=_DPI)
    axes = figure.subplots()
    _label(axes, title, x, y)
    return figure, axes


def _label(axes: Any, title: str, x: str, y: str) -> None:
    axes.set_title(title, fontsize=9, parse_math=False)
    axes.set_xlabel(x, fontsize=8, parse_math=False)
    axes.set_ylabel(y, fontsize=8, parse_math=False)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.3)


def _finished(figure: Figure) -> Figure:
    _plain(figure.axes[0].legend(fontsize=7))
    figure.tight_layout()
    return figure


def _plain(legend: Any) -> None:
    """Show the names of a legend as they are: in data's names a dollar sign is no formula."""
    for text in legend.get_texts():
        text.set_parse_math(False)
