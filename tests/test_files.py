"""Files that are whole or not there, and digests of long lists."""

import hashlib
import json

import pytest

from must_keras.files import list_sha256, replacing


@pytest.mark.parametrize("items", [[], [["a", 1]], [["é", 1, None], ["b", 2.5, "x"]]])
def test_a_list_is_digested_piece_by_piece(items):
    expected = hashlib.sha256(json.dumps(items).encode()).hexdigest()
    assert list_sha256(iter(items)) == expected


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    path = tmp_path / "file"
    with replacing(path, shared=True) as one, replacing(path, shared=True) as two:
        one.write_text("one")
        two.write_text("two")
    # The outer block ends last.
    assert path.read_text() == "one"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("new")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
