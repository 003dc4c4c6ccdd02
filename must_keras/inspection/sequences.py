"""Films among images: frames that resemble their neighbors belong in one split."""

import posixpath
import re
from collections import Counter
from typing import NamedTuple

import cv2
import numpy as np

from must_keras.data.names import stem
from must_keras.data.sources import Source
from must_keras.errors import DataError, UserError
from must_keras.inspection.code import Text

_NUMBERED = re.compile(r"(?P<before>.*?)(?P<number>\d+)\Z", re.DOTALL)
_WORDS = re.compile(r"frame|(?<![a-z])(seq|clip|video|film|movie)", re.IGNORECASE)
_MIN_FRAMES, _MIN_GROUPS = 12, 5
_LARGEST_GROUP = 0.4
# Pairs of images that are compared, as thumbnails of so many pixels a side.
_PAIRS, _SIDE = 16, 16
# Neighbors of a film differ much less than any two of its frames.
_ALIKE = 0.6


class Arrangement(NamedTuple):
    """How images depend on each other.

    Attributes:
        is_film: whether they are the frames of one film, in order.
        group: the function that names an image's group, or None.
        reason: for a person; "" for independent images.

    Example:
        arrangement_of(source).is_film
    """

    is_film: bool = False
    group: Text | None = None
    reason: str = ""


def arrangement_of(source: Source) -> Arrangement:
    """Return whether images are independent, in groups, or the frames of a film."""
    ids = [source.image_id(index) for index in range(len(source))]
    folders = Counter(posixpath.dirname(name) for name in ids)
    if _are_groups(folders):
        group = Text('lambda image: image.rpartition("/")[0]', lambda name: name.rpartition("/")[0])
        return Arrangement(group=group, reason=f"{len(folders)} folders, each kept whole")
    numbered = [_NUMBERED.fullmatch(stem(name)) for name in ids]
    if len(ids) < _MIN_FRAMES or not all(numbered):
        return Arrangement()
    before = Counter(match["before"] for match in numbered if match)
    if not _are_films(source, ids, before):
        return Arrangement()
    ends = {text[-1:] for text in before}
    if _are_groups(before) and len(ends) == 1 and ends <= {"_", "-"}:
        (end,) = ends
        group = Text(
            f'lambda image: image.rpartition("{end}")[0]', lambda name: name.rpartition(end)[0]
        )
        return Arrangement(group=group, reason=f"frames of {len(before)} films, each kept whole")
    return Arrangement(is_film=True, reason="a film: neighboring frames are alike")


def _are_groups(counts: Counter[str]) -> bool:
    total, largest = counts.total(), max(counts.values(), default=0)
    return (
        len(counts) >= _MIN_GROUPS
        and total >= 2 * len(counts)
        and largest <= _LARGEST_GROUP * total
    )


def _are_films(source: Source, ids: list[str], before: Counter[str]) -> bool:
    """Return whether names or pixels are those of frames."""
    if any(_WORDS.search(text) for text in before):
        return True
    places = np.linspace(0, len(ids) - 2, min(_PAIRS, len(ids) - 1)).round().astype(int)
    generator = np.random.default_rng(0)
    neighbors, others = [], []
    for place in places:
        other = int(generator.integers(len(ids)))
        try:
            one, two, far = (_thumbnail(source, i) for i in (int(place), int(place) + 1, other))
        except (UserError, DataError):
            continue
        neighbors.append(np.abs(one - two).mean())
        others.append(np.abs(one - far).mean())
    return bool(neighbors) and float(np.median(neighbors)) < _ALIKE * float(np.median(others))


def _thumbnail(source: Source, index: int) -> np.ndarray:
    image = source.image(index)
    return cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
