"""The chart of the transfer benchmark: docs/pictures/benchmark.svg.

    python docs/pictures/benchmark_chart.py

Reads experiments/results/scenes_benchmark_final.jsonl. Gray text and no ground: it is legible in
light and dark.
"""

import json
import pathlib
import statistics

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot

from must_keras.analysis.comparison import Table, t_interval

PATH = pathlib.Path(__file__).with_name("benchmark.svg")
ROWS = PATH.parents[2] / "experiments" / "results" / "scenes_benchmark_final.jsonl"
NAMES = {
    "student": "student (MuST)",
    "supervised": "ground truth alone",
    "simclr": "SimCLR",
    "moco": "MoCo v2",
} | {
    f"teacher-{name}": f"teacher: {name}" for name in ("shapes", "objects", "surfaces", "distance")
}
TEXT, LINE, STUDENT, OTHER = "#7a828c", "#9aa2ab", "#2f81d8", "#8d959e"


def gains() -> dict[str, list[float]]:
    """Return {start: its mean normalized gain over the six sets, a number for each run}."""
    rows = [json.loads(line) for line in ROWS.read_text(encoding="utf-8").splitlines()]
    table = Table([row | {"run": row["run_seed"]} for row in rows])
    return {
        start: [table.mean_gain(run, start, table.sets) for run in table.runs_of([start])]
        for start in table.starts
        if start != "random"
    }


def main() -> None:
    """Write the chart."""
    found = sorted(gains().items(), key=lambda item: statistics.fmean(item[1]))
    pyplot.rcParams |= {"svg.hashsalt": "benchmark", "font.size": 13, "svg.fonttype": "path"}
    figure, axes = pyplot.subplots(figsize=(9, 4.3))
    for row, (start, values) in enumerate(found):
        color = STUDENT if start == "student" else OTHER
        interval = t_interval(values)
        axes.plot([interval.low, interval.high], [row, row], color=color, linewidth=2.5, alpha=0.55)
        axes.plot(values, [row] * len(values), "o", color=color, markersize=4, alpha=0.55)
        axes.plot([interval.mean], [row], "o", color=color, markersize=10)
        label = f"{interval.mean:+.3f}  ({len(values)} runs)"
        axes.text(0.157, row, label, va="center", color=TEXT, fontsize=11.5)
    axes.axvline(0.0, 0.0, 0.945, color=LINE, linewidth=1.2, linestyle=(0, (4, 3)))
    axes.text(0.0, len(found) - 0.35, "random weights", color=TEXT, ha="center", fontsize=11.5)
    axes.set_yticks(range(len(found)), [NAMES[start] for start, _ in found])
    axes.get_yticklabels()[[start for start, _ in found].index("student")].set_fontweight("bold")
    axes.set_xlim(-0.085, 0.152)
    axes.set_ylim(-0.6, len(found) - 0.1)
    axes.set_xlabel(
        "mean normalized gain over six downstream sets, with 95 % intervals", color=TEXT
    )
    axes.tick_params(colors=TEXT, length=0)
    axes.grid(axis="x", color=LINE, alpha=0.25)
    for spine in axes.spines.values():
        spine.set_visible(False)
    figure.savefig(PATH, transparent=True, bbox_inches="tight", metadata={"Date": None})
    print(PATH)


if __name__ == "__main__":
    main()
