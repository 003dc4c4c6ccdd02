"""The examples in docstrings: every public class has one, and those that can run are run."""

import ast
import doctest
import importlib
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Their flags would clash with one another's.
PROGRAMS = ("main", "compare", "predict", "repeat", "replay")
FILES = sorted((ROOT / "must_keras").rglob("*.py"))
WITH_RUNNING_EXAMPLES = [
    path for path in FILES if ">>> " in path.read_text() and path.stem not in PROGRAMS
]


def test_every_public_class_has_an_example():
    without = []
    for path in FILES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                text = ast.get_docstring(node) or ""
                without += [] if "Example:" in text else [f"{path.relative_to(ROOT)}: {node.name}"]
    assert not without


@pytest.mark.parametrize("path", WITH_RUNNING_EXAMPLES, ids=lambda path: path.stem)
def test_examples_print_what_they_say(path):
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted and not found.failed
