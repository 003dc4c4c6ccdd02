"""What the answers of a model that was made elsewhere must be like."""

from __future__ import annotations

from typing import Any

import numpy as np

from must_keras.errors import UserError


def check_foreign_shape(name: str, values: Any, shape: tuple[int | None, ...], form: str) -> None:
    """Raises UserError where a foreign model's answers, [B, *shape] (None: any), are of another."""
    try:
        found = np.shape(values)
    except ValueError:
        raise UserError(
            f"{name}: a foreign model answers with {len(values)} arrays of different shapes: name "
            "one, output=0 for example"
        ) from None
    if len(found) != len(shape) + 1 or any(
        n not in (None, m) for n, m in zip(shape, found[1:], strict=True)
    ):
        expected = ", ".join("any" if n is None else str(n) for n in ("batch", *shape))
        raise UserError(
            f"{name}: a foreign model answers with the shape {found}; {form} are ({expected})"
        )


def check_distribution(name: str, values: np.ndarray, form: str) -> None:
    """Raises UserError where a foreign model's probabilities, [..., K], are none."""
    sums = values.sum(axis=-1)
    if not np.isfinite(values).all() or values.min() < -1e-3 or np.abs(sums - 1.0).max() > 1e-2:
        raise UserError(
            f"{name}: a foreign model's {form} lie in {values.min():.3g} to {values.max():.3g} and "
            f"add up to {sums.min():.3g} to {sums.max():.3g}, expected 1: are they logits, or of "
            "another output?"
        )
