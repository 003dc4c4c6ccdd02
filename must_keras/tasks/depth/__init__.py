"""Depth: meters, or relative inverse depth."""

from must_keras.tasks.depth.depth import Depth

__all__ = ["Depth"]
