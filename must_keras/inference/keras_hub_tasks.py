"""Detectors, segmenters and depth estimators of KerasHub as functions of external models."""

import abc
import dataclasses
import functools
import pathlib
from typing import Any, ClassVar

import numpy as np

from must_keras.errors import UserError, expect
from must_keras.modeling.keras_hub_presets import describe_preset, from_preset, keras_hub

# Of detections that are returned; a teacher's threshold comes later.
_MIN_SCORE = 0.05


@dataclasses.dataclass(frozen=True)
class _KerasHubTask(abc.ABC):
    """A task of KerasHub as a function of images, with the preprocessing of its preset.

    It is loaded when it is first called. Presets that are no folders are downloaded.

    Attributes:
        preset: the name of a preset, "kaggle://...", "hf://...", or a folder.
    """

    preset: str | pathlib.Path

    _base: ClassVar[str]
    """The class of keras_hub.models that loads it."""

    def __post_init__(self) -> None:
        expect(type(self).__name__, self, preset=str | pathlib.Path)

    def describe(self) -> dict[str, str]:
        """Return what its predictions depend on."""
        return {"type": type(self).__name__} | describe_preset(self.preset)

    def __call__(self, images: Any) -> Any:
        """Return the predictions for [B, size, size, 3] RGB images in [0, 255].

        Raises:
            UserError: it cannot be loaded, or takes images of another size.
        """
        task = self._task
        wanted, given = task.preprocessor.image_converter.image_size, tuple(images.shape[1:3])
        if wanted is not None and tuple(wanted) != given:
            raise UserError(
                f"{self.preset} takes images of {wanted[0]}x{wanted[1]} pixels: set "
                f"size={max(wanted)}, received {given[0]}",
                key="size",
                value=given[0],
                allowed=(max(wanted),),
            )
        inputs = task.preprocessor(images)
        return self._read(task, inputs, task(inputs, training=False))

    @abc.abstractmethod
    def _read(self, task: Any, inputs: Any, outputs: Any) -> Any:
        """Return the outputs of a task in a form of must_keras."""

    @functools.cached_property
    def _task(self) -> Any:
        task = from_preset(getattr(keras_hub().models, self._base), self.preset)
        if getattr(task.preprocessor, "image_converter", None) is None:
            problem = "has no preprocessor, so that its input is not known"
            raise UserError(f"the preset {self.preset} {problem}", key="preset", value=self.preset)
        return task


class KerasHubDetector(_KerasHubTask):
    """A detector of KerasHub, D-FINE or RetinaNet for example: form="yxyx".

    Boxes that overlap are suppressed as the preset says; those with a score of 0.05 and more are
    returned, where presets stop at 0.5.

    Example:
        mk.ExternalModel(model=mk.KerasHubDetector("dfine_small_coco"), size=640, form="yxyx")
    """

    _base = "ObjectDetector"

    def _read(self, task: Any, inputs: Any, outputs: Any) -> dict[str, np.ndarray]:
        import keras

        decoder = task.prediction_decoder
        lower = decoder.get_config() | {"confidence_threshold": _MIN_SCORE}
        task.prediction_decoder = type(decoder).from_config(lower)
        try:
            found = task.decode_predictions(outputs, inputs)
        finally:
            task.prediction_decoder = decoder
        height, width = inputs.shape[1:3]
        boxes = keras.utils.bounding_boxes.convert_format(
            found["boxes"],
            source=task.bounding_box_format,
            target="yxyx",
            height=height,
            width=width,
        )
        return {"boxes": boxes, "scores": found["confidence"], "classes": found["labels"]}


class KerasHubSegmenter(_KerasHubTask):
    """A segmenter of KerasHub, SegFormer for example: form="logits".

    Example:
        mk.ExternalModel(
            model=mk.KerasHubSegmenter("segformer_b0_ade20k_512"), size=512, form="logits"
        )
    """

    _base = "ImageSegmenter"

    def _read(self, task: Any, inputs: Any, outputs: Any) -> Any:
        return outputs


class KerasHubDepth(_KerasHubTask):
    """A depth estimator of KerasHub, Depth Anything V2 for example.

    The form is "relative_inverse" of presets of relative depth, "meters" of metric ones.

    Example:
        mk.ExternalModel(
            model=mk.KerasHubDepth("depth_anything_v2_small"), size=518, form="relative_inverse"
        )
    """

    _base = "DepthEstimator"

    def _read(self, task: Any, inputs: Any, outputs: Any) -> Any:
        return outputs["depths"]
