"""Charts contain what they are given: titles, axes, names, values."""

import io
import math

import numpy as np
import pytest
from PIL import Image

from must_keras.analysis import curves


def legend(figure) -> list[str]:
    holder = figure.axes[0].get_legend() or figure.legends[0]
    return [text.get_text() for text in holder.get_texts()]


def titles(figure) -> tuple[str, str, str]:
    axes = figure.axes[0]
    return axes.get_title(), axes.get_xlabel(), axes.get_ylabel()


def data(line) -> list[tuple[float, float]]:
    return list(zip(*map(np.ndarray.tolist, map(np.asarray, line.get_data())), strict=True))


def bars(figure) -> dict[str, list[float]]:
    axes = figure.axes[0]
    return {bar.get_label(): [patch.get_height() for patch in bar] for bar in axes.containers}


def ticks(figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].get_xticklabels()]


def test_losses_over_steps():
    series = {"loss": [(1, 3.0), (2, 2.0)], "a_loss": [(1, 1.0), (2, 0.5)], "b_loss": [(1, 2.0)]}
    figure = curves.losses("student", series)
    assert titles(figure) == ("student", "training step", "loss")
    assert legend(figure) == ["total", "a", "b"]
    assert [data(line) for line in figure.axes[0].lines] == list(series.values())
    assert figure.axes[0].get_yscale() == "log"
    # A single point is visible.
    assert [line.get_marker() for line in figure.axes[0].lines] == ["None", "None", "o"]


def test_the_total_of_one_head_and_a_logarithm_of_no_positive_number_are_left_out():
    figure = curves.losses("t", {"loss": [(1, 0.0), (2, 1.0)], "a_loss": [(1, 0.0), (2, 1.0)]})
    assert legend(figure) == ["a"] and figure.axes[0].get_yscale() == "linear"


def test_a_metric_over_labeled_images():
    series = {"random": [(10, 0.2), (100, 0.4)], "student": [(10, 0.3), (100, 0.6)]}
    figure = curves.lines("flowers", series, "top1", x="labeled images", xscale="log")
    assert titles(figure) == ("flowers", "labeled images", "top1")
    assert figure.axes[0].get_xscale() == "log" and legend(figure) == ["random", "student"]
    assert [data(line) for line in figure.axes[0].lines] == list(series.values())


def test_classes_stand_side_by_side_the_most_frequent_first():
    counts = {"ground truth": {"a": 1.0, "b": 3.0}, "pseudo labels": {"a": 6.0, "b": 2.0}}
    figure = curves.classes("h: class frequencies", curves.shares(counts), "share of labels")
    assert titles(figure) == ("h: class frequencies", "", "share of labels")
    assert legend(figure) == ["ground truth", "pseudo labels"] and ticks(figure) == ["b", "a"]
    assert bars(figure) == {"ground truth": [0.75, 0.25], "pseudo labels": [0.25, 0.75]}
    many = {"ground truth": {f"c{i}": float(i) for i in range(30)}}
    figure = curves.classes("h", many, "per image")
    assert figure.axes[0].get_xlabel() == "6 more classes"
    assert ticks(figure) == [f"c{i}" for i in range(29, 5, -1)]
    assert curves.shares({"pseudo labels": {"a": 0.0}}) == {"pseudo labels": {"a": 0.0}}


def test_reliability_is_the_share_of_correct_predictions_in_each_bin():
    found = {"answers": [0, 10, 40, 20], "right": [0, 1, 20, 19]}
    figure = curves.reliability("h", found, 0.5)
    assert titles(figure)[1:] == ("confidence", "share")
    assert bars(figure) == {"correct": [0.0, 0.1, 0.5, 0.95]}
    assert set(legend(figure)) == {"correct", "predictions (relative)", "calibrated", "threshold"}
    lines = {line.get_label(): data(line) for line in figure.axes[0].lines}
    places = [0.0, 0.25, 0.5, 0.75, 1.0]
    counts = [0.0, 0.25, 1.0, 0.5, 0.5]
    assert lines["predictions (relative)"] == list(zip(places, counts, strict=True))
    assert lines["threshold"] == [(0.5, 0.0), (0.5, 1.0)]
    assert "threshold" not in legend(curves.reliability("h", found, None))


def test_precision_and_recall_against_the_threshold():
    means = {"precision": [0.5, 1.0, math.nan], "recall": [0.9, 0.4, 0.0]}
    options = {"chosen": [(0.5, 1.0), (0.7, 0.8)], "wanted": 0.8}
    figure = curves.precision_recall("h", [0.0, 0.5, 1.0], means, **options)
    axes = figure.axes[0]
    assert titles(figure) == ("h", "threshold", "precision, recall")
    assert axes.get_xlim() == (0, 1)
    precision, recall, wanted = axes.lines
    assert data(precision)[:2] == [(0.0, 0.5), (0.5, 1.0)] and math.isnan(data(precision)[2][1])
    assert data(recall) == [(0.0, 0.9), (0.5, 0.4), (1.0, 0.0)]
    assert wanted.get_ydata() == [0.8, 0.8]
    assert axes.collections[0].get_offsets().tolist() == [[0.5, 1.0], [0.7, 0.8]]
    given = curves.precision_recall("h", [0.0, 0.5, 1.0], means, chosen=[], wanted=None)
    assert len(given.axes[0].lines) == 2 and "requested precision" not in legend(given)


def test_panels_have_intervals_and_one_legend():
    ends = {"mean": 0.5, "low": 0.3, "high": 0.9}
    point = {"mean": 0.2, "low": None, "high": None}
    found = {
        "a": ("top1", {"x": [ends, point], "y": [None, point]}),
        "b": ("miou", {"y": [ends, ends]}),
    }
    figure = curves.panels(found, ["few", "many"], "pool")
    assert [axes.get_title() for axes in figure.axes] == ["a", "b"]
    assert [axes.get_ylabel() for axes in figure.axes] == ["top1", "miou"]
    assert legend(figure) == ["x", "y"] and ticks(figure) == ["few", "many"]
    first, second = figure.axes[0].containers
    assert data(first[0]) == [(0, 0.5), (1, 0.2)] and data(second[0]) == [(1, 0.2)]
    segments = [segment[:, 1].tolist() for segment in first[2][0].get_segments()]
    assert segments == [pytest.approx([0.3, 0.9]), pytest.approx([0.2, 0.2])]
    # The same line has the same color in every panel.
    assert second[0].get_color() == figure.axes[1].containers[0][0].get_color()


@pytest.mark.parametrize("name", ["$a_{", "c$"])
def test_names_from_data_are_no_formulas(name):
    figure = curves.classes(name, {"pseudo labels": {name: 1.0, f"{name}2": 0.5}}, "y")
    assert figure.axes[0].get_title() == name and ticks(figure) == [name, f"{name}2"]
    picture = Image.open(io.BytesIO(curves.png(curves.lines(name, {name: [(1, 2.0)]}, name))))
    pixels = np.asarray(picture.convert("RGB"))
    assert pixels.shape == (286, 462, 3)
    # The line's point, in the first color of the cycle.
    assert (np.abs(pixels.astype(int) - (31, 119, 180)).sum(axis=-1) < 30).sum() > 20


def test_the_training_lines_of_metrics(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(
        '{"step": 1, "split": "train", "loss": 1.0, "a_loss": 0.5, "a_b_cosine": -0.1}\n'
        '{"step": 1, "split": "validation", "loss": 9.0}\n'
        '{"step": 2, "split": "train", "loss": 0.5, "learning_rate": 0.1}\n'
    )
    assert curves.read(tmp_path) == {"loss": [(1, 1.0), (2, 0.5)], "a_loss": [(1, 0.5)]}
    assert curves.read(tmp_path, ("cosine",)) == {"a_b_cosine": [(1, -0.1)]}
