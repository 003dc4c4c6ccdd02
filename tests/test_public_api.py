"""`import must_keras as mk`: its names, and runs made, opened and used from Python."""

import ast
import inspect
import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

import must_keras as mk
from fakes import arranged_folders, tiny_run
from fakes.results import finish
from fenced_blocks import blocks
from must_keras import experiment
from must_keras.arguments import as_text
from must_keras.json_files import write_json
from must_keras.runs import results
from must_keras.runs.artifact import Artifact

ROOT = pathlib.Path(__file__).resolve().parents[1]
NAMES = {
    "run", "export_labels", "import_labels", "open_run", "load_model", "inspect", "write_recipe", "Run", "Model", "UserError", "DataError", "Interrupted",
    "Recipe", "Teacher", "ExternalTeacher", "ExternalModel", "ImportedLabels", "Pool", "Student",
    "Transfer", "SelfLabeled", "Features", "DomainGate", "AtPrecision",
    "Network", "ResNet", "EfficientNetLite0", "KerasBackbone",
    "TrainingConfig", "KeepBest", "RepeatFactors", "balanced_class_weights", "AdamW", "SGD", "Cosine", "Steps",
    "ScalingRule", "Uniform", "Uncertainty",
    "FromScratch", "FromCheckpoint", "FromModel", "FromBackbone", "FromTeacher", "MoCo", "SimCLR",
    "GradNorm", "Hypervolume", "SoftmaxWeights", "FolderPerTag",
    "Augmentation", "RandAugment", "WholeImages", "StrongViews", "CutMix", "MixUp", "CopyPaste",
    "Classification", "Detection", "Segmentation", "Depth", "Normals", "fitted_detection",
    "Source", "FolderPerClass", "CsvClasses", "CocoJson", "CocoPanoptic", "VocXml", "LabelMaps",
    "DepthMaps", "NormalMaps", "ImagesOnly", "Concatenated", "Joined", "Relabeled",
    "TfdsSource", "tfds_builder", "class_reading", "box_reading", "map_reading", "depth_reading",
    "Splits", "carve_validation", "split_by_fraction", "split_by_lists", "split_by_name",
    "split_sequence", "Labeler", "Tags", "CsvTags", "tags_reading", "Episodes", "DynamicAverage", "RandomWeights",
    "LiteRT", "Onnx", "Contrast", "Jigsaw", "Rotation", "RandomViews", "SelfLabeling",
    "Pretrained", "TorchResNet", "save_torch_resnet", "KerasHub",
    "OnnxModel", "KerasHubDepth", "KerasHubDetector", "KerasHubSegmenter", "MlflowLogger", "WandbLogger",
    "YoloTxt", "LabelStudioJson", "TarShards", "ParquetImages",
}  # fmt: skip


# ---- names --------------------------------------------------------------------------------------


def test_the_public_names_are_these():
    assert set(mk.__all__) == NAMES and set(dir(mk)) >= NAMES
    for name in NAMES:
        assert getattr(mk, name).__name__ == name and getattr(mk, name).__doc__
        assert not list((ROOT / "must_keras").glob(name)) + list(
            (ROOT / "must_keras").glob(f"{name}.py")
        )
    with pytest.raises(AttributeError, match="has no attribute 'Detector'"):
        _ = mk.Detector


@pytest.mark.parametrize("name", sorted(NAMES))
def test_examples_use_public_names_alone(name):
    _, found, example = inspect.cleandoc(getattr(mk, name).__doc__).partition("Example:\n")
    used = set(re.findall(r"\bmk\.(\w+)", example))
    assert found and used and used <= NAMES
    assert not re.findall(rf"(?<![\w.])(?:{'|'.join(NAMES)})[(]", example), example


def test_the_page_uses_public_names():
    page = (ROOT / "docs" / "reference" / "python_api.md").read_text()
    used = set(re.findall(r"\bmk\.(\w+)", page))
    assert {"run", "open_run", "load_model"} <= used <= NAMES


def test_editors_find_the_same_names():
    (block,) = (n for n in ast.parse((ROOT / "must_keras/__init__.py").read_text()).body
                if isinstance(n, ast.If))  # fmt: skip
    found = {alias.name: node.module for node in block.body for alias in node.names}
    assert found == {name: f"must_keras.{module}" for name, module in mk._NAMES.items()}


def test_the_import_is_light(tmp_path):
    code = (
        "import sys, time; start = time.perf_counter(); import must_keras as mk;"
        "print(time.perf_counter() - start); mk.open_run, mk.run, mk.UserError;"
        "print(any(m in sys.modules for m in ('tensorflow', 'keras')))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    seconds, heavy = answer.stdout.split()
    assert float(seconds) < 1 and heavy == "False"


# ---- opened runs --------------------------------------------------------------------------------


def test_what_is_recorded_of_a_run(run):
    run.record()
    rows = [{"set": "dev_class", "start": "student", "value": 0.5}]
    write_json(run.path / "report.json", {"transfers": rows})
    opened = mk.open_run(str(run.path))
    assert opened.path == run.path and opened.recipe["name"] == "scenes"
    assert opened.recipe == json.loads((run.path / "run.json").read_text())["recipe"]
    assert opened.report == {"transfers": rows} and opened.transfers == rows
    assert list(opened.teachers) == [teacher.name for teacher in run.recipe.teachers]
    assert opened.teachers["shapes"].metrics == run.teacher("shapes").result().metrics
    assert opened.student.is_complete and opened.student.metrics == {}
    assert opened.student.details == {} and opened.teachers["shapes"].details is None
    states = dict(opened.status())
    assert set(states.values()) == {"complete"} and "labels/shapes/pool" in states
    assert next(iter(states)).startswith("teachers/") and list(states)[-1] == "report.json"
    assert str(opened.status()).splitlines()[0].split() == [*opened.status()[0]]


def test_a_run_that_is_not_complete(tmp_path):
    recipe = {"teachers": [{"name": "leaves"}, {"name": "fruit"}]}
    write_json(tmp_path / "run.json", {"recipe": recipe, "seed": 0, "versions": {}})
    teacher = Artifact(
        folder=tmp_path / "teachers" / "leaves", result_type=results.TeacherResult
    ).declare(find_inputs=dict)
    teacher.begin()
    write_json(teacher.folder / "progress.json", {"pid": 1, "step": 3, "of": 9})
    opened = mk.open_run(tmp_path)
    assert list(opened.status()) == [
        ("teachers/fruit", "not made"), ("teachers/leaves", "begun, 3 of 9, will be resumed"),
        ("student", "not made"), ("report.json", "not made"),
    ]  # fmt: skip
    for read, path in (
        (lambda: opened.student.metrics, "student"),
        (lambda: opened.teachers["leaves"].load(), "teachers/leaves"),
        (lambda: opened.backbone(), "student"),
        (lambda: opened.report, "report.json"),
        (lambda: opened.transfers, "report.json"),
    ):
        with pytest.raises(mk.UserError) as error:
            read()
        assert error.value.path == tmp_path / path
    finish(teacher)
    with pytest.raises(mk.UserError, match="come from elsewhere"):
        opened.teachers["leaves"].load()


def test_a_folder_of_no_run(tmp_path):
    (tmp_path / "scenes").mkdir()
    (tmp_path / "scenes" / "run.json").write_text("{}")
    with pytest.raises(mk.UserError, match="did you mean 'scenes'") as error:
        mk.open_run(tmp_path / "scene")
    assert error.value.path == tmp_path / "scene" and error.value.allowed == ("scenes",)


# ---- runs that are made -------------------------------------------------------------------------


@pytest.fixture
def executed(monkeypatch):
    """What `mk.run` asks the executor for, instead of a run; it records the run alone."""
    found = []

    def make(self, stage):
        recipe = self.load()
        found.append((recipe, self.workdir, stage, self.only, self.strategy, self.reuse))
        self.workdir.mkdir(parents=True, exist_ok=True)
        write_json(self.workdir / "run.json", {"recipe": {}})

    monkeypatch.setattr("must_keras.runs.executor.Executor.make", make)
    return found


def test_arguments_are_those_of_the_command_line(executed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = {"seed": 3, "starts": ("random", "student")}
    chosen = {"stage": "student", "only": "a", "strategy": "one", "reuse": "r"}
    run = mk.run("scenes", data_dir="d", **chosen, **arguments)
    recipe, workdir, *rest = executed.pop()
    assert recipe.seed == 3 and recipe.starts == ("random", "student")
    _, text = experiment.parse("scenes:starts=random+student,seed=3")
    assert run.path == workdir == experiment.default_workdir("scenes", text)
    assert rest == ["student", ("a",), "one", pathlib.Path("r")]
    assert mk.run("scenes").path == pathlib.Path("runs/scenes")
    assert mk.run("scenes", "mine", **arguments).path == pathlib.Path("mine")
    assert as_text(arguments) == text


def test_a_recipe_object_has_no_arguments(executed, recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert mk.run(recipe).path == pathlib.Path("runs/scenes")
    assert executed.pop()[0] is recipe
    with pytest.raises(mk.UserError, match="seed=1: a Recipe takes no arguments"):
        mk.run(recipe, seed=1)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"stage": "studnet"}, "did you mean 'student'"),
        ({"stage": "status"}, "allowed are all, teacher"),
        ({"strategy": "multiworker"}, "on the command line"),
        ({"sead": 1}, "did you mean 'seed'"),
        ({"seed": "1"}, "expected int"),
    ],
)
def test_mistakes_raise_and_make_nothing(arguments, problem, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(mk.UserError, match=problem) as error:
        mk.run("scenes", **arguments)
    assert error.value.key in arguments and not any(tmp_path.iterdir())


def test_what_is_no_recipe():
    for given, problem in (("scene", "did you mean 'scenes'"), (3, "or a Recipe")):
        with pytest.raises(mk.UserError, match=problem):
            mk.run(given)


# ---- from folders of images to predictions ------------------------------------------------------


@pytest.mark.slow
def test_from_folders_to_predictions(tmp_path):
    tiny_run.draw(tmp_path / "data")
    recipe = tiny_run.recipe_with(tmp_path / "data")
    for folder in ("one", "two"):  # Two runs in one process.
        run = mk.run(recipe, tmp_path / folder)
    assert run.path == tmp_path / "two" and all(s == "complete" for _, s in run.status())
    assert 0 <= run.teachers["trees"].metrics["top1"] <= 1
    assert 0 <= run.student.metrics["trees"]["top1"] <= 1
    assert (
        run.student.details["trees"].by_class.keys()
        == run.teachers["trees"].details.by_class.keys()
    )
    assert {row["start"] for row in run.transfers} == {"random", "student"}
    one, two = (mk.load_model(tmp_path / f).keras_model.get_weights() for f in ("one", "two"))
    for first, second in zip(one, two, strict=True):
        np.testing.assert_array_equal(first, second)
    results = run.student.load().predict(tmp_path / "data" / "pile")
    assert len(results) == 6
    assert results[0]["trees"].top(1)[0].class_name in ("elm", "oak")
    results[0].save(tmp_path / "first.png")
    model = mk.load_model(tmp_path / "one" / "teachers" / "trees")
    assert model.keras_model.size == (32, 32)
    assert set(run.backbone().output) == {"C2", "C3", "C4", "C5"}


@pytest.mark.slow
def test_the_ten_lines_of_the_page(tmp_path, monkeypatch, capsys):
    (code,) = (block.code for block in blocks("python", "folders"))
    assert len(list(filter(None, code.splitlines()))) <= 10
    monkeypatch.chdir(tmp_path)
    arranged_folders.coco(tmp_path / "garden/fruit")
    arranged_folders.depths(tmp_path / "garden/depth/rgb", tmp_path / "garden/depth/depth")
    arranged_folders.photos(tmp_path / "garden/pile", 4)
    arranged_folders.photo(tmp_path / "photo.jpg")
    # Every stage runs, and nothing is learned.
    exec(
        code.replace('"garden.py")\nprint', '"garden.py", teacher_steps=2, student_steps=2)\nprint')
    )
    assert "COCO JSON" in capsys.readouterr().out
    assert set(mk.open_run(next((tmp_path / "runs").iterdir())).teachers) == {"fruit", "depth"}
    assert (tmp_path / "photo.png").is_file()
