"""Normal distributions of vectors, fitted to few of them, and distances to their mean."""

import dataclasses
from typing import Self

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Gaussian:
    """A normal distribution with a shrunk covariance, which fewer vectors than dimensions give.

    Attributes:
        mean: [D] float64.
        whitening: [D, D] float64, lower triangular: the inverse of the covariance is its transpose
            times itself.
        shrinkage: share of the identity in the covariance, [0, 1].

    Example:
        gaussian = Gaussian.fit(features)
        gaussian.distances(features).shape  # (N,)

    Reference: Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance
    matrices" (Journal of Multivariate Analysis 88, 2004).

    """

    mean: np.ndarray
    whitening: np.ndarray
    shrinkage: float

    @classmethod
    def fit(cls, vectors: np.ndarray) -> Self:
        """Return the distribution of vectors, [N, D], N at least 1.

        With the covariance S of the vectors (divided by N) and m, the mean of its diagonal, the
        result's covariance is (1 - r) S + r m I. The shrinkage r = min(1, b / d) minimizes the
        expected squared distance to the true covariance: d is the squared Frobenius norm of
        S - m I, and b the sum over vectors x, less their mean, of that of (x x^T - S) / N.

        Where all vectors are equal, the covariance is the identity.
        """
        centered = np.array(vectors, np.float64)
        mean = centered.mean(axis=0)
        centered -= mean  # In place: there may be a hundred thousand vectors.
        num, dims = centered.shape
        covariance = centered.T @ centered / num
        scale = np.trace(covariance) / dims
        if scale == 0.0:
            return cls(mean=mean, whitening=np.eye(dims), shrinkage=1.0)
        squared = float((covariance**2).sum())
        spread = squared - dims * scale**2
        # The sum of |x x^T - S|^2 is that of |x|^4 less N |S|^2.
        lengths = np.einsum("nd,nd->n", centered, centered)
        noise = float((lengths**2).sum() / num**2 - squared / num)
        # A spread of 0 is that of a multiple of the identity already.
        shrinkage = 1.0 if spread <= noise else max(noise, 0.0) / spread
        # Vectors without noise may leave a direction without any variance.
        shrinkage = max(shrinkage, _MIN_SHRINKAGE)
        shrunk = (1.0 - shrinkage) * covariance + shrinkage * scale * np.eye(dims)
        whitening = np.linalg.inv(np.linalg.cholesky(shrunk))
        return cls(mean=mean, whitening=whitening, shrinkage=shrinkage)

    def distances(self, vectors: np.ndarray) -> np.ndarray:
        """Return the Mahalanobis distance of each vector to the mean: [N, D] to [N] float64."""
        centered = np.asarray(vectors, np.float64) - self.mean
        return np.linalg.norm(centered @ self.whitening.T, axis=1)


# Of a covariance that could be inverted in exact numbers alone.
_MIN_SHRINKAGE = 1e-6
