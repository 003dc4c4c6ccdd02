"""One rule for names that become paths, keys and tags."""

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
    with pytest.raises(UserError, match="recipe x: teacher") as error:
        naming.check_name(name, "recipe x: teacher")
    assert (error.value.key, error.value.value) == ("name", name)


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
    assert error.value.value == other and one in text and other in text and "teachers" in text
    if not one.isascii():
        assert ascii(one) in text


def test_names_that_differ_everywhere():
    naming.check_distinct(["cat", "cats", "c\u00e2t", "cat_", "ca t"], "recipe x", "teachers")
    with pytest.raises(UserError, match="teachers") as error:
        naming.check_distinct(["a", "b", "a"], "recipe x", "teachers")
    assert error.value.value == "a"


@pytest.mark.parametrize(
    "name",
    ["", "a.b", "a/b", "1a", "_a", "a b", NFC, "image", "Area", "neck", "backbone", "name",
     "file", "height", "width", "pictures", "Pictures", "con", "x" * 101],
)  # fmt: skip
def test_names_of_heads(name):
    with pytest.raises(UserError, match="recipe x: a head") as error:
        naming.check_head(name, "recipe x")
    assert error.value.value == name
    naming.check_head("heights", "recipe x")


def test_pairs_of_heads_that_name_one_curve():
    naming.check_pairs(["a", "b", "a_b", "b_a"], "recipe x")
    with pytest.raises(UserError, match="'a' with 'b_c'.*'a_b' with 'c'") as error:
        naming.check_pairs(["a", "b_c", "a_b", "c"], "recipe x")
    assert error.value.value == "a_b_c"


@pytest.mark.parametrize("other", ["pile_block2", "Pile_Block13", "PILE_block1"])
def test_a_source_named_as_a_block_of_a_pool(other):
    with pytest.raises(UserError, match="pool 'pile'") as error:
        naming.check_blocks(["pile"], ["pile", other], "recipe x")
    assert error.value.value == other


def test_sources_unlike_the_blocks_of_a_pool():
    naming.check_blocks(["pile"], ["pile", "pile_block", "pile_block2b", "heap_block2"], "x")


def test_a_recipe_whose_file_has_an_odd_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("...py", "a:b.py", "con.py", "x" * 120 + ".py"):
        (tmp_path / name).write_text("")
        with pytest.raises(UserError) as error:
            experiment.default_workdir(name, {})
        assert error.value.value == name.removesuffix(".py")
