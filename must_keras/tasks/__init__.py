"""What is learned: one file a task."""

from must_keras.tasks.classification import Classification
from must_keras.tasks.depth import Depth
from must_keras.tasks.detection import Detection
from must_keras.tasks.normals import Normals
from must_keras.tasks.segmentation import Segmentation

TASKS = (Classification, Detection, Segmentation, Depth, Normals)
"""Every task that there is."""

__all__ = ["TASKS", "Classification", "Depth", "Detection", "Normals", "Segmentation"]
