"""Labels in the forms of other tools, one file each; `WRITERS` in the order of the help."""

from must_keras.data.writers.classes_csv import ClassesCsv
from must_keras.data.writers.coco_json import CocoWriter
from must_keras.data.writers.label_studio import LabelStudioWriter
from must_keras.data.writers.png_maps import PngMaps
from must_keras.data.writers.writer import LabeledImage, Writer
from must_keras.data.writers.yolo_txt import YoloWriter

WRITERS: tuple[type[Writer], ...] = (CocoWriter, YoloWriter, PngMaps, LabelStudioWriter, ClassesCsv)

__all__ = ["WRITERS", "LabeledImage", "Writer"]
