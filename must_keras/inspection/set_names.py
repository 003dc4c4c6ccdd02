"""Names of sets and heads, after the folders that they were found in."""

import pathlib
import re
from collections import Counter
from collections.abc import Sequence

from must_keras import naming
from must_keras.errors import UserError
from must_keras.inspection.answers import TFDS
from must_keras.inspection.found import FoundSet
from must_keras.inspection.tree import split_of

_GENERIC = re.compile(
    r"(images?|imgs?|pictures?|photos?|annotations?|annots?|labels?|instances?|masks?|maps?|rgb|"
    r"colou?rs?|gt|depths?|normals?|data|dataset|jpegimages|lossy|classes|tags|train|val|test|all|"
    r"coco|voc|parquet|shards|tars?)"
    r"([-_.]?\d+)?",
    re.IGNORECASE,
)
_MAX_LETTERS = 40


def names_of(sets: Sequence[FoundSet], roots: Sequence[pathlib.Path]) -> list[str]:
    """Return a name for each set that a head, a teacher and a source can have."""
    names = [_as_head(_base(found.place, roots)) for found in sets]
    counts = Counter(map(naming.as_stored, names))
    named = [
        f"{name}_{found.kind.noun}" if counts[naming.as_stored(name)] > 1 else name
        for name, found in zip(names, sets, strict=True)
    ]
    return distinct(named)


def pool_name(path: pathlib.Path, roots: Sequence[pathlib.Path], taken: Sequence[str]) -> str:
    """Return a name for a folder of unlabeled images."""
    is_split = bool(split_of(path.name).split)
    name = _base(path, roots) if is_split else path.resolve().name
    return distinct([*taken, _as_head(name)])[-1]


def distinct(names: Sequence[str]) -> list[str]:
    """Return the names, with a number behind those that came before."""
    found: list[str] = []
    for name in names:
        candidate, number = name, 2
        while naming.as_stored(candidate) in map(naming.as_stored, found):
            candidate, number = f"{name}_{number}", number + 1
        found.append(candidate)
    return found


def _base(place: pathlib.Path, roots: Sequence[pathlib.Path]) -> str:
    """Return the nearest name at or above a place that is not generic."""
    if str(place).startswith(TFDS):
        return str(place).removeprefix(TFDS)
    root = next((root for root in roots if root in (place, *place.parents)), place)
    below = [pathlib.Path(name).stem for name in place.relative_to(root).parts[::-1]]
    for name in below:
        if not _GENERIC.fullmatch(name) and not split_of(name).split:
            return name
    own = [name for name in below if not split_of(name).split]
    return own[-1] if len(own) > 1 else root.resolve().name or "data"


def _as_head(name: str) -> str:
    text = re.sub(r"[^a-zA-Z0-9_-]+", "_", name).strip("_-")[:_MAX_LETTERS] or "data"
    text = text if text[0].isalpha() else f"set_{text}"
    try:
        naming.check_head(text, "")
    except UserError:
        return f"{text}_set"
    return text
