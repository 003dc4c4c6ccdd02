"""Training, validation and test images: carved by a seed, by groups, or out of a sequence."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

from must_keras.data.sources import Source, Subset
from must_keras.errors import UserError


class Carved(NamedTuple):
    """A source in two parts that share no image."""

    train: Source
    validation: Source


def permutation(source: Source, *, seed: int) -> list[int]:
    """All indices in an order that belongs to the images' ids and the seed.

    A prefix of it is a smaller pool; images that are added later leave the order of the others.
    """
    return sorted(range(len(source)), key=lambda i: _rank(seed, source.image_id(i)))


def carve_validation(
    source: Source,
    *,
    count: int,
    seed: int,
    group: Callable[[str], str] | None = None,
) -> Carved:
    """Takes a validation set out of a training set; both keep the source's order.

    Args:
        source: the training set; what remains of it keeps its name.
        count: of validation images; with groups, the first whole groups that make so many.
        seed: another one takes others.
        group: image id to the name of its group, for near-duplicates: photos of one table, frames
            of one film. A group is never parted.

    Raises:
        UserError: one of the parts would be empty.
    """
    groups: dict[str, list[int]] = {}
    for index in range(len(source)):
        image_id = source.image_id(index)
        groups.setdefault(image_id if group is None else group(image_id), []).append(index)
    taken: set[int] = set()
    for name in sorted(groups, key=lambda name: _rank(seed, name)):
        if len(taken) >= count:
            break
        taken.update(groups[name])
    if not 0 < len(taken) < len(source):
        raise UserError(
            f"source {source.name!r}: {count} validation images of {len(source)} in "
            f"{len(groups)} groups leave {len(source) - len(taken)} for training"
        )
    kept = [i for i in range(len(source)) if i not in taken]
    return Carved(
        train=Subset(source, kept, name=source.name),
        validation=Subset(source, sorted(taken), name=f"{source.name}_validation"),
    )


def contiguous_blocks(num_images: int, *, counts: Sequence[int], gap: int) -> list[range]:
    """Cuts a sequence into blocks, in order, with dropped images between them.

    Neighbouring frames of a film are near-duplicates, so blocks are whole and apart.

    Args:
        num_images: of the sequence.
        counts: images of each block, for example (train, validation, test).
        gap: images dropped between two blocks.

    Raises:
        UserError: the blocks and gaps are longer than the sequence, or a block is empty.
    """
    needed = sum(counts) + gap * (len(counts) - 1)
    if needed > num_images or min(counts) < 1 or gap < 0:
        raise UserError(
            f"blocks of {', '.join(map(str, counts))} images with gaps of {gap} need {needed} "
            f"images, at least one a block; the sequence has {num_images}"
        )
    blocks, first = [], 0
    for count in counts:
        blocks.append(range(first, first + count))
        first += count + gap
    return blocks


def _rank(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}/{name}".encode()).digest()
