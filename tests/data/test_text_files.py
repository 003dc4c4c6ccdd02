"""Lists of names, and arrays of large JSON files, element by element."""

import json

import pytest

from must_keras.data.io.text_files import array_items, read_class_names, read_lines
from must_keras.errors import UserError

CONTENT = {
    "info": {"year": 2020, "images": [1, [2, "]}"]]},
    "images": [{"id": 12, "file_name": 'a "b" \\ ü.jpg'}, {"id": 345}],
    "numbers": [1, -2.5, 34567, True, None],
    "licenses": [],
    "year": 2020,
}


@pytest.mark.parametrize("indent", [None, 3])
def test_items_are_those_of_the_whole_file(indent, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(CONTENT, indent=indent) + "\n", encoding="utf-8")
    for key in ("numbers", "images", "licenses", "absent"):
        assert list(array_items(path, key)) == CONTENT.get(key, [])
    assert [type(item) for item in array_items(path, "numbers")][:2] == [int, float]


@pytest.mark.parametrize("text", ["", '{"a": [1, 2', '{"a": [1 2]}', '{"a": nonsense}', '{"a": "b'])
def test_what_is_no_json_is_said(text, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(UserError, match="cannot be read as a JSON object") as error:
        list(array_items(path, "a"))
    assert str(path) in str(error.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="there is no file"):
        list(array_items(tmp_path / "a.json", "a"))


def test_class_names_are_the_lines(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_bytes("sky\r\n\r\n  sign symbol \r\nÅre\r\n".encode("utf-8-sig"))
    assert read_class_names(path) == ("sky", "sign symbol", "Åre")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\n\nb\na\n", "line 4: 'a' is also on line 1"),
        ("\n \n", "is empty"),
        ("caf\xe9", "is not UTF-8 text"),
    ],
)
def test_class_files_that_cannot_be_used(tmp_path, content, message):
    path = tmp_path / "classes.txt"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=f"classes.txt.*{message}"):
        read_class_names(path)
    with pytest.raises(UserError, match="there is no file .*gone"):
        read_class_names(tmp_path / "gone")


def test_only_line_feeds_end_a_line(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes("a\u2028b.jpg\r\n\u00a0c\u3000.jpg\u202f \t\rd\x0be\x85f\n\u00a0\n".encode())
    assert read_lines(path) == [
        (1, "a\u2028b.jpg"), (2, "\u00a0c\u3000.jpg\u202f"), (3, "d\x0be\x85f"),
    ]  # fmt: skip


def test_class_names_that_read_the_same_are_one_too_many(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text("caf\u00e9\nx\ncafe\u0301\u00a0\n")
    with pytest.raises(UserError, match=r"line 3: .* is also on line 1"):
        read_class_names(path)
