"""The section on sizes, classes, confusions and worst images."""

import json
import types

import numpy as np
import pytest

import pages
from fakes import results as finished
from must_keras import report
from must_keras.analysis import curves
from must_keras.inference import visualization
from must_keras.report import findings
from must_keras.report.results import RunResults, saved_details
from must_keras.report.sections import details
from must_keras.runs import details as on_disk
from must_keras.runs.details import EvaluationDetails, WorstImage
from must_keras.runs.run import Run
from must_keras.tasks import Classification

KIND = Classification(name="kind", classes=("ant", "bee", "cat"))
SCORED = {"metrics": {"top1": 0.75}, "trivial": {"top1": 0.25}}
BY_CLASS = {"ant": (4, 0.5), "bee": (1000, 0.25), "cat": (0, float("nan"))}


@pytest.fixture
def results(tmp_path):
    """A run with a teacher and a student of one head."""
    teacher = types.SimpleNamespace(name="t", task=KIND)
    run = Run(recipe=types.SimpleNamespace(teachers=(teacher,)), path=tmp_path)
    for artifact, plus in ((run.teacher("t"), 0.25), (run.student, 0.0)):
        artifact.begin()
        picture = visualization.grid([[np.full((8, 10, 3), k, np.uint8) for k in (0, 90, 180)]])
        visualization.save(artifact.folder / "pictures" / "kind-worst-1.png", picture)
        worst = WorstImage(image="set/<7>", amount=2.0, text="loss 2", picture="kind-worst-1.png")
        found = EvaluationDetails(
            split="test",
            worst=[worst],
            values={"ece": 0.125},
            by_class={k: {"images": n, "top1": v + plus} for k, (n, v) in BY_CLASS.items()},
            confusion={"ant": {"ant": 2, "bee": 2}, "bee": {"bee": 250, "cat": 750}},
        )
        on_disk.write(artifact.folder, "kind", found)
    finished.finish(run.teacher("t"), **SCORED)
    finished.finish(run.student, tasks={"kind": SCORED})
    return RunResults(run=run, report={})


def test_the_weakest_classes_of_the_student_come_first(results):
    found = pages.section(details.of_heads, results)
    assert pages.texts(found, "h3") == ["kind, test split"]
    values, classes, confusions = found.iter("table")
    assert pages.rows(values) == [["value", "teacher", "student"], ["ece", "0.125", "0.125"]]
    assert pages.rows(classes) == [
        ["class", "images", "top1, teacher", "top1, student"],
        ["bee", "1,000", "0.500", "0.250"],
        ["ant", "4", "0.750", "0.500"],
        ["cat", "0", "–", "–"],
    ]
    assert pages.rows(confusions)[1:3] == [
        ["bee", "cat", "teacher", "750", "75%"],
        ["ant", "bee", "teacher", "2", "50%"],
    ]
    assert len([one for one in found.iter("div") if one.get("class") == "sortable"]) == 2


def test_confusions_are_plotted_and_worst_images_shown(results):
    found = pages.section(details.of_heads, results)
    titles = [image.get("alt") for image in found.iter("img")]
    worst = "set/<7>: loss 2"
    assert titles == ["teacher: confusions", "student: confusions", worst, worst]
    figure = curves.confusion("t", ["a", "b"], np.array([[3, 1], [0, 2]]))
    assert [text.get_text() for text in figure.axes[0].texts] == [".75", ".25", "1"]


def test_many_classes_open_on_a_click(results, monkeypatch):
    monkeypatch.setattr(details, "_MAX_ROWS", 2)
    monkeypatch.setattr(curves, "MAX_CLASSES", 2)
    found = pages.section(details.of_heads, results)
    assert pages.texts(found, "summary") == ["values of 3 classes", "most frequent confusions"]
    assert len(list(found.iter("img"))) == 2, "worst images alone"


def test_report_json_has_the_details_with_null_for_what_is_unknown(results, monkeypatch):
    found = json.loads(json.dumps(findings._details(results.run), allow_nan=False))
    assert found["supervised"] == {}
    assert found["teachers"]["t"]["by_class"]["cat"] == {"images": 0, "top1": None}
    assert found["student"]["kind"]["confusion"]["bee"] == {"bee": 250, "cat": 750}
    assert found["student"]["kind"]["worst"][0]["image"] == "set/<7>"


def test_damaged_details_are_left_out_with_a_warning(results, capsys):
    path = results.run.student.folder / "details" / "kind.json"
    path.write_text(path.read_text()[:40])
    assert saved_details(results.run.student, KIND) is None
    assert str(path) in capsys.readouterr().err
    classes = pages.rows(list(pages.section(details.of_heads, results).iter("table"))[1])
    assert classes[0] == ["class", "images", "top1"] and classes[1][0] == "bee"


def test_artifacts_without_details_have_no_section(results):
    for artifact in (results.run.teacher("t"), results.run.student):
        (artifact.folder / "details" / "kind.json").unlink()
    assert not "".join(details.of_heads(results))
    assert ("Sizes, classes, confusions and worst images", details.of_heads) in report.SECTIONS
