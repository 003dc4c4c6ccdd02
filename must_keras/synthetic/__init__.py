"""Drawn 3-D scenes, the data that comes with the project.

``Scenes`` needs TensorFlow Datasets and is imported on first use; the drawing needs numpy and PIL.
"""

from must_keras.synthetic.config import SceneConfig
from must_keras.synthetic.drawing import draw
from must_keras.synthetic.families import FAMILIES

__all__ = ["FAMILIES", "SceneConfig", "Scenes", "draw"]


def __getattr__(name: str):
    if name == "Scenes":
        from must_keras.synthetic.scenes import Scenes

        return Scenes
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
