import pathlib

import numpy as np
import pytest

from must_keras import experiment
from must_keras.arguments import as_text
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
    ("text", "fact"),
    [
        ("scenes:seed", "'seed'"), ("scenes:seed=1,2a=1", "'2a=1'"), ("scenes:=1", "'=1'"),
        ("scenes:data='x", "quote"), ("scenes:data=it's", "quote"),
    ],
)  # fmt: skip
def test_arguments_that_cannot_be_parsed(text, fact):
    with pytest.raises(UserError, match=fact) as error:
        experiment.parse(text)
    assert (error.value.key, error.value.value) == ("experiment", text)


def test_an_unknown_recipe(tmp_path):
    with pytest.raises(UserError, match="did you mean 'scenes'") as error:
        experiment.find("scene")
    assert error.value.value == "scene" and {"scenes", "folders"} <= set(error.value.allowed)
    with pytest.raises(UserError) as error:
        experiment.find(str(tmp_path / "gone.py"))
    assert error.value.path == tmp_path / "gone.py"


@pytest.mark.parametrize(
    ("key", "text", "value", "allowed"),
    [
        ("sed", "1", "sed", ("seed", "rate", "big", "starts", "limit", "data")),
        ("seed", "one", "one", ()),
        ("rate", "x", "x", ()),
        ("limit", "many", "many", ()),
        ("big", "yes", "yes", ("true", "false")),
    ],
)
def test_an_argument_that_cannot_be_used(recipe, key, text, value, allowed):
    with pytest.raises(UserError) as error:
        experiment.load(recipe, {key: text}, data_dir=None)
    assert (error.value.key, error.value.value, error.value.allowed) == (key, value, allowed)


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
    with pytest.raises(UserError, match="own.py:folder=") as error:
        experiment.load(str(path), {}, data_dir=None)
    assert error.value.path == path


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("x = 1", "recipe"), ("def recipe():\n    pass\n", "returns nothing"),
        ("def recipe(:", "line 1"), ("\ndef recipe():\n    return 1 / 0\n", "line 3"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_recipe(tmp_path, text, fact):
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(UserError, match=fact) as error:
        experiment.load(str(path), {}, data_dir=None)
    assert error.value.path == path and len(str(error.value).splitlines()) == 1


# ---- arguments as Python values -----------------------------------------------------------------

VALUES = {
    "seed": 3, "rate": 1e-3, "big": True, "starts": ("random", "student"), "limit": None,
    "data": "a,b:c",
}  # fmt: skip


def test_python_values_are_the_same_arguments(recipe):
    found = experiment.load_with(recipe, VALUES, data_dir="d")
    assert found == VALUES | {"data_dir": "d"}
    assert experiment.load(recipe, as_text(VALUES), data_dir="d") == found
    text = "x:seed=3,rate=0.001,big=true,starts=random+student,limit=none,data='a,b:c'"
    assert experiment.parse(text)[1] == as_text(VALUES)
    looser = {"seed": np.int64(3), "rate": 1, "starts": ["a"], "data": pathlib.Path("x")}
    found = experiment.load_with(recipe, looser, data_dir=None)
    assert (found["rate"], found["starts"], found["data"]) == (1.0, ("a",), "x")
    assert type(found["seed"]) is int and as_text(looser)["seed"] == "3"


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("sed", 1, "did you mean 'seed'"),
        ("seed", "1", "expected int"),
        ("seed", True, "expected int"),
        ("big", 1, "expected bool"),
        ("starts", "random", "expected tuple"),
        ("starts", (1,), "expected tuple"),
        ("limit", 1.5, "expected int or None"),
    ],
)
def test_python_values_of_another_type(recipe, key, value, problem):
    with pytest.raises(UserError, match=problem) as error:
        experiment.load_with(recipe, {key: value}, data_dir=None)
    assert error.value.key == key


def test_arguments_of_other_types_are_the_recipes_own(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(OWN_TASK.replace("limit=3", "limit: Mine | None = None"))
    mine, thing = object(), object()
    found = experiment.load_with(str(path), {"folder": thing, "limit": mine}, data_dir=None)
    assert found[1] is thing and found[3] is mine
    with pytest.raises(UserError, match="workdir") as error:
        as_text({"folder": thing})
    assert error.value.key == "folder"


def test_arguments_without_a_default_are_named(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def recipe(data, *, other, steps=3):\n    return 1\n")
    with pytest.raises(
        UserError, match=r"other must be given, as in mine.py:other=\.\.\."
    ) as error:
        experiment.load(str(file), {"data": "x"}, data_dir=None)
    assert error.value.key == "other"
    with pytest.raises(UserError, match=r"data, other must be given, as in mine.py:data=..."):
        experiment.load(str(file), {}, data_dir=None)
