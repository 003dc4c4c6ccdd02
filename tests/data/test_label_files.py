"""Label maps and depths in every form that people keep them in."""

import numpy as np
import OpenEXR
import pytest
from PIL import Image

from must_keras.data.io.map_codes import Values
from must_keras.data.sources import DepthMaps, LabelMaps
from must_keras.errors import UserError

SHAPE = (3, 4)
CLASSES = np.array([[0, 1, 2, 255], [2, 2, 1, 0], [255, 0, 0, 1]], np.uint8)
NAMES = ("road", "sky", "car")
COLORS = ((128, 64, 128), (70, 130, 180), (0, 0, 142))
VOID = (0, 0, 0)


def folder(tmp_path, name, write):
    for sub in ("images", "labels"):
        (tmp_path / sub).mkdir(exist_ok=True)
    Image.fromarray(np.zeros((*SHAPE, 3), np.uint8)).save(tmp_path / "images" / "1.jpg")
    write(tmp_path / "labels" / name)
    return tmp_path


# ---- maps -------------------------------------------------------------------------------------


def maps(root, **arguments):
    source = LabelMaps(
        name="m", images=root / "images", maps=root / "labels", head="h", classes=NAMES, **arguments
    )
    return source.labels(0)["h"]["map"]


def colors():
    return np.array([*COLORS, VOID], np.uint8)[np.where(CLASSES == 255, 3, CLASSES)]


def test_a_gray_map(tmp_path):
    root = folder(tmp_path, "1.png", lambda path: Image.fromarray(CLASSES).save(path))
    np.testing.assert_array_equal(maps(root), CLASSES)


def palette():
    image = Image.fromarray(CLASSES, mode="P")
    flat = np.zeros((256, 3), np.uint8)
    flat[:3] = COLORS
    image.putpalette(flat.tobytes())
    return image


def test_a_palette_map_is_its_indices(tmp_path):
    root = folder(tmp_path, "1.png", lambda path: palette().save(path))
    np.testing.assert_array_equal(maps(root), CLASSES)


@pytest.mark.parametrize("form", ["rgb", "rgba", "palette"])
def test_a_map_in_colors(tmp_path, form):
    def write(path):
        image = {
            "rgb": lambda: Image.fromarray(colors()),
            "rgba": lambda: Image.fromarray(colors()).convert("RGBA"),
            "palette": palette,
        }[form]()
        image.save(path)

    root = folder(tmp_path, "1.PNG", write)
    np.testing.assert_array_equal(maps(root, colors=COLORS, ignore_colors=[VOID]), CLASSES)


def test_colors_without_a_meaning_are_named(tmp_path):
    root = folder(tmp_path, "1.png", lambda path: Image.fromarray(colors()).save(path))
    with pytest.raises(UserError, match=r"1.png has colors that are neither.*: \(0, 0, 0\); 3"):
        maps(root, colors=COLORS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"colors": COLORS[:2]}, "each of the 3 classes needs one color"),
        ({"colors": COLORS, "ignore_colors": COLORS[:1]}, "needs one color"),
        ({"colors": (*COLORS[:2], (0, 0, 256))}, r"\(0, 0, 256\) is no color"),
        ({"colors": COLORS, "values": (0, 1, 2)}, "give values or colors"),
    ],
)
def test_colors_that_cannot_be_used(tmp_path, arguments, message):
    root = folder(tmp_path, "1.png", lambda path: Image.fromarray(CLASSES).save(path))
    with pytest.raises(UserError, match=message):
        maps(root, **arguments)


# ---- depth ------------------------------------------------------------------------------------

METERS = np.array([[1.0, 2.5, 0.0, 3.0], [0.5, 0.75, 1.25, 4.0], [6.0, 0.0, 2.0, 1.0]], np.float32)


def depth(root, depth_scale):
    source = DepthMaps(
        name="d", images=root / "images", depths=root / "labels", head="h",
        depth_scale=depth_scale,
    )  # fmt: skip
    return source.labels(0)["h"]["depth"]


def write_exr(channels):
    def write(path):
        header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
        with OpenEXR.File(header, channels) as file:
            file.write(str(path))

    return write


UNKNOWN = np.where(METERS > 0, METERS, np.nan).astype(np.float32)
FORMS = {
    "png": ("1.png", lambda p: Image.fromarray((METERS * 1000).astype(np.uint16)).save(p), 0.001),
    "tum": ("1.png", lambda p: Image.fromarray((METERS * 5000).astype(np.uint16)).save(p), 1 / 5000),
    "tiff": ("1.TIF", lambda p: Image.fromarray(UNKNOWN).save(p), 1.0),
    "deep tiff": ("1.tiff", lambda p: Image.fromarray((METERS * 1000).astype(np.uint16)).save(p), 0.001),
    "npy": ("1.npy", lambda p: np.save(p, UNKNOWN), 1.0),
    "npy with a channel": ("1.npy", lambda p: np.save(p, METERS[:, :, None].astype("float64")), 1.0),
    "npy of counts": ("1.npy", lambda p: np.save(p, (METERS * 1000).astype(np.int32)), 0.001),
    "exr": ("1.exr", write_exr({"Y": METERS}), 1.0),
    "half exr": ("1.EXR", write_exr({"Z": METERS.astype(np.float16)}), 1.0),
    "exr with colors": (
        "1.exr", write_exr({"Z": METERS, "R": METERS * 0, "G": METERS * 0, "B": METERS * 0}), 1.0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_depth_in_meters(tmp_path, form):
    name, write, unit = FORMS[form]
    found = depth(folder(tmp_path, name, write), unit)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, METERS, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("1.npy", lambda p: p.write_bytes(b"no array"), "cannot be read as a NumPy array"),
        ("1.npy", lambda p: np.save(p, np.array([{}])), "cannot be read as a NumPy array"),
        ("1.npy", lambda p: np.save(p, np.zeros((3, 4, 2))), r"float64 of shape \(3, 4, 2\)"),
        ("1.npy", lambda p: np.save(p, np.ones((4, 3))), "is 3x4 pixels, its image .* is 4x3"),
        ("1.exr", lambda p: p.write_bytes(b"no exr"), "cannot be read as OpenEXR"),
        (
            "1.exr",
            write_exr({"R": METERS, "G": METERS}),
            "has the channels .*: expected one, or a Z",
        ),
        (
            "1.png",
            lambda p: Image.fromarray(np.ones(SHAPE, np.uint8)).save(p),
            "has 8 bits a pixel",
        ),
        ("1.npy", lambda p: np.save(p, METERS * 10000), "median depth is .* another unit"),
        ("1.npy", lambda p: np.save(p, METERS / 1000), "median depth is .* another unit"),
    ],
)
def test_depths_that_cannot_be_used(tmp_path, name, write, message):
    with pytest.raises(UserError, match=rf"{name}.*{message}"):
        depth(folder(tmp_path, name, write), 1.0)


def test_a_class_of_value_255_is_not_said_to_be_ignored():
    for values, ignore, ignored in (((0, 255), (), "none"), ((0, 1), (7,), "7, 255")):
        code = Values("s", 2, values, ignore)
        with pytest.raises(UserError, match=f"ignored {ignored}: values of classes"):
            code.classes(np.full((2, 2), 9, np.uint8), "a.png")
