"""Predict images with an ONNX file; needs NumPy and ONNX Runtime alone.

python run_onnx.py model.onnx images.npz predictions.npz
"""

import sys

import numpy as np
import onnxruntime


def main(model: str, images: str, predictions: str) -> None:
    """Write {"<image>/<head>.<output>": its prediction} for {image: [H, W, 3] uint8 RGB}."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    found = {}
    for key, image in np.load(images).items():
        values = session.run(names, {"images": image[None]})
        found |= {f"{key}/{name}": value for name, value in zip(names, values, strict=True)}
    np.savez(predictions, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
