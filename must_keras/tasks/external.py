"""Answers of models that were trained elsewhere, as a task reads them."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from must_keras.errors import UserError
from must_keras.tasks.parts import Part, Size


class External(Part):
    """Answers of models that were trained elsewhere.

    Example:
        Normals(name="facing").external.forms  # ("normals",)
    """

    forms: ClassVar[tuple[str, ...]] = ()
    """The forms of answers that `decode` reads."""

    def check_form(self, form: str) -> None:
        """Raise UserError where `decode` reads no such form."""
        if form not in self.forms:
            allowed = ", ".join(self.forms) or "none"
            raise UserError(
                f"{self.task.name}: form={form!r} cannot be read; allowed are {allowed}"
            )

    def check_class_ids(self, class_ids: tuple[int, ...]) -> None:
        """Raise UserError where a model's classes cannot be given by their numbers."""
        raise UserError(f"{self.task.name}: class_ids={class_ids} belong to a detector")

    def decode(
        self,
        values: Any,
        form: str,
        map_size: Size,
        *,
        size: Size,
        class_ids: tuple[int, ...] | None = None,
    ) -> dict[str, np.ndarray]:
        """Return a model's answers as `Predictions.decode` returns a prediction.

        Args:
            values: the answers for a batch, as numpy arrays: [B, ...], maps over the whole input.
            form: one of `forms`.
            map_size: (H', W') of per-pixel values.
            size: (H, W) of the images that the model received.
            class_ids: the model's number of each class; None: see ExternalModel.

        Raises:
            UserError: the answers are not of the form's shape.
        """
        raise NotImplementedError

    def check_shape(self, values: Any, shape: tuple[int | None, ...], form: str) -> None:
        """Raise UserError where answers, [B, *shape] (None: any), are of another shape."""
        try:
            found = np.shape(values)
        except ValueError:
            raise UserError(
                f"{self.task.name}: an external model returns {len(values)} arrays of different "
                "shapes: name one, output=0 for example"
            ) from None
        if len(found) != len(shape) + 1 or any(
            n not in (None, m) for n, m in zip(shape, found[1:], strict=True)
        ):
            expected = ", ".join("any" if n is None else str(n) for n in ("batch", *shape))
            raise UserError(
                f"{self.task.name}: an external model returns the shape {found}; {form} are "
                f"({expected})"
            )

    def check_distribution(self, values: np.ndarray, form: str) -> None:
        """Raise UserError where answers, [..., K], are no probabilities."""
        sums = values.sum(axis=-1)
        if not np.isfinite(values).all() or values.min() < -1e-3 or np.abs(sums - 1.0).max() > 1e-2:
            raise UserError(
                f"{self.task.name}: an external model's {form} lie in {values.min():.3g} to "
                f"{values.max():.3g} and add up to {sums.min():.3g} to {sums.max():.3g}, expected "
                "1: are they logits, or of another output?"
            )
