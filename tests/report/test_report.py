import base64
import io
import json
import math
import re
import types

import numpy as np
import pytest
from PIL import Image

from must_keras import experiment
from must_keras.analysis import comparison, curves
from must_keras.config.protocol import Protocol
from must_keras.inference import visualization
from must_keras.report import balance, page, summary, transfers
from must_keras.runs.workdir import Workdir
from must_keras.tasks import Segmentation


def row(downstream, start, value, *, seed=0, aligned="none", metric="top1", trivial=0.1, copied=()):
    return {
        "set": downstream, "start": start, "seed": seed, "value": value, "metric": metric,
        "trivial": trivial, "aligned": aligned, "copied": list(copied), "images": 200, "steps": 100,
        "mode": "full", "neck": "fpn", "shots": None, "learning_rate": 0.001,
    }  # fmt: skip


def test_the_verdict_counts_only_sets_of_which_nobody_saw_the_images():
    rows = [
        row("seen", "random", 0.2), row("seen", "student", 0.9, aligned="set"),
        row("half", "random", 0.2), row("half", "student", 0.9, aligned="images"),
        row("new", "random", 0.2), row("new", "student", 0.3, aligned="task"),
        row("worse", "random", 0.4), row("worse", "student", 0.3),
    ]  # fmt: skip
    said = summary.verdict(rows)
    assert "above the random start on 1 of 2 downstream sets" in said
    assert (
        "2 sets are left out, because the student was trained on their images: seen, half" in said
    )
    assert "One seed is too few" in said


def test_a_teacher_that_saw_the_images_is_not_compared_with():
    rows = [
        row("a", "random", 0.2), row("a", "student", 0.3),
        row("a", "teacher-x", 0.1, aligned="images"), row("a", "teacher-y", 0.25),
        row("b", "random", 0.2), row("b", "student", 0.3), row("b", "teacher-y", 0.25),
    ]  # fmt: skip
    said = summary.verdict(rows)
    assert "random start on 2 of 2 and above all 2 teacher starts on 1 of 1 downstream" in said
    assert (
        "1 set is left out of the comparison with the teachers, because a teacher was trained on "
        "its images: a." in said
    )


def test_the_table_says_how_many_images_each_start_has_seen():
    report = {
        "teachers": {"x": {"images_seen": 6400}, "given": {"images_seen": None}},
        "student": {"images_seen": 12800}, "selfsup": {"moco": {"images_seen": 12799}},
        "transfers": [], "comparisons": {},
    }  # fmt: skip
    starts = ("random", "checkpoint", "teacher-x", "teacher-given", "supervised", "moco", "student")
    recipe = types.SimpleNamespace(start_names=starts, protocols=(Protocol(),), transfer_seeds=1)
    (table,) = transfers.tables(recipe, report)
    assert table["seen"] == ["0", "–", "6,400", "–", "–", "12,799", "12,800"]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "no student to compare"),
        ([row("a", "random", 0.2)], "no student to compare"),
        ([row("a", "random", None), row("a", "student", 0.2)], "no student to compare"),
        (
            [row("a", "random", 0.1), row("a", "student", 0.2, aligned="set")],
            "cannot be compared with another start on any downstream set. 1 set is left out",
        ),
    ],
)
def test_the_verdict_says_where_nothing_can_be_compared(rows, words):
    said = summary.verdict(rows)
    assert words in said and "above" not in said


def test_less_is_better_for_errors():
    rows = [
        row("a", "random", 0.4, metric="abs_rel", trivial=0.5),
        row("a", "student", 0.3, metric="abs_rel", trivial=0.5),
    ]
    assert "on 1 of 1" in summary.verdict(rows)


def html(tmp_path, rows, *, starts=("random", "student"), seeds=1) -> str:
    """The page of a run that has only transfers."""
    recipe = types.SimpleNamespace(
        name="fake", seed=0, teachers=(), transfers=(), pools=(), start_names=starts,
        transfer_seeds=seeds, protocols=(Protocol(),),
    )  # fmt: skip
    groups = comparison.by_protocol(rows)
    report = {
        "teachers": {}, "labels": {}, "student": None, "transfers": rows, "seconds": {},
        "comparisons": {name: comparison.compare(found) for name, found in groups.items()},
    }  # fmt: skip
    path = tmp_path / "report.html"
    page.write(recipe, Workdir(tmp_path), report, path)
    return path.read_text()


def cells(text: str, first: str) -> list[tuple[str, str]]:
    """(class, text) of the cells in the line of the table that begins so."""
    line = next(x for x in text.splitlines() if re.match(rf"<tr><t[hd][^>]*>{re.escape(first)}", x))
    return re.findall(r'<td(?: class="(.*?)" title=".*?")?>(.*?)</td>', line)


def test_a_value_that_is_unknown_is_a_dash_and_never_the_best(tmp_path):
    rows = [row("a", "random", None, metric="abs_rel"), row("a", "student", 0.4, metric="abs_rel")]
    *_, random, student = cells(html(tmp_path, rows), "a")
    assert random == ("", "–")
    assert student == ("best", "0.400")
    *_, random, student = cells(html(tmp_path, [row("a", "random", None)]), "a")
    assert random == student == ("", "–")


def test_seeds_are_averaged_over_those_that_are_known(tmp_path):
    rows = [row("a", "random", value, seed=i) for i, value in enumerate((0.2, 0.4, None))]
    rows += [row("a", "student", value, seed=i) for i, value in enumerate((None, 0.25))]
    *_, random, student = cells(html(tmp_path, rows, seeds=3), "a")
    assert random == ("best", "0.300 ± 0.141 (2)")
    assert student == ("", "0.250 (1)")


def test_the_lines_under_the_table(tmp_path):
    rows = [
        row("boxes", "random", 0.2),
        row("boxes", "teacher-shapes", 0.3, copied=["backbone"]),
        row("boxes", "student", 0.4, aligned="task", copied=["backbone", "neck"]),
        row("classes", "random", 0.2),
        row("classes", "teacher-shapes", 0.3, copied=["backbone"]),
        row("classes", "student", 0.4, aligned="task", copied=["backbone"]),
    ]
    text = html(tmp_path, rows, starts=("random", "teacher-shapes", "teacher-x", "student"))
    names = ("mean normalized gain (2 sets", "mean normalized gain wh")
    found = {first: [t for _, t in cells(text, first)] for first in names}
    assert list(found.values()) == [["+0.000", "+0.125", "–", "+0.250"], ["–"] * 4]
    assert "Against random the student" in text and "one run has no interval" in text
    assert [t for _, t in cells(text, "copied")] == [
        "nothing", "backbone", "–", "backbone, pyramid (1 of 2 sets)",
    ]  # fmt: skip


def test_a_sweep_and_numbers_of_shots_are_shown(tmp_path):
    tried = [
        {"learning_rate": 0.001, "value": 0.25, "chosen": False},
        {"learning_rate": 0.01, "value": 0.5, "chosen": True},
    ]
    rows = [
        row("a", start, value) | {"shots": shots, "images": 2 * shots, "mode": "frozen"}
        for shots, value in ((10, 0.2), (20, 0.4))
        for start in ("random", "student")
    ]
    rows[0] |= {"sweep": tried, "validation_images": 12}
    text = html(tmp_path, rows)
    assert "frozen-fpn-10" in text and "frozen-fpn-20" in text
    assert "<td>12</td><td>0.001: 0.250; <b>0.01: 0.500</b></td>" in text
    assert text.count("against labeled images") == 1
    assert "against labeled images" not in html(tmp_path, rows[:2])


def test_a_page_of_nothing(tmp_path):
    assert "There is no student" in html(tmp_path, [])


def test_pools_are_shown_before_the_teachers_training_sets(tmp_path):
    recipe = experiment.load("scenes", {"images": "40", "pool_images": "48"}, data_dir="nowhere")
    workdir = Workdir(tmp_path)
    for teacher in ("shapes", "objects"):
        for source in ("crowd" if teacher == "shapes" else "single", "pool"):
            part = workdir.labels(teacher, source)
            part.begin()
            part.finish({}, {"images": 1})
    found = [(column["teacher"], column["source"]) for column in page._labels(recipe, workdir)]
    assert found == [
        ("shapes", "pool"), ("objects", "pool"), ("shapes", "crowd"), ("objects", "single"),
    ]  # fmt: skip


def test_names_from_data_are_escaped(tmp_path):
    odd = "<script>alert('x')</script>"
    text = html(tmp_path, [row(odd, "random", 0.1), row(odd, "student", 0.2)])
    assert "<script>" not in text and "&lt;script&gt;" in text


def test_what_a_threshold_keeps_is_said():
    found = {"answers": [0, 0, 0, 0, 60, 0, 0, 20, 10, 10], "right": [0] * 4 + [6, 0, 0, 10, 8, 9]}
    said = page._sure(found, 0.5)
    assert "threshold of 0.5 keeps 40% of its answers" in said and "68% of these are right" in said
    assert "No answer to a validation image reaches" in page._sure(
        {"answers": [5] + [0] * 9, "right": [1] + [0] * 9}, 0.5
    )
    assert page._sure(None, 0.5) is None and page._sure(found, None) is None


def test_charts_take_any_name():
    counts = {"true": {f"${i}_^": float(i) for i in range(40)}}
    counts["pseudo"] = dict(counts["true"])
    found = {"answers": [0] * 9 + [3], "right": [0] * 9 + [2]}
    for picture in (
        curves.shares("$a_{", counts),
        curves.reliability("$b", found, 0.5),
        curves.plot("c$", {"loss": [(1, 2.0)]}),
        curves.per_image("d$_", counts),
        curves.precision_recall(
            "e$",
            [0.0, 0.5, 1.0],
            {"precision": [0.5, 1.0, math.nan], "recall": [0.9, 0.4, 0.0]},
            chosen=[],
            wanted=0.8,
        ),
    ):
        assert picture.startswith(b"\x89PNG")


def test_the_students_heads_are_shown_among_each_other(tmp_path):
    student = Workdir(tmp_path).student
    assert balance.charts(student) == []
    looks = [
        {"step": 200 * i, "split": "train", "a_loss_share": 0.2, "b_loss_share": 0.8,
         "a_gradient_share": 0.5, "b_gradient_share": 0.5, "a_b_cosine": -0.1}
        for i in (1, 2)
    ]  # fmt: skip
    steps = [{"step": 20, "split": "train", "loss": 1.0, "a_loss": 0.5, "a_weight": 0.7}]
    path = student.begin() / "metrics.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*steps, *looks]))
    assert len(balance.charts(student)) == 4
    assert set(curves.read(path)) == {"loss", "a_loss"}
    assert curves.read(path, ("cosine",)) == {"a_b_cosine": [(200, -0.1), (400, -0.1)]}


def test_image_truth_teacher_and_student_stand_side_by_side(tmp_path):
    task = Segmentation(name="street", classes=("road", "sky"))
    workdir = Workdir(tmp_path)
    colors = {"image": 0, "truth": 60, "teacher": 120, "student": 180}
    for part, said in ((workdir.teacher("t"), "teacher"), (workdir.student, "student")):
        row_of = [np.full((8, 10, 3), colors[key], np.uint8) for key in ("image", "truth", said)]
        visualization.save(
            part.begin() / "pictures" / "street.png", visualization.grid([row_of, row_of])
        )
    uri = page._side_by_side(task, workdir, "t")
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))
    parts = visualization.columns(picture, 4)
    assert [
        abs(int(np.median(p[-6:])) - color) < 8
        for p, color in zip(parts, colors.values(), strict=True)
    ] == [True] * 4
