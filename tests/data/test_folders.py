import os
import socket

import numpy as np
import pytest
from PIL import Image

from must_keras.data.io.folders import content_digest, picture_files
from must_keras.data.names import FileFinder, by_stem, stem
from must_keras.data.sources import ImagesOnly
from must_keras.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)


def save(path, kind="JPEG"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(PIXELS).save(path, kind)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.JFIF", "JPEG"), ("a.jpe", "JPEG"), ("a.jpg_large", "JPEG"), ("a", "JPEG"),
        ("a.jpg ", "JPEG"), ("IMG_2024.01", "PNG"), ("a.avif", "AVIF"), ("a.jp2", "JPEG2000"),
        ("a.pgm", "PPM"), ("a.tga", "TGA"), ("a.dib", "DIB"), ("a.apng", "PNG"),
        ("a.heic", "JPEG"), ("a.image", "WEBP"), ("a.x", "GIF"), ("a.y", "TIFF"), ("a.z", "BMP"),
        ("a.png.jpg", "PNG"), ("a.JPG\u00a0", "JPEG"), ("b\u202fc\u3000d\u200ce.jpg", "JPEG"),
        ("\u0645\u06cc\u200c\u0634\u0648\u062f", "AVIF"), ("e\u0301\u0327.tif", "TIFF"),
        ("a\u2028b.jpg", "JPEG"), ("\u202egpj.jpg", "JPEG"),
    ],
)  # fmt: skip
def test_pictures_are_used_whatever_they_are_called(tmp_path, capsys, name, kind):
    save(tmp_path / "sub" / name, kind)
    assert picture_files(tmp_path) == [f"sub/{name}"]
    assert capsys.readouterr().err == ""


def test_what_may_be_a_picture_is_counted_aloud_by_kind(tmp_path, capsys):
    save(tmp_path / "a.jpg")
    for name in ("1.heic", "2.HEIC", "sub/3.heic"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0")
    (tmp_path / "film.mp4").write_bytes(b"\0\0\0\x18ftypmp42\0\0\0\0")
    (tmp_path / "blob").write_bytes(bytes(range(40)))
    (tmp_path / "v.svg").write_text("<svg/>")
    save(tmp_path / "half.jpg.crdownload")
    save(tmp_path / "raw.NEF", "TIFF")
    save(tmp_path / "old.jpg~")
    assert picture_files(tmp_path) == ["a.jpg"]
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and told.startswith("warning: ") and str(tmp_path) in told
    for part in ("9 files", "3 .heic", "'1.heic'", "raw files of cameras", "unfinished downloads"):
        assert part in told, told


def test_what_belongs_beside_pictures_is_no_news(tmp_path, capsys):
    save(tmp_path / "a.jpg")
    for name in (
        "labels.json", "a.xml", "a.txt", "t.csv", "Thumbs.db", "README", "LICENSE.md", "SHA256SUMS",
        "desktop.ini", "d.npy", "d.exr", "archive.zip", "MD5SUMS", "train", "x.weird", ".hidden.heic",
        "a.jpg.json", "empty",
    ):  # fmt: skip
        (tmp_path / name).write_text("" if name == "empty" else "text\n")
    (tmp_path / ".cache").mkdir()
    save(tmp_path / ".cache" / "b.jpg")
    assert picture_files(tmp_path) == ["a.jpg"]
    assert capsys.readouterr().err == ""


def test_names_that_are_no_text_are_counted_and_the_others_stay(tmp_path, capsys):
    save(tmp_path / "a.jpg")
    (tmp_path / os.fsdecode(b"caf\xe9.jpg")).write_bytes((tmp_path / "a.jpg").read_bytes())
    (tmp_path / os.fsdecode(b"d\xff")).mkdir()
    (tmp_path / os.fsdecode(b"d\xff") / "b.jpg").write_bytes((tmp_path / "a.jpg").read_bytes())
    (tmp_path / "x\ny.jpg").write_bytes((tmp_path / "a.jpg").read_bytes())
    assert picture_files(tmp_path) == ["a.jpg"]
    told = capsys.readouterr().err
    assert "3 names that are not UTF-8" in told and told.count("\n") == 1 and told.isascii()
    (tmp_path / "a.jpg").unlink()
    with pytest.raises(UserError, match=r"holds no picture .*passed over: 3 files"):
        picture_files(tmp_path)


def test_only_regular_files_are_pictures(tmp_path, capsys, monkeypatch):
    save(tmp_path / "a.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.png")
        save(tmp_path / "folder.jpg" / "b.jpg")
        (tmp_path / "folder.jpg" / "loop").symlink_to(tmp_path)
        (tmp_path / "linked.jpg").symlink_to("a.jpg")
        assert picture_files(tmp_path) == ["a.jpg", "folder.jpg/b.jpg", "linked.jpg"]
    assert "4 pipes, devices" in capsys.readouterr().err


def test_files_of_given_suffixes_are_taken_as_they_are(tmp_path, capsys):
    for name in ("a.npy", "b.PNG", "c.heic"):
        (tmp_path / name).write_bytes(b"\0")
    assert picture_files(tmp_path, (".npy", ".png")) == ["a.npy", "b.PNG"]
    assert capsys.readouterr().err == ""


def test_a_stem_ends_before_a_suffix():
    assert [stem(n) for n in ("a/b.jpg", "b.JPEG", "IMG_2024.01", "v1.5.png", "a.jpg.png", "b")] == [
        "a/b", "b", "IMG_2024.01", "v1.5", "a.jpg", "b",
    ]  # fmt: skip
    with pytest.raises(UserError, match=r"both b\.jpg and b\.png"):
        by_stem(".", ["a.jpg", "b.jpg", "b.png"])


@pytest.mark.parametrize(
    "written",
    [
        "d e\u0301/a\u00a0b.jpg", "./d \u00e9/a b.jpg", "d \u00e9\\a b.JPG", "d%20%C3%A9/a%20b.jpg",
        "d\u3000\u00e9/a\u202fb.jpg",
    ],
)  # fmt: skip
def test_files_of_annotations_are_found(tmp_path, written):
    save(tmp_path / "d e\u0301" / "a\u00a0b.jpg")
    found = FileFinder(tmp_path).find(written)
    assert found is not None and (tmp_path / found).samefile(
        tmp_path / "d e\u0301" / "a\u00a0b.jpg"
    )


def test_files_that_are_not_there_are_not_found(tmp_path):
    save(tmp_path / "a.jpg")
    for name in (
        "b.jpg",
        "a.jpg/b.jpg",
        "",
        "a\0.jpg",
        "a\ud800.jpg",
        "x" * 5000 + ".jpg",
        "A.jpg",
    ):
        assert FileFinder(tmp_path).find(name) is None, name
    assert FileFinder(tmp_path).find("a.jpg") == "a.jpg"


def test_files_are_looked_at_once_however_often_a_source_is_described(tmp_path, monkeypatch):
    save(tmp_path / "a.jpg")
    looked = []

    def digest(folder, files):
        looked.append(folder)
        return content_digest(folder, files)

    monkeypatch.setattr("must_keras.data.io.folders.content_digest", digest)
    photos = ImagesOnly(name="photos", root=tmp_path)
    assert photos.describe() == photos.describe() and len(looked) == 1
