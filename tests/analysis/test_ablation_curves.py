"""Curves over one value of the recipe, from finished runs."""

import json

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from must_keras import command, compare
from must_keras.analysis import ablation
from must_keras.errors import UserError

TEACHERS = ("shapes", "objects", "surfaces")


def recipe(seed: int, teachers=TEACHERS, pool: str = "pool-3", **changes) -> dict:
    return {
        "type": "Recipe",
        "seed": seed,
        "teachers": [
            {"name": name, "threshold": 0.5, "task": {"name": name, "hard": False}}
            for name in teachers
        ],
        "pools": [{"source": {"name": "pool", "scenes": pool}}],
        "student": {"union": True, "weighting": {"type": "Formula"}, "steps": 3},
        "starts": ["random", "student"],
    } | changes


def finish(folder, of: dict, values: dict[str, dict[str, float]], images: int = 3, **more):
    """A finished run's files; values by set and start."""
    rows = [
        {
            "set": name, "start": start, "seed": 0, "value": value, "metric": "top1",
            "aligned": "none", "mode": "full", "neck": "fpn", "shots": None,
        } | more
        for name, by_start in values.items()
        for start, value in by_start.items()
    ]  # fmt: skip
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"recipe": of}))
    report = {"transfers": rows, "leaks": {"pool": {"images": images, "left_out": 1}}}
    (folder / "report.json").write_text(json.dumps(report))
    return folder


def values(student: float, random: float = 0.2) -> dict[str, dict[str, float]]:
    return {"a": {"random": random, "student": student}, "b": {"random": 0.0, "student": 0.5}}


def interval(numbers) -> tuple[float, float]:
    return tuple(stats.ttest_1samp(numbers, 0.0).confidence_interval(0.95))


def test_points_are_pools_and_trials_are_seeds(tmp_path):
    """Three seeds at two pools; gains by hand: (value - random) / (1 - random), sets averaged."""
    found = {30: (0.4, 0.5, 0.3), 300: (0.6, 0.9, 0.4)}
    folders = [
        finish(
            tmp_path / f"{images}-{seed}",
            recipe(seed, pool=f"pool-{images}"),
            values(found[images][seed]),
            images=images,
        )
        for images in (300, 30)
        for seed in range(3)
    ]
    curve = ablation.curve(ablation.read(folders, "pool_images"), "full-fpn-all")
    assert [point["value"] for point in curve["points"]] == [30, 300]
    assert [point["seeds"] for point in curve["points"]] == [[0, 1, 2]] * 2
    assert curve["points"][0]["runs"] == [str(folder) for folder in folders[3:]]
    small, large = curve["sets"]["a"]["starts"]["student"]
    assert small["mean"] == pytest.approx(0.4) and large["mean"] == pytest.approx(1.9 / 3)
    assert (large["low"], large["high"]) == pytest.approx(interval(found[300]))
    assert large["values"] == {0: 0.6, 1: 0.9, 2: 0.4} and large["count"] == 3
    assert [p["mean"] for p in curve["sets"]["a"]["starts"]["random"]] == pytest.approx([0.2] * 2)
    gains = {k: [((v - 0.2) / 0.8 + 0.5) / 2 for v in vs] for k, vs in found.items()}
    for point, images in zip(curve["gain"]["starts"]["student"], (30, 300), strict=True):
        assert list(point["values"].values()) == pytest.approx(gains[images])
    assert curve["gain"]["sets"] == ["a", "b"]
    paired = np.subtract(gains[300], gains[30])
    first, second = curve["differences"]
    assert first["mean"] == 0.0 and second["mean"] == pytest.approx(paired.mean())
    assert (second["low"], second["high"]) == pytest.approx(interval(paired))
    title, normalized, single = (
        ablation.plot({"p": curve}, "pool_images").axes[i] for i in (0, 1, 2)
    )
    assert title.get_title() == "mean over 2 sets" and title.get_ylabel() == "normalized gain"
    assert normalized.get_title().startswith("difference to the first point")
    assert single.get_title() == "a" and single.get_ylabel() == "top1"
    assert single.get_xscale() == "log" and single.get_xlabel() == "pool images"
    line, _, (bars,) = single.containers[1]
    assert list(line.get_ydata()) == pytest.approx([0.4, 1.9 / 3])
    ends = [segment[:, 1].tolist() for segment in bars.get_segments()]
    assert ends == [pytest.approx((p["low"], p["high"])) for p in (small, large)]
    lines = ablation.table(curve, "pool_images").splitlines()
    assert lines[0] == "| pool_images | metric | 30 | 300 |"
    halves = [p["high"] - p["mean"] for p in (small, large)]
    assert lines[2] == f"| a | top1 | 0.400 ± {halves[0]:.3f} | 0.633 ± {halves[1]:.3f} |"


def test_runs_with_as_many_teachers_are_averaged_within_a_seed(tmp_path):
    teachers = {"x": ("shapes",), "y": ("objects",), "all": TEACHERS}
    scores = {("x", 0): 0.3, ("y", 0): 0.5, ("x", 1): 0.4, ("y", 1): 0.8, ("all", 0): 0.7}
    folders = {
        (name, seed): finish(
            tmp_path / f"{name}{seed}", recipe(seed, teachers[name]), values(score)
        )
        for (name, seed), score in scores.items()
    }
    curve = ablation.curve(ablation.read(folders.values(), "teachers"), "full-fpn-all")
    assert [point["value"] for point in curve["points"]] == [1, 3]
    one, three = curve["sets"]["a"]["starts"]["student"]
    assert one["values"] == pytest.approx({0: 0.4, 1: 0.6}) and one["count"] == 2
    assert three["mean"] == 0.7 and three["low"] is None
    assert curve["differences"][1]["values"].keys() == {0}
    del folders["y", 1]
    with pytest.raises(UserError, match="teachers=1: each seed needs runs of the same recipes"):
        ablation.read(folders.values(), "teachers")


@pytest.mark.parametrize(
    ("over", "changes", "points"),
    [
        ("student.union", {"student": {"union": False}}, ["false", "true"]),
        ("student.weighting", {"student": {"weighting": {"type": "Equal"}}}, ["Equal", "Formula"]),
        ("teachers.objects.threshold", {"objects": {"threshold": 0.3}}, [0.3, 0.5]),
        ("teachers.shapes.task.hard", {"shapes": {"task": {"name": "shapes", "hard": True}}},
         ["false", "true"]),
    ],
)  # fmt: skip
def test_any_value_of_the_recipe_by_its_path(tmp_path, over, changes, points):
    usual, other = recipe(0), recipe(0)
    for teacher in other["teachers"]:
        teacher |= changes.get(teacher["name"], {})
    other["student"] |= changes.get("student", {})
    folders = [
        finish(tmp_path / "a", usual, values(0.5)),
        finish(tmp_path / "b", other | {"starts": ["student", "random", "moco"]}, values(0.6)),
    ]
    runs = ablation.read(folders, over)
    assert [run.value for run in runs] == points
    charts = ablation.plot(ablation.curves(runs), over).axes
    assert [axes.get_title() for axes in charts[2:]] == ["a", "b"]
    assert {axes.get_xlabel() for axes in charts} == {over.replace("_", " ")}
    assert [tick.get_text() for tick in charts[0].get_xticklabels()] == list(map(str, points))
    other["student"]["steps"] = 4
    (tmp_path / "b" / "run.json").write_text(json.dumps({"recipe": other}))
    with pytest.raises(UserError, match=rf"differ in more than {over}: student.steps is 3, 4"):
        ablation.read(folders, over)


def test_sets_that_a_start_saw_and_values_that_nobody_knows(tmp_path):
    first = values(0.5) | {"c": {"random": 0.1, "student": None}}
    folders = [
        finish(tmp_path / "a", recipe(0, pool="p1"), first, images=1),
        finish(tmp_path / "b", recipe(0, pool="p2"), values(0.5), images=2, aligned="images"),
    ]
    curve = ablation.curve(ablation.read(folders, "pool_images"), "full-fpn-all")
    assert curve["gain"] == {
        "sets": [], "starts": {"random": [None, None], "student": [None, None]}
    }  # fmt: skip
    assert curve["sets"]["c"]["starts"]["student"] == [None, None]
    assert curve["sets"]["c"]["starts"]["random"][0]["mean"] == 0.1
    assert "| c | top1 | – | – |" in ablation.table(curve, "pool_images")
    charts = ablation.plot({"full-fpn-all": curve}, "pool_images").axes
    assert [axes.get_title() for axes in charts][2:] == ["a", "b", "c"]
    known = {line.get_label(): line[0].get_ydata() for line in charts[-1].containers}
    assert list(known["random"]) == [0.1] and not len(known["student"])


def test_runs_that_cannot_be_compared_are_refused(tmp_path):
    one = finish(tmp_path / "one", recipe(0), values(0.5))
    same = finish(tmp_path / "same", recipe(0, starts=["student"]), values(0.5))
    with pytest.raises(UserError, match="one and .*same are the same run: seed 0"):
        ablation.read([one, same], "pool_images")
    with pytest.raises(UserError, match="no run.json"):
        ablation.read([tmp_path / "nothing"], "pool_images")
    with pytest.raises(UserError, match="no 'objets'; did you mean 'objects'"):
        ablation.read([one], "teachers.objets.threshold")
    with pytest.raises(UserError, match="over=pool: .* no 'pool'.*pool_images"):
        ablation.read([one], "pool")


def test_the_command_draws_what_it_writes(tmp_path, capsys):
    folders = [
        finish(tmp_path / str(n), recipe(0, TEACHERS[:n]), values(0.3 + 0.1 * n)) for n in (1, 2)
    ]
    words = [*map(str, folders), "--over=teachers"]
    path = tmp_path / "c.json"
    assert command.run_alone(compare.COMMAND, [*words, f"--to={path}"]) == 0
    assert "| teachers | metric | 1 | 2 |" in capsys.readouterr().out
    found = json.loads(path.read_text())
    assert found["over"] == "teachers"
    points = found["protocols"]["full-fpn-all"]["sets"]["a"]["starts"]["student"]
    assert [point["values"] for point in points] == [{"0": 0.4}, {"0": 0.5}]
    assert Image.open(tmp_path / "c.png").format == "PNG"
    path.unlink()
    assert command.run_alone(compare.COMMAND, [*words, f"--to={path}"]) == 2
    assert "c.png exists" in capsys.readouterr().err
    assert command.run_alone(compare.COMMAND, [*words, f"--to={tmp_path / 'd.png'}"]) == 2
    assert "give a JSON file" in capsys.readouterr().err
