"""Near-duplicates: which images of one source are, but for small changes, images of another.

A perceptual hash finds candidates, the correlation of small gray pictures confirms them.
"""

import concurrent.futures
from collections.abc import Iterator
from typing import NamedTuple

import imagehash
import numpy as np
from PIL import Image

from must_keras.data.sources import Source
from must_keras.errors import DataError, UserError

# Of 64 bits. Measured on seven sets of real images (LOG.md, 2026-11-21): a copy in JPEG of quality
# 50, of half the size, lighter or cut by 2 % is within 8 bits for 99 of 100 images, cut by 4 %
# within 10. Within 16 bits are ten to seventy times as many pairs of different pictures.
MAX_DISTANCE = 10
# Measured as above: 99 of 100 copies cut by 2 % are above it. Of different pictures two pairs of
# Caltech-101's 865,270 are (pianos and tubas on white), none of nuclei, cards, photos and drawn
# scenes; of frames of a film those that are close.
MIN_CORRELATION = 0.95
# Gray levels. What varies by less shows nothing that could be recognized: it is nothing's copy.
FLAT = 4.0

# Pixels a side of the picture that is hashed, and of the one that is compared: at 16 a cut by 2 %
# does not yet move fine texture into the next pixel.
_HASHED, _COMPARED = 32, 16
# Images that are read together, images that they are compared with at once, and pairs of which
# gray pictures are in memory at once: 64 MB in all.
_BLOCK, _OTHERS, _PAIRS = 256, 16384, 8192
_THREADS = 4


# What an image is known by, about 1 kB: its perceptual hash, that of its mirror image, its small
# gray picture (see `unit`: the product of two is their correlation), and whether it can be read; an
# image that cannot be read resembles no other.
PRINT = np.dtype(
    [("hash", "u8"), ("mirrored", "u8"), ("gray", "f4", (_COMPARED**2,)), ("readable", "?")],
    align=True,
)


class Match(NamedTuple):
    """An image and the image elsewhere that it is most alike.

    Attributes:
        index: of the image.
        other: of the image that it resembles.
        distance: bits in which their hashes differ.
        correlation: Pearson's, of their gray pictures.
        mirrored: whether it resembles the other's mirror image.

    Example:
        Match(index=3, other=7, distance=2, correlation=0.998, mirrored=False)
    """

    index: int
    other: int
    distance: int
    correlation: float
    mirrored: bool


def read(source: Source) -> Iterator[np.ndarray]:
    """Yield the PRINTs of a source's images in order, block by block; threads read them."""
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as threads:
        for first in range(0, len(source), _BLOCK):
            indices = range(first, min(first + _BLOCK, len(source)))
            yield np.array(list(threads.map(lambda index: _of(source, index), indices)), PRINT)


def matches(images: np.ndarray, others: np.ndarray) -> list[Match]:
    """Of every image that is among the others, or whose mirror image is, the one it is most like.

    All pairs of hashes are looked at, and the gray pictures of those within MAX_DISTANCE.

    Args:
        images: [N] PRINT.
        others: [M] PRINT.
    """
    count = len(images)
    best = np.full(count, MIN_CORRELATION, np.float32)
    other, distance = np.full(count, -1), np.zeros(count, np.int64)
    is_mirrored = np.zeros(count, bool)
    grays = images["gray"].reshape(-1, _COMPARED, _COMPARED)
    for mirrored, hashes, seen in (
        (False, others["hash"].copy(), grays),
        (True, others["mirrored"].copy(), grays[:, :, ::-1]),
    ):
        vectors = seen.reshape(count, -1)
        for rows, columns, distances in _candidates(images["hash"], hashes):
            correlations = np.einsum("ij,ij->i", vectors[rows], others["gray"][columns])
            better = np.flatnonzero(correlations > best[rows])
            # In ascending order: of several values for one row the last one stays.
            better = better[np.argsort(correlations[better], kind="stable")]
            row = rows[better]
            best[row], other[row] = correlations[better], columns[better]
            distance[row], is_mirrored[row] = distances[better], mirrored
    return [
        Match(i, int(other[i]), int(distance[i]), min(float(best[i]), 1.0), bool(is_mirrored[i]))
        for i in np.flatnonzero(other >= 0).tolist()
    ]


def unit(grays: np.ndarray) -> np.ndarray:
    """Gray pictures as vectors of mean 0 and length 1, so that products are Pearson correlations.

    Args:
        grays: [..., P], gray levels.

    Returns:
        [..., P] float32; zeros where a picture varies by less than FLAT: its correlation with
        anything is 0.
    """
    centered = grays - grays.mean(-1, keepdims=True)
    length = np.linalg.norm(centered, axis=-1, keepdims=True)
    flat = np.ptp(grays, axis=-1, keepdims=True) < FLAT
    return np.where(flat, 0.0, centered / np.maximum(length, 1e-12)).astype(np.float32)


def _of(source: Source, index: int) -> tuple[int, int, np.ndarray, bool]:
    """Return a PRINT."""
    try:
        picture = Image.fromarray(source.image(index))
    except (UserError, DataError):  # The labeler reports it.
        return 0, 0, np.zeros(_COMPARED**2, np.float32), False
    # Floats: dark pictures have few gray levels. Large ones are halved first: a fifth of the time.
    small = picture.convert("L").convert("F")
    small = small.resize((_HASHED, _HASHED), Image.Resampling.LANCZOS, reducing_gap=3.0)
    gray = np.asarray(small)
    parts = gray.reshape(_COMPARED, _HASHED // _COMPARED, _COMPARED, -1).mean((1, 3))
    # A hash's bits do not depend on contrast, but would on its rounding to few levels.
    low, high = gray.min(), gray.max()
    levels = np.round((gray - low) * (255.0 / max(high - low, 1e-6))).astype(np.uint8)
    return _hash(levels), _hash(levels[:, ::-1]), unit(parts.ravel()), True


def _hash(levels: np.ndarray) -> int:
    bits = imagehash.phash(Image.fromarray(np.ascontiguousarray(levels))).hash
    return int(np.packbits(bits).view(np.uint64)[0])


def _candidates(
    hashes: np.ndarray, others: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(rows, columns, distances) of the pairs within MAX_DISTANCE, some at a time."""
    for first in range(0, len(others), _OTHERS):
        distances = np.bitwise_count(hashes[:, None] ^ others[None, first : first + _OTHERS])
        rows, columns = np.nonzero(distances <= MAX_DISTANCE)
        near = distances[rows, columns]
        for start in range(0, len(rows), _PAIRS):
            some = slice(start, start + _PAIRS)
            yield rows[some], columns[some] + first, near[some]
