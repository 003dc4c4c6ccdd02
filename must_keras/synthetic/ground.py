"""Kinds of ground seen from straight above, as colors over meters.

A cover takes coordinates u and v [H, W] float32 in meters and a random generator, and returns
colors [H, W, 3] float32 in [0, 1]. Its details have the size that they have on the ground: rows of
a field are 1.5 m apart, houses 14 m long. So the same cover looks different at another resolution.
"""

from collections.abc import Callable, Sequence

import numpy as np

from must_keras.synthetic.textures import unordered

Cover = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]

_GRASS, _SOIL, _LEAVES = (0.36, 0.46, 0.24), (0.52, 0.43, 0.32), (0.16, 0.27, 0.14)
_WATER, _SAND, _ASPHALT = (0.12, 0.22, 0.32), (0.80, 0.74, 0.58), (0.36, 0.36, 0.38)
_CONCRETE, _WHITE, _PANEL = (0.62, 0.60, 0.57), (0.90, 0.90, 0.88), (0.10, 0.13, 0.26)
_ROOFS = ((0.62, 0.32, 0.24), (0.45, 0.34, 0.29), (0.52, 0.52, 0.54), (0.74, 0.68, 0.58))
_CARS = ((0.85, 0.86, 0.88), (0.12, 0.12, 0.14), (0.60, 0.14, 0.14), (0.20, 0.28, 0.50))


def _about(rng: np.random.Generator, color: Sequence[float], spread: float = 0.3) -> np.ndarray:
    """Return a color [3] near a given one, lighter or darker and slightly of another hue."""
    change = rng.uniform(-spread, spread) + rng.uniform(-spread, spread, 3) / 2.0
    return (np.array(color) * (1.0 + change)).astype(np.float32)


def _waves(u: np.ndarray, v: np.ndarray, length: float, rng: np.random.Generator) -> np.ndarray:
    """Return soft clouds in [-1, 1] with details of about `length` meters, [H, W]."""
    total = np.zeros_like(u)
    for _ in range(4):
        angle, phase = rng.uniform(0.0, 2.0 * np.pi, 2)
        rate = 2.0 * np.pi / (length * rng.uniform(0.6, 1.6))
        across, along = np.float32(rate * np.cos(angle)), np.float32(rate * np.sin(angle))
        total += np.sin(across * u + along * v + np.float32(phase))
    return total / 4.0


def _shaded(color: np.ndarray, amount: np.ndarray) -> np.ndarray:
    """Return a color [3], or colors [H, W, 3], lighter by a share [H, W]."""
    return color * (1.0 + amount)[..., None]


def _over(below: np.ndarray, color: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return colors with another color, or other colors, where the mask [H, W] is True."""
    return np.where(mask[..., None], color, below)


def _cells(u: np.ndarray, v: np.ndarray, width: float, height: float, salt: int = 0):
    """Return (x, y, number) over a lattice: meters from the cell's middle, a number in [0, 1)."""
    column, row = np.floor(u / np.float32(width)), np.floor(v / np.float32(height))
    x, y = u - (column + 0.5) * np.float32(width), v - (row + 0.5) * np.float32(height)
    return x, y, unordered(column + 57 * row + 3571 * salt)


def _picked(colors: Sequence[Sequence[float]], number: np.ndarray) -> np.ndarray:
    """Return one of some colors by a number in [0, 1): [H, W, 3]."""
    return np.array(colors, np.float32)[(number * len(colors)).astype(np.int64)]


def pasture(u, v, rng):
    """Return grass with soft differences."""
    return _shaded(_about(rng, _GRASS), 0.12 * _waves(u, v, 45, rng) + 0.06 * _waves(u, v, 4, rng))


def crops(u, v, rng):
    """Return parcels of unequal color, with rows 1.5 m apart."""
    width, height = rng.uniform(60, 160, 2)
    x, y, number = _cells(u, v, width, height, int(rng.integers(99)))
    ripe = _about(rng, _SOIL) * (1.0 - number[..., None]) + _about(rng, _GRASS) * number[..., None]
    rows = np.sin(np.where(number > 0.5, u, v) * np.float32(2 * np.pi / 1.5))
    edge = (np.abs(x) > width / 2 - 2.5) | (np.abs(y) > height / 2 - 2.5)
    return _over(
        _shaded(ripe, 0.14 * rows + 0.05 * _waves(u, v, 30, rng)), _about(rng, _GRASS), edge
    )


def forest(u, v, rng):
    """Return crowns of trees, close together."""
    pitch = rng.uniform(6.0, 9.0)
    shift = 2.0 * _waves(u, v, 15, rng)
    x, y, number = _cells(u + shift, v - shift, pitch, pitch, int(rng.integers(99)))
    crown = 1.0 - (x * x + y * y) / np.float32((0.65 * pitch) ** 2)
    return _shaded(_about(rng, _LEAVES), 0.5 * np.clip(crown, -0.6, 1.0) + 0.4 * (number - 0.5))


def orchard(u, v, rng):
    """Return round trees on a lattice, on bare soil."""
    pitch = rng.uniform(6.0, 8.0)
    x, y, number = _cells(u, v, pitch, pitch)
    trees = _shaded(_about(rng, _LEAVES), 0.3 * number)
    return _over(bare(u, v, rng), trees, x * x + y * y < np.float32((0.33 * pitch) ** 2))


def bare(u, v, rng):
    """Return soil."""
    return _shaded(_about(rng, _SOIL), 0.12 * _waves(u, v, 35, rng) + 0.05 * _waves(u, v, 3, rng))


def water(u, v, rng):
    """Return a dark surface with small waves."""
    return _shaded(
        _about(rng, _WATER, 0.25), 0.05 * _waves(u, v, 6, rng) + 0.1 * _waves(u, v, 300, rng)
    )


def river(u, v, rng):
    """Return a bent band of water through grass."""
    bend = rng.uniform(15, 40) * np.sin(u / np.float32(rng.uniform(60, 120)))
    return _over(pasture(u, v, rng), water(u, v, rng), np.abs(v - bend) < rng.uniform(18, 45))


def shore(u, v, rng):
    """Return water, a strip of sand, and grass."""
    line = v + 8.0 * _waves(u, v, 80, rng)
    sand = _shaded(_about(rng, _SAND), 0.06 * _waves(u, v, 8, rng))
    land = _over(pasture(u, v, rng), sand, line < rng.uniform(25, 60))
    return _over(land, water(u, v, rng), line < 0.0)


def _road(below: np.ndarray, across: np.ndarray, along: np.ndarray, half: float) -> np.ndarray:
    """Return colors with an asphalt road of 2 `half` meters and a dashed middle line."""
    road = _over(below, np.float32(_ASPHALT), np.abs(across) < half)
    dashes = (np.abs(across) < 0.3) & (np.mod(along, np.float32(9.0)) < 4.0)
    return _over(road, np.float32(_WHITE), dashes)


def highway(u, v, rng):
    """Return two carriageways through grass."""
    below, half = pasture(u, v, rng), rng.uniform(7, 10)
    return _road(_road(below, v - half - 3, u, half), v + half + 3, u, half)


def crossing(u, v, rng):
    """Return two roads that cross, with houses around them."""
    below, half = housing(u, v, rng), rng.uniform(6, 9)
    return _road(_road(below, v, u, half), u, v, half)


def _buildings(u, v, below, roofs, *, cell, half, salt, share=1.0):
    """Return colors with rectangular roofs and their shadows, one a cell of a lattice.

    Args:
        u: meters.
        v: the same.
        below: colors.
        roofs: colors to choose from.
        cell: (width, height) of a cell, meters.
        half: (width, height) of half a building.
        salt: of the choice.
        share: of the cells that have one.
    """
    x, y, number = _cells(u, v, *cell, salt)
    is_built = number < share
    shadow = (np.abs(x - 1.5) < half[0]) & (np.abs(y - 1.5) < half[1]) & is_built
    roof = (np.abs(x) < half[0]) & (np.abs(y) < half[1]) & is_built
    colors = _shaded(_picked(roofs, np.mod(7.0 * number, 1.0)), 0.15 * np.sign(y))
    return _over(_shaded(below, -0.55 * shadow), colors, roof)


def housing(u, v, rng):
    """Return houses with gardens, along streets."""
    pitch, salt = rng.uniform(18, 26), int(rng.integers(99))
    below = _over(pasture(u, v, rng), forest(u, v, rng), _waves(u, v, 12, rng) > 0.35)
    built = _buildings(
        u, v, below, _ROOFS, cell=(pitch, pitch), half=(7.0, 5.0), salt=salt, share=0.9
    )
    street = np.abs(np.mod(v, np.float32(2 * pitch)) - 0.05 * pitch) < 3.0
    return _over(built, _about(rng, _ASPHALT), street)


def apartments(u, v, rng):
    """Return long flat roofs with lawns and paths."""
    pitch = rng.uniform(42, 60)
    below = _over(pasture(u, v, rng), _about(rng, _CONCRETE), _waves(u, v, 40, rng) > 0.25)
    roofs = (_ROOFS[2], _CONCRETE, (0.70, 0.70, 0.72))
    return _buildings(
        u, v, below, roofs, cell=(pitch, 0.7 * pitch), half=(0.36 * pitch, 7.0),
        salt=int(rng.integers(99)),
    )  # fmt: skip


def factory(u, v, rng):
    """Return large roofs on concrete."""
    pitch = rng.uniform(80, 120)
    below = _shaded(_about(rng, _CONCRETE), 0.06 * _waves(u, v, 25, rng))
    roofs = (_WHITE, (0.55, 0.60, 0.66), (0.45, 0.45, 0.47))
    return _buildings(
        u, v, below, roofs, cell=(pitch, pitch), half=(0.38 * pitch, 0.3 * pitch),
        salt=int(rng.integers(99)), share=0.9,
    )  # fmt: skip


def parking(u, v, rng):
    """Return rows of cars on asphalt."""
    x, y, number = _cells(u, v, 2.8, 8.5, int(rng.integers(99)))
    cars = (np.abs(x) < 0.95) & (np.abs(y) < 2.2) & (number < rng.uniform(0.4, 0.9))
    ground = _shaded(_about(rng, _ASPHALT), 0.05 * _waves(u, v, 20, rng))
    return _over(ground, _picked(_CARS, np.mod(11.0 * number, 1.0)), cars)


def tanks(u, v, rng):
    """Return round white tanks with shadows on concrete."""
    pitch = rng.uniform(24, 40)
    x, y, number = _cells(u, v, pitch, pitch, int(rng.integers(99)))
    below = _shaded(_about(rng, _CONCRETE), 0.08 * _waves(u, v, 20, rng))
    squared, is_built = np.float32((0.36 * pitch) ** 2), number < 0.8
    shadow = ((x - 2.5) ** 2 + (y - 2.5) ** 2 < squared) & is_built
    return _over(
        _shaded(below, -0.5 * shadow),
        _about(rng, _WHITE, 0.05),
        (x * x + y * y < squared) & is_built,
    )


def runway(u, v, rng):
    """Return a wide strip of asphalt with marks, in grass."""
    half = rng.uniform(20, 30)
    strip = _over(pasture(u, v, rng), _about(rng, _ASPHALT), np.abs(v) < half)
    marks = (np.abs(v) < 0.9) & (np.mod(u, np.float32(50.0)) < 30.0)
    return _over(strip, np.float32(_WHITE), marks | (np.abs(np.abs(v) - half + 2.0) < 0.6))


def greenhouses(u, v, rng):
    """Return long bright roofs side by side."""
    x, y, number = _cells(u, v, 90.0, 8.0, int(rng.integers(99)))
    roofs = _shaded(_about(rng, (0.78, 0.82, 0.80)), 0.12 * (number - 0.5) + 0.1 * np.sign(y))
    return _over(bare(u, v, rng), roofs, (np.abs(x) < 40.0) & (np.abs(y) < 3.4))


def panels(u, v, rng):
    """Return rows of solar panels on grass."""
    pitch = rng.uniform(5.0, 7.0)
    _, y, _ = _cells(u, v, 60.0, pitch)
    return _over(pasture(u, v, rng), _about(rng, _PANEL, 0.2), np.abs(y) < 0.3 * pitch)


COVERS: dict[str, Cover] = {
    cover.__name__: cover
    for cover in (
        pasture, crops, forest, orchard, bare, water, river, shore, highway, crossing, housing,
        apartments, factory, parking, tanks, runway, greenhouses, panels,
    )
}  # fmt: skip
"""Every cover by its name, which is also the name of its class."""
