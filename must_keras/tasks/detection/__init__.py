"""Boxes, classes and instance masks: Mask R-CNN."""

from must_keras.tasks.detection.detection import Detection

__all__ = ["Detection"]
