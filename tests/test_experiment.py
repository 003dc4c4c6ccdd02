import pathlib

import pytest

from must_keras import experiment
from must_keras.errors import UserError

RECIPE = """
import dataclasses

def recipe(*, data_dir=None, seed: int = 0, rate: float = 0.1, big: bool = False,
           starts: tuple[str, ...] = ("a",), limit: int | None = None, data: str = ""):
    return dict(data_dir=data_dir, seed=seed, rate=rate, big=big, starts=starts, limit=limit,
                data=data)
"""


@pytest.fixture
def recipe(tmp_path: pathlib.Path) -> str:
    path = tmp_path / "mine.py"
    path.write_text(RECIPE)
    return str(path)


def test_arguments_are_typed_by_their_annotations(recipe):
    text = "x:seed=3,rate=1e-3,big=true,starts=random+student,limit=none,data='a,b:c'"
    _, arguments = experiment.parse(text)
    assert experiment.load(recipe, arguments, data_dir="d") == {
        "data_dir": "d", "seed": 3, "rate": 1e-3, "big": True, "starts": ("random", "student"),
        "limit": None, "data": "a,b:c",
    }  # fmt: skip


def test_quotes_that_the_shell_left_are_stripped():
    assert experiment.parse("folders:data='../x'") == ("folders", {"data": "../x"})
    assert experiment.parse('folders:data="../x",seed=1')[1] == {"data": "../x", "seed": "1"}
    assert experiment.parse("scenes") == ("scenes", {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("scenes:seed", "not of the form name=value"),
        ("scenes:data='x", "is not closed"),
    ],
)
def test_what_cannot_be_parsed_is_said(text, message):
    with pytest.raises(UserError, match=message):
        experiment.parse(text)


def test_an_unknown_name_is_answered_by_the_nearest(recipe):
    with pytest.raises(UserError, match="did you mean 'scenes'"):
        experiment.find("scene")
    with pytest.raises(UserError, match="did you mean 'seed'"):
        experiment.load(recipe, {"sed": "1"}, data_dir=None)
    with pytest.raises(UserError, match="seed=one: expected int"):
        experiment.load(recipe, {"seed": "one"}, data_dir=None)
    with pytest.raises(UserError, match="expected true or false"):
        experiment.load(recipe, {"big": "yes"}, data_dir=None)


def test_experiments_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert experiment.find("scenes").is_file()


def test_default_workdir_depends_on_the_arguments():
    plain = experiment.default_workdir("scenes", {})
    one = experiment.default_workdir("scenes", {"seed": "1"})
    two = experiment.default_workdir("scenes", {"seed": "2"})
    assert plain == pathlib.Path("runs/scenes")
    assert len({plain, one, two}) == 3
    assert one.name.startswith("scenes-") and len(one.name) == len("scenes-") + 8


OWN_TASK = """
from __future__ import annotations
import dataclasses

@dataclasses.dataclass(frozen=True)
class Mine:
    size: int = 1

def recipe(folder, names: list[str] = [], limit=3):
    return Mine, folder, names, limit
"""


def test_a_recipe_file_may_define_dataclasses_and_leave_types_away(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(OWN_TASK)
    arguments = {"folder": "x", "names": "ab+cd", "limit": "4"}
    _, folder, names, limit = experiment.load(str(path), arguments, data_dir="d")
    assert (folder, names, limit) == ("x", ["ab", "cd"], 4)
    with pytest.raises(UserError, match="missing a required argument: 'folder'"):
        experiment.load(str(path), {}, data_dir=None)


def test_a_file_without_a_recipe_is_said(tmp_path):
    path = tmp_path / "empty.py"
    path.write_text("x = 1")
    with pytest.raises(UserError, match="has no function named recipe"):
        experiment.load(str(path), {}, data_dir=None)
