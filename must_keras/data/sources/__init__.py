"""Images and their ground truth: one file for every form of data; a new one subclasses Source."""

# ruff: noqa: F401 (the names that recipes import)

from must_keras.data.sources.classes import CsvClasses, FolderPerClass
from must_keras.data.sources.coco_json import CocoJson
from must_keras.data.sources.coco_streamed import CocoPanoptic, Objects365
from must_keras.data.sources.composition import (
    Concatenated,
    Joined,
    Relabeled,
    Subset,
    TolerantSource,
    without_labels,
)
from must_keras.data.sources.image_files import ImagesOnly
from must_keras.data.sources.label_studio import LabelStudioJson
from must_keras.data.sources.listed_files import ListedFile, ListedFiles, pool_name, unlisted
from must_keras.data.sources.parquet_images import ParquetImages
from must_keras.data.sources.pixel_maps import DepthMaps, Diode, LabelMaps, NormalMaps
from must_keras.data.sources.scenes import ScenesSource
from must_keras.data.sources.source import (
    LabelSpace,
    Source,
    check_not_empty,
    original_size,
    preflight_indices,
    without_keys,
)
from must_keras.data.sources.tag_folders import FolderPerTag
from must_keras.data.sources.tags import CsvTags
from must_keras.data.sources.tar_shards import TarShards
from must_keras.data.sources.tfds_readings import (
    Reading,
    box_reading,
    class_reading,
    depth_reading,
    map_reading,
    tags_reading,
    tfds_builder,
    tfds_folder,
)
from must_keras.data.sources.tfds_source import TfdsSource
from must_keras.data.sources.voc_xml import VocXml
from must_keras.data.sources.yolo_txt import YoloTxt
