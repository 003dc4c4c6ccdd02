"""The sections of report.html, parsed: what their tables, sentences, charts and pictures contain."""

import json
import types

import numpy as np
import pytest
from PIL import Image

import pages
from fakes import results as finished
from must_keras import experiment, report
from must_keras.analysis import comparison
from must_keras.config.transfers import Protocol
from must_keras.data.sources import FolderPerClass
from must_keras.data.splits import Splits
from must_keras.inference import visualization
from must_keras.report import html
from must_keras.report.html import paragraph
from must_keras.report.results import RunResults
from must_keras.report.sections import exports, heads, labels, transfers
from must_keras.runs.run import Run
from must_keras.tasks import Classification, Segmentation, features
from must_keras.tasks.visualization import palette

SCORED = {"metrics": {"top1": 0.75, "rmse": 12.25}, "trivial": {"top1": 0.25, "rmse": None}}


def row(downstream, start, value, *, seed=0, aligned="none", metric="top1", trivial=0.1, copied=()):
    return {
        "set": downstream, "start": start, "seed": seed, "value": value, "metric": metric,
        "trivial": trivial, "aligned": aligned, "copied": list(copied), "images": 200, "steps": 100,
        "mode": "full", "neck": "fpn", "shots": None, "learning_rate": 0.001,
    }  # fmt: skip


def results(folder, rows=(), *, starts=("random", "student"), seeds=1, of=(), labeled=(), **report):
    """The results of a run; of its artifacts only those below the folder exist."""
    recipe = types.SimpleNamespace(
        name="fake", seed=3, teachers=of, transfers=(), pools=(), start_names=starts,
        transfer_seeds=seeds, protocols=(Protocol(),), student=types.SimpleNamespace(union=False),
        sources_labeled_by=lambda teacher: labeled,
    )  # fmt: skip
    groups = comparison.by_protocol(rows)
    values = {
        "teachers": {}, "labels": {}, "student": None, "transfers": list(rows), "seconds": {"a": 2},
        "comparisons": {name: comparison.compare(found) for name, found in groups.items()},
    } | report  # fmt: skip
    return RunResults(run=Run(recipe=recipe, path=folder), report=values)


def table(folder, rows, **options):
    return pages.section(transfers.protocols, results(folder, rows, **options))


def cells(element, first: str) -> list[tuple[str, str]]:
    """(class, text) of the cells in the line that begins so."""
    return [(cell.get("class", ""), pages.text(cell)) for cell in pages.row(element, first)[1:]]


def finish(artifact, result, head=None, colors=()):
    """Complete an artifact; with a picture of one row of gray levels of a head."""
    artifact.begin()
    if head:
        grays = [np.full((8, 10, 3), color, np.uint8) for color in colors]
        path = artifact.folder / "pictures" / f"{head}.png"
        visualization.save(path, visualization.grid([grays, grays]))
    finished.finish(artifact, **result)


# ---- verdict and transfer runs ---------------------------------------------------------------


def test_the_verdict_counts_only_sets_whose_images_nobody_was_trained_on():
    rows = [
        row("seen", "random", 0.2), row("seen", "student", 0.9, aligned="set"),
        row("half", "random", 0.2), row("half", "student", 0.9, aligned="images"),
        row("new", "random", 0.2), row("new", "student", 0.3, aligned="task"),
        row("worse", "random", 0.4), row("worse", "student", 0.3),
    ]  # fmt: skip
    verdict = transfers.verdict(rows)
    assert "from random weights on 1 of 2 downstream sets" in verdict
    assert "2 sets are left out" in verdict and verdict.count("seen, half") == 1
    (_, last) = transfers.verdicts({"transfers": rows})
    assert last == comparison.ONE_RUN and "interval" in last


def test_several_protocols_state_once_that_this_is_one_run(tmp_path):
    rows = [row("a", start, 0.2) | {"shots": n} for n in (5, 10) for start in ("random", "student")]
    found = transfers.verdicts({"transfers": rows})
    assert len(found) == 3 and [text.count("one run") for text in found] == [0, 0, 1]
    page = tmp_path / "report.html"
    report.write(results(tmp_path, rows), page)
    assert page.read_text().count("one run") == 1


def test_a_teacher_that_was_trained_on_the_images_is_not_compared_with():
    rows = [
        row("a", "random", 0.2), row("a", "student", 0.3),
        row("a", "teacher-x", 0.1, aligned="images"), row("a", "teacher-y", 0.25),
        row("b", "random", 0.2), row("b", "student", 0.3), row("b", "teacher-y", 0.25),
    ]  # fmt: skip
    verdict = transfers.verdict(rows)
    assert "random weights on 2 of 2 and better than from the best teacher on 1 of 1" in verdict
    assert "1 set is left out of the comparison with the teachers" in verdict
    assert "its images: a." in verdict


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "no transfer run from the student"),
        ([row("a", "random", 0.2)], "no transfer run from the student"),
        ([row("a", "random", None), row("a", "student", 0.2)], "no transfer run from the student"),
        (
            [row("a", "random", 0.1), row("a", "student", 0.2, aligned="set")],
            "cannot be compared with another start on any downstream set. 1 set is left out",
        ),
    ],
)
def test_the_verdict_where_nothing_can_be_compared(rows, words):
    verdict = transfers.verdict(rows)
    assert words in verdict and "better" not in verdict


def test_lower_is_better_for_errors(tmp_path):
    rows = [row("a", "random", 0.4, metric="abs_rel"), row("a", "student", 0.3, metric="abs_rel")]
    assert "on 1 of 1" in transfers.verdict(rows)
    metric, _, random, student = cells(table(tmp_path, rows), "a")
    assert metric[1] == "abs_rel ↓" and (random[0], student[0]) == ("", "best")


def test_the_table_has_the_number_of_images_of_each_start(tmp_path):
    report = {
        "teachers": {"x": {"images_seen": 6400}, "given": {"images_seen": None}},
        "student": {"images_seen": 12800}, "selfsup": {"moco": {"images_seen": 12799}},
    }  # fmt: skip
    starts = ("random", "checkpoint", "teacher-x", "teacher-given", "supervised", "moco", "student")
    rows = [row("a", "random", 0.5)]
    found = cells(table(tmp_path, rows, starts=(*starts, "rounds"), **report), "images that")
    seen = ["0", "–", "6,400", "–", "–", "12,799", "12,800", "12,800"]
    assert [text for _, text in found] == seen


def test_a_value_that_is_unknown_is_a_dash_and_never_the_best(tmp_path):
    rows = [row("a", "random", None, metric="abs_rel"), row("a", "student", 0.4, metric="abs_rel")]
    assert cells(table(tmp_path, rows), "a")[-2:] == [("", "–"), ("best", "0.400")]
    found = cells(table(tmp_path, [row("a", "random", None)]), "a")
    assert found == [("", "top1"), ("", "0.100"), ("", "–"), ("", "–")]


def test_seeds_are_averaged_over_those_that_are_known(tmp_path):
    rows = [row("a", "random", value, seed=i) for i, value in enumerate((0.2, 0.4, None))]
    rows += [row("a", "student", value, seed=i) for i, value in enumerate((None, 0.25))]
    found = cells(table(tmp_path, rows, seeds=3), "a")
    assert found[-2:] == [("best", "0.300 ± 0.141 (2)"), ("", "0.250 (1)")]


def test_a_value_has_its_details_and_an_aligned_start_a_mark(tmp_path):
    rows = [
        row("a", "random", 0.2),
        row("a", "student", 0.4, aligned="task", copied=["backbone", "neck"]),
    ]
    *_, student = pages.row(table(tmp_path, rows), "a")
    assert student.get("class") == "best aligned"
    for fact in ("200 images", "100 steps", "rate 0.001", "gain 0.250", "aligned: task", "pyramid"):
        assert fact in student.get("title")


def test_the_lines_under_the_table(tmp_path):
    rows = [
        row("boxes", "random", 0.2),
        row("boxes", "teacher-shapes", 0.3, copied=["backbone"]),
        row("boxes", "student", 0.4, aligned="task", copied=["backbone", "neck"]),
        row("classes", "random", 0.2),
        row("classes", "teacher-shapes", 0.3, copied=["backbone"]),
        row("classes", "student", 0.4, aligned="task", copied=["backbone"]),
    ]
    found = table(tmp_path, rows, starts=("random", "teacher-shapes", "teacher-x", "student"))
    names = ("mean normalized gain (2 sets", "mean normalized gain where", "weights copied")
    assert [[text for _, text in cells(found, name)] for name in names] == [
        ["+0.000", "+0.125", "–", "+0.250"],
        ["–"] * 4,
        ["nothing", "backbone", "–", "backbone, pyramid (1 of 2 sets)"],
    ]
    assert pages.texts(found, "li") == comparison.sentences(comparison.compare(rows))


def test_learning_rate_sweeps_and_numbers_of_labeled_images(tmp_path):
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
    found = table(tmp_path, rows)
    assert pages.texts(found, "h3") == ["frozen-fpn-10", "frozen-fpn-20"]
    (sweep,) = found.iter("details")
    assert pages.rows(sweep)[1] == ["a", "random", "top1", "12", "0.001: 0.250; 0.01: 0.500"]
    assert pages.texts(sweep, "b") == ["0.01: 0.500"]
    (chart,) = found.iter("img")
    assert chart.get("alt") == "a" and pages.picture(chart).width > 300
    assert not list(table(tmp_path, rows[:2]).iter("img"))


# ---- teachers, student, baselines ------------------------------------------------------------


def test_scores_stand_beside_the_trivial_baseline(tmp_path):
    task = types.SimpleNamespace(name="h")
    teachers = (types.SimpleNamespace(name="t", task=task),)
    finish(Run(recipe=None, path=tmp_path).teacher("t"), SCORED)
    trained = {
        "tasks": {"h": {"metrics": {"top1": 0.5}}}, "loss_weights": {"h": 0.5},
        "loss_weight_sources": {"h": "formula"}, "images_seen": 8, "parameters": 9000,
    }  # fmt: skip
    moco = {
        "method": "MoCo",
        "images": 11,
        "images_seen": 12,
        "parameters": 1,
        "metrics": {"loss": 3.5},
    }
    alone = results(tmp_path, of=teachers)
    assert pages.rows(pages.section(heads.scores, alone))[:3] == [
        ["head", "metric", "trivial baseline", "teacher", "loss weight"],
        ["h", "top1", "0.250", "0.750", "–"],
        ["", "rmse ↓", "–", "12.2", ""],
    ]
    assert pages.section(heads.baselines, results(tmp_path, student=trained)).find("table") is None
    more = {"student": trained, "supervised": trained, "selfsup": {"moco": moco}}
    whole = results(tmp_path, of=teachers, **more)
    found = pages.rows(pages.section(heads.scores, whole))
    assert found[0][4:] == ["student", "supervised baseline", "loss weight"]
    assert found[1][4:] == ["0.500", "0.500", "0.500 (formula)"]
    name = features.Evaluator.metrics[0].name
    own = {"metrics": {name: 0.5}, "trivial": {name: 0.25}}
    more["student"] = trained | {"self_labeled": {"seen": own}}
    seen = pages.rows(pages.section(heads.scores, results(tmp_path, of=teachers, **more)))
    assert seen[: len(found)] == found and len(seen) == len(found) + 1
    assert seen[-1] == ["seen", name, "0.250", "–", "0.500", "–", "–"]
    assert pages.rows(pages.section(heads.baselines, whole))[1:] == [
        ["student", "ground truth and pseudo labels", "8", "9,000", "–", "–"],
        ["supervised", "ground truth", "8", "9,000", "–", "–"],
        ["moco", "11 images without labels (MoCo)", "12", "1", "3.500", "–"],
    ]
    scored = {"rotation": {"metrics": {"top1": 0.5}, "trivial": {"top1": 0.25}}}
    more["selfsup"] = {"pretext": moco | {"method": "SelfLabeling", "self_labeled": scored}}
    pretrained = pages.section(heads.baselines, results(tmp_path, of=teachers, **more))
    assert pages.rows(pretrained)[-2:] == [
        ["start", "self-labeled head", "metric", "trivial baseline", "score"],
        ["pretext", "rotation", "top1", "0.250", "0.500"],
    ]


def test_the_best_round_is_marked(tmp_path):
    rounds = [
        {"round": k, "mean": mean, "validation": {"h": mean}} for k, mean in ((1, 0.5), (2, 0.25))
    ]
    report = {"rounds": {"rounds": rounds, "best": 1, "stopped": "no better"}}
    found = pages.section(heads.rounds, results(tmp_path, **report))
    assert cells(found, "1") == [("best", "0.500")] and cells(found, "2") == [("", "0.250")]
    assert "round 1: no better" in pages.texts(found, "p")[0]
    assert pages.section(heads.rounds, results(tmp_path, rounds=None)).find("table") is None
    report["rounds"]["rounds"] = [one | {"parameters": 9000 // one["round"]} for one in rounds]
    sized = pages.rows(pages.section(heads.rounds, results(tmp_path, **report)))
    assert [row[:2] for row in sized] == [["round", "parameters"], ["1", "9,000"], ["2", "4,500"]]


def test_the_share_of_predictions_that_a_threshold_keeps():
    found = {"answers": [0, 0, 0, 0, 60, 0, 0, 20, 10, 10], "right": [0] * 4 + [6, 0, 0, 10, 8, 9]}
    (sentence,) = heads.reliability(found, 0.5)
    assert "0.5 keeps 40%" in sentence and "68%" in sentence
    none = {"answers": [5] + [0] * 9, "right": [1] + [0] * 9}
    assert "No prediction" in heads.reliability(none, 0.5)[0]
    assert heads.reliability(None, 0.5) == heads.reliability(found, None) == []


def test_a_head_shows_image_ground_truth_teacher_and_student_side_by_side(tmp_path):
    task, workdir = (
        Segmentation(name="street", classes=("road", "sky")),
        Run(recipe=None, path=tmp_path),
    )
    colors = {"image": 0, "ground truth": 60, "teacher": 120, "student": 180}
    teacher = types.SimpleNamespace(name="t", task=task, threshold=None, rule=None, origin=None)
    finish(workdir.teacher("t"), SCORED, "street", (0, 60, 120))
    finish(workdir.student, {}, "street", (0, 60, 180))
    run = results(tmp_path, of=(teacher,))
    (image,) = pages.section(heads.each_head, run).iter("img")
    assert ", ".join(colors) in image.get("alt") and task.visualization.legend in image.get("alt")
    picture = np.asarray(pages.picture(image))
    shown = [int(np.median(part[-6:])) for part in visualization.columns(picture, 4)]
    assert shown == pytest.approx(list(colors.values()), abs=8)


def test_class_frequencies_of_ground_truth_and_pseudo_labels(tmp_path, monkeypatch):
    task, workdir = Classification(name="h", classes=("a", "b")), Run(recipe=None, path=tmp_path)
    counted = {"class_counts": {"a": 3.0, "b": 1.0}, "counted": 4, "reliability": None}
    finish(workdir.teacher("t"), SCORED | counted)
    for name, of_a in (("p", 1.0), ("q", 2.0)):
        finish(workdir.labels("t", name), {"class_counts": {"a": of_a, "b": 1.0}})
    pools = [types.SimpleNamespace(name=name) for name in ("p", "q")]
    plotted = []
    monkeypatch.setattr("must_keras.report.html.charts", lambda found: plotted.extend(found) or "")
    teacher = types.SimpleNamespace(name="t", task=task, threshold=None, rule=None, origin=None)
    pages.section(heads.each_head, results(tmp_path, of=(teacher,), labeled=pools))
    (axes,) = plotted[0].axes
    heights = {bars.get_label(): [bar.get_height() for bar in bars] for bars in axes.containers}
    assert heights == {"ground truth": [0.75, 0.25], "pseudo labels": [0.6, 0.4]}
    assert axes.get_title() == "h: class frequencies"


def test_how_the_students_heads_share_the_network(tmp_path):
    looks = [
        {"step": 200 * i, "split": "train", "a_loss_share": 0.2, "b_loss_share": 0.8,
         "a_gradient_share": 0.5, "b_gradient_share": 0.5, "a_b_cosine": -0.1}
        for i in (1, 2)
    ]  # fmt: skip
    steps = [{"step": 20, "split": "train", "loss": 1.0, "a_loss": 0.5, "a_weight": 0.7}]
    path = Run(recipe=None, path=tmp_path).student.begin() / "metrics.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in [*steps, *looks]))
    axes = [figure.axes[0] for figure in heads.balance(path.parent)]
    assert [axis.get_title() for axis in axes] == [
        "student: share of each head in the weighted loss",
        "student: share of each head in the backbone's gradient norms",
        "student: cosine between the heads' gradients of the backbone",
        "student: learned loss weights",
    ]
    names = [[line.get_label() for line in axis.lines] for axis in axes]
    assert names == [["a", "b"], ["a", "b"], ["a_b"], ["a"]]
    assert axes[0].lines[1].get_xydata().tolist() == [[200, 0.8], [400, 0.8]]
    assert axes[2].lines[0].get_xydata().tolist() == [[200, -0.1], [400, -0.1]]
    shown = pages.section(heads.training_curves, results(tmp_path))
    titles = [image.get("alt") for image in shown.iter("img")]
    assert titles == ["student: training loss", *(axis.get_title() for axis in axes)]


# ---- data ------------------------------------------------------------------------------------


def test_pools_are_shown_before_the_teachers_training_sets(tmp_path):
    recipe = experiment.load("scenes", {"images": "40", "pool_images": "48"}, data_dir="nowhere")
    run = Run(recipe=recipe, path=tmp_path)
    made = {
        "images": 4000,
        "labelled": 3,
        "bytes": 12600,
        "images_per_second": None,
        "quality": None,
    }
    for teacher in ("shapes", "objects"):
        finish(run.labels(teacher, "crowd" if teacher == "shapes" else "single"), made)
        quality = {"quality": {"top1": 0.5, "top5": None}}
        finish(run.labels(teacher, "pool"), made | quality, teacher, (0, 99, 199))
    found = pages.section(labels.datasets, RunResults(run=run, report={}))
    assert pages.rows(found)[1:] == [
        ["shapes", "pool", "4,000", "3", "13", "–", "top1 0.500, top5 –"],
        ["objects", "pool", "4,000", "3", "13", "–", "top1 0.500, top5 –"],
        ["shapes", "crowd", "4,000", "3", "13", "–", "no ground truth"],
        ["objects", "single", "4,000", "3", "13", "–", "no ground truth"],
    ]
    captions = pages.texts(found, "figcaption")
    assert captions == [
        f"{n} on pool: image, ground truth, pseudo label" for n in ("shapes", "objects")
    ]


def test_where_the_students_labels_come_from(tmp_path):
    origins = {
        "pool": {
            "h": {"true": 0, "pseudo": 7, "missing": 3},
            "g": {"true": 10, "pseudo": 0, "missing": 0},
        }
    }
    student = {"origins": origins, "tasks": {"h": {}, "g": {}}}
    found = pages.section(labels.label_origins, results(tmp_path, student=student))
    assert pages.rows(found) == [
        ["source", "h", "g"],
        ["pool", "7 pseudo, 3 missing", "10 ground truth"],
    ]


def test_how_many_labels_are_of_each_origin_and_empty(tmp_path):
    of_h = {"true": 0, "pseudo": 500, "missing": 12, "empty": 100}
    counts = {"pool": {"images": 3000, "read": 512, "heads": {"h": of_h}}}
    origins = {"pool": {"h": {"true": 0, "pseudo": 7, "missing": 3}}}
    student = {"origins": origins, "tasks": {"h": {}}}
    whole = results(tmp_path, student=student, label_counts=counts)
    found = pages.section(labels.label_origins, whole)
    assert pages.rows(next(found.iter("table"))) == [
        ["source", "images", "images read", "h"],
        ["pool", "3,000", "512", "500 pseudo, 12 missing, 100 of them empty"],
    ]
    (sampled,) = found.iter("details")
    assert pages.rows(sampled)[1] == ["pool", "7 pseudo, 3 missing"]


def test_sets_with_anything_odd_are_rows(tmp_path):
    odd = {
        "rooms": {"images": 400, "unlabeled": {"parts": 12}, "copies": {}},
        "pool": {"images": 3000, "unlabeled": {}, "copies": {"rooms": 40}},
    }
    found = pages.section(labels.odd_sets, results(tmp_path, odd_sets=odd))
    assert pages.rows(found)[1:] == [
        ["rooms", "400", "12 of parts", "–"],
        ["pool", "3,000", "–", "40 of rooms"],
    ]
    assert pages.section(labels.odd_sets, results(tmp_path)).find("table") is None


def test_a_head_that_learned_little_stands_at_the_top(tmp_path):
    cause = {"name": "few_labels", "text": "its teacher has 60 training images", "advice": "label"}
    short = {
        "head": "h", "kind": "not_above_trivial", "metric": "top1", "student": 0.1, "teacher": 0.9,
        "trivial": 0.16, "likely": [cause],
    }  # fmt: skip
    report.write(results(tmp_path, shortfalls=[short]), tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert text.index("is not above the trivial baseline") < text.index('<p class="verdict">')
    found = pages.parse(text)
    assert pages.texts(found, "li") == [
        "Likely because its teacher has 60 training images. To try: label."
    ]


def test_the_legend_of_a_picture_has_the_colors_of_the_classes(tmp_path):
    task = Segmentation(name="street", classes=("road", "sky"))
    figure = pages.section(lambda _: [html.task_photo(Image.new("RGB", (9, 9)), "c", task)], None)
    swatches = [one.get("style") for one in figure.iter("i")]
    expected = [f"background:#{bytes(color).hex()}" for color in palette(2)]
    assert swatches == expected and "road" in pages.text(figure)
    many = Segmentation(name="street", classes=tuple(f"c{k}" for k in range(40)))
    figure = pages.section(lambda _: [html.task_photo(Image.new("RGB", (9, 9)), "c", many)], None)
    assert next(figure.iter("details")) is not None
    shown = {"map": np.uint8([[1, 255]])}
    (name,) = [s.name for s in task.visualization.swatches(shown)]
    assert name == "sky"


def test_samples_are_a_few_training_images_with_their_ground_truth(tmp_path):
    levels = (40, 90, 140, 190)
    for place, level in enumerate(levels):
        folder = tmp_path / "set" / ("a" if place < 2 else "b")
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), (level,) * 3).save(folder / f"{place}.png")
    source = FolderPerClass(name="set", root=tmp_path / "set", head="h")
    task = Classification(name="h", classes=("a", "b"))
    sets = Splits(train=source, validation=source, test=source)
    run = results(tmp_path, of=(types.SimpleNamespace(name="t", task=task, sets=sets),))
    vars(run.recipe).update(
        network=types.SimpleNamespace(size=32), evaluation_batch=8, max_unreadable=0.1
    )
    (image,) = pages.section(labels.samples, run).iter("img")
    assert image.get("alt") == "t: training images and ground truth"
    parts = visualization.columns(np.asarray(pages.picture(image)), 6)
    shown = [int(np.median(part[part.shape[0] // 2 :])) for part in parts[::2]]
    assert shown == pytest.approx(levels[:3], abs=4), "three images beside their labels"


# ---- the page --------------------------------------------------------------------------------


def test_a_page_of_nothing(tmp_path):
    report.write(results(tmp_path), tmp_path / "report.html")
    found = pages.parse((tmp_path / "report.html").read_text())
    assert "no transfer run from the student" in pages.texts(found, "p")[0]
    assert "not complete" in pages.text(next(found.iter("body")))
    assert not list(found.iter("table")) and not list(found.iter("h2"))
    assert pages.texts(found, "footer") == ["Seed 3. Duration of the stages in seconds: a 2."]
    assert pages.texts(found, "h1") == ["Multi-Task Self-Training: fake"]


def test_a_section_is_one_function(tmp_path, monkeypatch):
    def greeting(run):
        if run.recipe.seed == 3:
            yield paragraph("hello")

    def nothing(run):
        yield from ()

    monkeypatch.setattr(report, "SECTIONS", (("Nothing", nothing), ("Greetings", greeting)))
    report.write(results(tmp_path), tmp_path / "report.html")
    found = pages.parse((tmp_path / "report.html").read_text())
    assert pages.texts(found, "h2") == ["Greetings"] and pages.texts(found, "p") == ["hello"]


def test_names_from_data_are_escaped(tmp_path):
    odd = "<script>alert('x')</script>"
    report.write(
        results(tmp_path, [row(odd, "random", 0.1), row(odd, "student", 0.2)]), tmp_path / "r"
    )
    text = (tmp_path / "r").read_text()
    assert "<script>" not in text and "&lt;script&gt;" in text


def test_a_damaged_picture_is_left_out_with_a_warning(tmp_path, capsys):
    task = Segmentation(name="street", classes=("road", "sky"))
    teacher = types.SimpleNamespace(name="t", task=task, threshold=None, rule=None, origin=None)
    artifact = Run(recipe=None, path=tmp_path).teacher("t")
    finish(artifact, SCORED, "street", (0, 60, 120))
    path = artifact.folder / "pictures" / "street.png"
    path.write_bytes(path.read_bytes()[:60])
    run = results(tmp_path, of=(teacher,))
    assert not list(pages.section(heads.each_head, run).iter("img"))
    assert str(path) in capsys.readouterr().err
    Image.new("RGB", (34, 8)).save(path)
    assert list(pages.section(heads.each_head, run).iter("img"))


# ---- exports -----------------------------------------------------------------------------------


def test_every_exported_file_is_shown_with_its_largest_difference(tmp_path):
    assert not list(exports.comparisons(results(tmp_path)))
    found = {
        "reloaded": {"backbone.keras": {"difference": 2.5e-6, "agreement": 1.0}},
        "skipped": {"neck.keras": "no head reads the pyramid"},
        "formats": {
            "onnx": {
                "file": "model.onnx", "images": 16,
                "heads": {
                    "far": {"difference": 3.4e-7},
                    "things": {"difference": 1e-5, "objects": 1093, "matched": 1093},
                },
            }
        },
    }  # fmt: skip
    page = pages.section(exports.comparisons, results(tmp_path, exports=found))
    plain = [text for _, text in cells(page, "backbone.keras")]
    assert plain == ["all", "2.5e-06", "100.0%", "–"]
    far = [text for _, text in cells(page, "onnx/model.onnx (16 images)")]
    assert far == ["far", "3.4e-07", "–", "–"]
    assert pages.rows(page)[-1] == ["", "things", "1.0e-05", "–", "1,093 of 1,093"]
    assert "neck.keras is not written: no head reads the pyramid." in pages.text(page)
