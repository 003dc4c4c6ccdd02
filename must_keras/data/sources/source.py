"""What a source is: images by number, and the true labels of some heads."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

Stored = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class LabelSpace:
    """What the labels of a head mean.

    Attributes:
        kind: as `Task.kind`: "classes", "boxes", "map", "metric", "normals".
        classes: names in the order of the indices; empty where there are none.
    """

    kind: str
    classes: tuple[str, ...] = ()


class Source(abc.ABC):
    """Images with true labels, in a fixed order; safe to read from several threads.

    Attributes:
        name: names its label columns; unlike that of any other source of a run.
    """

    name: str

    @property
    @abc.abstractmethod
    def label_spaces(self) -> Mapping[str, LabelSpace]:
        """{head: what its labels mean}; heads that are absent have no true label here."""

    @abc.abstractmethod
    def __len__(self) -> int: ...

    @abc.abstractmethod
    def image_id(self, index: int) -> str:
        """A name of the image that stays the same: a relative path in folders."""

    @abc.abstractmethod
    def image(self, index: int) -> np.ndarray:
        """[h, w, 3] uint8 RGB, upright."""

    @abc.abstractmethod
    def labels(self, index: int) -> dict[str, Stored]:
        """{head: stored label} of the heads that are labelled on this image."""

    @abc.abstractmethod
    def describe(self) -> dict[str, Any]:
        """What its content depends on, as plain data."""
