"""One rule for names that become paths, keys and tags."""

import time

import pytest

from must_keras import experiment, naming
from must_keras.errors import UserError

NFC, NFD = "caf\u00e9", "cafe\u0301"

REFUSED = [
    "", " ", ".", "..", ".git", "a/b", "../a", "/a", "a\\b", "c:", "a,b", "a*b", "a?", "a|b",
    "<a>", 'a"b', "a\nb", "a\0b", "a\u00a0b", "a\u200bb", "\udce9", "a.", "a ", " a", "a..",
    "con", "CON", "Nul.txt", "aux", "com1", "LPT9.labels", "com\u00b2", "con .x", "x.tmp",
    "x" * 101, "\u00e9" * 51, None, 3,
]  # fmt: skip
ALLOWED = [
    "a", "a b", "a.b", "x_block2", "console", "com", "com10", "auxiliary", "tmp", "a-b_c", "[a]",
    "(a)", "a'b", "a+b=c", NFC, NFD, "\u732b", "x" * 100, "\u00e9" * 50, "100%", "~a", "#1",
]  # fmt: skip


@pytest.mark.parametrize("name", REFUSED, ids=ascii)
def test_names_that_not_every_disk_stores(name):
    with pytest.raises(UserError, match="recipe x: teacher .* names a folder: .*another name"):
        naming.check_name(name, "recipe x: teacher")


@pytest.mark.parametrize("name", ALLOWED, ids=ascii)
def test_names_that_every_disk_stores(name):
    naming.check_name(name, "recipe x: teacher")


@pytest.mark.parametrize(
    "one, other",
    [
        ("cats", "Cats"), (NFC, NFD), (NFC, NFD.upper()), ("stra\u00dfe", "STRASSE"),
        ("\u00c5", "\u212b"), ("a", "a."), ("\u0391\u03a3", "\u03b1\u03c2"), ("K", "\u212a"),
    ],
)  # fmt: skip
def test_names_that_are_one_on_some_disks(one, other):
    assert naming.as_stored(one) == naming.as_stored(other)
    with pytest.raises(UserError) as error:
        naming.check_distinct(["b", one, other], "recipe x", "teachers")
    text = str(error.value)
    assert one in text and other in text and "teachers" in text and "rename" in text
    if not one.isascii():
        assert ascii(one) in text


def test_names_that_differ_everywhere():
    naming.check_distinct(["cat", "cats", "c\u00e2t", "cat_", "ca t"], "recipe x", "teachers")
    with pytest.raises(UserError, match="two teachers are named 'a'"):
        naming.check_distinct(["a", "b", "a"], "recipe x", "teachers")


@pytest.mark.parametrize(
    "name",
    ["", "a.b", "a/b", "1a", "_a", "a b", NFC, "image", "Area", "neck", "backbone", "name",
     "file", "height", "width", "pictures", "Pictures", "con", "x" * 101],
)  # fmt: skip
def test_names_of_heads(name):
    with pytest.raises(UserError, match="head"):
        naming.check_head(name, "recipe x")
    naming.check_head("heights", "recipe x")


def test_pairs_of_heads_that_name_one_curve():
    naming.check_pairs(["a", "b", "a_b", "b_a"], "recipe x")
    with pytest.raises(UserError, match="'a' with 'b_c'.*'a_b' with 'c'.*a_b_c"):
        naming.check_pairs(["a", "b_c", "a_b", "c"], "recipe x")


@pytest.mark.parametrize("other", ["pile_block2", "Pile_Block13", "PILE_block1"])
def test_a_source_named_as_a_block_of_a_pool(other):
    with pytest.raises(UserError, match=f"'{other}' has the name of a block of pool 'pile'"):
        naming.check_blocks(["pile"], ["pile", other], "recipe x")


def test_sources_unlike_the_blocks_of_a_pool():
    naming.check_blocks(["pile"], ["pile", "pile_block", "pile_block2b", "heap_block2"], "x")


def test_a_recipe_whose_file_has_an_odd_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("...py", "a:b.py", "con.py", "x" * 120 + ".py"):
        (tmp_path / name).write_text("")
        with pytest.raises(UserError, match=r"--workdir is not given.*names a folder"):
            experiment.default_workdir(name, {})


# ---- outputs ------------------------------------------------------------------------------------


def taken(names, suffix=".png"):
    paths = naming.OutputNames(suffix=suffix)
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
    keys = {naming.as_stored(path) for path in paths}
    assert len(keys) == len(names) and written(tmp_path, paths) == len(names)
    assert all(len(part.encode()) <= 245 for path in paths for part in path.split("/"))
    assert paths[0] == names[0] or len(names[0].encode()) > 230
    assert taken(names) == paths


def test_names_that_are_free_stay_as_they_are():
    names = ["cat.jpg", "cat.png", "cat", "t.jpg.png", "t.jpg ", "con.jpg", "a:b?.jpg", f"{NFD}/x"]
    assert taken(names) == names
    assert taken(["cat.jpg", "Cat.jpg", "CAT.jpg"]) == ["cat.jpg", "Cat~2.jpg", "CAT~3.jpg"]


def test_many_pictures_of_one_name_take_no_longer_than_others():
    names = naming.OutputNames(suffix=".png")
    began = time.process_time()
    found = [names.take("Rgb.png" if i % 2 else "rgb.png") for i in range(3000)]
    assert time.process_time() - began < 1.0
    assert len({path.lower() for path in found}) == 3000 and found[-1] == "Rgb~3000.png"
