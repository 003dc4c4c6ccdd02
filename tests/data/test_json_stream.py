"""Arrays of large JSON files, element by element."""

import json

import pytest

from must_keras.data.io.json_stream import array_items
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
    keys = ("numbers", "images", "licenses", "absent")
    found = list(array_items(path, *keys))
    assert found == [(key, item) for key in keys for item in CONTENT.get(key, [])]
    assert [type(item) for key, item in found if key == "numbers"][:2] == [int, float]


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
