"""What benchmarks/gpu.py computes without a GPU: its batch and its figures."""

import html

import numpy as np
import pytest

from benchmarks.gpu import compared
from benchmarks.settings import noise_batch, student_tasks


def test_noise_has_labels_as_the_tasks_want_them():
    tasks = student_tasks(8)
    x, y = noise_batch(tasks, size=64, batch=3)
    assert x["image"].shape == (3, 64, 64, 3) and x["area"].tolist() == [[0, 0, 64, 64]] * 3
    assert set(y["labels"]) == {task.name for task in tasks} and y["keys"].tolist() == [0, 1, 2]
    for task in tasks:
        label = y["labels"][task.name]
        wanted = {k: ((3, *s.shape), s.dtype) for k, s in task.labels.spec((64, 64)).items()}
        assert {k: (v.shape, str(v.dtype)) for k, v in label.items()} == wanted
        assert (np.asarray(task.labels.weight(label)) > 0).all()


def test_figures_are_those_of_the_median_step():
    turns = [{"forward_gflop": 100.0, "step_s": s, "side": "x"} for s in (0.5, 0.25, 4.0)]
    line = compared(turns, 8, peak=2.4, stated=6.0)
    assert line["images_per_s"] == 16.0
    # 3 x 100 GFLOP in half a second are 0.6 TFLOP/s.
    assert line["model_tflop_per_s"] == pytest.approx(0.6)
    assert (line["of_matmul"], line["of_stated"]) == pytest.approx((0.25, 0.1))
    assert "of_stated" not in compared(turns, 8, peak=2.4, stated=None)


def test_the_picture_of_the_stages_is_that_of_the_declarations():
    from benchmarks import stage_graph

    text = html.unescape(stage_graph.PATH.read_text(encoding="utf-8"))
    assert f"<dc:description>{stage_graph.description(stage_graph.declared())}<" in text
