"""Shrunk covariances and distances beside slow versions and numbers made by hand."""

import numpy as np
import pytest

from must_keras.ops.gaussians import Gaussian


def slowly(vectors):
    """The covariance and the shrinkage, as the paper has them: sums over matrices of each vector."""
    num, dims = vectors.shape
    centered = vectors - vectors.mean(axis=0)
    outer = [np.outer(x, x) for x in centered]
    covariance = sum(outer) / num
    scaled = np.trace(covariance) / dims * np.eye(dims)
    spread = ((covariance - scaled) ** 2).sum()
    noise = sum(((one - covariance) ** 2).sum() for one in outer) / num**2
    shrinkage = min(noise, spread) / spread
    return (1 - shrinkage) * covariance + shrinkage * scaled, shrinkage


@pytest.mark.parametrize(("num", "dims"), [(5, 12), (40, 6), (500, 3)])
def test_covariance_and_distances_are_those_of_the_paper(num, dims):
    random = np.random.default_rng(num)
    vectors = random.normal(size=(num, dims)) @ random.normal(size=(dims, dims)) + 3.0
    others = random.normal(size=(4, dims))
    covariance, shrinkage = slowly(vectors)
    found = Gaussian.fit(vectors)
    assert found.shrinkage == pytest.approx(shrinkage) and 0.0 < shrinkage <= 1.0
    inverse = found.whitening.T @ found.whitening
    np.testing.assert_allclose(inverse @ covariance, np.eye(dims), atol=1e-8)
    expected = [
        np.sqrt((x - vectors.mean(0)) @ np.linalg.inv(covariance) @ (x - vectors.mean(0)))
        for x in others
    ]
    np.testing.assert_allclose(found.distances(others), expected, rtol=1e-8)


def test_fewer_vectors_are_shrunk_more():
    vectors = np.random.default_rng(0).normal(size=(2000, 4)) * [1, 2, 3, 4]
    few, many = Gaussian.fit(vectors[:8]), Gaussian.fit(vectors)
    assert few.shrinkage > 0.1 > 0.01 > many.shrinkage
    # A unit along an axis is the farther, the less the vectors vary along it.
    distances = many.distances(many.mean + np.eye(4))
    np.testing.assert_allclose(distances, [1, 1 / 2, 1 / 3, 1 / 4], rtol=0.1)


def test_numbers_made_by_hand():
    vectors = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    # The covariance is the identity: shrinking changes nothing.
    found = Gaussian.fit(vectors + 5.0)
    assert found.shrinkage == 1.0
    np.testing.assert_allclose(found.distances([[5.0, 5.0], [8.0, 9.0]]), [0.0, 5.0])


@pytest.mark.parametrize("vectors", [[[2.0, 3.0]], [[2.0, 3.0]] * 5])
def test_one_vector_has_euclidean_distances(vectors):
    np.testing.assert_allclose(Gaussian.fit(vectors).distances([[2.0, 3.0], [5.0, 7.0]]), [0, 5])


def test_a_direction_without_variance_can_be_inverted():
    vectors = np.array([[1.0, 0.0], [-1.0, 0.0]])
    found = Gaussian.fit(vectors)
    assert np.isfinite(found.distances([[0.0, 1.0]])).all()
    assert found.distances([[0.0, 1.0]]) > 100 * found.distances([[1.0, 0.0]])


def test_what_is_unknown_has_an_unknown_distance():
    found = Gaussian.fit(np.random.default_rng(0).normal(size=(9, 2)))
    assert np.isnan(found.distances([[np.nan, np.nan], [0.0, 0.0]])).tolist() == [True, False]
