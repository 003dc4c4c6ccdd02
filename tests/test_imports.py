"""The arrows between the modules of the package, from plain files up to main: see ORDER."""

import ast
import graphlib
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "must_keras"
# Each entry may import itself and what stands above it: modules, or folders with all they contain.
PLAIN = (
    "errors", "files", "json_files", "log", "naming", "pages", "arguments", "arrays", "experiment", "interruption", "progress", "versions",
    "command", "runs.marks", "runs.fingerprint", "runs.results", "runs.export_results", "runs.details", "runs.artifact",
)  # fmt: skip
ORDER = (
    "ops", "modeling", "tasks", "synthetic", "data", "training", "self_supervised", "inference", "exports",
    "config", "inspection", "runs", "pseudo_labels", "transfer", "analysis", "report", "stages", "api", "request",
    "main",
)  # fmt: skip
# Programs beside main: the commands of must-keras, and it.
COMMANDS = ("compare", "labels", "predict", "repeat", "replay", "cli")
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip("."):
    path for path in sorted(PACKAGE.rglob("*.py"))
}  # fmt: skip
FILES = sorted(MODULES.values())
# To be resolved: arrows that still point the wrong way.
WRONG: set[tuple[str, str]] = set()


def imported(path: pathlib.Path) -> set[str]:
    """The modules of the package that a file imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    names = (name.removeprefix("must_keras.") for name in found if name.startswith("must_keras."))
    return {name if name in MODULES else name.rpartition(".")[0] for name in names}


def level(module: str) -> int:
    """The place of a module in the order: plain ones first, commands last."""
    if module in PLAIN:
        return 0
    first = module.partition(".")[0]
    return len(ORDER) + 1 if first in COMMANDS else ORDER.index(first) + 1


@pytest.mark.parametrize("module", [name for name in MODULES if name])
def test_arrows_go_one_way(module):
    for name in imported(MODULES[module]):
        wrong = (module, name) in WRONG
        assert wrong or level(name) <= level(module), f"{module} imports {name}"


def test_no_module_imports_the_public_names():
    for name, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())) if name else ():
            if isinstance(node, ast.Import):
                assert "must_keras" not in [alias.name for alias in node.names], name
            elif isinstance(node, ast.ImportFrom) and node.module == "must_keras":
                for alias in node.names:
                    assert any(one.split(".")[0] == alias.name for one in MODULES), name


def test_only_main_loads_experiments():
    for path in FILES:
        assert "from experiments" not in path.read_text(), path


def test_no_circle():
    # The package itself, which nothing below imports, is left out.
    graph = {module: imported(path) - {module} for module, path in MODULES.items() if module}
    for module, name in WRONG:
        graph[module].discard(name)
    graphlib.TopologicalSorter(graph).prepare()


def test_siblings_do_not_import_each_other():
    for folder, shared in (
        (
            "tasks",
            {
                "base",
                "details",
                "evaluation",
                "mixtures",
                "parts",
                "pixel_maps",
                "self_labeled",
                "summaries",
                "thresholds",
                "typed",
                "visualization",
            },
        ),
        ("data/sources", {"source", "image_files", "tfds_readings"}),
    ):
        for path in (PACKAGE / folder).glob("*.py"):
            if path.stem in {"__init__", *shared}:
                continue
            prefix = f"{folder.replace('/', '.')}."
            for name in imported(path):
                if name.startswith(prefix):
                    assert name[len(prefix) :].split(".")[0] in shared, f"{path} imports {name}"


# What runs on another Keras backend, in an environment without TensorFlow: the folders, and these.
WITHOUT_TENSORFLOW = ("ops", "modeling", "tasks")
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
    # Of the input pipeline, by OpenCV: imported where a view is sampled. And its form in a graph.
    files -= {PACKAGE / "ops" / "resampling.py", PACKAGE / "ops" / "graph_resampling.py"}
    reached = set()
    for path in (*files, *STEP_ON_JAX):
        reached = needed(path, reached)
    assert files < reached
    assert "optimizers.py" in {path.name for path in reached - files}
    for path in reached:
        roots = {name.split(".")[0] for name in at_import(path)}
        assert not roots & OF_TENSORFLOW, path


def test_what_needs_tensorflow_is_found():
    roots = {
        name.split(".")[0]
        for path in needed(PACKAGE / "training" / "config.py", set())
        for name in at_import(path)
    }
    assert "tensorflow" in roots


def test_no_file_is_an_alarm():
    for path in FILES:
        assert len(path.read_text().splitlines()) <= 400, path


def test_names_that_hide_their_content_are_absent():
    for path in FILES:
        assert path.stem not in ("utils", "common", "helpers", "misc"), path
