"""Thresholds that are chosen by the precision of predictions, with lists made by hand."""

import math

import numpy as np
import pytest

from must_keras.errors import UserError
from must_keras.tasks import Segmentation
from must_keras.tasks.evaluation import ScoredPredictions
from must_keras.tasks.thresholds import DROPPED, AtPrecision, PredictionCounts


def counted(*answers, true=10) -> PredictionCounts:
    """One class: (score, whether it is correct) of every prediction."""
    counts = PredictionCounts(1)
    scores, right = zip(*answers, strict=True) if answers else ((), ())
    counts.add(
        ScoredPredictions(
            scores=np.array(scores, np.float32),
            classes=np.zeros(len(scores), np.int64),
            correct=np.array(right, bool),
            num_true=np.array([true]),
        )
    )
    return counts


def chosen(value, *answers, minimum=1, lowest=0.05):
    (choice,) = AtPrecision(value, minimum=minimum).choose(counted(*answers), lowest=lowest)
    return choice


@pytest.mark.parametrize(
    ("value", "answers", "expected"),
    [
        # Right, right, wrong, right: precisions 1, 1, 2/3, 3/4.
        (1.0, [(0.9, 1), (0.8, 1), (0.6, 0), (0.3, 1)], 0.8),
        (0.75, [(0.9, 1), (0.8, 1), (0.6, 0), (0.3, 1)], 0.3),
        # It dips under 0.75 at 0.6 and comes back at 0.3: the lowest counts, not the first.
        (0.7, [(0.9, 1), (0.8, 1), (0.6, 0), (0.3, 1)], 0.3),
        # Exactly 4 of 5.
        (0.8, [(0.9, 1), (0.8, 1), (0.7, 1), (0.6, 1), (0.5, 0), (0.4, 0)], 0.5),
        # Answers of one score stand or fall together, whichever comes first.
        (0.8, [(0.9, 1), (0.5, 1), (0.5, 0)], 0.9),
        (0.8, [(0.9, 1), (0.5, 0), (0.5, 1)], 0.9),
        # A wrong one at the top does not matter if enough right ones follow.
        (0.5, [(0.9, 0), (0.8, 1)], 0.8),
        # One right answer: nothing is known of lower scores.
        (0.5, [(0.7, 1)], 0.7),
    ],
)
def test_the_lowest_threshold_that_reaches_the_precision(value, answers, expected):
    assert chosen(value, *answers).threshold == expected
    assert chosen(value, *reversed(answers)).threshold == expected


def test_a_class_that_never_reaches_it_is_dropped_with_a_reason():
    choice = chosen(0.8, (0.9, 0), (0.8, 1), (0.7, 1))
    assert (
        choice.threshold == DROPPED
        and choice.why == "of 1 or more predictions at most 66.6% are right"
    )
    choice = chosen(0.8)
    assert choice.threshold == DROPPED and choice.why == "0 predictions, fewer than 1"


def test_a_precision_of_few_predictions_does_not_count():
    answers = [(0.9, 1), (0.8, 1), (0.7, 0), (0.6, 0)]
    assert chosen(0.8, *answers, minimum=2).threshold == 0.8
    choice = chosen(0.8, *answers, minimum=3)
    assert choice.threshold == DROPPED
    assert choice.why == "of 3 or more predictions at most 66.6% are right"
    choice = chosen(0.8, *answers, minimum=5)
    assert choice.threshold == DROPPED and choice.why == "4 predictions, fewer than 5"


def test_a_threshold_is_not_under_the_floor():
    # The thousandth of 0.0505 begins at 0.050.
    assert chosen(0.5, (0.0506, 1), lowest=0.0505).threshold == 0.0505


@pytest.mark.parametrize("value", [0.0, -0.1, 1.01, math.nan])
def test_an_impossible_precision_is_an_error(value):
    with pytest.raises(UserError, match="AtPrecision"):
        AtPrecision(value)
    with pytest.raises(UserError, match="minimum=0"):
        AtPrecision(0.5, minimum=0)


def test_precision_and_recall_at_a_threshold():
    counts = counted((0.9, 1), (0.8, 0), (0.3, 1), true=4)
    found = [counts.at(0, t) for t in (0.05, 0.5, 0.8, 0.95, DROPPED)]
    assert [s.predictions for s in found] == [3, 2, 2, 0, 0]
    assert [s.recall for s in found] == [0.5, 0.25, 0.25, 0.0, 0.0]
    assert found[0].precision == pytest.approx(2 / 3) and math.isnan(found[3].precision)
    assert math.isnan(counted(true=0).at(0, 0.5).recall)


def test_scores_are_compared_as_stored_ones_are():
    """float32 scores next to every thousandth fall on the side on which `decode` has them."""
    edges = (np.arange(1, 1000) / 1000).astype(np.float32)
    for place, edge in enumerate(edges, start=1):
        near = [np.nextafter(edge, np.float32(0)), edge, np.nextafter(edge, np.float32(1))]
        kept = sum(score >= np.float32(place / 1000) for score in near)
        assert counted(*((s, 1) for s in near)).at(0, place / 1000).predictions == kept == 2


def test_batches_add_up_and_a_file_keeps_them(tmp_path):
    counts = PredictionCounts(3)
    for score in (0.2, 0.6):
        counts.add(
            ScoredPredictions(
                scores=np.float32([score, score, 1.0]),
                classes=np.array([0, 2, 2], np.uint8),
                correct=np.array([True, False, True]),
                num_true=np.array([1, 0, 5]),
            )
        )
    counts.save(tmp_path / "answers.npz")
    for one in (counts, PredictionCounts.load(tmp_path / "answers.npz")):
        assert [tuple(one.at(k, 0.5)) for k in range(3)] == [(1, 1, 2), (0, 0, 0), (3, 2, 10)]
        assert one.standings(2).keys() == {0.2, 0.6, 1.0}
    assert [p.name for p in tmp_path.iterdir()] == ["answers.npz"]


def test_hard_labels_are_distinguished_from_scores():
    assert counted((1.0, 1), (1.0, 0)).all_certain
    assert not counted((1.0, 1), (0.9, 0)).all_certain
    assert not counted().all_certain


def test_the_precision_of_a_map_is_that_of_the_pixels_which_are_kept():
    """The chosen thresholds, given to `decode`, keep pixels right to just that share."""
    task = Segmentation(name="map", classes=("wall", "floor", "ball"))
    rng = np.random.default_rng(0)
    shape, area = (1, 40, 50), np.array([0, 0, 40, 50], np.float32)
    predicted = {
        "map": rng.integers(0, 3, shape).astype(np.uint8),
        "confidence": rng.uniform(0, 1, shape).astype(np.float32),
    }
    # The surer, the more often right; never of balls.
    right = (rng.uniform(0, 1, shape) < predicted["confidence"]) & (predicted["map"] < 2)
    truth = np.where(right, predicted["map"], (predicted["map"] + 1) % 2).astype(np.uint8)
    truth[0, :3] = 255
    counts = PredictionCounts(3)
    counts.add(task.metrics.scored_predictions({"map": truth}, predicted))
    choices = AtPrecision(0.8).choose(counts, lowest=task.records.floor)
    limits = tuple(choice.threshold for choice in choices)
    assert limits[2] == DROPPED and min(limits[:2]) > 0.3 and max(limits[:2]) < 0.9
    record = task.records.from_prediction(
        {key: value[0] for key, value in predicted.items()}, area, (40, 50)
    )
    kept = task.records.to_label(record, limits)["map"]
    known = truth[0] != 255
    assert not (kept == 2).any()
    for k in (0, 1):
        of_class = (kept == k) & known
        share = (truth[0][of_class] == k).mean()
        assert 0.8 <= share < 0.81
        standing = counts.at(k, limits[k])
        assert (standing.predictions, standing.precision) == (of_class.sum(), pytest.approx(share))
        assert standing.recall == pytest.approx(
            (of_class & (truth[0] == k)).sum() / (truth[0] == k).sum()
        )
        # One byte less sure would be wrong too often.
        lower = tuple(t - 1 / 255 if i == k else t for i, t in enumerate(limits))
        more = (task.records.to_label(record, lower)["map"] == k) & known
        assert more.sum() > of_class.sum() and (truth[0][more] == k).mean() < 0.8
