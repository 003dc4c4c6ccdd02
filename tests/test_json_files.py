"""JSON files are read as typed values; an error has the file, the key and the value."""

import dataclasses
from typing import Any, TypedDict

import pytest

from must_keras.errors import DataError
from must_keras.json_files import (
    InvalidValueError,
    appended_lines,
    find_json,
    from_json,
    json_lines,
    read_json,
    write_json,
)


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    value: float | None = None


@dataclasses.dataclass(frozen=True)
class Table:
    rows: tuple[Row, ...]
    best: dict[str, Row | None] = dataclasses.field(default_factory=dict)


class Loose(TypedDict):
    rows: list[Row]


WHOLE = {"rows": [{"name": "a", "value": 1, "more": 2}, {"name": "b"}], "best": {"x": None}}


def test_objects_become_instances_and_numbers_stay_as_they_are(tmp_path):
    write_json(tmp_path / "a.json", WHOLE)
    found = read_json(tmp_path / "a.json", Table, remedy="make it again")
    assert found == Table((Row("a", 1), Row("b")), {"x": None})
    assert type(found.rows[0].value) is int
    assert find_json(tmp_path / "b.json", Table, remedy="") is None


def test_a_dictionary_keeps_unknown_keys_and_their_order():
    found = from_json({"z": 1, **WHOLE}, Loose)
    assert found == {"z": 1, "rows": [Row("a", 1), Row("b")], "best": {"x": None}}
    assert list(found) == ["z", "rows", "best"]
    assert from_json(WHOLE, dict) is WHOLE
    assert from_json([1, "a", None], tuple[int, str, Any]) == (1, "a", None)


@pytest.mark.parametrize(
    ("value", "kind", "key", "received"),
    [
        ([], Table, "", []),
        ({}, Table, "rows", None),
        ({"rows": [{"name": 3}]}, Table, "rows[0].name", 3),
        ({"rows": [{"name": "a"}, {}]}, Loose, "rows[1].name", None),
        ({"rows": [], "best": {"x": {"name": "a", "value": "1"}}}, Table, "best.x.value", "1"),
        ({"rows": [], "best": {"x": 1}}, Table, "best.x", 1),
        ([True], list[int], "[0]", True),
        ([True], list[float], "[0]", True),
        ([1], list[bool], "[0]", 1),
        ([1.0], list[int], "[0]", 1.0),
        ([[1], ["a"]], list[tuple[int]], "[1][0]", "a"),
        ([1, 2], tuple[int], "", [1, 2]),
    ],
)
def test_a_wrong_value_is_located(value, kind, key, received):
    with pytest.raises(InvalidValueError) as error:
        from_json(value, kind)
    assert (error.value.key, error.value.value) == (key, received)


def test_errors_have_the_file_the_key_the_value_and_the_remedy(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"rows": [{"name": None}]})
    with pytest.raises(DataError) as error:
        read_json(path, Table, remedy="make it again")
    found = error.value
    assert (found.path, found.key, found.value) == (path, "rows[0].name", None)
    assert found.remedy == "make it again" and str(found).endswith("; make it again")
    with pytest.raises(DataError) as error:
        read_json(tmp_path / "gone.json", Table, remedy="make it again")
    assert error.value.path == tmp_path / "gone.json"


def test_lines(tmp_path, capsys):
    path = tmp_path / "a.jsonl"
    path.write_text('{"name": "a"}\n\n{"name": "b"}\n{"na')
    assert list(appended_lines(path, Row, remedy="make it again")) == [Row("a"), Row("b")]
    assert f"{path}: the last line, 4," in capsys.readouterr().err
    with pytest.raises(DataError) as error:
        list(json_lines(path, Row, remedy="make it again"))
    assert error.value.path == path and "line 4" in str(error.value)
    path.write_text('{"name": 1}\n{"name": "b"}\n')
    with pytest.raises(DataError) as error:
        list(appended_lines(path, Row, remedy="make it again"))
    assert (error.value.key, error.value.value) == ("name", 1)
    assert list(json_lines(tmp_path / "gone.jsonl", Row, remedy="")) == []
