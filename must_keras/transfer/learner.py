"""A network and what of it is trained: all weights, or what stands on frozen features."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import Any

from must_keras.data.augmentation import WholeImages
from must_keras.inference.predictor import Predictor
from must_keras.training.config import TrainingConfig
from must_keras.training.feature_cache import MOST_BYTES
from must_keras.training.model import MultiTaskModel
from must_keras.transfer.frozen import bytes_of_view, freeze, frozen_features, head_model


@dataclasses.dataclass(frozen=True, kw_only=True)
class Learner:
    """A network with one task, compiled.

    Attributes:
        whole: from images to predictions.
        fitted: what is trained: the whole, or the layers of it that are not frozen.
        predictor: of the whole.
        training: how it is trained.
        features: from the whole's inputs to those of `fitted`; None: they are the same.
    """

    whole: MultiTaskModel
    fitted: MultiTaskModel
    predictor: Predictor
    training: TrainingConfig
    features: Callable[[Mapping[str, Any]], dict[str, Any]] | None


def learner(
    model: MultiTaskModel, training: TrainingConfig, parts: Collection[str], *, is_cached: bool
) -> Learner:
    """Freezes parts of a new model and compiles what is left.

    Args:
        model: with one task.
        training: its values; where parts are frozen images are seen whole.
        parts: of "backbone", "neck"; none: everything is trained.
        is_cached: whether the features of frozen parts are computed beforehand.
    """
    fitted = model
    if parts:
        freeze(model, parts)
        fitted = head_model(model, parts) if is_cached else model
        # There is no gradient for whose sake features could be computed twice.
        training = dataclasses.replace(training, recompute=False, augmentation=_views(training))
    training.compile(fitted)
    return Learner(
        whole=model,
        fitted=fitted,
        predictor=Predictor(model),
        training=training,
        features=frozen_features(model, parts) if is_cached else None,
    )


def fits_into_memory(
    model: MultiTaskModel, parts: Collection[str], training: TrainingConfig, *, num_images: int
) -> bool:
    """Whether the features and labels of all views of so many images take MOST_BYTES at most."""
    views = 2 if _views(training).mirror else 1
    return num_images * views * bytes_of_view(model, parts) <= MOST_BYTES


def _views(training: TrainingConfig) -> WholeImages:
    return WholeImages(mirror=training.augmentation.mirror)
