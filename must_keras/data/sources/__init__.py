"""Where images and true labels come from: one file for every form of data."""

from must_keras.data.sources.altered import Relabeled, TolerantSource, without_labels
from must_keras.data.sources.coco_json import CocoJson
from must_keras.data.sources.coco_panoptic import CocoPanoptic
from must_keras.data.sources.composition import Concatenated, Joined, Subset
from must_keras.data.sources.csv_classes import CsvClasses
from must_keras.data.sources.depth_maps import DepthMaps
from must_keras.data.sources.diode import Diode
from must_keras.data.sources.folder_per_class import FolderPerClass
from must_keras.data.sources.images_only import ImagesOnly
from must_keras.data.sources.label_maps import LabelMaps
from must_keras.data.sources.listed_files import ListedFile, ListedFiles, pool_name
from must_keras.data.sources.normal_maps import NormalMaps
from must_keras.data.sources.objects365 import Objects365
from must_keras.data.sources.scenes import ScenesSource
from must_keras.data.sources.source import (
    LabelSpace,
    LabelSpaces,
    Source,
    check_not_empty,
    without_keys,
)
from must_keras.data.sources.tfds_readings import (
    Reading,
    box_reading,
    class_reading,
    depth_reading,
    map_reading,
    tfds_builder,
    tfds_folder,
)
from must_keras.data.sources.tfds_source import TfdsSource
from must_keras.data.sources.voc_xml import VocXml

__all__ = [
    "CocoJson",
    "CocoPanoptic",
    "Concatenated",
    "CsvClasses",
    "DepthMaps",
    "Diode",
    "FolderPerClass",
    "ImagesOnly",
    "Joined",
    "LabelMaps",
    "LabelSpace",
    "LabelSpaces",
    "ListedFile",
    "ListedFiles",
    "NormalMaps",
    "Objects365",
    "Reading",
    "Relabeled",
    "ScenesSource",
    "Source",
    "Subset",
    "TfdsSource",
    "TolerantSource",
    "VocXml",
    "box_reading",
    "check_not_empty",
    "class_reading",
    "depth_reading",
    "map_reading",
    "pool_name",
    "tfds_builder",
    "tfds_folder",
    "without_keys",
    "without_labels",
]
