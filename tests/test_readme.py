"""What the README says is true: its commands, its links, its tree."""

import pathlib
import re
import subprocess

import pytest

from must_keras import experiment, main

ROOT = pathlib.Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS, REPEATED = (
    re.findall(
        rf"(?:^    |`)python -m must_keras\.{module}((?:[^`#\n\\]|\\\n)*)", README, re.MULTILINE
    )
    for module in ("main", "repeat")
)


def flags_of(command: str) -> dict[str, str]:
    """{flag: value} as a shell hands them over."""
    words = subprocess.check_output(["sh", "-c", f"printf '%s\\n' {command}"], text=True).split(
        "\n"
    )
    return dict(word.removeprefix("--").partition("=")[::2] for word in words if word)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_readme_is_understood(command):
    flags = flags_of(command)
    assert set(flags) <= {"experiment", "stage", "plan", "verify", "label_engine"}
    assert flags.get("stage", "all") in main.STAGES
    name, arguments = experiment.parse(flags.get("experiment", "scenes"))
    if name.startswith("path/to/"):
        return
    if "data" in arguments:
        arguments["data"] = str(ROOT / arguments["data"])
        if not pathlib.Path(arguments["data"]).is_dir():
            pytest.skip(f"{arguments['data']} is not there")
    assert experiment.load(name, arguments, data_dir=None).name == name


@pytest.mark.parametrize("command", REPEATED)
def test_a_recipe_that_the_readme_repeats_is_there(command):
    flags = flags_of(command)
    assert set(flags) <= {"experiment", "seeds", "to", "workdir", "rates_from"}
    name, arguments = experiment.parse(flags["experiment"])
    assert experiment.load(name, arguments | {"seed": "3"}, data_dir=None).seed == 3


def test_there_are_commands():
    assert len(COMMANDS) >= 6 and len(REPEATED) >= 2


def test_every_file_that_the_readme_names_is_there():
    named = re.findall(r"\]\(([^)#]+)\)", README) + re.findall(
        r"`((?:must_keras|experiments)/[^`]+)`", README
    )
    assert named
    for name in named:
        assert name.startswith("http") or (ROOT / name).exists(), name


def test_the_tree_is_the_tree():
    tree = README.split("## The tree")[1].split("##")[0]
    for folder in re.findall(r"^      (\w+)/ ", tree, re.MULTILINE):
        assert (ROOT / "must_keras" / folder).is_dir(), folder
    for file in re.findall(r"^      (\w+\.py) ", tree, re.MULTILINE):
        assert (ROOT / "must_keras" / file).is_file(), file
