"""Numbers that stand for unknown, palettes, axes of normals, bits of pixels: read or reported."""

import copy
import struct

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from must_keras.data.io import notices, pixel_bits
from must_keras.data.io.depth_codes import DepthValues
from must_keras.data.io.images import read_image
from must_keras.data.io.map_codes import Values
from must_keras.data.io.notices import Notices
from must_keras.data.sources import DepthMaps, ImagesOnly, LabelMaps, NormalMaps
from must_keras.errors import UserError


@pytest.fixture
def folder(tmp_path):
    """Four photos without labels; returns a function that saves a label of one of them."""
    for i in range(4):
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.new("RGB", (10, 8), (40 * i, 90, 200)).save(tmp_path / "images" / f"{i}.png")
    (tmp_path / "labels").mkdir()
    return tmp_path


def warnings(capsys):
    return [x for x in capsys.readouterr().err.splitlines() if x.startswith("warning: ")]


# ---- notices --------------------------------------------------------------------------------


def test_a_topic_is_reported_once_with_its_count_and_largest_value(capsys):
    found = Notices("source 'photos'")
    with notices.gathered():
        for file, value in (("b.png", 2), ("a.png", 7), ("b.png", 3)):
            found.add("dark", file, f"reaches {value:g}", value=value)
        found.add("rare", "c.png", "rare", at_least=2)
        assert not warnings(capsys)
    assert warnings(capsys) == ["warning: source 'photos': 2 files, first b.png: reaches 7"]
    found.add("dark", "d.png", "reaches 9", value=9)
    assert not warnings(capsys)
    # Outside, a topic is reported as soon as enough files have it.
    found.add("rare", "d.png", "rare", at_least=2)
    assert warnings(capsys) == ["warning: source 'photos': 2 files, first c.png: rare"]


# ---- depth ----------------------------------------------------------------------------------


def meters(counts, unknown=None, unit=0.001, notices=None):
    values = DepthValues("source 'd'", unit, unknown)
    return values.meters(np.asarray(counts), where="a.png", notices=notices or Notices("d"))


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (np.uint16, 65535),
        (np.uint32, 2**32 - 1),
        (np.int32, 2**31 - 1),
        (np.float16, 65504),
        (np.float32, 1e10),
        (np.float32, 3.4028235e38),
        (np.float64, 1e9),
        (np.float32, np.inf),
        (np.float32, np.nan),
        (np.float32, -1),
        (np.uint16, 0),
    ],
)
def test_numbers_that_are_never_a_depth_are_unknown(dtype, value):
    found = meters(np.array([[2500, value]], dtype))
    np.testing.assert_allclose(found, [[2.5, 0]], rtol=1e-6)
    assert found.dtype == np.float32


def test_the_numbers_for_unknown_are_a_users_to_say():
    counts = np.array([[1000, 65535, 60000, 0]], np.uint16)
    np.testing.assert_allclose(meters(counts, ()), [[1, 65.535, 60, 0]], rtol=1e-6)
    np.testing.assert_allclose(meters(counts, (60000,)), [[1, 65.535, 0, 0]], rtol=1e-6)
    # As in the files, not in meters; and whatever float32 makes of them.
    floats = np.array([[1.5, 65.535, 80.0]], np.float32)
    np.testing.assert_allclose(meters(floats, (65.535, 80), unit=1), [[1.5, 0, 0]])
    for unknown in (65535, "65535", (True,), ("0",), (None,)):
        with pytest.raises(UserError, match="source 'd': unknown"):
            meters(counts, unknown)


def test_labels_of_other_unknown_values_are_other_labels():
    described = [DepthValues("d", 1, u).describe() for u in (None, (), (80,))]
    assert len({str(d) for d in described}) == 3


DEPTHS = np.random.default_rng(0).uniform(1000, 9000, (8, 10)).astype(np.uint16)


@pytest.mark.parametrize(
    ("depths", "is_reported"),
    [
        (np.where(DEPTHS > 6000, 20000, DEPTHS), True),
        (np.where(DEPTHS < 3000, 1, DEPTHS), True),
        (np.where(DEPTHS > 6000, 20000, DEPTHS).astype(np.float32), True),
        # A box before the camera.
        (np.where(DEPTHS < 3000, 600, DEPTHS), False),
        # A few points of a laser scanner, whole decimeters, whole disparities.
        (np.array([[500, 700, 20000, 20000]], np.uint16), False),
        (np.arange(80, dtype=np.uint16).reshape(8, 10) % 4 * 100 + 100, False),
        ((20000 / (1 + np.arange(80).reshape(8, 10) % 8)).astype(np.float32), False),
        (DEPTHS, False),
        # One file with a wall at its end, and one in which everything is as far.
        (np.minimum(DEPTHS, 5000), False),
        (np.full_like(DEPTHS, 5000), False),
    ],
)
def test_a_value_that_looks_like_unknown_is_reported(depths, is_reported, capsys):
    found = Notices("source 'd'")
    meters(depths, notices=found)
    lines = warnings(capsys)
    assert bool(lines) == is_reported
    if is_reported:
        value = int(depths.max()) if depths.max() > 10000 else 1
        assert "a.png" in lines[0] and f"unknown=({value},)" in lines[0]
    meters(depths, (), notices=found)
    assert not warnings(capsys)


def test_walls_at_the_ends_of_rendered_rooms_are_no_unknown_values(capsys):
    found, values = Notices("source 'd'"), DepthValues("source 'd'", 0.001, None)
    rooms = [
        np.where(DEPTHS > 6000, far, DEPTHS) for far in (14000, 20000, 25000, 33000, 27000, 21000)
    ]
    rooms += [np.minimum(DEPTHS * 5, 44000)]
    with notices.gathered():
        for i, room in enumerate(rooms):
            values.meters(room, where=f"{i}.png", notices=found)
    assert not warnings(capsys)
    # The same number beyond all depths of all files.
    found, values = Notices("source 'd'"), DepthValues("source 'd'", 0.001, None)
    with notices.gathered():
        for i, room in enumerate(rooms):
            room = np.where(DEPTHS < 4000, 60000, room)
            values.meters(room, where=f"{i}.png", notices=found)
    (line,) = warnings(capsys)
    assert "7 files" in line and "unknown=(60000,)" in line


@pytest.mark.parametrize("unit", ["0.001", 0, -1, float("nan"), float("inf"), None])
def test_a_unit_is_a_positive_number(unit):
    with pytest.raises(UserError, match="source 'd': depth_scale must be a positive number"):
        DepthValues("source 'd'", unit, None)


@pytest.mark.filterwarnings("error")
def test_the_largest_double_is_unknown_and_no_warning_of_numpy():
    found = meters(np.array([[2.5, 1.7e308, -1.7e308]]), unit=1.0)
    np.testing.assert_allclose(found, [[2.5, 0, 0]])


def test_a_sky_that_fills_the_image_is_named_where_its_number_is_no_depth():
    sky = np.full((8, 10), 65504, np.float32)
    sky[6:] = np.linspace(2, 9, 20).reshape(2, 10)
    with pytest.raises(UserError, match=r"another unit; .*75%.*unknown=\(65504,\)"):
        meters(sky, unit=1.0)
    assert meters(sky, (65504,), unit=1.0)[:6].max() == 0


def test_depths_of_8_bits_are_refused():
    with pytest.raises(UserError, match=r"a\.png has 8 bits"):
        meters(np.full((8, 10), 200, np.uint8), unit=0.01)


def test_a_sensor_that_cuts_off_is_reported_from_the_second_file_on(folder, capsys):
    for i in range(3):
        depths = np.random.default_rng(i).uniform(1000, 9000, (8, 10))
        Image.fromarray(np.minimum(depths, 5000).astype(np.uint16)).save(
            folder / "labels" / f"{i}.png"
        )
    source = DepthMaps(name="d", images=folder / "images", depths=folder / "labels", head="far")
    with notices.gathered():
        for i in (0, 0, 1, 2):
            source.labels(i)
    (line,) = warnings(capsys)
    assert "source 'd': 3 files" in line and "unknown=(5000,)" in line


# ---- palettes -------------------------------------------------------------------------------

BLACK, RED, GREEN, BLUE = (0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255)


def save_palette(path, values, palette, **arguments):
    picture = Image.fromarray(np.resize(np.array(values, np.uint8), (8, 10)), "P")
    picture.putpalette([x for color in palette for x in color])
    picture.save(path, **arguments)


def palettes(folder, **arguments):
    arguments = {"classes": ("a", "b", "c")} | arguments
    return LabelMaps(
        name="m", images=folder / "images", maps=folder / "labels", head="map", **arguments
    )


def test_a_color_of_another_index_is_an_error_that_names_both_files(folder):
    save_palette(folder / "labels" / "0.png", [0, 1, 2], [BLACK, RED, GREEN])
    save_palette(folder / "labels" / "1.png", [0, 1, 2], [BLACK, GREEN, RED])
    source = palettes(folder)
    source.labels(0)
    with pytest.raises(UserError, match=r"1\.png.*value 1 .*0\.png.*colors="):
        source.labels(1)
    # Every time, and whichever is read first.
    with pytest.raises(UserError, match=r"1\.png"):
        source.labels(1)
    other = palettes(folder)
    other.labels(1)
    with pytest.raises(UserError, match=r"0\.png"):
        other.labels(0)
    by_colors = palettes(folder, colors=(BLACK, RED, GREEN))
    one, two = (by_colors.labels(i)["map"]["map"] for i in (0, 1))
    np.testing.assert_array_equal(two, np.array([0, 2, 1])[one])


def test_values_that_a_user_states_are_those_of_all_files(folder, capsys):
    save_palette(folder / "labels" / "0.png", [0, 1, 2], [BLACK, RED, GREEN])
    save_palette(folder / "labels" / "1.png", [0, 1, 2], [BLACK, GREEN, RED])
    source = palettes(folder, values=(0, 1, 2))
    one, two = (source.labels(i)["map"]["map"] for i in (0, 1))
    np.testing.assert_array_equal(one, two)
    (line,) = warnings(capsys)
    assert "1.png" in line and "0.png" in line


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        # The same palette; colors that are not used differ; a color that is nowhere else.
        ([BLACK, RED, GREEN], [BLACK, RED, GREEN], None),
        ([BLACK, RED, GREEN], [BLACK, RED, GREEN, BLUE], None),
        ([BLACK, RED, GREEN], [BLACK, RED, BLUE], "value 2 has the color"),
        # Many entries are black where a palette is shorter than its file's values.
        ([BLACK, RED, BLACK], [BLACK, BLACK, BLACK], "value 1 has the color"),
    ],
)
def test_palettes_that_may_be_right_are_read(folder, capsys, first, second, expected):
    save_palette(folder / "labels" / "0.png", [0, 1, 2], first)
    save_palette(folder / "labels" / "1.png", [0, 1, 2], second)
    source = palettes(folder)
    one, two = (source.labels(i)["map"]["map"] for i in (0, 1))
    np.testing.assert_array_equal(one, two)
    lines = warnings(capsys)
    assert (expected in lines[0]) if expected else not lines


def test_colors_of_ignored_values_mean_nothing(folder, capsys):
    """255 has the color of another class in the second file: a program's own, as is usual."""
    for i, white in enumerate(((255, 255, 255), RED)):
        palette = [BLACK, RED, GREEN] + [BLACK] * 252 + [white]
        save_palette(folder / "labels" / f"{i}.png", [0, 1, 255], palette)
    source = palettes(folder)
    for i in (0, 1):
        source.labels(i)
    assert not warnings(capsys)


def test_a_palette_of_grays_is_reported_where_the_grays_are_classes_too(folder, capsys):
    grays = [(value,) * 3 for value in (0, 2, 1)]
    save_palette(folder / "labels" / "0.png", [0, 1, 2], grays)
    palettes(folder).labels(0)
    (line,) = warnings(capsys)
    assert "grays" in line and "colors=" in line
    # Grays among colors; a picture of black alone among others with colors.
    grays = [BLACK, (2, 2, 2), RED]
    save_palette(folder / "labels" / "0.png", [0, 1], grays)
    save_palette(folder / "labels" / "1.png", [0], grays)
    save_palette(folder / "labels" / "2.png", [0, 2], grays)
    source = palettes(folder)
    for i in range(3):
        source.labels(i)
    assert not warnings(capsys)
    # Gray steps as palette, black and white: what the indices mean is clear.
    for grays in ([(value,) * 3 for value in range(3)], [BLACK, (255, 255, 255)]):
        save_palette(folder / "labels" / "0.png", [0, 1], grays)
        Image.fromarray(np.eye(8, 10, dtype=np.uint8)).save(folder / "labels" / "1.png")
        source = palettes(folder)
        source.labels(0)
        if len(grays) == 3:
            source.labels(1)
        assert not warnings(capsys)


@pytest.mark.parametrize(
    ("dtype", "odd"), [(np.int32, -1), (np.int32, 70000), (np.uint16, 65535), (np.float32, -1)]
)
def test_values_for_pixels_that_nobody_labeled_may_be_any_number(dtype, odd):
    code, values = Values("m", 3, None, (odd,)), np.array([[0, 1, 2, odd]], dtype)
    np.testing.assert_array_equal(code.classes(values, "0.tif"), [[0, 1, 2, 255]])
    with pytest.raises(UserError, match=rf"0\.tif .*: {odd}.*ignore="):
        Values("m", 3, None, ()).classes(values, "0.tif")
    code = Values("m", 2, (1, odd), ())
    np.testing.assert_array_equal(code.classes(values[:, [1, 3]], ""), [[0, 1]])


@pytest.mark.parametrize("wrong", [11, "11", ("a",), (0.5,), (None,), {"a": 0}, (float("nan"),)])
def test_values_are_whole_numbers(wrong):
    for arguments in ((1, wrong, ()), (1, None, wrong)):
        with pytest.raises(UserError, match=r"source 'm': .*expected a tuple of whole numbers"):
            Values("m", *arguments)


@pytest.mark.parametrize("num_classes", [0, 256, 300])
def test_there_are_1_to_255_classes(num_classes):
    with pytest.raises(UserError, match="1 to 255 classes"):
        Values("m", num_classes, None, ())


def test_gray_maps_among_palettes_and_transparent_pixels_are_reported(folder, capsys):
    save_palette(folder / "labels" / "0.png", [0, 1], [BLACK, RED], transparency=1)
    Image.fromarray(np.eye(8, 10, dtype=np.uint8)).save(folder / "labels" / "1.png")
    source = copy.deepcopy(palettes(folder))
    with notices.gathered():
        for i in (0, 1, 0, 1):
            source.labels(i)
    transparent, kinds = sorted(warnings(capsys), key=len)[::-1]
    assert {"transparent" in x for x in (transparent, kinds)} == {True, False}
    assert "is gray" in transparent + kinds


# ---- normals --------------------------------------------------------------------------------


def encode(normals):
    return np.round((np.asarray(normals) + 1) / 2 * 255).astype(np.uint8)


def floor_and_wall(axes="camera"):
    """[8, 10, 3] camera-axes normals of a wall above a floor, and their colors in other axes."""
    normals = np.zeros((8, 10, 3), np.float32)
    normals[:4] = (0.6, 0, -0.8)
    normals[4:] = (0, -0.8, -0.6)
    signs = {"camera": (1, 1, 1), "opengl": (1, -1, -1), "directx": (1, 1, -1)}[axes]
    return normals, encode(normals * np.array(signs))


def normal_maps(folder, **arguments):
    return NormalMaps(
        name="n", images=folder / "images", normals=folder / "labels", head="turned", **arguments
    )


@pytest.mark.parametrize("axes", ["camera", "opengl", "directx"])
def test_normals_in_the_axes_of_others(folder, capsys, axes):
    normals, colors = floor_and_wall(axes)
    Image.fromarray(colors).save(folder / "labels" / "0.png")
    found = normal_maps(folder, axes=axes).labels(0)["turned"]["normals"]
    np.testing.assert_allclose(found, normals, atol=0.01)
    assert not warnings(capsys)
    wrong = "opengl" if axes == "camera" else "camera"
    with pytest.raises(UserError, match=rf"0\.png: most normals point away .*axes='{wrong}'"):
        normal_maps(folder, axes=wrong).labels(0)


@pytest.mark.parametrize("axes", ["camera", "opengl", "directx"])
@pytest.mark.parametrize("encode", [encode, lambda n: ((n + 1) * 127.5).astype(np.uint8)])
def test_a_level_camera_sees_floors_and_walls_without_z(folder, capsys, axes, encode):
    normals = np.zeros((8, 10, 3), np.float32)
    normals[:, :2], normals[:, 8:] = (1, 0, 0), (-1, 0, 0)
    normals[:3, 2:8], normals[5:, 2:8] = (0, 1, 0), (0, -1, 0)
    normals[3:5, 4:6] = (0, 0, -1)
    signs = {"camera": (1, 1, 1), "opengl": (1, -1, -1), "directx": (1, 1, -1)}[axes]
    Image.fromarray(encode(normals * np.array(signs))).save(folder / "labels" / "0.png")
    found = normal_maps(folder, axes=axes).labels(0)["turned"]["normals"]
    np.testing.assert_allclose(found[3:5, 4:6, 2], -1, atol=0.01)
    assert not warnings(capsys)


def test_normals_whose_y_points_the_other_way_are_reported(folder, capsys):
    # A floor that is seen from above fills the lower half; with Y up it would be seen from below.
    height, width = 80, 100
    Image.new("RGB", (width, height)).save(folder / "images" / "0.png")
    normals = np.zeros((height, width, 3), np.float32)
    normals[:40] = (0, 0, -1)
    normals[40:] = (0, -0.98, -0.199)
    for y, is_reported in ((1, False), (-1, True)):
        Image.fromarray(encode(normals * (1, y, 1))).save(folder / "labels" / "0.png")
        normal_maps(folder).labels(0)
        assert any("pointed the other way" in x for x in warnings(capsys)) == is_reported


def test_colors_without_a_direction_are_unknown(folder, capsys):
    _, colors = floor_and_wall()
    colors[0, :5] = (128, 128, 128)
    colors[1, :5] = 0
    colors[2, :5] = (127, 127, 255 - 250)
    Image.fromarray(colors).save(folder / "labels" / "0.png")
    unknown = ((127, 127, 5),)
    found = normal_maps(folder, unknown=unknown).labels(0)["turned"]["normals"]
    assert not found[:3, :5].any() and found[3:].any(axis=-1).all()
    assert normal_maps(folder).labels(0)["turned"]["normals"][2, 0].any()
    for wrong in ((0, 0, 0), ((300, 0, 0),), (("a", 0, 0),)):
        with pytest.raises(UserError, match="source 'n'"):
            normal_maps(folder, unknown=wrong)
    with pytest.raises(UserError, match="did you mean 'opengl'"):
        normal_maps(folder, axes="opengL")
    capsys.readouterr()


def test_vectors_of_other_lengths_are_reported(folder, capsys):
    normals, _ = floor_and_wall()
    Image.fromarray(encode(normals * 0.5)).save(folder / "labels" / "0.png")
    normal_maps(folder).labels(0)
    (line,) = warnings(capsys)
    assert "0.png" in line and "unit length" in line


# ---- bits -----------------------------------------------------------------------------------

GRAY12 = np.linspace(0, 4095, 80).round().astype(np.uint16).reshape(8, 10)


def test_twelve_bits_in_sixteen_are_reported_and_read(tmp_path, capsys):
    for i in range(3):
        Image.fromarray(GRAY12).save(tmp_path / f"{i}.png")
    source = ImagesOnly(name="p", root=tmp_path)
    with notices.gathered():
        dark = [source.image(i) for i in (0, 1, 2, 0)]
    assert dark[0].max() == 16
    (line,) = warnings(capsys)
    assert "source 'p': 3 files" in line and "4095 of 65535" in line and "bits=12" in line
    for bits, top in ((12, 255), (16, 16)):
        image = ImagesOnly(name="p", root=tmp_path, bits=bits).image(0)
        assert image.max() == top
        np.testing.assert_array_equal(
            image[:, :, 1], np.round(GRAY12 * (255 / (2**bits - 1))).astype(np.uint8)
        )
    with pytest.raises(UserError, match=r"0\.png.*4095.*bits=10 is wrong"):
        ImagesOnly(name="p", root=tmp_path, bits=10).image(0)
    assert not warnings(capsys)
    for wrong in (0, 33, "12", 12.0):
        with pytest.raises(UserError, match="source 'p': bits="):
            ImagesOnly(name="p", root=tmp_path, bits=wrong)


def test_a_run_on_other_bits_is_another_run(tmp_path):
    Image.fromarray(GRAY12).save(tmp_path / "0.png")
    plain, given = (ImagesOnly(name="p", root=tmp_path, bits=b).describe() for b in (None, 12))
    assert given == plain | {"bits": 12}


def test_a_dark_picture_among_bright_ones_is_dark_indeed(tmp_path, capsys):
    for i, factor in enumerate((16, 1, 16, 16)):
        Image.fromarray((GRAY12 * factor).astype(np.uint16)).save(tmp_path / f"{i}.png")
    source = ImagesOnly(name="p", root=tmp_path)
    with notices.gathered():
        for i in range(4):
            source.image(i)
    assert not warnings(capsys)
    with notices.gathered():
        for i in (1, 2):
            Image.fromarray(GRAY12).save(tmp_path / f"{i}.png")
            ImagesOnly(name="p", root=tmp_path).image(i)
    assert len(warnings(capsys)) == 2


def test_dark_and_bright_pictures_are_not_all_odd(tmp_path, capsys):
    Image.fromarray((GRAY12 * 16).astype(np.uint16)).save(tmp_path / "full.png")
    Image.fromarray(np.zeros((8, 10), np.uint16)).save(tmp_path / "black.png")
    Image.fromarray((GRAY12 // 16).astype(np.uint8)).save(tmp_path / "bytes.png")
    for name in ("full", "black", "bytes"):
        read_image(tmp_path / f"{name}.png")
    assert not warnings(capsys)
    Image.fromarray(GRAY12.astype(np.int32) * 100).save(tmp_path / "deep.tif")
    read_image(tmp_path / "deep.tif")
    assert "bits=19" in warnings(capsys)[0]


def png_of_sixteen_bits(colors):
    """Bytes of a PNG of [h, w, 3] uint16, which Pillow cannot write."""
    import zlib

    def chunk(kind, content):
        crc = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)

    height, width = colors.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in colors)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content


def test_colors_of_sixteen_bits(tmp_path, capsys):
    colors = np.stack([GRAY12, GRAY12[::-1], GRAY12[:, ::-1]], axis=-1)
    (tmp_path / "0.png").write_bytes(png_of_sixteen_bits(colors))
    assert ImagesOnly(name="p", root=tmp_path).image(0).max() <= 16
    (line,) = warnings(capsys)
    assert "0.png" in line and "bits=12" in line
    found = ImagesOnly(name="p", root=tmp_path, bits=12).image(0)
    np.testing.assert_array_equal(found, np.round(colors * (255 / 4095)).astype(np.uint8))
    assert not warnings(capsys)


@pytest.mark.parametrize("tag", [281, 341])
def test_a_tiff_may_state_its_bits(tmp_path, capsys, tag):
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[tag] = 4095
    info.tagtype[tag] = 3
    Image.fromarray(GRAY12).save(tmp_path / "0.tif", tiffinfo=info)
    assert read_image(tmp_path / "0.tif").max() == 255
    # The largest value of this picture alone is no number of bits.
    info[tag] = 3000
    Image.fromarray(np.minimum(GRAY12, 3000)).save(tmp_path / "0.tif", tiffinfo=info)
    assert read_image(tmp_path / "0.tif").max() == 12
    assert "bits=12" in warnings(capsys)[0]


@pytest.mark.parametrize("bits", [None, 1, 8, 10, 12, 15, 16])
def test_all_values_of_sixteen_bits_are_rounded_alike(bits):
    """By the definition, whatever the type of the array."""
    full = 2 ** (bits or 16) - 1
    values = np.arange(full + 1)
    expected = np.floor(values * 255 / full + 0.5)
    for dtype in (np.uint16, np.int32, np.uint32):
        found = pixel_bits.in_8_bits(values.astype(dtype), bits)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, expected)
    if bits is not None and bits < 16:
        with pytest.raises(ValueError, match="is wrong"):
            pixel_bits.in_8_bits(np.array([full + 1], np.uint16), bits)
