"""Sources made of other sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from must_keras.data.sources.source import LabelSpace, Source, Stored


class Subset(Source):
    """Some images of a source.

    Args:
        source: the whole.
        indices: which images, in the order of the subset.
        name: of the subset.
    """

    def __init__(self, source: Source, indices: Sequence[int], *, name: str):
        self.name = name
        self._source, self._indices = source, [int(i) for i in indices]

    @property
    def label_spaces(self) -> Mapping[str, LabelSpace]:
        return self._source.label_spaces

    def __len__(self) -> int:
        return len(self._indices)

    def image_id(self, index: int) -> str:
        return self._source.image_id(self._indices[index])

    def image(self, index: int) -> np.ndarray:
        return self._source.image(self._indices[index])

    def labels(self, index: int) -> dict[str, Stored]:
        return self._source.labels(self._indices[index])

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "of": self._source.describe(), "indices": self._indices}


class _WithoutLabels(Subset):
    """A source's images alone."""

    @property
    def label_spaces(self) -> Mapping[str, LabelSpace]:
        return {}

    def labels(self, index: int) -> dict[str, Stored]:
        return {}


def without_labels(source: Source) -> Source:
    """The same images under the same name, with no label of any head."""
    return _WithoutLabels(source, range(len(source)), name=source.name)
