"""Large JSON files, element by element: beside json.load, at every size of what is read at once."""

import json

import pytest

from must_keras.data import json_stream
from must_keras.data.json_stream import array_items
from must_keras.errors import UserError

CONTENT = {
    "info": {"year": 2020, "parts": [1, [2, "]}"]]},
    "images": [{"id": 12, "file_name": 'a "b" \\ ü.jpg'}, {"id": 345}],
    "numbers": [1, -2.5, 34567, True, None],
    "licenses": [],
    "year": 2020,
}


def of(content):
    found = []
    for key, value in content.items():
        found += [(key, item) for item in value] if isinstance(value, list) else [(key, value)]
    return found


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64, 2**20])
@pytest.mark.parametrize("indent", [None, 3])
def test_items_are_those_of_the_whole_file(chunk, indent, tmp_path, monkeypatch):
    monkeypatch.setattr(json_stream, "_CHUNK", chunk)
    path = tmp_path / "a.json"
    path.write_text(json.dumps(CONTENT, indent=indent) + "\n", encoding="utf-8")
    assert list(array_items(path)) == of(json.loads(path.read_text(encoding="utf-8")))


def test_an_empty_object_has_none(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(" { } ")
    assert list(array_items(path)) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected { at character 0"),
        ("[1]", "expected { at character 0"),
        ('{"a": [1, 2', "expected ] at character 11"),
        ('{"a": [1 2]}', "expected ] at character 9"),
        ('{"a": [1,]}', "expected a value at character 9"),
        ('{"a": nonsense}', "expected a value at character 6"),
        ("{3: 4}", "expected a key"),
        ('{"a": 1} x', "expected the end at character 9"),
        ('{"a": "cut', "expected a value at character 6"),
    ],
)
def test_what_is_no_json_object_is_said_with_its_place(text, message, tmp_path, monkeypatch):
    monkeypatch.setattr(json_stream, "_CHUNK", 2)
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as error:
        list(array_items(path))
    assert str(path) in str(error.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="there is no file"):
        list(array_items(tmp_path / "a.json"))
