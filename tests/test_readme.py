"""What the README says is true: its commands, its links, its tree."""

import argparse
import pathlib
import re
import subprocess

import pytest

from must_keras import cli, experiment, main

ROOT = pathlib.Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(
    r"(?:^    |`)python -m must_keras\.main((?:[^`#\n\\]|\\\n)*)", README, re.MULTILINE
)
OF_PROGRAM = re.findall(r"^    must-keras ((?:[^`#\n\\]|\\\n)+)", README, re.MULTILINE)
PARSERS = {one.name: one.add_arguments for one in cli.COMMANDS}


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


@pytest.mark.parametrize("command", OF_PROGRAM)
def test_a_command_of_the_program_is_understood(command):
    words = subprocess.check_output(["sh", "-c", f"printf '%s\n' {command}"], text=True).split()
    parser = argparse.ArgumentParser()
    PARSERS[words[0]](parser)
    given = parser.parse_args(words[1:])
    if "recipe" in given and not given.recipe.endswith(".py"):  # A reader's own file.
        name, arguments = experiment.parse(given.recipe)
        more = {"seed": "3"} if words[0] == "repeat" else {}
        assert experiment.load(name, arguments | more, data_dir=None).name == name


def test_there_are_commands():
    assert len(COMMANDS) >= 6 and len(OF_PROGRAM) >= 6


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
