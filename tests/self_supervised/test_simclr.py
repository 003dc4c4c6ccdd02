import numpy as np
import pytest

from must_keras.self_supervised.simclr import nt_xent

RANDOM = np.random.default_rng(0)


def unit(shape):
    values = RANDOM.normal(size=shape)
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def slow(views, temperature):
    """Equation 1 of the paper, literally; views 2k and 2k + 1 are of one image."""
    losses = []
    for i, z in enumerate(views):
        j = i + 1 if i % 2 == 0 else i - 1
        below = sum(np.exp(z @ views[k] / temperature) for k in range(len(views)) if k != i)
        losses.append(-np.log(np.exp(z @ views[j] / temperature) / below))
    return np.array(losses)


def of_all(first, second, temperature):
    count = len(first)
    places = np.arange(count)
    return nt_xent(
        np.concatenate([first, second]), np.concatenate([first, second]),
        own=np.concatenate([places, places + count]),
        partner=np.concatenate([places + count, places]), temperature=temperature,
    )  # fmt: skip


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0])
def test_the_loss_is_the_papers(temperature):
    first, second = unit((5, 7)), unit((5, 7))
    losses, hits = of_all(first, second, temperature)
    wanted = slow(np.stack([first, second], axis=1).reshape(10, 7), temperature)
    found = np.stack([losses[:5], losses[5:]], axis=1).reshape(10)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert hits.shape == (10,)


def test_views_that_are_all_the_same_lose_the_logarithm_of_the_others():
    same = np.repeat(unit((1, 4)), 6, axis=0)
    losses, _ = of_all(same[:3], same[3:], 0.1)
    np.testing.assert_allclose(losses, np.log(2 * 3 - 1), rtol=1e-6)


def test_images_that_have_nothing_in_common_are_told_apart():
    eye = np.eye(4)
    losses, hits = of_all(eye, eye, 0.5)
    np.testing.assert_allclose(losses, np.log(1 + 6 * np.exp(-1 / 0.5)), rtol=1e-6)
    assert np.asarray(hits).all()
    # The view that is nearest to an image's first one is the next image's.
    assert not np.asarray(of_all(eye, np.roll(eye, 1, axis=0), 0.5)[1]).any()


def test_two_images_alone_and_one():
    first, second = unit((1, 3)), unit((1, 3))
    losses, hits = of_all(first, second, 0.1)
    np.testing.assert_allclose(losses, 0.0, atol=1e-9)
    assert np.asarray(hits).all()
