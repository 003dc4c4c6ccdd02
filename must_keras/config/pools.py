"""A pool of a recipe: images for the teachers to label."""

import dataclasses
import difflib
from collections.abc import Sequence

from must_keras.data.sources import Source, check_not_empty
from must_keras.errors import UserError, expect, nearest

# Names of heads that are so alike are one, mistyped: not depth_metric and depth_relative.
_TYPO = 0.82


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pool:
    """Images for the teachers to label.

    Attributes:
        source: the images; ground-truth labels in it win over pseudo labels.
        truth: the same images with ground truth for the report alone, which a renderer has.

    Example:
        mk.Pool(source=mk.ImagesOnly(name="photos", root="photos"))

    """

    source: Source
    truth: Source | None = None

    def __post_init__(self) -> None:
        expect("a pool", self, source=Source, truth=Source | None)
        check_not_empty(self.source)

    def check_heads(self, heads: Sequence[str]) -> None:
        """Raise UserError where the head of its labels is likely to be mistyped."""
        for source in filter(None, (self.source, self.truth)):
            for head in source.label_spaces:
                others = [name for name in heads if name not in source.label_spaces]
                if head not in heads and difflib.get_close_matches(head, others, n=1, cutoff=_TYPO):
                    raise UserError(
                        f"pool {source.name!r} has labels of head {head!r}, and the student has "
                        f"no such head; {nearest(head, others)}"
                    )
