"""The arrows between the packages, from ops to stages and main: see ORDER."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "must_keras"
# What each package may import besides itself; files at the top belong to nobody below them.
ORDER = ["ops", "models", "tasks", "data", "training", "selfsup", "prediction", "stages"]
PLAIN = {
    "command",
    "errors",
    "files",
    "versions",
    "experiment",
    "interruption",
    "workdir",
    "progress",
}  # know nothing of the method
FILES = sorted(PACKAGE.rglob("*.py"))


def imported(path: pathlib.Path) -> set[str]:
    """The must_keras modules that a file imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.split(".")[0] in ("must_keras", "experiments")}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_arrows_go_one_way(path):
    package = path.relative_to(PACKAGE).parts[0]
    for name in imported(path):
        assert not name.startswith("experiments"), (
            "only main loads experiments, by the flag's value"
        )
        target = name.split(".")[1]
        if package in ORDER:
            allowed = set(ORDER[: ORDER.index(package) + 1]) | PLAIN
            if package == "stages":
                allowed |= {"recipe"}
            assert target in allowed, f"{path.name} imports {name}"


def test_plain_modules_import_only_each_other():
    for name in PLAIN:
        for target in imported(PACKAGE / f"{name}.py"):
            assert target.split(".")[1] in PLAIN, f"{name} imports {target}"


def test_siblings_do_not_import_each_other():
    for folder, shared in (
        ("tasks", {"base", "drawing", "foreign", "sketch", "thresholds"}),
        ("data/sources", {"source", "image_files", "paired", "tfds_readings"}),
    ):
        for path in (PACKAGE / folder).glob("*.py"):
            if path.stem in {"__init__", *shared}:
                continue
            prefix = f"must_keras.{folder.replace('/', '.')}."
            for name in imported(path):
                if name.startswith(prefix):
                    assert name[len(prefix) :].split(".")[0] in shared, f"{path} imports {name}"


def test_models_and_ops_do_not_know_tensorflow_at_import():
    for folder in ("ops", "models", "tasks"):
        for path in (PACKAGE / folder).rglob("*.py"):
            for node in ast.parse(path.read_text()).body:
                names = []
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom):
                    names = [node.module or ""]
                assert not any(n.split(".")[0] == "tensorflow" for n in names), path


def test_no_file_is_an_alarm():
    for path in FILES:
        assert len(path.read_text().splitlines()) <= 400, path


def test_names_that_hide_their_content_are_absent():
    for path in FILES:
        assert path.stem not in ("utils", "common", "helpers", "misc"), path
