"""The shapes of the scenes by name, and the solids that they are made of.

Solids are surfaces of revolution, convex polyhedra and tori, each in its unit space. Shapes are one
solid or a few joined ones, standing upright on z.

Arrays: [3, K] for K points or directions, float32, coordinates x, y, z with z up. A ray is
``origin + t * direction``; ``hit`` returns the smallest t > 0 on the surface, and infinity where
the ray misses. Directions need not be unit vectors: an affine map of the ray keeps t.
"""

import dataclasses
import itertools

import numpy as np

NEAR = np.float32(1e-4)  # Hits closer than this are the surface that the ray starts on.
_TINY = np.float32(1e-7)


def _away_from_zero(x):
    """Replace components too small to divide by; keep the rest."""
    return np.where(np.abs(x) < _TINY, _TINY, x)


class Revolved:
    """``x^2 + y^2 = q0 + q1 z + q2 z^2`` between two heights, closed by flat caps.

    A ball is (1, 0, -1), a can (1, 0, 0), a cone (0.25, -0.5, 0.25), an hourglass (0.2, 0, 0.8).

    Example:
        Revolved(1, 0, -1).support(np.array([0.0, 0.0, 1.0]))  # 1.0
    """

    def __init__(self, q0: float, q1: float, q2: float, low: float = -1.0, high: float = 1.0):
        self.q0, self.q1, self.q2 = (np.float32(q) for q in (q0, q1, q2))
        self.low, self.high = np.float32(low), np.float32(high)
        ends = [(z, q0 + q1 * z + q2 * z * z) for z in (low, high)]
        self.caps = [(np.float32(z), np.float32(s)) for z, s in ends if s > 0]
        heights = np.linspace(low, high, 65)
        self._profile = np.sqrt(np.maximum(q0 + q1 * heights + q2 * heights**2, 0)), heights
        self.convex = q2 <= 0 or 4 * q0 * q2 <= q1 * q1

    def hit(self, origin: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """Return the first t [K] on the side or on a cap."""
        (ox, oy, oz), (dx, dy, dz) = origin, direction
        a = _away_from_zero(dx * dx + dy * dy - self.q2 * dz * dz)
        b = ox * dx + oy * dy - (0.5 * self.q1 + self.q2 * oz) * dz
        c = ox * ox + oy * oy - (self.q0 + (self.q1 + self.q2 * oz) * oz)
        discriminant = b * b - a * c
        root = np.sqrt(np.maximum(discriminant, 0))
        meets = discriminant > 0
        nearest = np.full(dz.shape, np.inf, np.float32)
        for t in ((-b - root) / a, (root - b) / a):
            z = oz + t * dz
            on = meets & (t > NEAR) & (z >= self.low) & (z <= self.high)
            nearest = np.where(on & (t < nearest), t, nearest)
            if not self.caps and self.q2 < 0:
                return nearest  # A whole ball seen from outside: the far root is behind.
        for height, squared_radius in self.caps:
            t = (height - oz) / _away_from_zero(dz)
            x, y = ox + t * dx, oy + t * dy
            on = (t > NEAR) & (x * x + y * y <= squared_radius)
            nearest = np.where(on & (t < nearest), t, nearest)
        return nearest

    def normal(self, points: np.ndarray) -> np.ndarray:
        """Return outward normals [3, K], not of unit length."""
        x, y, z = points
        normals = np.stack([x, y, -0.5 * self.q1 - self.q2 * z])
        for height, _ in self.caps:
            flat = np.abs(z - height) < 1e-3
            normals[:, flat] = np.float32([[0], [0], [1 if height == self.high else -1]])
        return normals

    def support(self, direction: np.ndarray) -> float:
        """Return the largest ``direction . p`` over the solid; direction [3]."""
        radii, heights = self._profile
        return float(np.max(radii * np.hypot(direction[0], direction[1]) + heights * direction[2]))


class Polyhedron:
    """A convex solid: the points with ``normals . p <= offsets``.

    Args:
        planes: rows (nx, ny, nz, offset).

    Example:
        Polyhedron([(*row, 1) for row in np.concatenate([np.eye(3), -np.eye(3)])])  # A box.
    """

    convex = True

    def __init__(self, planes):
        planes = np.asarray(planes, np.float64)
        planes = planes / np.linalg.norm(planes[:, :3], axis=1, keepdims=True)
        self.normals = planes[:, :3].astype(np.float32)
        self.offsets = planes[:, 3].astype(np.float32)
        corners = []
        for three in itertools.combinations(planes, 3):
            three = np.stack(three)
            if abs(np.linalg.det(three[:, :3])) > 1e-6:
                corner = np.linalg.solve(three[:, :3], three[:, 3])
                if (planes[:, :3] @ corner <= planes[:, 3] + 1e-6).all():
                    corners.append(corner)
        self.corners = np.stack(corners)

    def hit(self, origin: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """Return the first t [K]: the last plane entered, if before the first plane left."""
        slope = _away_from_zero(self.normals @ direction)
        t = (self.offsets[:, None] - self.normals @ origin) / slope
        entering = slope < 0
        enter = np.where(entering, t, -np.inf).max(axis=0)
        leave = np.where(entering, np.inf, t).min(axis=0)
        return np.where((enter < leave) & (enter > NEAR), enter, np.float32(np.inf))

    def normal(self, points: np.ndarray) -> np.ndarray:
        """Return outward unit normals [3, K] of the faces that the points lie on."""
        return self.normals[np.argmax(self.normals @ points - self.offsets[:, None], axis=0)].T

    def support(self, direction: np.ndarray) -> float:
        """Return the largest ``direction . p`` over the solid; direction [3]."""
        return float(np.max(self.corners @ direction))


class Torus:
    """A ring around z: its tube, of radius ``tube``, runs at distance ``ring`` from the axis.

    Example:
        Torus(0.7, 0.3).support(np.array([1.0, 0.0, 0.0]))  # 1.0
    """

    convex = False
    _steps = np.linspace(0, 1, 20, dtype=np.float32)[:, None]

    def __init__(self, ring: float, tube: float):
        self.ring, self.tube = np.float32(ring), np.float32(tube)

    def hit(self, origin: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """Return the first t [K]: 20 samples between bounding slab and ball, then Newton's steps.

        A ray that only grazes the tube between two samples is missed, which no image shows.
        """
        origin = np.broadcast_to(origin, direction.shape)
        a = np.einsum("ck,ck->k", direction, direction)
        b = np.einsum("ck,ck->k", origin, direction)
        c = np.einsum("ck,ck->k", origin, origin) - (self.ring + self.tube) ** 2
        root = np.sqrt(np.maximum(b * b - a * c, 0))
        flat = [(s * self.tube - origin[2]) / _away_from_zero(direction[2]) for s in (-1, 1)]
        start = np.maximum(np.maximum((-b - root) / a, np.minimum(*flat)), NEAR)
        stop = np.minimum((root - b) / a, np.maximum(*flat))
        t = np.full(a.shape, np.inf, np.float32)
        near = np.flatnonzero((b * b > a * c) & (stop > start))
        if near.size:
            begin, length = start[near], (stop - start)[near]
            entry = origin[:, near] + direction[:, near] * begin
            t[near] = begin + self._first(entry, direction[:, near] * length) * length
        return t

    def _first(self, origin, ray):
        """Return the first root in [0, 1], or infinity.

        Of ``(p.p + R^2 - r^2)^2 - 4 R^2 (x^2 + y^2)`` along the ray.
        """
        squares, across, start = ray * ray, origin * ray, origin * origin
        flat = [v[0] + v[1] for v in (squares, across, start)]
        whole = [f + v[2] for f, v in zip(flat, (squares, across, start), strict=True)]
        constant = self.ring**2 - self.tube**2

        def quadratic(terms, u, constant):
            return (terms[0] * u + 2 * terms[1]) * u + (terms[2] + constant)

        def outside(u):
            return quadratic(whole, u, constant) ** 2 - 4 * self.ring**2 * quadratic(flat, u, 0)

        values = outside(self._steps)
        crosses = (values[:-1] > 0) & (values[1:] <= 0)
        step = np.argmax(crosses, axis=0)
        column = np.arange(step.size)
        found = crosses[step, column]
        low, high = self._steps[step, 0], self._steps[step + 1, 0]
        drop = np.minimum(values[step + 1, column] - values[step, column], -_TINY)
        root = low - values[step, column] * (high - low) / drop
        for _ in range(4):
            slope = 4 * (whole[0] * root + whole[1]) * quadratic(whole, root, constant)
            slope -= 8 * self.ring**2 * (flat[0] * root + flat[1])
            root = np.clip(root - outside(root) / np.minimum(slope, -_TINY), low, high)
        return np.where(found, root, np.float32(np.inf))

    def normal(self, points: np.ndarray) -> np.ndarray:
        """Return outward normals [3, K], not of unit length."""
        x, y, z = points
        keep = 1 - self.ring / np.maximum(np.hypot(x, y), _TINY)
        return np.stack([x * keep, y * keep, z])

    def support(self, direction: np.ndarray) -> float:
        """Return the largest ``direction . p`` over the solid; direction [3]."""
        flat = np.hypot(direction[0], direction[1])
        return float(self.ring * flat + self.tube * np.linalg.norm(direction))


Solid = Revolved | Polyhedron | Torus


@dataclasses.dataclass(frozen=True)
class Part:
    """One solid of a shape: ``p = (x, 0, z) + size * unit`` in the shape's own space.

    Attributes:
        solid: in its unit space.
        size: factor of each axis, or of all.
        z: height of its center.
        x: of its center.

    Example:
        Part(BALL, 0.5, z=0.6)
    """

    solid: Solid
    size: float | tuple[float, float, float] = 1.0
    z: float = 0.0
    x: float = 0.0

    @property
    def center(self) -> np.ndarray:
        """[3], in the shape's own space."""
        return np.array([self.x, 0.0, self.z])

    def support(self, direction: np.ndarray) -> float:
        """Return the largest ``direction . p`` over the solid; direction [3]."""
        return self.solid.support(direction * np.array(self.size)) + direction @ self.center


class Shape:
    """A named union of parts.

    Attributes:
        parts: first hit of the union = the nearest of the parts' first hits (camera outside).
        narrow: (low, high) factor of y against x.
        tall: (low, high) factor of z against x.
        low, high: [3] the upright bounding box; radius: of the ball around that box's center.

    Example:
        Shape(Part(BALL, 0.7, z=-0.4), Part(BALL, 0.4, z=0.55))
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
        """Whether it cannot cast a shadow on itself."""
        return len(self.parts) == 1 and self.parts[0].solid.convex

    def support(self, direction: np.ndarray) -> float:
        """Return the largest ``direction . p`` over the shape; direction [3]."""
        return max(part.support(direction) for part in self.parts)


def _around(sides: int, across: float, up: float) -> list[tuple[float, float, float, float]]:
    """Return planes around z, each as far from it as the sides of a regular polygon."""
    turns, inner = 2 * np.pi * (np.arange(sides) + 0.5) / sides, np.cos(np.pi / sides)
    return [(across * np.cos(a), across * np.sin(a), up * inner, inner) for a in turns]


def _prism(sides: int) -> Polyhedron:
    return Polyhedron([*_around(sides, 1, 0), (0, 0, 1, 1), (0, 0, -1, 1)])


def _pyramid(sides: int) -> Polyhedron:
    return Polyhedron([*_around(sides, 2, 1), (0, 0, -1, 1)])


BALL = Revolved(1, 0, -1)
CAN = Revolved(1, 0, 0)
CONE = Revolved(0.25, -0.5, 0.25)
DOME = Revolved(1, 0, -1, low=0)
BOX = Polyhedron([(*row, 1) for row in np.concatenate([np.eye(3), -np.eye(3)])])
ROOF = Polyhedron([(1, 0, 0.5, 0.5), (-1, 0, 0.5, 0.5), (0, 1, 0, 1), (0, -1, 0, 1), (0, 0, -1, 1)])
RAMP = Polyhedron([(1, 0, 1, 0), (-1, 0, 0, 1), (0, 1, 0, 1), (0, -1, 0, 1), (0, 0, -1, 1)])
GEM = Polyhedron([(x, y, z, 1) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])

SHAPES: dict[str, Shape] = {
    # Of the training families.
    "ball": Shape(Part(BALL), tall=(0.95, 1.05)),
    "block": Shape(Part(BOX, 0.85), narrow=(0.6, 1.0), tall=(0.6, 1.25)),
    "can": Shape(Part(CAN, (0.65, 0.65, 0.95)), tall=(0.75, 1.2)),
    "cone": Shape(Part(CONE, (0.85, 0.85, 1.0))),
    "ring": Shape(Part(Torus(0.7, 0.3)), tall=(0.95, 1.2)),
    "pyramid": Shape(Part(_pyramid(4), (1.15, 1.15, 0.9)), narrow=(0.85, 1.0)),
    "pill": Shape(
        Part(CAN, (0.5, 0.5, 0.6)), Part(BALL, 0.5, z=0.6), Part(BALL, 0.5, z=-0.6), tall=(0.9, 1.2)
    ),
    "gem": Shape(Part(GEM, (0.9, 0.9, 1.1)), narrow=(0.85, 1.0)),
    "dome": Shape(Part(DOME), tall=(0.85, 1.1)),
    "bench": Shape(
        Part(BOX, (1.0, 0.6, 0.4), z=-0.5),
        Part(BOX, (0.32, 0.6, 0.55), z=0.4, x=-0.68),
        narrow=(0.8, 1.2),
    ),
    "table": Shape(
        Part(CAN, (1.0, 1.0, 0.15), z=0.7),
        Part(CAN, (0.2, 0.2, 0.7), z=-0.1),
        Part(CAN, (0.6, 0.6, 0.1), z=-0.85),
        tall=(0.75, 1.1),
    ),
    # Of the dev sets.
    "egg": Shape(Part(BALL, (0.68, 0.68, 1.05)), tall=(0.9, 1.15)),
    "tent": Shape(Part(ROOF, (0.8, 1.0, 0.75)), narrow=(0.8, 1.2)),
    "cup": Shape(Part(Revolved(0.5625, 0.375, 0.0625), (0.85, 0.85, 0.9))),
    "dumbbell": Shape(
        Part(CAN, (0.2, 0.2, 0.6)), Part(BALL, 0.48, z=0.65), Part(BALL, 0.48, z=-0.65)
    ),
    "plus": Shape(Part(BOX, (1.0, 0.35, 0.35)), Part(BOX, (0.35, 0.35, 1.0)), narrow=(0.8, 1.3)),
    "tetra": Shape(Part(_pyramid(3), (1.1, 1.1, 0.9))),
    "bolt": Shape(Part(_prism(6), (0.95, 0.95, 0.35), z=0.6), Part(CAN, (0.4, 0.4, 0.65), z=-0.35)),
    "ramp": Shape(Part(RAMP, (1.0, 0.75, 0.8)), narrow=(0.8, 1.2)),
    "tee": Shape(Part(BOX, (1.0, 0.4, 0.32), z=0.65), Part(BOX, (0.32, 0.4, 0.7), z=-0.35)),
    # Of the final sets.
    "snowman": Shape(Part(BALL, 0.68, z=-0.4), Part(BALL, 0.45, z=0.55)),
    "mushroom": Shape(Part(DOME, (0.95, 0.95, 0.8), z=0.1), Part(CAN, (0.35, 0.35, 0.55), z=-0.4)),
    "rocket": Shape(Part(CAN, (0.5, 0.5, 0.7), z=-0.4), Part(CONE, (0.5, 0.5, 0.4), z=0.7)),
    "house": Shape(Part(BOX, (0.75, 0.8, 0.5), z=-0.4), Part(ROOF, (0.85, 0.9, 0.4), z=0.5)),
    "stairs": Shape(
        Part(BOX, (0.95, 0.65, 0.3), z=-0.6),
        Part(BOX, (0.63, 0.65, 0.3), z=0.0, x=0.32),
        Part(BOX, (0.31, 0.65, 0.3), z=0.6, x=0.64),
    ),
    "spool": Shape(Part(Revolved(0.15, 0, 0.85), (0.8, 0.8, 0.9))),
    "arch": Shape(
        Part(BOX, (1.0, 0.4, 0.3), z=0.65),
        Part(BOX, (0.3, 0.4, 0.65), z=-0.3, x=-0.7),
        Part(BOX, (0.3, 0.4, 0.65), z=-0.3, x=0.7),
    ),
    "nut": Shape(Part(_prism(6), (1.0, 1.0, 0.5)), tall=(0.8, 1.2)),
    "lamp": Shape(
        Part(CONE, (0.75, 0.75, 0.5), z=0.5),
        Part(CAN, (0.14, 0.14, 0.5), z=-0.4),
        Part(CAN, (0.5, 0.5, 0.1), z=-0.9),
    ),
}
"""Every shape; its name is its class, category and semantic class."""
