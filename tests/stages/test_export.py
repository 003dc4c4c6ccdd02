"""What is exported is what was trained: the comparison after reloading."""

import json
import pathlib
import types

import numpy as np
import pytest
import tensorflow as tf

from fakes.random_examples import NETWORK
from fakes.results import a_result, finish
from must_keras.errors import DataError
from must_keras.json_files import write_json
from must_keras.runs import export_results, marks
from must_keras.runs.fingerprint import describe
from must_keras.runs.run import Run
from must_keras.stages import export
from must_keras.tasks import Classification, Depth, Detection, Segmentation
from must_keras.training.building import build_model

NORM = {"momentum": 0.9, "epsilon": 1e-4, "synchronized": False}
KIND = Classification(name="kind", classes=("a", "b", "c"))
PARTS = Segmentation(name="parts", classes=("a", "b"), channels=8, num_convs=1)
PATH = pathlib.Path("somewhere")
HEADS = (
    Detection(name="things", classes=("a", "b", "c")),
    Segmentation(name="parts", classes=("a", "b", "c")),
    Depth(name="far"),
)


def run_of(path, tasks) -> Run:
    """A run with a complete student, whose recipe has nothing but tasks."""
    run = Run(recipe=types.SimpleNamespace(tasks=tasks, labelers=(), exports=()), path=path)
    run.student.begin()
    build_model(NETWORK, tasks, seed=0, norm=NORM).save(run.student.model_path)
    finish(run.student)
    return run


def make(run):
    """The result of the stage."""
    one = run.export.declare(find_inputs=dict)
    export.STAGE.make(run, [one])
    return one.result()


def test_a_student_without_a_pyramid_is_exported_without_it(tmp_path, capsys):
    result = make(run_of(tmp_path, [KIND]))
    folder = tmp_path / "export"
    assert (folder / "backbone.keras").is_file() and not (folder / "neck.keras").exists()
    assert "neck.keras" in result.skipped and "neck.keras" not in result.reloaded
    assert "neck.keras not written: no head reads the pyramid" in capsys.readouterr().out
    assert set(json.loads((folder / "labels.json").read_text())) == {"kind"}
    loaded = tf.saved_model.load(str(folder / "saved_model"))
    served = loaded.serve(tf.zeros((1, 40, 90, 3), tf.uint8))
    assert served["kind.probabilities"].shape == (1, 3)


def test_every_part_is_reloaded_and_compared(tmp_path):
    result = make(run_of(tmp_path, [KIND, PARTS]))
    assert list(result.reloaded) == [
        "backbone.keras", "neck.keras", "saved_model, float32 64x64", "saved_model, uint8 49x80",
    ]  # fmt: skip
    assert not result.skipped
    for found in result.reloaded.values():
        assert found["difference"] <= 1e-4 and found["agreement"] > 0.99


def test_a_student_that_says_nan_is_not_exported(tmp_path):
    run = run_of(tmp_path, [KIND])
    model = build_model(NETWORK, [KIND], seed=0, norm=NORM)
    model.set_weights([np.full_like(w, np.nan) for w in model.get_weights()])
    model.save(run.student.model_path)
    with pytest.raises(DataError, match="is not finite everywhere"):
        make(run)
    assert run.export.result() is None


def test_export_json_compares_what_was_made_of_the_current_student(tmp_path):
    run = Run(recipe=types.SimpleNamespace(labelers=()), path=tmp_path)
    run.student.begin()
    finish(run.student)
    current = run.student.result()
    assert export.STAGE.report(run) == {}
    plain = a_result(
        export_results.ExportResult, reloaded={"neck.keras": {"difference": 1e-6, "agreement": 1.0}}
    )
    like = export_results.HeadLikeness(difference=4e-7, agreement=0.998)
    onnx = a_result(export_results.FormatResult, file="model.onnx", heads={"parts": like})
    made = {run.export: plain, run.export_of("onnx"): onnx, run.export_of("phone"): onnx}
    for artifact, result in made.items():
        student = "an earlier one" if artifact.folder.name == "phone" else current
        one = artifact.declare(find_inputs=lambda student=student: {"student": student})
        one.begin()
        one.finish(result)
    export.STAGE.conclude(run, ())
    found = json.loads((tmp_path / "export" / "export.json").read_text())
    assert found["reloaded"] == plain.reloaded and list(found["formats"]) == ["onnx"]
    assert found["formats"]["onnx"]["heads"] == {"parts": {"difference": 4e-7, "agreement": 0.998}}
    assert describe(export.STAGE.report(run)) == {"exports": found}
    marks.check_own(tmp_path / "export")
    # Of another student nothing is shown.
    path = run.student.folder / "finished.json"
    write_json(path, {"inputs": {}, "result": describe(current) | {"parameters": 7}})
    assert export.STAGE.report(run) == {}


def outputs(num_images: int = 2, num_boxes: int = 100, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        "things.boxes": random.uniform(0, 64, (num_images, num_boxes, 4)).astype(np.float32),
        "things.scores": random.uniform(0.1, 1, (num_images, num_boxes)).astype(np.float32),
        "things.classes": random.integers(0, 3, (num_images, num_boxes)),
        "things.masks": random.uniform(0, 1, (num_images, num_boxes, 4, 4)).astype(np.float32),
        "parts.map": random.integers(0, 3, (num_images, 64, 64)),
        "far.depth": random.uniform(1, 9, (num_images, 64, 64)).astype(np.float32),
    }


def test_equal_outputs_agree_wholly():
    assert export.compare(PATH, outputs(), outputs(), HEADS) == export.Comparison(
        difference=0.0, agreement=1.0
    )


@pytest.mark.parametrize("key", list(outputs()))
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_single_value_that_is_not_finite_is_refused(key, value):
    for broken in (0, 1):
        sides = [{k: v.astype(np.float64) for k, v in outputs().items()} for _ in range(2)]
        sides[broken][key].flat[5] = value
        with pytest.raises(DataError, match=rf"{key} is not finite"):
            export.compare(PATH, *sides, HEADS)


def test_one_flipped_pixel_or_tie_is_no_other_model():
    other = outputs()
    other["parts.map"][0, 3, 4] += 1
    # One detection is replaced, and all later ones move up a rank.
    for key in ("boxes", "scores", "classes", "masks"):
        other[f"things.{key}"][0, :-1] = other[f"things.{key}"][0, 1:]
    other["things.classes"][0, -1] = 7
    found = export.compare(PATH, outputs(), other, HEADS)
    assert found.agreement == pytest.approx(1 - 1 / 200) and found.difference == 0.0


@pytest.mark.parametrize("key", ["things.boxes", "things.scores", "things.masks"])
def test_detections_elsewhere_are_refused(key):
    other = outputs()
    other[key][:, ::20] += 0.1
    with pytest.raises(DataError, match="things.detections agree .* in 95.0%"):
        export.compare(PATH, outputs(), other, HEADS)


def test_another_map_or_depth_is_refused():
    other = outputs()
    other["parts.map"][:, 0] += 1
    with pytest.raises(DataError, match="parts.map agree .* in 98.4%"):
        export.compare(PATH, outputs(), other, HEADS)
    other = outputs()
    other["far.depth"][0, 0, 0] += 0.01
    with pytest.raises(DataError, match="far.depth differs .* by 1.1e-03"):
        export.compare(PATH, outputs(), other, HEADS)


def test_pictures_without_any_detection_agree():
    nothing = outputs()
    nothing["things.classes"][:] = -1
    assert export.compare(PATH, nothing, nothing, HEADS).agreement == 1.0
    with pytest.raises(DataError, match="in 0.0%"):
        export.compare(PATH, nothing, outputs(), HEADS)


def test_a_missing_output_is_refused():
    other = outputs()
    del other["far.depth"]
    with pytest.raises(DataError, match="outputs"):
        export.compare(PATH, outputs(), other, HEADS)
