"""The arrows between the packages, from ops to stages and main: see ORDER."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "must_keras"
# What each package may import besides itself; files at the top belong to nobody below them.
ORDER = ["ops", "models", "tasks", "data", "training", "selfsup", "prediction", "stages"]
PLAIN = {
    "arrays",
    "command",
    "errors",
    "files",
    "versions",
    "experiment",
    "interruption",
    "marks",
    "naming",
    "workdir",
    "recorded",
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
        (
            "tasks",
            {"base", "drawing", "evaluation", "foreign", "label_content", "sketch", "thresholds"},
        ),
        ("data/sources", {"source", "image_files", "paired", "tfds_readings"}),
    ):
        for path in (PACKAGE / folder).glob("*.py"):
            if path.stem in {"__init__", *shared}:
                continue
            prefix = f"must_keras.{folder.replace('/', '.')}."
            for name in imported(path):
                if name.startswith(prefix):
                    assert name[len(prefix) :].split(".")[0] in shared, f"{path} imports {name}"


# What runs on another Keras backend, in an environment without TensorFlow: the folders, and these.
WITHOUT_TENSORFLOW = ("ops", "models", "tasks")
STEP_ON_JAX = [PACKAGE / "training" / f"{name}.py" for name in ("network", "jax_step")]
OF_TENSORFLOW = {"tensorflow", "tensorflow_datasets", "keras_cv", "tensorboard", "cv2"}


def at_import(path: pathlib.Path) -> set[str]:
    """The modules, and names of them, that a file imports before anything is called."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def needed(path: pathlib.Path, seen: set[pathlib.Path]) -> set[pathlib.Path]:
    """A file and all files of must_keras that importing it imports."""
    if path in seen:
        return seen
    seen.add(path)
    for name in at_import(path):
        parts = name.split(".")
        # The last part may be a module or a name within one; packages on the way count too.
        for end in range(1, len(parts) + 1):
            place = ROOT.joinpath(*parts[:end])
            for file in (place.with_suffix(".py"), place / "__init__.py"):
                if parts[0] == "must_keras" and file.is_file():
                    needed(file, seen)
    return seen


def test_the_model_part_needs_no_tensorflow():
    files = {f for folder in WITHOUT_TENSORFLOW for f in (PACKAGE / folder).rglob("*.py")}
    # Of the input pipeline, by OpenCV: imported where a view is sampled. And its form for serving.
    files -= {PACKAGE / "ops" / "resampling.py", PACKAGE / "ops" / "letterboxing.py"}
    reached = set()
    for path in (*files, *STEP_ON_JAX):
        reached = needed(path, reached)
    assert files < reached
    assert {"losses.py", "optimizers.py"} <= {path.name for path in reached - files}
    for path in reached:
        roots = {name.split(".")[0] for name in at_import(path)}
        assert not roots & OF_TENSORFLOW, path


def test_what_needs_tensorflow_is_found():
    roots = {
        name.split(".")[0]
        for path in needed(PACKAGE / "training" / "trainer.py", set())
        for name in at_import(path)
    }
    assert "tensorflow" in roots


def test_no_file_is_an_alarm():
    for path in FILES:
        assert len(path.read_text().splitlines()) <= 400, path


def test_names_that_hide_their_content_are_absent():
    for path in FILES:
        assert path.stem not in ("utils", "common", "helpers", "misc"), path
