"""docs/how_to/other_tools.md says what is true: its recipe, its commands and its loop are run."""

import argparse
import json
import pathlib
import re
import subprocess
import sys

import pytest

from fakes import arranged_folders
from fenced_blocks import blocks
from must_keras import cli, experiment
from must_keras.data.writers import WRITERS

ROOT = pathlib.Path(__file__).resolve().parents[1]
PATH = "docs/how_to/other_tools.md"
PAGE = (ROOT / PATH).read_text()
COMMANDS = [
    line.removeprefix("must-keras ")
    for block in blocks("sh", "loop", PATH)
    for line in block.commands()
]
PARSERS = {one.name: one.add_arguments for one in cli.COMMANDS}


@pytest.fixture
def home(tmp_path):
    arranged_folders.coco(tmp_path / "garden/fruit", masks=False)
    arranged_folders.photos(tmp_path / "garden/pile", 12)
    (block,) = blocks("python", "loop", PATH)
    (tmp_path / "fruit.py").write_text(block.code)
    return tmp_path


def test_the_commands_are_understood():
    assert len(COMMANDS) == 4
    for command in COMMANDS:
        words = command.split()
        name = next(n for n in (" ".join(words[:2]), words[0]) if n in PARSERS)
        parser = argparse.ArgumentParser()
        PARSERS[name](parser)
        given = parser.parse_args(words[len(name.split()) :])
        assert getattr(given, "format", "coco") in {writer.name for writer in WRITERS}


def test_every_format_is_on_the_page():
    for writer in WRITERS:
        assert f"--format={writer.name}`" in PAGE


def test_the_recipe_is_one(home, monkeypatch):
    monkeypatch.chdir(home)
    recipe = experiment.load("fruit.py", {"data": "garden"}, data_dir=None)
    assert [pool.source.name for pool in recipe.pools] == ["pile"]
    assert recipe.pools[0].source.label_spaces == {}


@pytest.mark.slow
def test_the_loop_from_labels_to_the_next_student(home):
    """With four steps a training: every file is written and read, nothing is learned."""

    def run(command):
        tiny = command.replace("data=garden", "data=garden,steps=4,size=64")
        tiny = tiny.replace("--least-certain=50", "--least-certain=3")
        answer = subprocess.run(
            [sys.executable, "-m", "must_keras.cli", *tiny.split()],
            cwd=home, capture_output=True, text=True, check=False,
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(home)},
        )  # fmt: skip
        assert answer.returncode == 0, f"{tiny}\n{answer.stderr[-3000:]}"
        return answer.stdout

    first, export, import_, second = COMMANDS
    run(first)
    assert run(export) == "3 of 12 labeled images: doubtful\n"
    tasks = json.loads((home / "doubtful/tasks.json").read_text())
    size = {"original_height": 48, "original_width": 64}
    value = {"x": 25, "y": 25, "width": 50, "height": 50, "rectanglelabels": ["pear"]}
    corrected = {"type": "rectanglelabels", "value": value, **size}
    for number, (task, results) in enumerate(zip(tasks, ([corrected], [], None), strict=True)):
        found = [] if results is None else [{"result": results, "was_cancelled": False}]
        task |= {"id": number, "annotations": found}
    (home / "doubtful/export.json").write_text(json.dumps(tasks))
    assert run(import_).startswith("2 images: round1\njoin with the pool: mk.CocoJson(")
    said = run(second)
    assert "reused" in said and (home / "runs/second/report.json").is_file()
    (check,) = re.findall(r"`must-keras (check [^`]*)`", PAGE)
    (numbers,) = re.findall(
        r"^pile +fruit +([\d,]+) +([\d,]+) +([\d,]+)$", run(check), re.MULTILINE
    )
    true, pseudo, missing = (int(number.replace(",", "")) for number in numbers)
    # Of 1,000 examples that are sampled from 12 images of the pool and others.
    assert true / (true + pseudo + missing) == pytest.approx(2 / 12, abs=0.06)
    again = export.replace("garden ", "garden,corrected=round1 ").replace("first", "second")
    assert run(again.replace("doubtful", "next")) == "3 of 12 labeled images: next\n"
    names = {task["data"]["file"] for task in tasks[:2]}
    assert not names & {
        t["data"]["file"] for t in json.loads((home / "next/tasks.json").read_text())
    }
