"""What README and site say is true: blocks are run or marked, commands are understood."""

import argparse
import ast
import itertools
import pathlib
import re
import subprocess

import pytest

import fenced_blocks
import must_keras as mk
from fenced_blocks import PAGES, ROOT, blocks, without_code
from must_keras import cli, experiment, main

# {(language, tag): the test that runs blocks of the tag}
RUNNERS = {
    ("sh", "run"): "test_page_commands.py",
    ("python", "scenes"): "test_page_commands.py",
    ("python", "backbone"): "test_page_commands.py",
    ("python", "five lines"): "test_page_commands.py",
    ("sh", "garden"): "test_own_data.py",
    ("python", "recipe"): "test_own_data.py",
    ("python", "shortest"): "test_own_data.py",
    ("python", "source"): "test_own_data.py",
    ("python", "pool"): "test_own_data.py",
    ("python", "splits"): "test_own_data.py",
    ("python", "tfds"): "test_own_data.py",
    ("python", "folders"): "test_public_api.py",
    ("python", "teacher"): "test_external_teachers.py",
    ("python", "onnx_teacher"): "inference/test_onnx_model.py",
    ("python", "hub_teacher"): "inference/test_keras_hub_tasks.py",
    ("python", "labels"): "test_external_teachers.py",
    ("python", "serve"): "exports/test_files.py",
    ("python", "loop"): "test_other_tools.py",
    ("sh", "loop"): "test_other_tools.py",
    ("python", "options"): "test_page_options.py",
    ("python", "new_source"): "test_page_options.py",
    ("python", "self_labeled"): "test_page_options.py",
}
# Text, and what the site's generator reads.
NOT_CODE = re.compile(r"text|json|mermaid|\{.*\}")
README = (ROOT / "README.md").read_text(encoding="utf-8")
PARSERS = {one.name: one.add_arguments for one in cli.COMMANDS}
# What loops of a page set.
VARIABLES = {
    "seed": "0",
    "times": "4",
    "teachers": "shapes+objects",
    "base": "seed=0,data_seed=0,neck=backbone,starts=random+student,pool_images=750",
}


def named(page: pathlib.Path) -> str:
    return str(page.relative_to(ROOT))


# ---- every block --------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_block_is_run_or_has_a_reason(page):
    for block in fenced_blocks.blocks_of(page):
        if NOT_CODE.fullmatch(block.language):
            continue
        assert block.language in ("sh", "python"), f"{block}: {block.language}"
        if block.reason is None:
            assert (block.language, block.tag) in RUNNERS, f"{block}: no test runs it"
        else:
            assert len(block.reason) > 10 and not block.tag, str(block)
    lines = without_code(page).splitlines()
    indented = [b for a, b in itertools.pairwise(lines) if not a and b.startswith("    ")]
    assert not indented, f"{named(page)}: a block without a fence: {indented[0]}"


def test_every_tag_has_its_test_and_is_used():
    for (language, tag), name in RUNNERS.items():
        assert f'"{tag}"' in (ROOT / "tests" / name).read_text(encoding="utf-8"), (tag, name)
        assert blocks(language, tag), (language, tag)


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python_is_python(block):
    ast.parse(block.code)


# ---- every command ------------------------------------------------------------------------------


def commands(program: str) -> list[str]:
    """The arguments of all commands that start a program, also within loops."""
    found = {}
    for block in blocks("sh"):
        for line in block.commands():
            for name, value in VARIABLES.items():
                line = line.replace(f"${name}", value)
            pattern = rf"(?:^|do |until |&& ){re.escape(program)}(?: ([^#;]*))?(?:[#;]|$)"
            for match in re.finditer(pattern, line):
                found[(match[1] or "").replace("<8 digits>", "12345678").strip()] = None
    return list(found)


def load(text: str) -> None:
    """Load a recipe of the project; a reader's own file is not there."""
    name, arguments = experiment.parse(text)
    if name.endswith(".py"):
        return
    if any(k in arguments for k in ("checkpoint", "feature_teacher", "rates_from")):
        return
    if "data" in arguments and not (ROOT / arguments["data"]).is_dir():
        pytest.skip(f"{arguments['data']} is not there")
    if "data" in arguments:
        arguments["data"] = str(ROOT / arguments["data"])
    loaded = experiment.load(name, arguments, data_dir=None)
    assert loaded.name == name


@pytest.mark.parametrize("command", commands("python -m must_keras.main"))
def test_a_command_with_flags_is_understood(command):
    words = subprocess.check_output(["sh", "-c", f"printf '%s\\n' {command}"], text=True).split()
    flags = dict(word.removeprefix("--").partition("=")[::2] for word in words)
    known = {
        "experiment", "stage", "plan", "verify", "diff", "label_engine", "workdir", "strategy",
    }  # fmt: skip
    assert set(flags) <= known and flags.get("stage", "all") in main.STAGES
    load(flags.get("experiment", "scenes"))


@pytest.mark.parametrize("command", commands("must-keras"))
def test_a_command_of_the_program_is_understood(command):
    words = subprocess.check_output(["sh", "-c", f"printf '%s\\n' {command}"], text=True).split()
    name = next(n for n in (" ".join(words[:2]), words[0]) if n in PARSERS)
    parser = argparse.ArgumentParser()
    PARSERS[name](parser)
    given = parser.parse_args(words[len(name.split()) :])
    if "recipe" in given and not given.recipe.startswith("runs/"):
        load(given.recipe + (":seed=3" if words[0] == "repeat" and ":" not in given.recipe else ""))


def test_there_are_commands():
    assert len(commands("python -m must_keras.main")) >= 15 and len(commands("must-keras")) >= 12


@pytest.mark.parametrize(
    "text",
    sorted({
        text for page in PAGES
        for text in re.findall(r"`(scenes:[^`<>\s]+)`", without_code(page))
    }),
)  # fmt: skip
def test_an_ablation_is_a_recipe(text):
    load(text)


# ---- every name ---------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_file_that_a_page_names_is_there(page):
    text = without_code(page)
    folders = "must_keras|experiments|tests|benchmarks|docs"
    for name in re.findall(rf"`((?:{folders})/[^`*<>{{}}\s]+)`", text):
        assert (ROOT / name).exists(), f"{named(page)}: {name}"
    for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)|<img[^>]* src=\"([^\"]+)\"", text):
        target = next(filter(None, link))
        if not target.startswith(("http", "mailto")):
            assert (page.parent / target).exists(), f"{named(page)}: {target}"


def test_every_public_name_is_in_the_reference():
    pages = "\n".join(p.read_text() for p in (ROOT / "docs/reference/api").glob("*.md"))
    listed = set(re.findall(r"auto\w+:: must_keras\.(\w+)$", pages, re.MULTILINE))
    assert not set(mk.__all__) - listed, "add them to a page of docs/reference/api"
    assert not listed - set(mk.__all__), "they are not public"


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 120
