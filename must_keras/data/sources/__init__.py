"""Where images and true labels come from: one file for every form of data."""

from must_keras.data.sources.composition import Subset, without_labels
from must_keras.data.sources.scenes import ScenesSource
from must_keras.data.sources.source import LabelSpace, Source

__all__ = ["LabelSpace", "ScenesSource", "Source", "Subset", "without_labels"]
