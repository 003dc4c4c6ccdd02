"""Synthetic 3-D scenes, the data that comes with the project; rendering needs numpy and PIL."""

from must_keras.synthetic.examples import render_example
from must_keras.synthetic.families import FAMILIES, SceneConfig

__all__ = ["FAMILIES", "SceneConfig", "render_example"]
