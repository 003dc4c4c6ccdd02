"""Tiles of ground seen from above: five sets that differ in resolution, classes and label noise.

They stand for the five sets of "In-domain representation learning for remote sensing" (arXiv
1911.06721): gazetteer for RESISC45, suburb for UC Merced, harvest for EuroSAT, zones for So2Sat,
mosaic for BigEarthNet.
"""

import dataclasses
import hashlib

import numpy as np

from must_keras.errors import UserError, nearest
from must_keras.synthetic.ground import COVERS

# Samples of a pixel's side, so that details below a pixel become its mean.
_SAMPLES = 2
# A cover of an image with tags counts where it has this share of the pixels.
_MIN_SHARE = 0.08
# Where a tile lies: meters from the origin, at most.
_FAR = 2000.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class TileSet:
    """The distribution of the tiles of one set.

    Attributes:
        classes: names in COVERS, by index.
        meters: (lowest, highest) meters a pixel.
        size: height and width, pixels.
        max_covers: covers of a tile at most; with more than one, its labels are tags.
        tint: factors of the colors red, green and blue.
        contrast: of the colors around their mean.
        haze: share of white light, on average.
        noise: standard deviation of the sensor's noise, of 255.
        label_noise: share of training and validation tiles with a label at random.

    Example:
        TileSet(classes=("forest", "water"), meters=(10.0, 10.0), label_noise=0.1)
    """

    classes: tuple[str, ...]
    meters: tuple[float, float]
    size: int = 64
    max_covers: int = 1
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    contrast: float = 1.0
    haze: float = 0.0
    noise: float = 6.0
    label_noise: float = 0.0

    @property
    def has_tags(self) -> bool:
        """Whether a tile can have several classes."""
        return self.max_covers > 1


TILE_SETS: dict[str, TileSet] = {
    "gazetteer": TileSet(
        classes=(
            "apartments", "bare", "crops", "crossing", "factory", "forest", "greenhouses",
            "highway", "housing", "orchard", "parking", "pasture", "river", "runway", "shore",
            "tanks", "water",
        ),
        meters=(0.6, 4.0), size=80,
    ),
    "suburb": TileSet(
        classes=(
            "apartments", "crops", "crossing", "forest", "highway", "housing", "panels", "parking",
            "runway", "shore", "tanks",
        ),
        meters=(0.5, 0.5), size=96, tint=(1.08, 1.0, 0.92), contrast=1.15,
    ),
    "harvest": TileSet(
        classes=(
            "crops", "factory", "forest", "greenhouses", "highway", "housing", "orchard", "pasture",
            "river", "water",
        ),
        meters=(8.0, 8.0), tint=(0.92, 1.0, 1.1), haze=0.15, noise=8.0,
    ),
    "zones": TileSet(
        classes=(
            "apartments", "bare", "factory", "forest", "housing", "panels", "parking", "pasture",
            "tanks", "water",
        ),
        meters=(5.0, 5.0), size=32, contrast=0.7, haze=0.2, noise=10.0, label_noise=0.2,
    ),
    "mosaic": TileSet(
        classes=(
            "bare", "crops", "factory", "forest", "greenhouses", "housing", "orchard", "panels",
            "pasture", "water",
        ),
        meters=(6.0, 6.0), max_covers=3, tint=(0.95, 1.05, 1.0), label_noise=0.05,
    ),
    # Without a test of its own: what the teachers label.
    "survey": TileSet(classes=tuple(COVERS), meters=(0.5, 8.0)),
}  # fmt: skip
"""The five sets, and images without labels of all covers and resolutions."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tile:
    """A rendered tile.

    Attributes:
        image: [H, W, 3] uint8 RGB.
        classes: indices into the set's classes that it is labeled with.

    Example:
        render_tile("zones", "train", 0).image
    """

    image: np.ndarray
    classes: tuple[int, ...]


def tile_set(name: str) -> TileSet:
    """Return a set by its name.

    Raises:
        UserError: there is none.
    """
    if name not in TILE_SETS:
        raise UserError(f"there is no set of tiles {name!r}; {nearest(name, tuple(TILE_SETS))}")
    return TILE_SETS[name]


def render_tile(name: str, split: str, index: int, *, data_seed: int = 0) -> Tile:
    """Render one tile: a function of these arguments alone, with numpy.

    Args:
        name: in TILE_SETS.
        split: "train", "validation" or "test", whose labels have no noise.
        index: of the tile.
        data_seed: another one shows other ground.

    Raises:
        UserError: there is no such set.
    """
    family = tile_set(name)
    digest = hashlib.sha256(f"{data_seed}/{name}/{split}/{index}".encode()).digest()
    rng = np.random.default_rng(np.frombuffer(digest[:16], "<u4").tolist())
    u, v = _places(family, rng)
    count = int(rng.integers(1, family.max_covers + 1))
    shown = rng.permutation(len(family.classes))[:count]
    which = _regions(u, v, count, rng)
    colors = np.zeros((*u.shape, 3), np.float32)
    for region, number in enumerate(shown):
        inside = which == region
        colors[inside] = COVERS[family.classes[number]](u, v, rng)[inside]
    found = tuple(sorted(int(n) for i, n in enumerate(shown) if (which == i).mean() >= _MIN_SHARE))
    if split != "test" and rng.random() < family.label_noise:
        wrong = rng.permutation(len(family.classes))[: len(found)]
        found = tuple(sorted(int(number) for number in wrong))
    return Tile(image=_sensed(family, colors, rng), classes=found)


def _places(family: TileSet, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the places (u, v) of samples, meters, [n H, n W], of a tile turned at random."""
    side = family.size * _SAMPLES
    low, high = np.log(family.meters)
    meters = np.exp(rng.uniform(low, high)) / _SAMPLES
    along = ((np.arange(side) + 0.5 - side / 2) * meters).astype(np.float32)
    x, y = np.meshgrid(along, along)
    angle = rng.uniform(0.0, 2.0 * np.pi)
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    # Along u anywhere; a single thing, as a road, is at v = 0, and so near the middle.
    far, near = rng.uniform(-_FAR, _FAR), rng.uniform(-0.15, 0.15) * side * meters
    return cosine * x - sine * y + np.float32(far), sine * x + cosine * y + np.float32(near)


def _regions(u: np.ndarray, v: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return the number of the nearest of some random points: which cover is where, [n H, n W]."""
    rows, columns = rng.integers(0, u.shape[0], (2, count))
    distances = [
        (u - u[r, c]) ** 2 + (v - v[r, c]) ** 2 for r, c in zip(rows, columns, strict=True)
    ]
    return np.argmin(distances, axis=0)


def _sensed(family: TileSet, colors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return what the set's sensor makes of colors [n H, n W, 3]: [H, W, 3] uint8."""
    side = family.size
    pixels = colors.reshape(side, _SAMPLES, side, _SAMPLES, 3).mean(axis=(1, 3))
    # The light of a day and a season, whatever the ground.
    light = rng.uniform(0.75, 1.25) * rng.uniform(0.88, 1.12, 3) * family.tint
    contrast, haze = rng.uniform(0.6, 1.2) * family.contrast, rng.uniform(0.0, 2.0) * family.haze
    pixels = 0.45 + (pixels * light.astype(np.float32) - 0.45) * np.float32(contrast)
    pixels = (1.0 - haze) * pixels + haze * 0.8
    noise = np.float32(family.noise) * rng.standard_normal(pixels.shape, np.float32)
    return np.clip(pixels * 255.0 + noise, 0.0, 255.0).round().astype(np.uint8)
