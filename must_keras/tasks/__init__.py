"""What is learned: one file or folder a task."""

from must_keras.tasks.classification import Classification
from must_keras.tasks.depth import Depth
from must_keras.tasks.detection import Detection
from must_keras.tasks.normals import Normals
from must_keras.tasks.segmentation import Segmentation
from must_keras.tasks.tags import Tags

__all__ = ["Classification", "Depth", "Detection", "Normals", "Segmentation", "Tags"]
