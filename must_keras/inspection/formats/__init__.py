"""The ways to store labels in folders, one file each; `FORMATS` in the order of their trial."""

from must_keras.inspection.formats.class_folders import ClassFolders
from must_keras.inspection.formats.class_tables import ClassTables
from must_keras.inspection.formats.coco_files import CocoFiles
from must_keras.inspection.formats.paired_maps import PairedMaps
from must_keras.inspection.formats.parquet_tables import ParquetTables
from must_keras.inspection.formats.plain_images import PlainImages
from must_keras.inspection.formats.tag_tables import TagTables
from must_keras.inspection.formats.tar_archives import TarArchives
from must_keras.inspection.formats.voc_folders import VocFolders
from must_keras.inspection.formats.yolo_texts import YoloTexts
from must_keras.inspection.found import Format

# What has annotation files comes before what folders alone mean; what remains is a pool.
FORMATS: tuple[Format, ...] = (
    CocoFiles(), VocFolders(), YoloTexts(), ParquetTables(), TarArchives(), PairedMaps(),
    TagTables(), ClassTables(), ClassFolders(), PlainImages(),
)  # fmt: skip
