"""A world to be rendered: camera, room or ground, objects, light; sampled from a style.

World axes: x east, y north, z up, meters; the camera stands at x = y = 0. Camera axes: X right,
Y down, Z forward.
"""

import colorsys
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from must_keras.synthetic import textures
from must_keras.synthetic.families import Style
from must_keras.synthetic.shapes import SHAPES, Shape


@dataclasses.dataclass(frozen=True, kw_only=True)
class Paint:
    """Two colors [3] in [0, 1] mixed by a pattern: color + 0.5 (1 + pattern) (other - color).

    Example:
        Paint(color=np.float32([1, 0, 0]), other=np.float32([0, 0, 1]), pattern=textures.stripes)
    """

    color: np.ndarray
    other: np.ndarray
    pattern: Callable = textures.plain
    scale: float = 1.0
    phase: float = 0.0
    gloss: float = 0.0

    def over(self, points: np.ndarray) -> np.ndarray:
        """Return colors [3, K] at points [3, K]."""
        if self.pattern is textures.plain:
            return np.broadcast_to(self.color[:, None], points.shape)
        mix = 0.5 + 0.5 * self.pattern(points, np.float32(self.scale), np.float32(self.phase))
        return self.color[:, None] + (self.other - self.color)[:, None] * mix


@dataclasses.dataclass(frozen=True, kw_only=True)
class Thing:
    """A shape placed in the world: ``p = center + matrix @ unit``; matrix [3, 3], center [3].

    Example:
        Thing(name="ball", shape=SHAPES["ball"], matrix=np.eye(3), center=np.zeros(3), paint=paint)
    """

    name: str
    shape: Shape
    matrix: np.ndarray
    center: np.ndarray
    paint: Paint


@dataclasses.dataclass(frozen=True, kw_only=True)
class Patch:
    """A flat rectangle on "wall" or "floor" (or ground); center (u, v) and half sizes in meters.

    Example:
        Patch(surface="wall", center=(0.0, 1.2), half=(0.5, 0.4), paint=paint)
    """

    surface: str
    center: tuple[float, float]
    half: tuple[float, float]
    paint: Paint


@dataclasses.dataclass(frozen=True, kw_only=True)
class World:
    """Everything that an image shows.

    Attributes:
        eye: [3] the camera's place; turn: [3, 3], columns are the camera's X, Y, Z in the world.
        focal: focal length in widths of the image.
        low, high: [3] corners of the room; None outdoors.
        surfaces: paint of "floor", "wall" and "ceiling"; outdoors "floor" is the ground and "wall"
            the sky.
        light: [3]; ambient, warmth, exposure: numbers; noise: standard deviation, of 255.

    Example:
        sample_world(np.random.default_rng(0), Style(shapes=("ball", "cone"))).things
    """

    eye: np.ndarray
    turn: np.ndarray
    focal: float
    low: np.ndarray | None
    high: np.ndarray | None
    surfaces: dict[str, Paint]
    patches: tuple[Patch, ...]
    things: tuple[Thing, ...]
    light: np.ndarray
    ambient: float
    warmth: float
    exposure: float
    noise: float


def look_at(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Return camera axes in the world, as columns. Radians; yaw north to east, pitch downwards."""
    forward = np.array([np.sin(yaw) * np.cos(pitch), np.cos(yaw) * np.cos(pitch), -np.sin(pitch)])
    right = np.array([np.cos(yaw), -np.sin(yaw), 0.0])
    down = np.cross(forward, right)
    rolled_right = np.cos(roll) * right + np.sin(roll) * down
    rolled_down = np.cos(roll) * down - np.sin(roll) * right
    return np.stack([rolled_right, rolled_down, forward], axis=1)


def _turned(axis: int, angle: float) -> np.ndarray:
    cosine, sine = np.cos(angle), np.sin(angle)
    matrix = np.eye(3)
    i, j = [(1, 2), (2, 0), (0, 1)][axis]
    matrix[i, i] = matrix[j, j] = cosine
    matrix[i, j], matrix[j, i] = -sine, sine
    return matrix


def sample_one(rng: np.random.Generator, values: Sequence, weights: np.ndarray) -> Any:
    """Sample one of some values with probabilities in proportion to their weights."""
    return values[int(rng.choice(len(values), p=weights / weights.sum()))]


def _thing_paint(rng: np.random.Generator, style: Style) -> Paint:
    def color():
        hsv = rng.random(), rng.uniform(*style.saturation), rng.uniform(*style.value)
        return np.array(colorsys.hsv_to_rgb(*hsv), np.float32)

    first = rng.random() < 0.5
    number = 0 if first else int(rng.integers(1, len(style.patterns)))
    return Paint(
        color=color(),
        other=color(),
        pattern=style.patterns[number],
        scale=rng.uniform(1.0, 2.2),
        phase=rng.uniform(0, 6.28),
        gloss=rng.uniform(0, 0.45) if rng.random() < 0.6 else 0.0,
    )


def _surface_paint(rng: np.random.Generator, style: Style, gray: float) -> Paint:
    color = gray * (1 + style.tint * rng.uniform(-1, 1, 3))
    contrast = rng.uniform(*style.contrast)
    return Paint(
        color=(color * (1 - contrast)).astype(np.float32),
        other=(color * (1 + contrast)).astype(np.float32),
        pattern=style.wall_patterns[int(rng.integers(len(style.wall_patterns)))],
        scale=rng.uniform(1.0, 2.5),
        phase=rng.uniform(0, 6.28),
    )


def _place(rng, style, yaw: float, half_view: float, height: float, taken: list) -> Thing | None:
    """Return a thing on the floor in the camera's view, beside those ``taken``, or None."""
    name = sample_one(rng, style.shapes, np.linspace(1.7, 1.0, len(style.shapes)))
    shape = SHAPES[name]
    proportions = np.array([1.0, rng.uniform(*shape.narrow), rng.uniform(*shape.tall)])
    radius = rng.uniform(*style.radius)
    turn = _turned(2, rng.uniform(0, 2 * np.pi))
    pose = rng.random()
    if pose < style.lying:
        turn = turn @ _turned(0, np.pi / 2 * rng.choice([-1, 1, 2]))
    elif pose < style.lying + style.tipped:
        turn = turn @ _turned(0, rng.uniform(0.3, 1.3)) @ _turned(2, rng.uniform(0, 6.28))
    matrix = turn * (proportions * radius / (shape.radius * proportions.max()))
    for _ in range(12):
        slant = radius / (rng.uniform(*style.span) * np.tan(half_view))
        distance = np.sqrt(max(slant**2 - (height - radius) ** 2, 0.5 * slant**2))
        aside = rng.uniform(-0.8, 0.8) if style.count[1] > 1 else rng.normal(0, 0.2)
        bearing = yaw + half_view * aside
        place = distance * np.array([np.sin(bearing), np.cos(bearing)])
        if all(np.hypot(*(place - p)) > 0.95 * (radius + r) for p, r in taken):
            break
    else:
        return None
    taken.append((place, radius))
    center = np.array([*place, shape.support(-matrix[2])])
    paint = _thing_paint(rng, style)
    return Thing(name=name, shape=shape, matrix=matrix, center=center, paint=paint)


def _patches(rng: np.random.Generator, style: Style, height: float) -> tuple[Patch, ...]:
    patches = []
    for surface in ("floor", "wall"):
        for _ in range(int(rng.integers(0, style.patches + 1))):
            gray = rng.uniform(*style.walls)
            middle = 0.0 if surface == "floor" else 0.5 * height
            patches.append(
                Patch(
                    surface=surface,
                    center=(rng.uniform(-2.5, 2.5), middle + rng.uniform(-0.5, 0.6)),
                    half=(rng.uniform(0.4, 1.2), rng.uniform(0.3, 0.8)),
                    paint=_surface_paint(rng, style, min(0.85, gray * rng.choice([0.65, 1.25]))),
                )
            )
    return tuple(patches)


def sample_world(rng: np.random.Generator, style: Style) -> World:
    """Sample one world; every number comes from ``rng``."""
    yaw = rng.uniform(0, 2 * np.pi)
    half_view = np.radians(rng.uniform(*style.view) / 2)
    height = rng.uniform(*style.eye)
    taken: list = []
    count = int(rng.integers(style.count[0], style.count[1] + 1))
    tries = [_place(rng, style, yaw, half_view, height, taken) for _ in range(count)]
    things = tuple(thing for thing in tries if thing is not None)

    # The camera points at the middle of the things; the room is built around them all.
    centers = np.stack([thing.center for thing in things])
    distance = np.hypot(centers[:, 0], centers[:, 1]).mean()
    pitch = np.arctan2(height - centers[:, 2].mean(), distance)
    pitch += np.radians(rng.uniform(*style.tilt))
    places, radii = np.stack([p for p, _ in taken]), np.array([r for _, r in taken])[:, None]
    low = np.minimum((places - radii).min(axis=0), -0.4) - rng.uniform(0.1, 1.8, 2)
    high = np.maximum((places + radii).max(axis=0), 0.4) + rng.uniform(0.1, 1.8, 2)
    top = max(rng.uniform(1.9, 2.9), height + 0.3)
    indoors = rng.random() < style.indoors

    beside = places.mean(axis=0) * rng.uniform(0.3, 1.1)
    light = np.array([*beside, rng.uniform(*style.lamp) + 0.8])
    light[:2] += rng.uniform(-1.6, 1.6, 2) * (1.0 if indoors else 2.0)
    light[2] *= 1.0 if indoors else 1.7
    if indoors:
        light = np.clip(light, [*(low + 0.2), 0.5], [*(high - 0.2), top - 0.15])
    grays = zip(("floor", "wall", "ceiling"), rng.uniform(*style.walls, 3), strict=True)
    surfaces = {name: _surface_paint(rng, style, gray) for name, gray in grays}
    if not indoors:  # A pale sky; its two colors are those of the horizon and of the zenith.
        zenith = np.float32([0.5, 0.62, 0.8]) * rng.uniform(0.7, 1.15)
        surfaces["wall"] = Paint(color=np.float32([0.85, 0.87, 0.88]), other=zenith.astype("f4"))
    return World(
        eye=np.array([0.0, 0.0, height]),
        turn=look_at(yaw, pitch, np.radians(rng.uniform(*style.roll))),
        focal=0.5 / np.tan(half_view),
        low=np.array([*low, 0.0]) if indoors else None,
        high=np.array([*high, top]) if indoors else None,
        surfaces=surfaces,
        patches=_patches(rng, style, top),
        things=things,
        light=light,
        ambient=rng.uniform(*style.ambient),
        warmth=rng.uniform(*style.warmth),
        exposure=rng.uniform(1.0, 1.25),
        noise=rng.uniform(1.0, 4.0),
    )
