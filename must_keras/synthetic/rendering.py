"""Ray casting of a world: one ray through each pixel's middle, numpy float32.

A pixel's ray has the direction (x, y, 1) in camera axes, so its t is the z-depth. Rays go into a
solid's unit space by a 3x3 matrix, and only the pixels of the thing's projected bounding box are
cast; shadow rays only where the way to the light comes near the thing.

Arrays are [3, H, W] here; results have channels last.
"""

import dataclasses

import numpy as np

from must_keras.synthetic.shapes import Solid
from must_keras.synthetic.worlds import Thing, World

MAX_DEPTH = np.float32(60.0)
"""Ground beyond this z-depth, meters, counts as sky (16 bits of millimeters end at 65.5 m)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rendering:
    """A rendered image and its exact labels.

    Attributes:
        image: [H, W, 3] uint8.
        depth: [H, W] float32, z-depth in meters; 0: sky.
        normals: [H, W, 3] float32 unit vectors in camera axes (X right, Y down, Z forward), towards
            the camera (n . ray < 0); zeros: sky.
        things: [H, W] int16, index into world.things; -1: none.
        surfaces: [H, W] int8, index into SURFACES of the surface there or behind the thing.

    Example:
        render(sample_world(rng, style), 64, rng).depth
    """

    image: np.ndarray
    depth: np.ndarray
    normals: np.ndarray
    things: np.ndarray
    surfaces: np.ndarray


SURFACES = ("floor", "wall", "ceiling", "ground", "sky", "panel", "rug")
_FLOOR, _WALL, _CEILING, _GROUND, _SKY, _PANEL, _RUG = range(len(SURFACES))
_PAINTS = {_FLOOR: "floor", _GROUND: "floor", _WALL: "wall", _CEILING: "ceiling"}


class _Cast:
    """A thing's parts in camera axes, ready for rays that start anywhere."""

    def __init__(self, world: World, thing: Thing):
        self.thing = thing
        # Of each part the solid, and the way from camera axes into its unit space.
        self.parts: list[tuple[Solid, np.ndarray, np.ndarray]] = []
        to_camera = world.turn.T
        base = to_camera @ thing.matrix
        middle = to_camera @ (thing.center - world.eye)
        for part in thing.shape.parts:
            inverse = np.linalg.inv(base * np.array(part.size)).astype(np.float32)
            offset = (middle + base @ part.center).astype(np.float32)[:, None]
            self.parts.append((part.solid, inverse, offset))
        self.base_inverse = np.linalg.inv(base).astype(np.float32)
        self.middle = middle.astype(np.float32)[:, None]
        shape = thing.shape
        corners = np.stack(np.meshgrid(*np.stack([shape.low, shape.high], 1))).reshape(3, 8)
        self.corners = base @ corners + middle[:, None]
        scale = np.linalg.norm(thing.matrix, axis=0).max()
        self.ball_center = (middle + base @ shape.center).astype(np.float32)
        self.ball_radius = np.float32(scale * shape.radius)

    def hit(self, origin: np.ndarray, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the first t [K] and the part [K] that is hit, of rays in camera axes."""
        hits = []
        for solid, inverse, offset in self.parts:
            hits.append(solid.hit(inverse @ (origin - offset), inverse @ direction))
        return np.min(hits, axis=0), np.argmin(hits, axis=0).astype(np.int8)

    def normal(self, points: np.ndarray, which: np.ndarray) -> np.ndarray:
        """Return outward normals [3, K] in camera axes, not of unit length."""
        normals = np.empty_like(points)
        for number, (solid, inverse, offset) in enumerate(self.parts):
            here = slice(None) if len(self.parts) == 1 else which == number
            normals[:, here] = inverse.T @ solid.normal(inverse @ (points[:, here] - offset))
        return normals

    def window(self, focal: float, size: int) -> tuple[slice, slice]:
        """Return the rows and columns that may show the thing."""
        if self.corners[2].min() < 0.05:
            return slice(0, size), slice(0, size)
        x, y = (focal * self.corners[:2] / self.corners[2] + 0.5) * size
        edges = np.clip([y.min() - 1, y.max() + 2, x.min() - 1, x.max() + 2], 0, size).astype(int)
        return slice(edges[0], edges[1]), slice(edges[2], edges[3])


def _rays(world: World, size: int) -> np.ndarray:
    along = ((np.arange(size) + 0.5) / size - 0.5) / world.focal
    x, y = np.meshgrid(along, along)
    return np.stack([x, y, np.ones_like(x)]).astype(np.float32)


def _background(world: World, directions: np.ndarray):
    """Return depth [K], surface [K], normals [3, K] and colors [3, K] of room or ground and sky.

    Patterns have coordinates (u, v): (x, y) on level surfaces, (x or y, z) on walls.
    """
    turn = world.turn.astype(np.float32)
    steep = turn @ directions
    steep = np.where(np.abs(steep) < 1e-6, np.float32(1e-6), steep)
    eye = world.eye.astype(np.float32)[:, None]
    indoors = world.low is not None
    if indoors:
        far_side = np.where(steep > 0, world.high[:, None], world.low[:, None]).astype(np.float32)
        exits = (far_side - eye) / steep
        axis = np.argmin(exits, axis=0)
        depth = np.take_along_axis(exits, axis[None], axis=0)[0]
        upwards = steep[2] > 0
        surface = np.where(axis < 2, _WALL, np.where(upwards, _CEILING, _FLOOR)).astype(np.int8)
        sign = -np.sign(np.take_along_axis(steep, axis[None], axis=0)[0])
        normals = turn.T[:, axis] * sign
    else:
        depth = np.where(steep[2] < 0, -eye[2] / steep[2], np.inf)
        surface = np.where(depth < MAX_DEPTH, _GROUND, _SKY).astype(np.int8)
        axis = np.full(depth.shape, 2)
        normals = np.repeat(turn[2][:, None], depth.size, axis=1)
    points = eye + steep * np.where(surface == _SKY, 0, depth)
    across = np.where(axis == 0, points[1], points[0])
    up = np.where(axis == 2, points[1], points[2])
    flat = np.stack([across, up, np.zeros_like(up)])

    colors = np.empty_like(points)
    for number, name in _PAINTS.items():
        here = np.flatnonzero(surface == number)
        if here.size:
            colors[:, here] = world.surfaces[name].over(flat[:, here])
    if not indoors:
        paint = world.surfaces["wall"]
        sky = surface == _SKY
        rise = np.clip(steep[2, sky] / np.linalg.norm(steep[:, sky], axis=0) * 2, 0, 1)
        colors[:, sky] = paint.color[:, None] + (paint.other - paint.color)[:, None] * rise
    level = (surface == _FLOOR) | (surface == _GROUND)
    for patch in world.patches:
        on = level if patch.surface == "floor" else surface == _WALL
        inside = np.abs(across - np.float32(patch.center[0])) < patch.half[0]
        inside &= np.abs(up - np.float32(patch.center[1])) < patch.half[1]
        here = np.flatnonzero(inside & on)
        if here.size:
            colors[:, here] = patch.paint.over(flat[:, here])
            surface[here] = _RUG if patch.surface == "floor" else _PANEL
    return depth, surface, normals, colors


def _lit(casts: list[_Cast], points, normals, light, things) -> np.ndarray:
    """Return Lambert's cosine times the light's falloff, 0 in shadow: [K] for points [3, K]."""
    way = light[:, None] - points
    squared = np.einsum("ck,ck->k", way, way)
    cosine = np.einsum("ck,ck->k", way, normals) / np.sqrt(squared)
    strength = np.maximum(cosine, 0) * (np.float32(18) / (np.float32(15) + squared))
    facing = np.flatnonzero(cosine > 0)
    origin, way, squared = points[:, facing], way[:, facing], squared[facing]
    owner, hidden = things[facing], np.zeros(facing.size, bool)
    for number, cast in enumerate(casts):
        to_ball = cast.ball_center[:, None] - origin
        along = np.clip(np.einsum("ck,ck->k", to_ball, way) / squared, 0, 1)
        miss = np.einsum("ck,ck->k", to_ball, to_ball)
        miss += along * (along * squared - 2 * np.einsum("ck,ck->k", to_ball, way))
        near = (miss < cast.ball_radius**2) & ~hidden
        if cast.thing.shape.convex:
            near &= owner != number
        near = np.flatnonzero(near)
        if near.size:
            start = origin[:, near] + np.float32(2e-3) * normals[:, facing[near]]
            t, _ = cast.hit(start, way[:, near])
            hidden[near[t < 1]] = True
    strength[facing[hidden]] = 0
    return strength


def render(world: World, size: int, rng: np.random.Generator) -> Rendering:
    """Render a world with ``size`` x ``size`` pixels; ``rng`` samples the sensor's noise alone."""
    directions = _rays(world, size)
    rays = directions.reshape(3, -1)
    depth, surface, normals, colors = _background(world, rays)
    casts = [_Cast(world, thing) for thing in world.things]
    things = np.full((size, size), -1, np.int16)
    parts = np.zeros((size, size), np.int8)
    buffer = depth.reshape(size, size)
    for number, cast in enumerate(casts):
        window = cast.window(world.focal, size)
        inside = directions[:, window[0], window[1]]
        if not inside.size:
            continue
        t, which = cast.hit(np.zeros((3, 1), np.float32), inside.reshape(3, -1))
        t, which = t.reshape(inside.shape[1:]), which.reshape(inside.shape[1:])
        nearer = t < buffer[window]
        buffer[window][nearer] = t[nearer]
        things[window][nearer] = number
        parts[window][nearer] = which[nearer]

    things, parts = things.reshape(-1), parts.reshape(-1)
    sky = (surface == _SKY) & (things < 0)
    depth[sky] = 0
    points = rays * depth
    light = (world.turn.T @ (world.light - world.eye)).astype(np.float32)
    shine = np.zeros(depth.shape, np.float32)
    for number, cast in enumerate(casts):
        here = np.flatnonzero(things == number)
        if not here.size:
            continue
        where = points[:, here]
        normal = cast.normal(where, parts[here])
        normal /= np.maximum(np.linalg.norm(normal, axis=0), 1e-12)
        normal *= np.where(np.einsum("ck,ck->k", normal, where) > 0, np.float32(-1), np.float32(1))
        normals[:, here] = normal
        colors[:, here] = cast.thing.paint.over(cast.base_inverse @ (where - cast.middle))
        if cast.thing.paint.gloss:
            shine[here] = cast.thing.paint.gloss * _highlight(where, normal, light)

    strength = _lit(casts, points, normals, light, things)
    up = world.turn[2].astype(np.float32) @ normals
    diffuse = world.ambient * (1 + 0.25 * up) + (1 - world.ambient) * strength
    tint = np.float32(1) + np.float32(0.1 * world.warmth) * np.float32([1, 0.3, -1])
    lit = world.exposure * tint[:, None] * (colors * diffuse + shine * np.minimum(strength, 1))
    lit[:, sky] = colors[:, sky]
    normals[:, sky] = 0
    pixels = lit * 255 + np.float32(world.noise) * rng.standard_normal(lit.shape, np.float32)
    return Rendering(
        image=np.clip(pixels.T, 0, 255).round().astype(np.uint8).reshape(size, size, 3),
        depth=depth.reshape(size, size),
        normals=np.ascontiguousarray(normals.T).reshape(size, size, 3),
        things=things.reshape(size, size),
        surfaces=surface.reshape(size, size),
    )


def _highlight(points: np.ndarray, normals: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Return Blinn's highlight, (normal . halfway)^16 for a camera at the origin: [K]."""
    way = light[:, None] - points
    halfway = way / np.linalg.norm(way, axis=0) - points / np.linalg.norm(points, axis=0)
    cosine = np.einsum("ck,ck->k", halfway, normals) / np.linalg.norm(halfway, axis=0)
    for _ in range(4):
        cosine = cosine * cosine
    return np.where(np.isfinite(cosine), cosine, 0)
