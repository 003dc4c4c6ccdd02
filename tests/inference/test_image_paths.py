"""Which images are predicted, under what names, and where their predictions go."""

import os
import time

import pytest
from PIL import Image

from must_keras.errors import UserError
from must_keras.inference import image_paths
from must_keras.inference.image_paths import OutputPaths
from must_keras.naming import as_stored

NFC, NFD = "caf\u00e9", "cafe\u0301"


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    for name in ("one.jpg", "deep/two.PNG", "deep/er/three.webp"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(root / name)
    (root / "broken.jpg").write_bytes(b"no image")
    return root


# ---- images that are read -----------------------------------------------------------------------


def test_images_are_files_folders_and_globs(photos):
    found = image_paths.find([str(photos / "one.jpg"), str(photos / "deep"), str(photos / "*.jpg")])
    assert list(found) == ["one.jpg", "er/three.webp", "two.PNG", "broken.jpg"]
    assert found["two.PNG"] == photos / "deep" / "two.PNG"


def test_images_that_cannot_be_found(photos, tmp_path):
    with pytest.raises(UserError):
        image_paths.find([])
    with pytest.raises(UserError) as error:
        image_paths.find([str(tmp_path / "gone.jpg")])
    assert error.value.path == tmp_path / "gone.jpg"


def test_images_of_one_name_are_distinguished(photos, tmp_path):
    for name in ("one.png", "one.PNG", "a/one.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    first, other = photos / "one.jpg", tmp_path / "one.png"
    assert image_paths.find([str(first), str(other)]) == {"one.jpg": first, "one.png": other}
    assert list(image_paths.find([str(tmp_path)])) == ["a/one.jpg", "one.PNG", "one.png"]
    same = tmp_path / "a" / "one.jpg"
    found = image_paths.find([str(first), str(same), str(same)])
    assert found == {f"{photos.name}/one.jpg": first, "a/one.jpg": same}


def test_images_of_any_name_are_found_and_others_counted(tmp_path, capsys):
    names = ["a\u202fb.jpg", "c.jfif", "d", "e\u200df.png"]
    for name in names:
        Image.new("RGB", (4, 4)).save(tmp_path / name, "JPEG")
    odd = tmp_path / os.fsdecode(b"caf\xe9.jpg")
    odd.write_bytes((tmp_path / "d").read_bytes())
    os.mkfifo(tmp_path / "pipe.jpg")
    assert {file.name for file in image_paths.find([str(tmp_path)]).values()} == set(names)
    assert "2 files" in capsys.readouterr().err
    assert list(image_paths.find([str(odd), str(tmp_path / "d")])) == ["d"]
    assert "1 files are skipped" in capsys.readouterr().err
    with pytest.raises(UserError) as error:
        image_paths.find([str(odd)])
    assert error.value.path == odd
    with pytest.raises(UserError) as error:
        image_paths.find([str(tmp_path / "pipe.jpg")])
    assert error.value.path == tmp_path / "pipe.jpg"


# ---- paths of predictions -----------------------------------------------------------------------


def taken(names, suffix=".png"):
    paths = OutputPaths(suffix=suffix)
    return [paths.take(name) for name in names]


def written(root, paths):
    """Write each path to a disk; return how many files there are afterwards."""
    for path in paths:
        file = root / f"{path}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x")
    return sum(path.is_file() for path in root.rglob("*"))


@pytest.mark.parametrize(
    "names",
    [
        ["cat.jpg", "Cat.jpg", "CAT.JPG", "cat.png"],
        [f"{NFC}.jpg", f"{NFD}.jpg", f"{NFD.upper()}.jpg"],
        ["cat.jpg", "Cat.jpg", "cat~2.jpg", "Cat~2.jpg"],
        ["cat~2.jpg", "cat.jpg", "Cat.jpg"],
        ["a/1.jpg", "A/1.jpg", "A/2.jpg"],
        ["a.jpg", "a.jpg.png/1.jpg", "a.jpg.png/2.jpg"],
        ["a.jpg.png/1.jpg", "a.jpg"],
        ["a./1.jpg", "a/1.jpg", "a /1.jpg"],
        ["x" * 255, "x" * 254 + "y", "x" * 251 + ".jpg", "\u732b" * 85],
        ["/".join(["d" * 250] * 8) + "/1.jpg", "/".join(["d" * 250] * 8) + "/2.jpg"],
        ["d" * 255 + "/1.jpg", "d" * 255 + "/2.jpg", "D" * 255 + "/1.jpg"],
        ["stra\u00dfe.jpg", "strasse.jpg"],
    ],
    ids=ascii,
)
def test_every_output_has_a_file_of_its_own(names, tmp_path):
    paths = taken(names)
    keys = {as_stored(path) for path in paths}
    assert len(keys) == len(names) and written(tmp_path, paths) == len(names)
    assert all(len(part.encode()) <= 245 for path in paths for part in path.split("/"))
    assert paths[0] == names[0] or len(names[0].encode()) > 230
    assert taken(names) == paths


def test_names_that_are_free_stay_as_they_are():
    names = ["cat.jpg", "cat.png", "cat", "t.jpg.png", "t.jpg ", "con.jpg", "a:b?.jpg", f"{NFD}/x"]
    assert taken(names) == names
    assert taken(["cat.jpg", "Cat.jpg", "CAT.jpg"]) == ["cat.jpg", "Cat~2.jpg", "CAT~3.jpg"]


def test_many_pictures_of_one_name_take_no_longer_than_others():
    names = OutputPaths(suffix=".png")
    began = time.process_time()
    found = [names.take("Rgb.png" if i % 2 else "rgb.png") for i in range(3000)]
    assert time.process_time() - began < 1.0
    assert len({path.lower() for path in found}) == 3000 and found[-1] == "Rgb~3000.png"
