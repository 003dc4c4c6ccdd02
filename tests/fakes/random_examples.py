"""Random images with labels of every task, and small networks, shared by the tests of training."""

import numpy as np

from fakes.few_layers import FewLayers
from must_keras.runs.artifact import Artifact
from must_keras.tasks import Classification, Depth, Detection, Normals, Segmentation
from must_keras.training.config import TrainingConfig
from must_keras.training.input_pipeline import InputPipeline
from must_keras.training.loop import fit
from must_keras.training.network import Network
from must_keras.training.optimizers import SGD

# Tracing is what these tests wait for: few layers.
NETWORK = Network(backbone=FewLayers(), size=64, channels=16)
RESIDUAL = Network(backbone=FewLayers(is_residual=True), size=64, channels=16)
NORM = {"momentum": 0.9, "epsilon": 1e-4, "synchronized": False}
CLASSES = ("a", "b", "c")
PIXELS = {"channels": 8, "num_convs": 1}
KIND = Classification(name="kind", classes=CLASSES)
PARTS = Segmentation(name="parts", classes=CLASSES, **PIXELS)
THINGS = Detection(
    name="things", classes=CLASSES, max_boxes=4, rpn_channels=8, num_sampled_anchors=16,
    num_candidates=32, num_proposals=8, num_regions=8, box_region=3, box_channels=8, box_units=8,
    box_convs=1, mask_region=4, mask_channels=8, mask_convs=1, num_mask_regions=4,
    max_detections=4,
)  # fmt: skip
FOUR = (KIND, THINGS, PARTS, Depth(name="far", **PIXELS))
ALL = (*FOUR, Normals(name="facing", **PIXELS))


class RandomExamples:
    """Random images; image i is labeled for task t where (i + t) % 3: every task is partly labeled.

    Labels of weighted tasks have random weights. Those of every third image are ground truth, those
    of the others pseudo labels.
    """

    def __init__(self, tasks=ALL, count: int = 12):
        self._tasks, self._count = tasks, count

    def __len__(self):
        return self._count

    def image_id(self, index):
        return f"painted/{index}"

    @property
    def has_ground_truth(self):
        return np.arange(self._count) % 3 == 0

    def is_of(self, sources):
        """The first half of the images is of the source "pool"."""
        return (np.arange(self._count) < self._count // 2) & ("pool" in sources)

    def origin(self, head, index):
        place = [task.name for task in self._tasks].index(head)
        if not (index + place) % 3:
            return "missing"
        return "true" if self.has_ground_truth[index] else "pseudo"

    def load(self, index):
        random = np.random.default_rng(index)
        image = random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        return image, {
            t.name: self._weighted(t, random) if (index + i) % 3 else t.labels.missing()
            for i, t in enumerate(self._tasks)
        }

    def _weighted(self, task, random):
        label = self._label(task, random)
        if not task.weighted:
            return label
        if isinstance(task, Detection):
            return label | {"weight": random.random(2).astype(np.float32)}
        return label | {"weight": random.integers(0, 256, (64, 64), dtype=np.uint8)}

    def _label(self, task, random):
        if isinstance(task, Classification):
            return {
                "probabilities": random.dirichlet(np.ones(3)).astype(np.float32),
                "labelled": np.ones((), np.float32),
            }
        if isinstance(task, Detection):
            corners = random.uniform(0, 0.5, (2, 2))
            return {
                "boxes": np.concatenate([corners, corners + 0.4], axis=1).astype(np.float32),
                "classes": random.integers(0, 3, 2).astype(np.int32),
                "masks": np.ones((2, 28, 28), np.uint8),
                "has_mask": np.array([True, False]),
                "ignore": np.zeros(2, bool),
                "labelled": np.ones((), np.float32),
            }
        if isinstance(task, Segmentation):
            return {"map": random.choice([0, 1, 2, 255], (64, 64)).astype(np.uint8)}
        if isinstance(task, Depth):
            return {"depth": random.uniform(-1, 5, (64, 64)).astype(np.float32)}
        return {"normals": random.normal(size=(64, 64, 3)).astype(np.float32)}


def training(steps: int, **changes) -> TrainingConfig:
    """Return the config of a short training."""
    values = {
        "steps": steps, "batch": 4, "learning_rate": 0.05, "optimizer": SGD(), "log_every": 2,
    }  # fmt: skip
    return TrainingConfig(**(values | changes))


def artifact_in(folder) -> Artifact:
    """Return an artifact that an interrupted training of the same test resumes."""
    return Artifact(folder=folder, find_inputs=lambda: {"test": 1})


def train(
    model, folder, run: TrainingConfig, seed: int = 5, tasks=(KIND, PARTS), best=None, **options
):
    """Fit a model on random images, with further options of their InputPipeline."""
    examples, options = RandomExamples(tasks), {"size": model.size[0], "seed": seed} | options
    pipeline = InputPipeline(examples, tasks, run, **options)
    told = {"title": "test", "origin": "scratch", "best": best}
    fit(artifact_in(folder), model, pipeline, run, **told).close()
