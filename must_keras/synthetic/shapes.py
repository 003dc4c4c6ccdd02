"""The shapes of the scenes by name: one solid or a few joined ones, standing upright on z."""

from __future__ import annotations

import dataclasses

import numpy as np

from must_keras.synthetic.solids import Polyhedron, Revolved, Torus


@dataclasses.dataclass(frozen=True)
class Part:
    """One solid of a shape: ``p = center + size * unit`` in the shape's own space."""

    solid: Revolved | Polyhedron | Torus
    center: tuple[float, float, float] = (0.0, 0.0, 0.0)
    size: tuple[float, float, float] = (1.0, 1.0, 1.0)


class Shape:
    """A named union of parts.

    Attributes:
        parts: first hit of the union = the nearest of the parts' first hits (camera outside).
        narrow: (low, high) factor of y against x.
        tall: (low, high) factor of z against x.
        low, high: [3] the upright bounding box; radius: of the ball around that box's center.

    """

    def __init__(self, *parts: Part, narrow=(1.0, 1.0), tall=(0.85, 1.2)):
        self.parts, self.narrow, self.tall = parts, narrow, tall
        axes = np.eye(3)
        self.high = np.array([self.support(axis) for axis in axes])
        self.low = np.array([-self.support(-axis) for axis in axes])
        self.center = (self.low + self.high) / 2
        # A Fibonacci sphere of directions; 2 % more covers what lies between them.
        z = np.linspace(-1, 1, 200)
        turn = np.arange(200) * np.pi * (3 - np.sqrt(5))
        flat = np.sqrt(1 - z * z)
        around = np.stack([flat * np.cos(turn), flat * np.sin(turn), z], axis=1)
        self.radius = 1.02 * max(self.support(u) - u @ self.center for u in around)

    @property
    def convex(self) -> bool:
        """Whether it cannot throw a shadow on itself."""
        return len(self.parts) == 1 and self.parts[0].solid.convex

    def support(self, direction: np.ndarray) -> float:
        """Largest ``direction . p`` over the shape; direction [3]."""
        return max(
            part.solid.support(direction * np.array(part.size)) + direction @ np.array(part.center)
            for part in self.parts
        )


def _prism(sides: int) -> Polyhedron:
    turns = 2 * np.pi * (np.arange(sides) + 0.5) / sides
    around = [(np.cos(a), np.sin(a), 0, np.cos(np.pi / sides)) for a in turns]
    return Polyhedron([*around, (0, 0, 1, 1), (0, 0, -1, 1)])


def _pyramid(sides: int) -> Polyhedron:
    turns = 2 * np.pi * (np.arange(sides) + 0.5) / sides
    inner = np.cos(np.pi / sides)
    around = [(2 * np.cos(a), 2 * np.sin(a), inner, inner) for a in turns]
    return Polyhedron([*around, (0, 0, -1, 1)])


BALL = Revolved(1, 0, -1)
CAN = Revolved(1, 0, 0)
CONE = Revolved(0.25, -0.5, 0.25)
DOME = Revolved(1, 0, -1, low=0)
BOX = Polyhedron([(*row, 1) for row in np.concatenate([np.eye(3), -np.eye(3)])])
ROOF = Polyhedron([(1, 0, 0.5, 0.5), (-1, 0, 0.5, 0.5), (0, 1, 0, 1), (0, -1, 0, 1), (0, 0, -1, 1)])
RAMP = Polyhedron([(1, 0, 1, 0), (-1, 0, 0, 1), (0, 1, 0, 1), (0, -1, 0, 1), (0, 0, -1, 1)])
GEM = Polyhedron([(x, y, z, 1) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])

SHAPES: dict[str, Shape] = {
    # Drawn by the training families.
    "ball": Shape(Part(BALL), tall=(0.95, 1.05)),
    "block": Shape(Part(BOX, size=(0.85, 0.85, 0.85)), narrow=(0.6, 1.0), tall=(0.6, 1.25)),
    "can": Shape(Part(CAN, size=(0.65, 0.65, 0.95)), tall=(0.75, 1.2)),
    "cone": Shape(Part(CONE, size=(0.85, 0.85, 1.0))),
    "ring": Shape(Part(Torus(0.7, 0.3)), tall=(0.95, 1.2)),
    "pyramid": Shape(Part(_pyramid(4), size=(1.15, 1.15, 0.9)), narrow=(0.85, 1.0)),
    "pill": Shape(
        Part(CAN, size=(0.5, 0.5, 0.6)),
        Part(BALL, (0, 0, 0.6), (0.5, 0.5, 0.5)),
        Part(BALL, (0, 0, -0.6), (0.5, 0.5, 0.5)),
        tall=(0.9, 1.2),
    ),
    "gem": Shape(Part(GEM, size=(0.9, 0.9, 1.1)), narrow=(0.85, 1.0)),
    "dome": Shape(Part(DOME), tall=(0.85, 1.1)),
    "bench": Shape(
        Part(BOX, (0, 0, -0.5), (1.0, 0.6, 0.4)),
        Part(BOX, (-0.68, 0, 0.4), (0.32, 0.6, 0.55)),
        narrow=(0.8, 1.2),
    ),
    "table": Shape(
        Part(CAN, (0, 0, 0.7), (1.0, 1.0, 0.15)),
        Part(CAN, (0, 0, -0.1), (0.2, 0.2, 0.7)),
        Part(CAN, (0, 0, -0.85), (0.6, 0.6, 0.1)),
        tall=(0.75, 1.1),
    ),
    # Drawn by the dev sets.
    "egg": Shape(Part(BALL, size=(0.68, 0.68, 1.05)), tall=(0.9, 1.15)),
    "tent": Shape(Part(ROOF, size=(0.8, 1.0, 0.75)), narrow=(0.8, 1.2)),
    "cup": Shape(Part(Revolved(0.5625, 0.375, 0.0625), size=(0.85, 0.85, 0.9))),
    "dumbbell": Shape(
        Part(CAN, size=(0.2, 0.2, 0.6)),
        Part(BALL, (0, 0, 0.65), (0.48, 0.48, 0.48)),
        Part(BALL, (0, 0, -0.65), (0.48, 0.48, 0.48)),
    ),
    "plus": Shape(
        Part(BOX, size=(1.0, 0.35, 0.35)), Part(BOX, size=(0.35, 0.35, 1.0)), narrow=(0.8, 1.3)
    ),
    "tetra": Shape(Part(_pyramid(3), size=(1.1, 1.1, 0.9))),
    "bolt": Shape(
        Part(_prism(6), (0, 0, 0.6), (0.95, 0.95, 0.35)), Part(CAN, (0, 0, -0.35), (0.4, 0.4, 0.65))
    ),
    "ramp": Shape(Part(RAMP, size=(1.0, 0.75, 0.8)), narrow=(0.8, 1.2)),
    "tee": Shape(
        Part(BOX, (0, 0, 0.65), (1.0, 0.4, 0.32)), Part(BOX, (0, 0, -0.35), (0.32, 0.4, 0.7))
    ),
    # Drawn by the final sets.
    "snowman": Shape(
        Part(BALL, (0, 0, -0.4), (0.68, 0.68, 0.68)), Part(BALL, (0, 0, 0.55), (0.45, 0.45, 0.45))
    ),
    "mushroom": Shape(
        Part(DOME, (0, 0, 0.1), (0.95, 0.95, 0.8)), Part(CAN, (0, 0, -0.4), (0.35, 0.35, 0.55))
    ),
    "rocket": Shape(
        Part(CAN, (0, 0, -0.4), (0.5, 0.5, 0.7)), Part(CONE, (0, 0, 0.7), (0.5, 0.5, 0.4))
    ),
    "house": Shape(
        Part(BOX, (0, 0, -0.4), (0.75, 0.8, 0.5)), Part(ROOF, (0, 0, 0.5), (0.85, 0.9, 0.4))
    ),
    "stairs": Shape(
        Part(BOX, (0, 0, -0.6), (0.95, 0.65, 0.3)),
        Part(BOX, (0.32, 0, 0.0), (0.63, 0.65, 0.3)),
        Part(BOX, (0.64, 0, 0.6), (0.31, 0.65, 0.3)),
    ),
    "spool": Shape(Part(Revolved(0.15, 0, 0.85), size=(0.8, 0.8, 0.9))),
    "arch": Shape(
        Part(BOX, (0, 0, 0.65), (1.0, 0.4, 0.3)),
        Part(BOX, (-0.7, 0, -0.3), (0.3, 0.4, 0.65)),
        Part(BOX, (0.7, 0, -0.3), (0.3, 0.4, 0.65)),
    ),
    "nut": Shape(Part(_prism(6), size=(1.0, 1.0, 0.5)), tall=(0.8, 1.2)),
    "lamp": Shape(
        Part(CONE, (0, 0, 0.5), (0.75, 0.75, 0.5)),
        Part(CAN, (0, 0, -0.4), (0.14, 0.14, 0.5)),
        Part(CAN, (0, 0, -0.9), (0.5, 0.5, 0.1)),
    ),
}
"""Every shape; its name is its class, category and semantic class."""
