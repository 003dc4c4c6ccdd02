"""Pictures for people: grids, captions, legends; what they must show, at any size."""

import numpy as np
import pytest

from must_keras.inference import visualization
from must_keras.tasks import Depth, Detection, Normals, Segmentation
from must_keras.tasks.visualization import (
    ColorBar,
    Swatch,
    class_swatches,
    letter_size,
    line_width,
    palette,
    text_color,
)

GRAY = 120
SIZES = [(64, 64), (300, 400), (960, 1280), (2000, 600)]


def gray(height, width):
    return np.full((height, width, 3), GRAY, np.uint8)


def has_color(picture, color) -> bool:
    return bool((np.abs(picture.astype(int) - np.asarray(color)).max(-1) <= 2).any())


def test_a_row_is_as_high_as_its_highest_picture():
    black, low = np.zeros((10, 20, 3), np.uint8), np.zeros((6, 5, 3), np.uint8)
    grid = visualization.grid([[black, low], [low]])
    assert grid.shape == (10 + 4 + 6, 20 + 4 + 20, 3)
    assert not grid[:10, :20].any() and not grid[:6, 24:29].any() and not grid[14:, :5].any()
    assert (grid == 0).all(-1).sum() == 200 + 30 + 30


def test_indices_are_spread():
    assert visualization.spread(3, 11) == [0, 5, 10]
    assert visualization.spread(6, 2) == [0, 1]
    assert visualization.spread(1, 9) == [0]


# ---- letters and lines follow the image --------------------------------------------------------


def test_letters_and_lines_grow_with_the_picture():
    assert [letter_size(*size) for size in ((160, 200), (960, 1280), (1280, 960))] == [10, 34, 34]
    assert [line_width(*size) for size in ((160, 200), (960, 1280))] == [1, 3]
    assert text_color((250, 220, 60)) == (0, 0, 0) and text_color((60, 20, 200)) == (255,) * 3


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("text", ["cat.jpg", "a/very/long/folder/" * 20 + "cat.jpg"])
def test_a_caption_is_not_clipped(size, text):
    picture = visualization.captioned(gray(*size), text)
    caption = picture[: len(picture) - size[0]]
    ink = np.argwhere((caption < 128).any(-1))
    (top, left), (bottom, right) = ink.min(0), ink.max(0)
    assert top > 0 and left > 0 and right < size[1] - 1 and bottom < len(caption) - 1
    assert bottom - top >= 0.6 * letter_size(*size), "letters are as high as the picture asks for"
    assert (picture[len(caption) :] == GRAY).all()


# ---- legends -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_swatches_stand_below_a_picture_and_are_not_clipped(size):
    swatches = class_swatches([f"class number {k}" for k in range(9)])
    legend = visualization.with_swatches(gray(*size), swatches)[size[0] :]
    assert legend.shape[1] == size[1] and all(has_color(legend, one.color) for one in swatches)
    if size[1] > 12 * letter_size(*size):  # Where one name fits in a line.
        assert (legend[:, -1] == 255).all() and (legend[-1] == 255).all()


def test_of_many_classes_the_first_are_named():
    swatches = class_swatches([f"c{k}" for k in range(40)])
    legend = visualization.with_swatches(gray(300, 400), swatches)[300:]
    shown = [has_color(legend, one.color) for one in swatches]
    assert all(shown[:12]) and not any(shown[14:20])
    assert len(legend) < 100
    assert visualization.with_swatches(gray(3, 4), []).shape == (3, 4, 3)


def test_swatches_are_those_of_the_classes_that_are_shown():
    assert class_swatches(("a", "b"), [np.uint8([[1, 255]])]) == [
        Swatch("b", tuple(palette(2)[1].tolist()))
    ]
    parts = Segmentation(name="parts", classes=("wall", "floor", "sky")).visualization
    one, other = {"map": np.uint8([[2, 2, 1]])}, {"map": np.uint8([[1, 1, 255]])}
    assert [swatch.name for swatch in parts.swatches(one, other)] == ["floor", "sky"]
    assert [swatch.name for swatch in parts.swatches()] == ["wall", "floor", "sky"]
    assert parts.swatches({"map": np.uint8([[255]])}) == []
    found = {"boxes": np.zeros((4, 4)), "classes": np.int32([1, 0, 2, -1])}
    scored = found | {"scores": np.float32([0.9, 0.1, 0.5, 0.0])}
    things = Detection(name="things", classes=("cat", "dog", "cow")).visualization
    assert [swatch.name for swatch in things.swatches(scored)] == ["dog", "cow"]
    ignored = found | {"ignore": np.array([True, False, False, False])}
    assert [swatch.name for swatch in things.swatches(ignored)] == ["cat", "cow"]
    camera = Normals(name="facing").visualization.swatches()[0]
    ahead = np.broadcast_to(np.float32([0, 0, -1]), (2, 2, 3))
    picture = Normals(name="facing").visualization.visualize(gray(2, 2), {"normals": ahead})
    assert has_color(picture, camera.color) and "camera" in camera.name


def test_a_color_bar_has_the_colors_and_the_values_of_its_picture():
    depth = np.geomspace(2.0, 8.0, 64 * 64).reshape(64, 64).astype(np.float32)
    task = Depth(name="far")
    bar = task.visualization.color_bar({"depth": depth})
    low, middle, high = (float(tick.removesuffix(" m")) for tick in bar.ticks)
    assert (low, high) == (
        pytest.approx(np.percentile(depth, 2), rel=0.01),
        pytest.approx(np.percentile(depth, 98), rel=0.01),
    )
    assert middle == pytest.approx(2 / (1 / low + 1 / high), rel=0.01), "even in 1 / meters"
    picture = task.visualization.visualize(gray(64, 64), {"depth": depth})
    assert (picture[0, 0] == bar.colors[0]).all() and (picture[-1, -1] == bar.colors[-1]).all()
    assert task.visualization.color_bar({"depth": np.zeros((4, 4))}) is None
    near = Depth(name="near", kind="relative_inverse").visualization.color_bar({"depth": 1 / depth})
    assert near.ticks == ("near", "", "far")


@pytest.mark.parametrize("size", SIZES)
def test_a_color_bar_stands_below_a_picture(size):
    bar = ColorBar(colors=np.uint8([[255, 255, 0], [0, 0, 90]]), ticks=("2.5 m", "4 m", "12 m"))
    picture = visualization.with_color_bar(gray(*size), bar)
    below = picture[size[0] :]
    assert has_color(below[:, 0], (255, 255, 0)) and has_color(below[:, -1], (0, 0, 90))
    text = below[below.shape[0] - letter_size(*size) :]
    assert (text[:, : size[1] // 4] < 128).any() and (text[:, -size[1] // 4 :] < 128).any()
    assert (below[-1] == 255).all(), "no letter is cut off"
    assert visualization.with_color_bar(picture, None) is picture


def test_a_row_has_the_bar_of_each_picture():
    depth = {"depth": np.full((64, 64), 2.0, np.float32)}
    plain, label, prediction = visualization.row(Depth(name="far"), gray(64, 64), depth, depth)
    assert plain.shape == (192, 192, 3) and label.shape == prediction.shape
    assert len(label) > len(plain)


@pytest.mark.parametrize("size", [*SIZES, (1, 5000), (5000, 2)])
def test_all_heads_of_an_image_of_any_size(size):
    tasks = (Depth(name="far"), Segmentation(name="parts", classes=("wall", "floor")))
    outputs = {
        "far": {"depth": np.full(size, 2.5, np.float32)},
        "parts": {"map": np.ones(size, np.uint8), "confidence": np.ones(size, np.float32)},
    }
    picture = np.asarray(visualization.of_heads(gray(*size), "photo.jpg", tasks, outputs))
    assert picture.shape[1] <= 2400 and picture.shape[0] <= 4800
    if min(size) > 60:
        (floor,) = tasks[1].visualization.swatches(outputs["parts"])
        assert has_color(picture, floor.color), "the legend's color"


def test_positions_of_a_reduced_image_follow_both_of_its_sides():
    task = Detection(name="things", classes=("cat",))
    found = {"boxes": np.float32([[0, 0, 1001, 4000]]), "scores": np.ones(1), "classes": [0]}
    picture = visualization.of_heads(gray(1001, 4000), "photo.jpg", [task], {"things": found})
    last = np.asarray(picture)[:, -1]  # The box is that of the whole image, right of it.
    assert (last == task.visualization.swatches()[0].color).all(-1).sum() > 290
