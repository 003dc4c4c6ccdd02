"""A metric declares once which values are better: nothing can maximise an error by accident."""

import math

import pytest

from must_keras.analysis.comparison import normalized_gain
from must_keras.errors import UserError
from must_keras.tasks import parts
from must_keras.tasks.evaluation import Evaluator, Metric, error, find_metric, share


def test_a_direction_is_needed():
    with pytest.raises(TypeError):
        Metric("loudness", range=(0.0, 1.0))
    with pytest.raises(ValueError, match=r"loudness.*'highest'"):
        Metric("loudness", better="highest", range=(0.0, 1.0))


def test_larger_signed_values_are_better():
    assert share("s").signed(0.25) == 0.25
    assert error("e").signed(0.25) == -0.25
    assert not error("e").is_share and share("s").is_share


@pytest.mark.parametrize(
    ("name", "better"),
    [("top1", "higher"), ("box_ap", "higher"), ("abs_rel", "lower"), ("rmse", "lower"),
     ("mean_angle", "lower"), ("correlation", "higher")],
)  # fmt: skip
def test_declarations_are_found_by_name(name, better):
    assert find_metric(name).better == better


def test_every_evaluator_declares_what_it_reports():
    evaluators = [one for one in parts.subclasses(Evaluator) if "metrics" in vars(one)]
    assert len(evaluators) >= 8
    for one in evaluators:
        for metric in one.metrics:
            assert find_metric(metric.name) == metric and metric.range[0] < metric.range[1]


def test_a_metric_that_nobody_declares_is_never_compared():
    for use in (find_metric, lambda name: normalized_gain(0.6, 0.5, name)):
        with pytest.raises(UserError, match="'new_error'"):
            use("new_error")


def test_an_evaluator_cannot_report_what_it_does_not_declare():
    class Odd(Evaluator):
        metrics = (error("oddness"),)

        def update(self, label, prediction):
            pass

        def values(self):
            return [0.5, 0.9]

    with pytest.raises(ValueError):
        Odd().result()
    assert find_metric("oddness").signed(1.0) == -1.0


def test_two_directions_of_one_name_are_an_error():
    class One(Evaluator):
        metrics = (share("contested"),)

    class Other(Evaluator):
        metrics = (error("contested", highest=math.inf),)

    with pytest.raises(UserError, match="contested"):
        find_metric("contested")
