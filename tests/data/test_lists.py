import pytest

from must_keras.data.lists import read_class_names
from must_keras.errors import UserError


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
