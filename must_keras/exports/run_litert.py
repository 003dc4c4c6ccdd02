"""Predict images with a LiteRT file; needs NumPy and ai-edge-litert alone.

python run_litert.py model.tflite images.npz predictions.npz
"""

import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter


def main(model: str, images: str, predictions: str) -> None:
    """Write {"<image>/<head>.<output>": its prediction} for {image: [H, W, 3] uint8 RGB}."""
    predict = Interpreter(model_path=model).get_signature_runner()
    found = {}
    for key, image in np.load(images).items():
        values = predict(images=image[None])
        found |= {f"{key}/{name}": value for name, value in values.items()}
    np.savez(predictions, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
