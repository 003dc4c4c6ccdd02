"""Where images and true labels come from: one file for every form of data."""

from must_keras.data.sources.coco_json import CocoJson
from must_keras.data.sources.composition import (
    Concatenation,
    Subset,
    TolerantSource,
    without_labels,
)
from must_keras.data.sources.depth_maps import DepthMaps
from must_keras.data.sources.folder_per_class import FolderPerClass
from must_keras.data.sources.images_only import ImagesOnly
from must_keras.data.sources.label_maps import LabelMaps
from must_keras.data.sources.normal_maps import NormalMaps
from must_keras.data.sources.scenes import ScenesSource
from must_keras.data.sources.source import LabelSpace, Source
from must_keras.data.sources.tfds_source import Reading, TfdsSource
from must_keras.data.sources.voc_xml import VocXml

__all__ = [
    "CocoJson",
    "Concatenation",
    "DepthMaps",
    "FolderPerClass",
    "ImagesOnly",
    "LabelMaps",
    "LabelSpace",
    "NormalMaps",
    "Reading",
    "ScenesSource",
    "Source",
    "Subset",
    "TfdsSource",
    "TolerantSource",
    "VocXml",
    "without_labels",
]
