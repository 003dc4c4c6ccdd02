import pytest

from must_keras.data import names
from must_keras.errors import UserError

NFC, NFD = "caf\u00e9", "cafe\u0301"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (NFC, NFD),
        ("7 v\u00a09.41", "7 v 9.41"),
        ("9.41.00\u202fPM", "9.41.00 PM"),
        ("\u5199\u771f\u30001", "\u5199\u771f 1"),
        ("cat", "cat \u00a0"),
        ("cat", "\ufeffcat"),
        ("cat", "c\u00adat\u200b"),
        ("cat", "cat\u200d"),
        ("cat 1", "cat\u200c 1"),
        ("\u2764", "\u2764\ufe0f"),
        ("\u05d0\u05d1", "\u200f\u05d0\u05d1\u200e"),
        ("\ud55c", "\u1112\u1161\u11ab"),
    ],
)
def test_names_that_look_the_same_read_the_same(one, other):
    assert names.as_read(one) == names.as_read(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cat", "Cat"),
        ("cafe", NFC),
        ("a b", "ab"),
        # A joiner between letters that join, or between emoji, changes what is seen.
        ("\u0645\u06cc\u200c\u0634\u0648\u062f", "\u0645\u06cc\u0634\u0648\u062f"),
        ("\U0001f468\u200d\U0001f469", "\U0001f468\U0001f469"),
        # A ligature and a full-width letter are other letters.
        ("fi", "\ufb01"),
        ("A", "\uff21"),
    ],
)
def test_names_that_look_different_stay_different(one, other):
    assert names.as_read(one) != names.as_read(other)


def test_a_name_is_text_or_is_not():
    for name in (NFD, "a\u2028b", "\u202eabc", "\U0001f600", "a\u200db", "a\u00a0"):
        assert names.is_text(name)
    for name in ("a\udce9.jpg", "a\nb", "a\tb", "a\x1b[31m", "\x85"):
        assert not names.is_text(name)


@pytest.mark.parametrize(
    "written",
    [
        f"d/{NFD} 1.jpg",
        f"./d/{NFC} 1.jpg",
        f"d\\{NFC} 1.jpg",
        f".\\d\\{NFC} 1.JPG",
        "d/caf%C3%A9%201.jpg",
        f"d//{NFC} 1.jpg",
        f"x/../d/{NFC}\u00a01.Jpg",
        f" d/{NFC} 1.jpg\u00a0",
    ],
)
def test_paths_are_found_as_people_and_programs_write_them(written):
    known = names.Names([f"d/{NFC}\u202f1.jpg", "d/other.jpg"])
    assert known.find(written) == f"d/{NFC}\u202f1.jpg"


def test_equal_names_are_meant_before_similar_ones():
    both = names.Names([f"{NFC}.jpg", f"{NFD}.jpg", "a%20b.jpg", "a b.jpg", "c\\d.jpg"])
    for name in (f"{NFC}.jpg", f"{NFD}.jpg", "a%20b.jpg", "a b.jpg", "c\\d.jpg"):
        assert both.find(name) == name
    assert both.find("absent.jpg") is None
    with pytest.raises(UserError, match=r"may mean .*e\\u0301.* or .*\\xe9.*rename"):
        both.find(f"{NFC}.JPG")


def test_names_that_are_no_paths_keep_their_slashes_and_escapes():
    known = names.Names(["a b", "x"])
    assert known.index_in("a\u00a0b", ("x", "a b")) == 1
    assert known.index_in("a%20b", ("x", "a b")) is None
    assert known.index_in("./x", ("x", "a b")) is None


def test_two_names_that_read_the_same_are_found():
    assert names.ambiguous(["a", NFC, "b", NFD]) == (NFC, NFD)
    assert names.ambiguous(["a", "A", "a b", "ab"]) is None
