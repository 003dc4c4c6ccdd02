"""What a run has measured that may explain why a head learned little."""

import json

import pytest

from fakes.results import finish
from must_keras import experiment
from must_keras.pseudo_labels.label_counts import HeadCounts, SourceCounts
from must_keras.report import evidence
from must_keras.runs.results import Origins, Scored
from must_keras.runs.run import Run

COUNTS = {
    "crowd": SourceCounts(
        images=40, read=40, heads={"objects": HeadCounts(true=40, pseudo=0, missing=0, empty=4)}
    ),
    "pool": SourceCounts(
        images=48, read=48, heads={"objects": HeadCounts(true=0, pseudo=40, missing=8, empty=36)}
    ),
}


def complete(artifact, **values):
    artifact.begin()
    finish(artifact, **values)


@pytest.fixture
def run(tmp_path):
    """Boxes: a teacher with 2 objects an image; 0.25 an image in the pool; a poor student."""
    small = {"images": "40", "pool_images": "48", "teachers": "objects", "starts": "random+student"}
    recipe = experiment.load("scenes", small, data_dir="nowhere")
    run = Run(recipe=recipe, path=tmp_path)
    metrics, trivial = {"box_ap50": 0.5}, {"box_ap50": 0.0}
    of_teacher = {"class_counts": {"ball": 80.0}, "counted": 40, "images_seen": 9600}
    complete(run.teacher("objects"), metrics=metrics, trivial=trivial, **of_teacher)
    of_pool = {"class_counts": {"ball": 12.0}, "counted": 48, "quality": {"box_ap50": 0.1}}
    complete(run.labels("objects", "pool"), **of_pool)
    complete(
        run.student,
        tasks={"objects": Scored(metrics={"box_ap50": 0.05}, trivial=trivial)},
        loss_weights={"objects": 1.0}, loss_weight_sources={"objects": "formula"},
        origins={"pool": {"objects": Origins(true=100, pseudo=400, missing=500)}},
        images_seen=1000,
    )  # fmt: skip
    lines = [{"step": k, "split": "train", "objects_gradient_share": k / 10} for k in (1, 3)]
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    (run.student.folder / "metrics.jsonl").write_text(text)
    return run


def test_what_is_known_of_a_head(run):
    teacher = run.recipe.teacher("objects")
    found = evidence.of_head(run, teacher, run.student.result(), COUNTS)
    assert (found.metric, found.student, found.teacher, found.trivial) == ("box_ap50", 0.05, 0.5, 0)
    assert (found.training_images, found.labeled_share) == (len(teacher.sets.train), 0.5)
    assert (found.true_frequencies, found.pseudo_frequencies) == ({"ball": 2.0}, {"ball": 0.25})
    assert (found.empty_share, found.true_empty_share, found.quality) == (0.9, 0.1, 0.1)
    assert (found.student_seen, found.teacher_seen, found.threshold) == (500.0, 9600, 0.3)
    assert found.gradient_share == pytest.approx(0.2) and found.correlation is None


def test_a_shortfall_has_the_causes_of_its_evidence(run, monkeypatch):
    monkeypatch.setattr(evidence, "_misfits", lambda *_: ("anchors of 32 px do not fit",))
    (found,) = evidence.find(run, COUNTS)
    assert (found.head, found.kind) == ("objects", "far_below_teacher")
    names = [cause.name for cause in found.likely]
    assert names == ["anchors", "other_domain", "few_labels", "short_training"]
    assert "0.25" in found.likely[1].text and "90%" in found.likely[1].text


def test_heads_that_learned_and_runs_without_a_student_have_none(run):
    known = run.student.result()
    learned = {"objects": Scored(metrics={"box_ap50": 0.4}, trivial={"box_ap50": 0.0})}
    run.student.amend(tasks=learned)
    assert evidence.find(run, COUNTS) == [] and known.tasks != learned
    (run.student.folder / "finished.json").unlink()
    assert evidence.find(run, None) == []
