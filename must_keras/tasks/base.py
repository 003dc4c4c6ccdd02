"""What a task is: everything that depends on the meaning of a label stands in one file.

Shapes: B images, H W pixels of the network's input, h w cells of a level or of a stored map,
N boxes, K classes. Boxes are (ymin, xmin, ymax, xmax), half-open.

A label has four forms, and a task names the parts of each:

    stored      as a source or a label column gives it, at the original's resolution, any size
    label       seen through a view: fixed shapes, pixels of the network's input; what a loss sees
    outputs     what a trained head says in the same units and under the same keys as the label
    record      as a label column keeps it on disk: before any threshold, scores included
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import keras
import numpy as np

from must_keras.errors import UserError
from must_keras.ops.views import View
from must_keras.tasks.evaluation import Evaluator, ScoredPredictions, TrivialBaseline
from must_keras.tasks.label_content import Framing, LabelContent
from must_keras.tasks.sketch import Sketch
from must_keras.tasks.thresholds import Threshold

Tensor = Any


class Spec(NamedTuple):
    """Shape (None: any length) and dtype ("bytes": encoded) of a tensor; some were added later."""

    shape: tuple[int | None, ...]
    dtype: str
    optional: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task(abc.ABC):
    """One head: a name and a label space, and all that follows from them.

    Attributes:
        name: the head's name in models, columns, logs and reports.
    """

    name: str

    version: ClassVar[int] = 1
    """Raised when the same inputs would give other labels, losses or scores than before."""

    def describe(self) -> dict[str, Any]:
        """The fields and the version: what a part that is made with the task depends on."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {"type": type(self).__name__, "version": self.version} | fields

    def before_reading(self) -> Task:
        """The task without what counts only when its pseudo labels are read, as a threshold does.

        A teacher of the task and its label columns depend on this much of it.
        """
        return self

    # ---- labels -------------------------------------------------------------------------------

    @abc.abstractmethod
    def stored_spec(self) -> dict[str, Spec]:
        """The parts of a stored label."""

    @abc.abstractmethod
    def missing(self) -> dict[str, np.ndarray]:
        """A stored label in which nothing is labeled."""

    def accepts(self, kind: str) -> bool:
        """Whether true labels of a kind can serve the head (see `adapt`)."""
        return kind == self.kind

    def adapt(self, stored: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
        """A stored label of an accepted kind as one of the head's own kind."""
        del kind
        return stored

    content_unit: ClassVar[str] = "pixel"
    """What `content` counts, in the singular: "image", "object" or "pixel"."""

    @abc.abstractmethod
    def content(self, stored: Mapping[str, Any], framing: Framing) -> LabelContent:
        """Count what a stored label contains and what of it can be learned.

        Args:
            stored: of an image that is labeled for the head.
            framing: how large the network receives the image.
        """

    @property
    def teachable(self) -> tuple[str, ...]:
        """Keys of `outputs` that labels teach one by one; here one, which stands for all of them.

        The first is taught by every label that is neither missing nor empty.
        """
        return (next(iter(self.stored_spec())),)

    def taught_by(self, stored: Mapping[str, Any]) -> tuple[str, ...]:
        """Return which of `teachable` a stored label teaches; a missing or empty one, none.

        Here of a head with one map: all where anything is found in it, at any input size.
        """
        height, width = np.asarray(stored[self.teachable[0]]).shape[:2]
        framing = Framing((height, width), max(height, width))
        return self.teachable if self.content(stored, framing).found.any() else ()

    def compact(self, stored: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a stored label without what `warp` never reads: this is what becomes tensors."""
        return stored

    def surplus(self, stored: Mapping[str, Any]) -> int:
        """How many objects of a stored label have no room in a batch: they are ignored."""
        del stored
        return 0

    @abc.abstractmethod
    def label_spec(self, size: tuple[int, int]) -> dict[str, Spec]:
        """The parts of one image's label at an input of (H, W) pixels: no None."""

    @abc.abstractmethod
    def warp(self, stored: Mapping[str, Tensor], view: View) -> dict[str, Tensor]:
        """The label of one image seen through a crop, resize or mirror."""

    # ---- model --------------------------------------------------------------------------------

    @property
    @abc.abstractmethod
    def features(self) -> tuple[str, ...]:
        """The feature maps that the head reads: of "C2".."C5", "P2" (fused), "P3".."P7"."""

    @abc.abstractmethod
    def build_head(self, size: tuple[int, int], norm: Mapping[str, Any]) -> keras.Layer:
        """A Keras layer, named `self.name`, for an input of (H, W) pixels.

        It is called on one dict: `self.features`, each [B, h, w, C], and "area", [B, 4], the
        picture without its padding, in pixels of the input. It returns a prediction: a tensor
        or a (nested) dict of tensors.

        Args:
            size: (H, W).
            norm: keyword arguments of every keras BatchNormalization.
        """

    @abc.abstractmethod
    def label_weight(self, label: Mapping[str, Tensor]) -> Tensor:
        """[B] float32: an image's number of valid elements; 0 where it has no label.

        Pixels for a map; 1 for a labeled image elsewhere. From the label alone.
        """

    @abc.abstractmethod
    def loss(
        self, label: Mapping[str, Tensor], prediction: Any, head: keras.Layer, keys: Tensor
    ) -> Tensor:
        """[B] float32: each image's loss summed over its valid elements; always finite.

        Args:
            label: as `warp` made it, batched.
            prediction: what `head` returned.
            head: the layer, for tasks that run parts of it on sampled regions.
            keys: [B] int32, the only source of randomness (see ops/draws.py).
        """

    is_regression: ClassVar[bool] = False
    """Whether the loss compares quantities, not classes."""

    @abc.abstractmethod
    def outputs(
        self, prediction: Any, head: keras.Layer, map_size: tuple[int, int]
    ) -> dict[str, Tensor]:
        """What the head says, in the label's units and under its keys, batched, in float32.

        Args:
            prediction: what `head` returned, in inference.
            head: the layer.
            map_size: (H', W') of per-pixel outputs; other outputs are in pixels of the input.
        """

    # ---- pseudo labels --------------------------------------------------------------------------

    @property
    @abc.abstractmethod
    def kind(self) -> str:
        """What a label column says of itself: "classes", "boxes", "metric", ..."""

    @property
    @abc.abstractmethod
    def unit(self) -> str:
        """The unit of the stored values, "" where they have none."""

    @property
    def floor(self) -> float:
        """The lowest score that a column keeps; no threshold can be below it."""
        return 0.0

    @abc.abstractmethod
    def record_spec(self) -> dict[str, Spec]:
        """The parts of a record in a label column."""

    @abc.abstractmethod
    def encode(
        self, outputs: Mapping[str, np.ndarray], area: np.ndarray, size: tuple[int, int]
    ) -> dict[str, Any]:
        """A record from the outputs of one image (no batch axis).

        Args:
            outputs: as `outputs` gave them; maps may be smaller than the input by a whole factor.
            area: [4], the picture without its padding, in pixels of the input.
            size: (H, W) of the input, to which `area` and boxes refer.
        """

    def record_of(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """A record from a stored label that was made elsewhere: the reverse of `decode`.

        What comes without a score is sure. What a record has no room for is lost: each task says
        what that is.

        Args:
            stored: of an image that is labeled.

        Raises:
            UserError: the task cannot store labels that were made elsewhere.
        """
        raise UserError(
            f"{self.name}: labels of kind {self.kind!r} made elsewhere cannot be stored"
        )

    @abc.abstractmethod
    def decode(self, record: Mapping[str, Any], threshold: Threshold) -> dict[str, np.ndarray]:
        """A stored label from a record; scores below the threshold become what the task says."""

    takes_threshold: ClassVar[bool] = False
    """Whether `decode` takes a threshold; `certainty` and `classes` then say how right one is."""

    def check_threshold(self, threshold: Threshold) -> None:
        """Raises UserError where `decode` takes no such threshold; here it takes none at all."""
        if threshold is not None:
            raise UserError(f"{self.name}: labels of kind {self.kind!r} take no threshold")

    def sketch(self, record: Mapping[str, Any]) -> Sketch:
        """What a record says, in forms that a page can draw and compare; here in none of them.

        A record without a form to draw is shown as `draw` shows it.
        """
        del record
        return Sketch()

    legend: ClassVar[str] = ""
    """How to read the colors of `draw`, where that needs saying."""

    foreign_forms: ClassVar[tuple[str, ...]] = ()
    """What a model that was made elsewhere may answer for the head to read it."""

    def check_external_form(self, form: str) -> None:
        """Raises UserError where `external_outputs` takes no such form."""
        if form not in self.foreign_forms:
            allowed = ", ".join(self.foreign_forms) or "none"
            raise UserError(f"{self.name}: form={form!r} cannot be read; allowed are {allowed}")

    def check_class_ids(self, class_ids: tuple[int, ...]) -> None:
        """Raises UserError where a foreign model's classes cannot be given by their numbers."""
        raise UserError(f"{self.name}: class_ids={class_ids} belong to a detector")

    def external_outputs(
        self,
        values: Any,
        form: str,
        map_size: tuple[int, int],
        *,
        size: tuple[int, int],
        class_ids: tuple[int, ...] | None = None,
    ) -> dict[str, np.ndarray]:
        """`outputs` from the answers of a foreign model.

        Args:
            values: the answers for a batch, as numpy arrays: [B, ...], maps over the whole input.
            form: what they are, one of `foreign_forms`.
            map_size: (H', W') of per-pixel outputs.
            size: (H, W) of the images that the model saw.
            class_ids: the model's number of each class; None: see ExternalModel.

        Raises:
            UserError: they are not of the shape that the form says.
        """
        raise NotImplementedError

    # ---- measuring and showing ----------------------------------------------------------------

    @abc.abstractmethod
    def evaluator(self) -> Evaluator:
        """Compares labels with outputs."""

    @abc.abstractmethod
    def quality(self) -> Evaluator:
        """Compares true labels with pseudo labels (both in the label form, batched)."""

    counted: ClassVar[str] = ""
    """What `count_classes` counts in an image, for a person."""

    def count_classes(self, stored: Mapping[str, Any]) -> np.ndarray | None:
        """[K] how much of each class a stored label has: images, objects, shares of an image.

        None where there are no classes.
        """
        del stored
        return None

    def certainty(
        self, label: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]
    ) -> ScoredPredictions | None:
        """Which answers to a batch are right, of those that a label column would keep.

        Answers where nothing is labeled are left out. None where answers are not right or wrong.
        """
        del label, outputs
        return None

    @abc.abstractmethod
    def prior(self) -> TrivialBaseline:
        """Learns the trivial prediction from training labels."""

    @abc.abstractmethod
    def draw(self, image: np.ndarray, shown: Mapping[str, np.ndarray]) -> np.ndarray:
        """A picture, [H, W, 3] uint8, of one image's label or outputs (they share their keys)."""

    def tell(self, outputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """One image's outputs as plain JSON data; maps as their summary.

        Args:
            outputs: of one image, at the image's own size; boxes in its pixels.
        """
        del outputs
        return {}

    def map_png(self, outputs: Mapping[str, np.ndarray]) -> bytes | None:
        """One image's per-pixel output as PNG; None where there is none."""
        del outputs
        return None

    # ---- saving -------------------------------------------------------------------------------

    kinds: ClassVar[tuple[str, ...]]
    """What `kind` may be."""

    @classmethod
    def of_labels(cls, name: str, kind: str, classes: tuple[str, ...]) -> Task:
        """A task that can show and tell what a saved model says, from what lies beside it."""
        del kind
        return cls(name=name, **({"classes": classes} if classes else {}))

    def get_config(self) -> dict[str, Any]:
        """The fields, as plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Task:
        """The task from its fields; lists that JSON made of tuples become tuples again."""
        return cls(**{key: _tuples(value) for key, value in config.items()})


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list | tuple) else value
