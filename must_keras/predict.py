"""Predictions for images: `python -m must_keras.predict IMAGES... --model PATH --out DIR`."""

import pathlib
import sys

from absl import flags

from must_keras import command
from must_keras.errors import UserError
from must_keras.inference import image_paths

_MODEL = flags.DEFINE_string(
    "model", None, "A run's folder (its student), the folder of a teacher or student, a "
    "model.keras, or, with --trusted, an exported saved_model.",
)  # fmt: skip
_TRUSTED = flags.DEFINE_bool(
    "trusted", False, "Run a SavedModel: it is a program that runs with your rights."
)
_OUT = flags.DEFINE_string("out", None, "A new folder for the predictions.")


def main(argv: list[str]) -> None:
    """Predict the images that the arguments name."""
    for flag in (_MODEL, _OUT):
        if not flag.value:
            raise UserError(f"--{flag.name} is missing", key=flag.name)
    files = image_paths.find(argv[1:])
    with command.quiet_import():
        import tensorflow as tf

        from must_keras.data.io.images import read_image
        from must_keras.inference.model import Model
        from must_keras.inference.results import Results
        from must_keras.progress import track

    model = Model.load(_MODEL.value, trusted=_TRUSTED.value)
    results = Results(pathlib.Path(_OUT.value), model.tasks)
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
    print(f"{results.num_pictures} of {len(files)} images: {_OUT.value}")


def run() -> None:
    """Run the installed command."""
    command.run(main)


if __name__ == "__main__":
    run()
