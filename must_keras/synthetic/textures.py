"""Patterns: numbers in [-1, 1] over the points of a surface, mixed into its color.

A pattern takes points [3, K] float32 (an object's unit space, or meters on a wall as (u, v, 0)),
``scale`` (cells per unit) and ``phase`` (a random shift), and returns [K] float32.
"""

import numpy as np


def unordered(cells):
    """Return numbers in [0, 1) that depend on whole numbers [K] without visible order."""
    mixed = cells.astype(np.int32).view(np.uint32) * np.uint32(0x9E3779B1)
    mixed = (mixed ^ (mixed >> 15)) * np.uint32(0x85EBCA77)
    return ((mixed ^ (mixed >> 13)) >> 8).astype(np.float32) * np.float32(2**-24)


def plain(points, scale, phase):
    """Return one color."""
    return np.zeros(points.shape[1], np.float32)


def stripes(points, scale, phase):
    """Return hard bands across x + z."""
    waves = np.sin((points[0] + 0.6 * points[2]) * (3 * scale) + phase)
    return np.where(waves > 0, 1.0, -1.0).astype("f4")


def halves(points, scale, phase):
    """Return two colors, one each side of a slanted plane."""
    lean = np.float32(np.sin(phase))
    return np.where(points[2] + lean * points[0] > 0.3 * np.cos(phase), 1.0, -1.0).astype("f4")


def checks(points, scale, phase):
    """Return cubes of two colors."""
    cells = np.floor(points * (1.1 * scale) + phase).sum(axis=0)
    return (2 * np.mod(cells, 2) - 1).astype(np.float32)


def dots(points, scale, phase):
    """Return balls of one color in the other, on a lattice."""
    cells = points * (1.2 * scale) + phase
    cells = cells - np.floor(cells) - 0.5
    return np.where((cells * cells).sum(axis=0) < 0.16, 1.0, -1.0).astype(np.float32)


def fade(points, scale, phase):
    """Return a soft change from one color to the other along a slanted line."""
    return np.clip(points[2] + np.float32(np.sin(phase)) * points[1], -1, 1)


def rings(points, scale, phase):
    """Return hard bands around an axis."""
    return np.where(np.sin(points[2] * (5 * scale) + phase) > 0.2, 1.0, -1.0).astype(np.float32)


def marble(points, scale, phase):
    """Return bent veins."""
    x, y, z = points * scale
    return np.sin(3 * x + 2 * np.sin(2 * z + phase) + 2 * np.sin(2.5 * y + 2 * phase))


def speckle(points, scale, phase):
    """Return a gray value of its own for each small cell, without order."""
    x, y, z = np.floor(points * (4 * scale) + phase)
    return 2 * unordered(x + 57 * y + 3571 * z) - 1


def mottle(points, scale, phase):
    """Return soft clouds."""
    u, v = points[0] * scale, points[1] * scale
    clouds = np.sin(1.9 * u + phase) + np.sin(2.3 * v - phase) + np.sin(1.3 * (u + v) + 2 * phase)
    return clouds * np.float32(1 / 3)


def planks(points, scale, phase):
    """Return boards of slightly unequal gray with dark seams."""
    boards = points[0] * (1.5 * scale) + phase
    board = np.floor(boards)
    return np.where(boards - board < 0.07, -1.0, 0.8 * unordered(board) - 0.2).astype("f4")


def tiles(points, scale, phase):
    """Return square tiles with dark joints."""
    u, v = points[0] * scale + phase, points[1] * scale + phase
    joint = (u - np.floor(u) < 0.07) | (v - np.floor(v) < 0.07)
    return np.where(joint, -1.0, 0.25).astype(np.float32)


def bricks(points, scale, phase):
    """Return rows of bricks, every other row shifted by half a brick."""
    v = points[1] * (2.5 * scale)
    row = np.floor(v)
    u = points[0] * (1.2 * scale) + 0.5 * np.mod(row, 2) + phase
    joint = (u - np.floor(u) < 0.08) | (v - row < 0.14)
    return np.where(joint, -1.0, 0.25).astype(np.float32)
