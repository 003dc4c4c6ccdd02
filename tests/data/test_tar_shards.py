"""Pools in tar archives: random access, and archives that are not whole."""

import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from must_keras.data.io.images import read_image
from must_keras.data.sources import TarShards
from must_keras.errors import UserError
from must_keras.runs.fingerprint import describe


def picture(seed, form="PNG", **arguments):
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 12, 3), np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, form, **arguments)
    return data.getvalue()


def archive(path, files, mode="w"):
    with tarfile.open(path, mode) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


@pytest.fixture
def shards(tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6
    files = {"a.png": picture(0), "a.json": b"{}", "a.cls": b"3", "./deep/b.JPG": picture(1, "JPEG"),
             "._a.png": b"finder"}  # fmt: skip
    archive(tmp_path / "pool-0.tar", files)
    archive(tmp_path / "pool-1.tar", {"c.jpg": picture(2, "JPEG", exif=turned), "e.txt": b""})
    (tmp_path / "readme.txt").write_text("no archive")
    return tmp_path


def test_pictures_are_read_in_any_order(shards, tmp_path):
    source = TarShards(name="web", shards=shards)
    assert len(source) == 3 and source.label_spaces == {} and source.labels(0) == {}
    ids = [source.image_id(i) for i in range(3)]
    assert ids == ["pool-0/a.png", "pool-0/deep/b.JPG", "pool-1/c.jpg"]
    with tarfile.open(shards / "pool-1.tar") as one, tarfile.open(shards / "pool-0.tar") as zero:
        for index, (tar, name) in enumerate(
            ((zero, "a.png"), (zero, "./deep/b.JPG"), (one, "c.jpg"))
        ):
            (tmp_path / "x.jpg").write_bytes(tar.extractfile(name).read())
            np.testing.assert_array_equal(source.image(index), read_image(tmp_path / "x.jpg"))
    assert source.image(2).shape == (12, 8, 3)
    np.testing.assert_array_equal(source.image(0), source.image(0))
    with pytest.raises(IndexError):
        source.image(3)


def test_a_pattern_names_some_archives_of_a_folder(shards):
    archive(shards / "other-0.tar", {"d.png": picture(4)})
    assert len(TarShards(name="web", shards=shards)) == 4
    assert len(TarShards(name="web", shards=shards / "pool-*.tar")) == 3
    with pytest.raises(UserError, match=r"holds no archive \(train-\*\.tar\)"):
        TarShards(name="web", shards=f"{shards}/train-*.tar")


def test_archives_may_be_listed(shards):
    listed = TarShards(name="web", shards=[shards / "pool-1.tar", shards / "pool-0.tar"])
    assert listed.image_id(0) == "pool-1/c.jpg"
    assert len(TarShards(name="web", shards=shards / "pool-1.tar")) == 1


def test_the_description_is_that_of_the_content_wherever_it_lies(shards, tmp_path):
    one = describe(TarShards(name="web", shards=shards))
    (tmp_path / "other").mkdir()
    for path in shards.glob("*.tar"):
        (tmp_path / "other" / path.name).write_bytes(path.read_bytes())
    assert describe(TarShards(name="web", shards=tmp_path / "other")) == one
    archive(tmp_path / "other" / "pool-1.tar", {"c.jpg": picture(2, "JPEG"), "d.png": picture(3)})
    assert describe(TarShards(name="web", shards=tmp_path / "other")) != one


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.75, 0.9])
def test_a_truncated_archive_is_one_clear_line(kept, tmp_path):
    files = {f"{i}.png": picture(i) for i in range(8)}
    data = archive(tmp_path / "pool.tar", files).read_bytes()
    data = data[: 512 * 16]  # Eight files of two blocks each, without the end.
    (tmp_path / "pool.tar").write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(
        UserError, match=r"pool\.tar (is truncated|cannot be read as a tar archive)"
    ) as error:
        TarShards(name="web", shards=tmp_path)
    assert "\n" not in str(error.value) and error.value.path == tmp_path / "pool.tar"


def test_an_archive_that_was_cut_between_two_files_is_truncated(tmp_path):
    data = archive(tmp_path / "pool.tar", {f"{i}.png": picture(i) for i in range(3)}).read_bytes()
    with tarfile.open(tmp_path / "pool.tar") as tar:
        last = tar.getmembers()[-1]
    (tmp_path / "pool.tar").write_bytes(data[: last.offset])
    with pytest.raises(UserError, match="is truncated: it ends after"):
        TarShards(name="web", shards=tmp_path)


def test_an_archive_that_shrinks_later(shards):
    source = TarShards(name="web", shards=shards)
    (shards / "pool-0.tar").write_bytes((shards / "pool-0.tar").read_bytes()[:700])
    with pytest.raises(UserError, match=r"pool-0\.tar has changed: a\.png is no longer whole"):
        source.image(0)


def test_archives_that_cannot_be_used(tmp_path):
    def problem(match, **given):
        with pytest.raises(UserError, match=match) as error:
            TarShards(name="web", shards=given.get("shards", tmp_path))
        assert "\n" not in str(error.value)

    problem(r"holds no archive \(\*\.tar\)")
    problem("there is no file .*gone.tar", shards=[tmp_path / "gone.tar"])
    problem("there is no folder", shards=tmp_path / "gone")
    problem("expected at least one archive", shards=[])
    archive(tmp_path / "a.tar", {"a.txt": b"x"})
    problem(r"a\.tar holds no picture")
    archive(tmp_path / "a.tar", {"a.png": picture(0)}, "w:gz")
    problem(r"a\.tar is compressed, and cannot be read at any place: gunzip it first")
    (tmp_path / "a.tar").write_bytes(b"no archive" * 100)
    problem(r"a\.tar cannot be read as a tar archive")
    (tmp_path / "a.tar").write_bytes(b"")
    problem(r"a\.tar cannot be read as a tar archive")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for _ in range(2):
            tar.addfile(tarfile.TarInfo("a.png"), io.BytesIO())
    problem(r"a\.tar has two files 'a\.png'")


def test_a_picture_that_cannot_be_decoded_names_its_archive(tmp_path):
    archive(tmp_path / "a.tar", {"a.png": b"no picture", "b.png": picture(0)})
    source = TarShards(name="web", shards=tmp_path)
    with pytest.raises(UserError, match=r"a\.tar: a\.png cannot be read as a picture"):
        source.image(0)
    assert source.image(1).shape == (8, 12, 3)
