"""Predictions for images: `must-keras predict IMAGES... --model=PATH --out=DIR`."""

import argparse
import pathlib
import sys

from must_keras import command
from must_keras.errors import UserError
from must_keras.inference import image_paths


def _arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("images", nargs="+", help="files, folders or patterns")
    add(
        "--model",
        required=True,
        help="a run's folder (its student), the folder of a teacher or student, a model.keras, "
        "or, with --trusted, an exported saved_model",
    )
    add("--out", required=True, type=pathlib.Path, help="a new folder for the predictions")
    add(
        "--trusted",
        action="store_true",
        help="run a SavedModel: it is a program that runs with your rights",
    )


def main(given: argparse.Namespace) -> None:
    """Predict the images that the arguments name."""
    files = image_paths.find(given.images)
    with command.quiet_import():
        import tensorflow as tf

        from must_keras.data.io.images import read_image
        from must_keras.inference.model import Model
        from must_keras.inference.results import Results
        from must_keras.progress import track

    model = Model.load(given.model, trusted=given.trusted)
    results = Results(given.out, model.tasks)
    for name, file in track(files.items(), "predict", len(files)):
        try:
            image = read_image(file)
        except UserError as error:
            print(f"skipped: {error}", file=sys.stderr)
            continue
        try:
            outputs = model.predict(image).outputs
        except (MemoryError, tf.errors.ResourceExhaustedError):
            size = f"{image.shape[1]}x{image.shape[0]} (width x height)"
            print(f"skipped: {file}: out of memory for {size} pixels", file=sys.stderr)
            continue
        results.add(name, file, image, outputs)
    results.close()
    if not results.num_pictures:
        raise UserError(f"none of {len(files)} images could be read")
    print(f"{results.num_pictures} of {len(files)} images: {given.out}")


COMMAND = command.Command(
    name="predict",
    summary="Predict images with a trained model: pictures, JSON, COCO files and PNG maps.",
    add_arguments=_arguments,
    main=main,
)

if __name__ == "__main__":
    sys.exit(command.run_alone(COMMAND))
