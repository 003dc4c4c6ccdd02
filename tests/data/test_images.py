import io
import os
import socket
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from must_keras.data.io import images
from must_keras.data.io.images import (
    read_array,
    read_coded,
    read_exr,
    read_image,
    read_numbers,
    read_triples,
    upright_size,
)
from must_keras.errors import UserError

COLORS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)


@pytest.mark.parametrize("suffix", ["png", "bmp", "webp", "tif"])
def test_lossless_files_give_their_pixels(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(COLORS).save(path, **({"lossless": True} if suffix == "webp" else {}))
    image = read_image(path)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, COLORS)
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
    gray = COLORS[:, :, 0]

    def read(image, name):
        image.save(tmp_path / name)
        return read_image(tmp_path / name)

    three = np.repeat(gray[:, :, None], 3, 2)
    np.testing.assert_array_equal(read(Image.fromarray(gray), "gray.png"), three)
    deep = Image.fromarray(gray.astype(np.uint16) * 257)
    np.testing.assert_array_equal(read(deep, "deep.png"), three)
    black_white = Image.fromarray(gray > 99)
    np.testing.assert_array_equal(read(black_white, "1.png")[:, :, 1], (gray > 99) * 255)
    palette = Image.fromarray(COLORS).quantize(256)
    expected = np.asarray(palette.convert("RGB"))
    np.testing.assert_array_equal(read(palette, "palette.png"), expected)
    assert read(Image.fromarray(COLORS).convert("CMYK"), "cmyk.jpg").shape == (5, 7, 3)
    alpha = np.full((5, 7, 1), 255, np.uint8)
    alpha[:, 3:] = 0
    seen = read(Image.fromarray(np.concatenate([COLORS, alpha], 2)), "alpha.png")
    np.testing.assert_array_equal(seen[:, :3], COLORS[:, :3])
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
    np.testing.assert_array_equal(read_coded(tmp_path / "palette.png").values, numbers)
    Image.fromarray(numbers.astype(np.uint16) * 5000).save(tmp_path / "deep.png")
    deep = read_coded(tmp_path / "deep.png").values
    assert deep.dtype.itemsize == 2
    np.testing.assert_array_equal(deep, numbers.astype(np.int64) * 5000)
    Image.fromarray(np.repeat(numbers[:, :, None], 3, 2)).save(tmp_path / "equal.png")
    np.testing.assert_array_equal(read_coded(tmp_path / "equal.png").values, numbers)
    Image.fromarray(COLORS).save(tmp_path / "colors.png")
    with pytest.raises(UserError, match=r"colors\.png has colors"):
        read_coded(tmp_path / "colors.png")


def test_floats_are_numbers_and_not_colors(tmp_path):
    numbers = np.array([[0.25, np.nan], [-1.5, 1e6]], np.float32)
    Image.fromarray(numbers).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_numbers(tmp_path / "a.tif"), numbers)
    for read in (read_coded, read_image):
        with pytest.raises(UserError, match=r"a\.tif .*floating point numbers"):
            read(tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_triples_are_what_is_stored(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(COLORS).save(path)
    np.testing.assert_array_equal(read_triples(path), COLORS)
    alpha = np.full((5, 7, 1), 255, np.uint8)
    alpha[:, 3], alpha[:, 4:] = 1, 0
    Image.fromarray(np.concatenate([COLORS, alpha], 2)).save(path)
    np.testing.assert_array_equal(read_triples(path), COLORS * (alpha > 0))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(COLORS).save(path, exif=exif)
    with pytest.raises(UserError, match=rf"a\.{suffix} has the EXIF orientation 6, expected 1"):
        read_triples(path)
    Image.fromarray(COLORS[:, :, 0]).save(path)
    with pytest.raises(UserError, match=rf"a\.{suffix} has mode L, expected .*RGB or RGBA"):
        read_triples(path)


@pytest.mark.parametrize("read", [read_image, read_numbers, read_triples, read_coded, upright_size])
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


# ---- odd pictures -------------------------------------------------------------------------------

SAVED = {
    "jpg": {"quality": 95}, "png": {}, "webp": {"lossless": True}, "tif": {}, "avif": {},
    "lzw.tif": {"compression": "tiff_lzw"},
}  # fmt: skip


def stored(suffix, **options):
    buffer = io.BytesIO()
    kind = {"jpg": "JPEG", "tif": "TIFF"}.get(suffix.split(".")[-1], suffix.upper())
    Image.fromarray(COLORS).save(buffer, kind, **SAVED[suffix], **options)
    return buffer.getvalue()


def exif_block(random, orientation):
    """Tags of any type, count and place around an orientation; and the bytes that they point to."""
    order = random.choice(["<", ">"])
    tags = [0x010F, 0x0110, 0x011A, 0x011B, 0x0128, 0x0131, 0x0132, 0x8769, 0x8825, 0xA005, 0x927C]
    entries = [
        struct.pack(
            order + "HHII", random.choice(tags), random.integers(0, 20),
            random.choice([0, 1, 2, 5, 1000, 2**31]),
            random.choice([0, 8, 26, int(random.integers(2**32)), int(random.integers(300))]),
        )
        for _ in range(random.integers(0, 7))
    ]  # fmt: skip
    place = int(random.integers(0, len(entries) + 1))
    entries.insert(place, struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0))
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    return b"".join(
        [head, struct.pack(order + "H", len(entries)), *entries, bytes(4), random.bytes(40)]
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_whatever_stands_in_exif_the_picture_is_read_and_turned(tmp_path, suffix):
    random = np.random.default_rng(7)
    path, content = tmp_path / f"a.{suffix}", stored(suffix)
    for number in range(80):
        orientation = number % 10
        exif = exif_block(random, orientation)
        if suffix == "jpg":  # Before JFIF's marker, and behind it.
            segment = struct.pack(">HH", 0xFFE1, len(exif) + 8) + b"Exif\0\0" + exif
            at = 2 if number % 2 else 20
            path.write_bytes(content[:at] + segment + content[at:])
        else:
            path.write_bytes(stored(suffix, exif=exif))
        expected = (7, 5) if orientation in (5, 6, 7, 8) else (5, 7)
        assert read_image(path).shape[:2] == upright_size(path) == expected, (number, exif)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", SAVED)
def test_mutated_files_are_read_or_refused(tmp_path, suffix):
    random = np.random.default_rng(3)
    path, content = tmp_path / f"a.{suffix}", stored(suffix)
    read = 0
    for _ in range(60):
        changed = bytearray(content)
        for _ in range(int(random.integers(1, 6))):
            changed[int(random.integers(len(changed)))] = int(random.integers(256))
        if random.random() < 0.2:
            del changed[int(random.integers(len(changed))) :]
        path.write_bytes(changed)
        try:
            image = read_image(path)
        except UserError as error:
            assert str(path) in str(error) and "\n" not in str(error)
        else:
            assert upright_size(path) == image.shape[:2]
            read += 1
    assert read


@pytest.mark.parametrize("orientation", [None, 0, *range(1, 10)])
@pytest.mark.parametrize("suffix", SAVED)
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_the_size_is_that_of_the_image(tmp_path, suffix, orientation, mode):
    if (mode, suffix) == ("RGBA", "jpg") or (suffix == "lzw.tif" and orientation in (0, 9)):
        return  # It cannot be written.
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    picture = Image.fromarray(COLORS).convert(mode)
    picture.save(path, exif=exif, **SAVED[suffix])
    image = read_image(path)
    assert image.shape[:2] == upright_size(path)
    assert image.shape[:2] == ((7, 5) if orientation in (5, 6, 7, 8) else (5, 7))


def png(*chunks):
    found = [b"\x89PNG\r\n\x1a\n"]
    for kind, data in chunks:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        found += [struct.pack(">I", len(data)), kind, data, checksum]
    return b"".join(found)


def header(height, width):
    return (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))


PIXELS = (b"IDAT", zlib.compress(b"\0abc" * 2))
TURNED = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
XMP = b'<x tiff:Orientation="6"/>'


@pytest.mark.parametrize(
    "chunk",
    [
        (b"eXIf", TURNED),
        (b"eXIf", b"Exif\0\0" + TURNED),
        (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP),
        (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(XMP)),
        (b"tEXt", b"Raw profile type exif\0\nexif\n      26\n" + TURNED.hex().encode()),
        (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n26\n" + TURNED.hex().encode())),
    ],
)  # fmt: skip
@pytest.mark.parametrize("behind", [False, True])
def test_a_png_is_turned_by_metadata_before_and_behind_its_pixels(tmp_path, chunk, behind):
    chunks = [PIXELS, chunk] if behind else [chunk, PIXELS]
    (tmp_path / "a.png").write_bytes(png(header(2, 3), *chunks, (b"IEND", b"")))
    assert read_image(tmp_path / "a.png").shape == (3, 2, 3)
    assert upright_size(tmp_path / "a.png") == (3, 2)


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize(
    "chunk",
    [
        (b"zTXt", b"Comment\0\0" + zlib.compress(bytes(2**22))),
        (b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(bytes(2**22))),
        (b"iCCP", b"x\0\0" + zlib.compress(bytes(2**22))),
        (b"tEXt", b"workflow\0" + b"x" * 2**21),
    ],
    ids=lambda chunk: chunk[0].decode() if isinstance(chunk, tuple) else "",
)
def test_texts_that_unpack_to_too_much_do_not_cost_the_pixels(tmp_path, chunk, behind):
    chunks = [PIXELS, (b"eXIf", TURNED), chunk] if behind else [chunk, (b"eXIf", TURNED), PIXELS]
    (tmp_path / "a.png").write_bytes(png(header(2, 3), *chunks, (b"IEND", b"")))
    assert read_image(tmp_path / "a.png").shape == (3, 2, 3)
    assert upright_size(tmp_path / "a.png") == (3, 2)


@pytest.mark.parametrize("quote", [b'="6"', b"='6'", b" = '6'", b">6</tiff:Orientation>"])
def test_xmp_alone_turns_and_exif_goes_first(tmp_path, quote):
    path, xmp = tmp_path / "a.jpg", b"<x tiff:Orientation" + quote + b"/>"
    path.write_bytes(stored("jpg", xmp=xmp))
    assert upright_size(path) == read_image(path).shape[:2] == (7, 5)
    path.write_bytes(
        stored("jpg", xmp=xmp, exif=b"Exif\0\0" + TURNED.replace(b"\x01\0\x06", b"\x01\0\x03"))
    )
    assert upright_size(path) == read_image(path).shape[:2] == (5, 7)


@pytest.mark.filterwarnings("ignore")
def test_claims_are_checked_before_anything_is_decoded(tmp_path):
    huge = {
        "png": png(header(100_000, 100_000), PIXELS, (b"IEND", b"")),
        "between.png": png(header(15_000, 16_000), PIXELS, (b"IEND", b"")),
        "gif": b"GIF89a" + struct.pack("<HH", 65535, 65535) + bytes(3) + b"\x3b",
        "bmp": b"BM" + struct.pack("<IIIIiiHHIIiiII", 100, 0, 54, 40, 60000, 60000, 1, 24, 0, 0, 0, 0, 0, 0),
        "jpg": stored("jpg").replace(struct.pack(">HH", 5, 7), struct.pack(">HH", 65000, 65000)),
        "ppm": b"P6 1000000 1000000 255\n",
        "tga": bytes(2) + b"\2" + bytes(9) + struct.pack("<HHBB", 65535, 65535, 24, 0),
    }  # fmt: skip
    start = time.monotonic()
    for suffix, content in huge.items():
        path = tmp_path / f"a.{suffix}"
        path.write_bytes(content)
        for read in (read_image, upright_size, read_coded):
            with pytest.raises(UserError, match=rf"{path.name}.*(pixels|cannot be read)"):
                read(path)
    assert time.monotonic() - start < 1.5
    with pytest.raises(UserError, match=r"15000 pixels .*more than the 200 million .*smaller"):
        read_image(tmp_path / "a.between.png")


@pytest.mark.parametrize("size", [(1, 50_000), (50_000, 1), (1, 1)])
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_long_lines_are_pictures(tmp_path, size, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.new("RGB", size[::-1], (9, 99, 199)).save(path)
    assert read_image(path).shape == (*size, 3) and upright_size(path) == size


def test_nothing_but_regular_files_is_opened(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "lost.jpg").symlink_to(tmp_path / "nowhere")
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.jpg")
        for name in ("pipe", "zero", "folder", "empty", "lost", "socket"):
            for read in (read_image, upright_size, read_coded, read_array, read_exr):
                with pytest.raises(UserError, match=rf"{name}\.jpg"):
                    read(tmp_path / f"{name}.jpg")
    with pytest.raises(
        UserError, match="pipe.jpg cannot be read as a picture: it is not a regular"
    ):
        read_image(tmp_path / "pipe.jpg")


def test_the_first_picture_of_several_is_read(tmp_path):
    frames = [Image.new("RGB", (4, 3), color) for color in ("red", "lime", "blue")]
    for suffix in ("gif", "png", "tif", "webp"):
        path = tmp_path / f"a.{suffix}"
        frames[0].save(path, save_all=True, append_images=frames[1:], **SAVED.get(suffix, {}))
        assert upright_size(path) == (3, 4)
        assert read_image(path)[0, 0].tolist() == [pytest.approx(v, abs=3) for v in (255, 0, 0)]


class UnheardError(Exception):
    """What no list of a decoder's exceptions has."""


@pytest.mark.parametrize(
    "error", [UnheardError("two\nlines"), MemoryError(), RecursionError(), KeyError()]
)
def test_whatever_a_decoder_raises_names_the_file(tmp_path, monkeypatch, error):
    Image.fromarray(COLORS).save(tmp_path / "a.webp")

    def fails(*arguments, **options):
        raise error

    monkeypatch.setattr(images.Image, "open", fails)
    with pytest.raises(UserError, match=r"a\.webp cannot be read as a picture: .+") as told:
        read_image(tmp_path / "a.webp")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("mode", "name"),
    [("LAB", "a.tif"), ("CMYK", "a.tif"), ("CMYK", "a.jpg"), ("YCbCr", "a.tif"), ("PA", "a.png"),
     ("LA", "a.webp"), ("1", "a.bmp"), ("HSV", "a.tif")],
)  # fmt: skip
def test_colors_of_every_kind_are_read_or_refused(tmp_path, mode, name):
    try:
        Image.fromarray(COLORS).convert("RGBA" if mode == "PA" else "RGB").convert(mode).save(
            tmp_path / name
        )
    except (OSError, ValueError):
        return  # It cannot be written.
    try:
        assert read_image(tmp_path / name).shape == (5, 7, 3)
    except UserError as error:
        assert f"{name} cannot be read as a picture: " in str(error)


def test_a_png_with_a_broken_text_keeps_its_pixels(tmp_path):
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "something")
    Image.fromarray(COLORS).save(tmp_path / "a.png", pnginfo=info)
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content.replace(b"something", b"sOmething"))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), COLORS)


def test_arrays_that_claim_too_much_or_are_archives(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((2, 3)))
    content = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "big.npy").write_bytes(
        content.replace(b"(2, 3), }      ", b"(2000000,2000000), }"[:15])
    )
    np.savez(tmp_path / "b.npz", a=np.zeros((2, 3)))
    (tmp_path / "b.npz").rename(tmp_path / "b.npy")
    with pytest.raises(UserError, match=r"b\.npy is an archive of arrays"):
        read_array(tmp_path / "b.npy")
    with pytest.raises(UserError, match=r"big\.npy"):
        read_array(tmp_path / "big.npy")
