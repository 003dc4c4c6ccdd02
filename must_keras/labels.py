"""Labels for other tools and from them: `must-keras labels export|import`."""

import argparse
import pathlib

from must_keras.command import Command
from must_keras.request import Request


def _of_run(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("recipe", help="the folder of a run, or its recipe with arguments")
    add("--to", type=pathlib.Path, required=True, help="a new folder")
    add("--teacher", help="whose labels; default is the only one whose labels the format has")
    add("--pool", help="of which pool or other source; default is the only pool")
    add("--workdir", type=pathlib.Path, help="the run's folder; default is runs/<recipe>")
    add("--data_dir", help="where TFDS keeps its data sets")
    add("--trusted", action="store_true", help="run the recipe that a run's folder names")


def _request(given: argparse.Namespace) -> Request:
    names = ("workdir", "data_dir", "trusted")
    return Request.of(given.recipe, **{name: getattr(given, name) for name in names})


def _of_export(parser: argparse.ArgumentParser) -> None:
    _of_run(parser)
    add = parser.add_argument
    add("--format", required=True, help="coco, yolo, maps, label-studio or csv")
    add("--threshold", type=float, help="lowest score; default is that of the recipe")
    add("--least-certain", type=int, help="how many images, the least certain ones; default is all")
    add("--without-images", dest="with_images", action="store_false", help="copy no image")


def _export(given: argparse.Namespace) -> None:
    names = ("to", "format", "threshold", "teacher", "pool", "least_certain", "with_images")
    _request(given).export(**{name: getattr(given, name) for name in names})


EXPORT = Command(
    name="labels export",
    summary="Write pseudo labels at a threshold for other tools, with the certainty of each image.",
    add_arguments=_of_export,
    main=_export,
)


def _of_import(parser: argparse.ArgumentParser) -> None:
    _of_run(parser)
    add = parser.add_argument
    add(
        "corrected", type=pathlib.Path, help="Label Studio's JSON, COCO's JSON, or YOLO's data.yaml"
    )
    add("--format", required=True, help="label-studio, coco or yolo")
    add("--images", type=pathlib.Path, help="folder of the images' names; default is the pool's")


def _import(given: argparse.Namespace) -> None:
    names = ("corrected", "to", "format", "teacher", "pool", "images")
    _request(given).import_corrected(**{name: getattr(given, name) for name in names})


IMPORT = Command(
    name="labels import",
    summary="Take labels that people corrected as ground truth of a pool's images.",
    add_arguments=_of_import,
    main=_import,
)
