import numpy as np
import pytest
from keras import ops

from must_keras.ops.boxes import suppress


def obvious(boxes, scores, threshold, max_outputs, groups):
    """One box after the other, for one image."""
    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        if scores[i] == -np.inf or len(kept) == max_outputs:
            break
        if all(groups[i] != groups[j] or overlap(boxes[i], boxes[j]) <= threshold for j in kept):
            kept.append(i)
    return kept


def overlap(a, b):
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    common = np.prod(np.maximum(high - low, 0))
    return common / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - common)


def run(boxes, scores, **kwargs):
    indices, kept = suppress(
        np.asarray(boxes, np.float32), np.asarray(scores, np.float32), **kwargs
    )
    return ops.convert_to_numpy(indices), ops.convert_to_numpy(kept)


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7])
@pytest.mark.parametrize("with_groups", [False, True])
@pytest.mark.parametrize("max_outputs", [5, 60])
def test_equals_an_obvious_loop_with_ties(threshold, with_groups, max_outputs):
    rng = np.random.default_rng(int(threshold * 10) + max_outputs)
    corner = rng.integers(0, 20, (4, 40, 2))
    boxes = np.concatenate([corner, corner + rng.integers(4, 12, (4, 40, 2))], axis=-1)
    # Few different scores: most are ties.
    scores = rng.integers(0, 6, (4, 40)) / 6.0
    scores[rng.random((4, 40)) < 0.1] = -np.inf
    scores[3] = -np.inf
    groups = rng.integers(0, 3, (4, 40)).astype(np.int32)
    indices, kept = run(
        boxes,
        scores,
        threshold=threshold,
        max_outputs=max_outputs,
        groups=groups if with_groups else None,
    )
    assert indices.shape == kept.shape == (4, max_outputs)
    for i in range(4):
        own = groups[i] if with_groups else np.zeros(40)
        expected = obvious(boxes[i].astype(float), scores[i], threshold, max_outputs, own)
        assert indices[i][kept[i]].tolist() == expected
        assert kept[i].tolist() == [True] * len(expected) + [False] * (max_outputs - len(expected))
        assert (indices[i][~kept[i]] == 0).all()


def test_a_chain_frees_every_second_box():
    # Each box overlaps only its neighbors: the first removes the second, which spares the third.
    boxes = np.array([[[0, 2.0 * i, 4, 2.0 * i + 4] for i in range(9)]])
    indices, kept = run(boxes, -np.arange(9.0)[None], threshold=0.2, max_outputs=9)
    assert indices[0][kept[0]].tolist() == [0, 2, 4, 6, 8]


def test_the_same_box_twice_keeps_the_first_of_equal_scores():
    boxes = np.array([[[0, 0, 1, 1], [0, 0, 1, 1]]])
    indices, kept = run(boxes, [[0.5, 0.5]], threshold=0.5, max_outputs=2)
    assert indices.tolist() == [[0, 0]]
    assert kept.tolist() == [[True, False]]


def test_boxes_without_area_touch_nothing():
    _, kept = run(np.zeros((1, 3, 4)), [[3, 2, 1]], threshold=0.5, max_outputs=3)
    assert kept.all()
