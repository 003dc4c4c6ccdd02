"""The graph of the method as the stages declare it: docs/explanation/stages.svg.

    python -m benchmarks.stage_graph

Declares the artifacts of the default recipe with every start, without making any, and plots one
box per kind of artifact (its folder, with <names> for what differs) and one arrow per kind of need.
The edges are also in the file's description, which a test compares with the declarations.
"""

from __future__ import annotations

import dataclasses
import pathlib
import sys

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot

from must_keras import experiment, stages
from must_keras.runs.run import Run

PATH = pathlib.Path(__file__).resolve().parents[1] / "docs" / "explanation" / "stages.svg"
ARGUMENTS = {"images": "40", "pool_images": "48", "starts": "all", "transfer_seeds": "1"}
# A folder of a run has this many names after the first, and these are they.
NAMES = {
    "teachers": "/<teacher>",
    "labels": "/<teacher>/<source>",
    "leaks": "/<source>",
    "selfsup": "/<method>",
    "transfers": "/<set>/<start>/...",
}


@dataclasses.dataclass(frozen=True)
class Graph:
    """Kinds of artifacts by the stage that makes them, and what each kind needs."""

    stages: dict[str, str]
    edges: tuple[tuple[str, str], ...]


def declared() -> Graph:
    """Return the graph of the default recipe with all starts; nothing is made."""
    recipe = experiment.load("scenes", ARGUMENTS, data_dir="nowhere")
    run = Run(recipe=recipe, path=pathlib.Path("nowhere"))
    found, edges = {}, {}
    for stage in stages.load():
        for artifact in stage.artifacts(run) if stage.is_wanted(run) else ():
            kind = _kind(run, artifact.folder)
            found[kind] = artifact.stage
            edges |= {(_kind(run, need.folder), kind): None for need in artifact.needs}
    return Graph(stages=found, edges=tuple(edge for edge in edges if edge[0] != edge[1]))


def _kind(run: Run, folder: pathlib.Path) -> str:
    first = folder.relative_to(run.path).parts[0]
    return first + NAMES.get(first, "")


def description(graph: Graph) -> str:
    """Return the edges as text, for the file's description."""
    return "; ".join(f"{a} -> {b}" for a, b in graph.edges)


def plot(graph: Graph, path: pathlib.Path) -> None:
    """Write the graph as SVG: a column for each depth, an arrow from what is needed."""
    depth: dict[str, int] = {}
    for kind in graph.stages:
        before = [depth[a] for a, b in graph.edges if b == kind]
        depth[kind] = 1 + max(before, default=-1)
    columns: dict[int, list[str]] = {}
    for kind, number in depth.items():
        columns.setdefault(number, []).append(kind)
    place = {
        kind: (3.4 * number, -1.3 * (row - (len(kinds) - 1) / 2))
        for number, kinds in columns.items()
        for row, kind in enumerate(kinds)
    }
    pyplot.rcParams["svg.hashsalt"] = "stages"
    figure, axes = pyplot.subplots(figsize=(12, 4))
    boxes = {}
    for kind, (x, y) in place.items():
        stage = graph.stages[kind]
        label = stage if stage == kind else f"{stage}\n{kind}"
        style = {"boxstyle": "round,pad=0.5", "facecolor": "white", "edgecolor": "0.2"}
        boxes[kind] = axes.text(x, y, label, ha="center", va="center", fontsize=9, bbox=style)
    for a, b in graph.edges:
        ends = {"patchA": boxes[a].get_bbox_patch(), "patchB": boxes[b].get_bbox_patch()}
        arrow = {"arrowstyle": "->", "color": "0.45", "shrinkA": 6, "shrinkB": 8} | ends
        axes.annotate("", place[b], place[a], arrowprops=arrow, zorder=3)
    axes.set_xlim(-1.6, 3.4 * max(depth.values()) + 1.6)
    axes.set_ylim(
        -1.3 * max(map(len, columns.values())) / 2 - 0.4,
        1.3 * max(map(len, columns.values())) / 2 + 0.4,
    )
    axes.axis("off")
    metadata = {"Description": description(graph), "Date": None}
    figure.savefig(path, bbox_inches="tight", metadata=metadata)


def main() -> int:
    """Write docs/explanation/stages.svg."""
    plot(declared(), PATH)
    print(PATH)
    return 0


if __name__ == "__main__":
    sys.exit(main())
