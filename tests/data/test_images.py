import numpy as np
import pytest
from PIL import Image

from must_keras.data.images import (
    read_image,
    read_numbers,
    read_triples,
    read_values,
    upright_size,
)
from must_keras.errors import UserError

COLOURS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)


@pytest.mark.parametrize("suffix", ["png", "bmp", "webp", "tif"])
def test_lossless_files_give_their_pixels(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(COLOURS).save(path, **({"lossless": True} if suffix == "webp" else {}))
    image = read_image(path)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, COLOURS)
    assert upright_size(path) == (5, 7)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_exif_turns_upright(tmp_path, orientation, suffix):
    # What each orientation undoes, as the EXIF standard (2.3, table 6) has it.
    stored_from_upright = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a),
        7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    upright = np.zeros((16, 24, 3), np.uint8)
    upright[:8, :8] = 250
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    stored = np.ascontiguousarray(stored_from_upright(upright))
    Image.fromarray(stored).save(path, exif=exif, **({"quality": 100} if suffix == "jpg" else {}))
    assert upright_size(path) == (16, 24)
    np.testing.assert_allclose(read_image(path), upright, atol=3)


def test_every_mode_becomes_rgb(tmp_path):
    grey = COLOURS[:, :, 0]

    def read(image, name):
        image.save(tmp_path / name)
        return read_image(tmp_path / name)

    three = np.repeat(grey[:, :, None], 3, 2)
    np.testing.assert_array_equal(read(Image.fromarray(grey), "grey.png"), three)
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    np.testing.assert_array_equal(read(deep, "deep.png"), three)
    black_white = Image.fromarray(grey > 99)
    np.testing.assert_array_equal(read(black_white, "1.png")[:, :, 1], (grey > 99) * 255)
    palette = Image.fromarray(COLOURS).quantize(256)
    expected = np.asarray(palette.convert("RGB"))
    np.testing.assert_array_equal(read(palette, "palette.png"), expected)
    assert read(Image.fromarray(COLOURS).convert("CMYK"), "cmyk.jpg").shape == (5, 7, 3)
    alpha = np.full((5, 7, 1), 255, np.uint8)
    alpha[:, 3:] = 0
    seen = read(Image.fromarray(np.concatenate([COLOURS, alpha], 2)), "alpha.png")
    np.testing.assert_array_equal(seen[:, :3], COLOURS[:, :3])
    assert np.all(seen[:, 3:] == 255)


def test_sixteen_bits_are_rounded_not_wrapped(tmp_path):
    Image.fromarray(np.array([[0, 128, 129, 65535, 65406]], np.uint16)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png")[0, :, 0].tolist() == [0, 0, 1, 255, 254]


def test_values_are_the_numbers_in_the_file(tmp_path):
    numbers = np.arange(12, dtype=np.uint8).reshape(3, 4)
    palette = Image.new("P", (4, 3))
    palette.putdata(numbers.ravel().tolist())
    palette.putpalette([255 - i // 3 for i in range(768)])
    palette.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(read_values(tmp_path / "palette.png"), numbers)
    Image.fromarray(numbers.astype(np.uint16) * 5000).save(tmp_path / "deep.png")
    deep = read_values(tmp_path / "deep.png")
    assert deep.dtype.itemsize == 2
    np.testing.assert_array_equal(deep, numbers.astype(np.int64) * 5000)
    Image.fromarray(np.repeat(numbers[:, :, None], 3, 2)).save(tmp_path / "equal.png")
    np.testing.assert_array_equal(read_values(tmp_path / "equal.png"), numbers)
    Image.fromarray(COLOURS).save(tmp_path / "colours.png")
    with pytest.raises(UserError, match=r"colours\.png has colours"):
        read_values(tmp_path / "colours.png")


def test_floats_are_numbers_and_not_colours(tmp_path):
    numbers = np.array([[0.25, np.nan], [-1.5, 1e6]], np.float32)
    Image.fromarray(numbers).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_numbers(tmp_path / "a.tif"), numbers)
    for read in (read_values, read_image):
        with pytest.raises(UserError, match=r"a\.tif .*floating point numbers"):
            read(tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_triples_are_what_is_stored(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(COLOURS).save(path)
    np.testing.assert_array_equal(read_triples(path), COLOURS)
    alpha = np.full((5, 7, 1), 255, np.uint8)
    alpha[:, 3], alpha[:, 4:] = 1, 0
    Image.fromarray(np.concatenate([COLOURS, alpha], 2)).save(path)
    np.testing.assert_array_equal(read_triples(path), COLOURS * (alpha > 0))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(COLOURS).save(path, exif=exif)
    with pytest.raises(UserError, match=rf"a\.{suffix} has the EXIF orientation 6, expected 1"):
        read_triples(path)
    Image.fromarray(COLOURS[:, :, 0]).save(path)
    with pytest.raises(UserError, match=rf"a\.{suffix} has mode L, expected .*RGB or RGBA"):
        read_triples(path)


@pytest.mark.parametrize(
    "read", [read_image, read_numbers, read_triples, read_values, upright_size]
)
def test_errors_name_the_file(tmp_path, read):
    with pytest.raises(UserError, match=r"no file .*gone\.png"):
        read(tmp_path / "gone.png")
    (tmp_path / "text.jpg").write_text("not a picture")
    with pytest.raises(UserError, match=r"text\.jpg cannot be read"):
        read(tmp_path / "text.jpg")


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp"])
def test_a_file_that_was_cut_off_is_an_error(tmp_path, suffix):
    whole = tmp_path / f"whole.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(whole)
    content = whole.read_bytes()
    (tmp_path / f"cut.{suffix}").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=rf"cut\.{suffix} cannot be read"):
        read_image(tmp_path / f"cut.{suffix}")
