"""The data of labels.html, and when there is such a page."""

import base64
import dataclasses
import json
import re
import types

import numpy as np
import pytest

from fakes import labeled_run
from making import make
from must_keras.pseudo_labels import viewer
from must_keras.pseudo_labels.viewer import complete_heads, spread_images


def collected(folder, **changes):
    run = labeled_run.make(folder, **changes)
    return viewer.collect(run.recipe, complete_heads(run), shown=40, sampled=512)


def unpacked(text, dtype):
    return np.frombuffer(base64.b64decode(text), dtype)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return collected(tmp_path_factory.mktemp("labels"))


def test_the_data_is_plain_json(found):
    assert json.loads(json.dumps(found, allow_nan=False))["sampled"] == 5


def test_images_without_labels_are_left_out(found):
    assert [image["name"] for image in found["images"]] == [f"pool/{i}.png" for i in range(5)]
    assert all(image["size"] == (40, 60) for image in found["images"])


def test_every_head_has_a_panel_in_its_own_form(found):
    forms = [set(panel) - {"certainty"} for panel in found["images"][0]["panels"]]
    assert forms == [{"answers"}, {"regions"}, {"pixels"}, {"picture", "bar"}, {"picture"}]
    assert found["images"][1]["panels"][0]["answers"] == [[0, 0.6], [1, 0.4]]
    regions = found["images"][0]["panels"][1]["regions"]
    np.testing.assert_allclose(unpacked(regions["boxes"], "<f4")[:4], labeled_run.LEFT, atol=1e-6)
    assert unpacked(regions["classes"], "<u2").tolist() == [0, 0]
    assert [unpacked(m, "u1").tolist() for m in regions["masks"]] == [[255, 255]] * 2
    assert regions["sides"] == [4, 4]


def test_colors_are_explained_beside_the_pictures_that_have_them(found):
    far = found["images"][0]["panels"][3]
    assert len(far["bar"]["ticks"]) == 3 and all(t.endswith(" m") for t in far["bar"]["ticks"])
    assert far["bar"]["colors"][0] > far["bar"]["colors"][-1], "near is yellow, far is blue"
    named = [[swatch["name"] for swatch in head["swatches"]] for head in found["heads"]]
    assert named[2] == list(found["heads"][2]["classes"]) and "faces the camera" in named[4]
    colors = [swatch["color"] for swatch in found["heads"][2]["swatches"]]
    assert colors == found["heads"][2]["colors"] and named[0] == named[3] == []


def test_all_scores_of_the_sample_are_there(found):
    tally = found["heads"][1]["sample"]["regions"]
    scores = np.array([score for boxes in labeled_run.FOUND for score, _, _ in boxes], np.float32)
    np.testing.assert_array_equal(unpacked(tally["scores"], "<f4"), scores)
    assert unpacked(tally["counts"], "<u2").tolist() == [2, 1, 1, 0, 2]
    assert unpacked(tally["classes"], "<u2").tolist() == [0, 0, 1, 0, 0, 0]
    answers = found["heads"][0]["sample"]["answers"]
    np.testing.assert_allclose(unpacked(answers["scores"], "<f4"), [0.5, 0.6, 0.7, 0.8, 0.9])
    assert found["heads"][3]["sample"] == {}


def test_a_map_is_counted_by_class_and_confidence(found):
    tally = found["heads"][2]["sample"]["pixels"]
    counts = unpacked(tally["histogram"], "<f4").reshape(2, 256)
    # Sky is the right half: 0.7 in four images and 0.2 in one.
    expected = {178: 4 * 0.5, 51: 0.5}
    assert {k: v for k, v in enumerate(counts[0].tolist()) if v} == expected
    assert counts[1, 229] == 2.0 and counts.sum() == 5.0
    highest = unpacked(tally["highest"], "<u2").reshape(5, 2).tolist()
    assert highest == [[179, 230]] * 3 + [[52, 52], [179, 230]]


def test_heads_have_their_thresholds_and_floors(found, tmp_path):
    assert [head["limits"] for head in found["heads"]] == [None, [0.5] * 2, [0.5] * 2, None, None]
    assert [head["floor"] for head in found["heads"]] == [0.0, 0.05, 0.0, 0.0, 0.0]
    assert collected(tmp_path, things=(0.3, 0.6))["heads"][1]["limits"] == [0.3, 0.6]


def test_boxes_are_judged_by_the_map_and_by_depth(found):
    asked = {(p["question"], p["objects"], p["judge"]): p for p in found["pairs"]}
    assert list(asked) == [("class", 1, 2), ("edge", 1, 3)]
    by_class, by_edge = asked.values()
    # In the order of FOUND. A bench is no class of the map; the map of image 2 is sure of sky.
    assert unpacked(by_class["verdicts"], "u1").tolist() == [1, 2, 0, 2, 1, 1]
    assert by_class["unjudged"] == ["bench"]
    assert unpacked(by_edge["verdicts"], "u1").tolist() == [1, 2, 2, 2, 1, 1]
    assert [image["verdicts"] for image in found["images"]] == [
        [[1, 2], [1, 2]], [[0], [2]], [[2], [2]], [[], []], [[1, 1], [1, 1]],
    ]  # fmt: skip


def test_ranks_are_shares_of_the_less_certain_images():
    # The first head: 2nd, 1st, 3rd. The second: one without a certainty, and a tie of the others.
    found = viewer.mean_ranks([[0.5, 0.7, None], [0.1, 0.7, None], [0.9, None, None]])
    assert found == [(0.5 + 0.5) / 2, (0.0 + 0.5) / 2, 1.0]
    assert viewer.mean_ranks([[None], [None]]) == [None, None]
    assert viewer.mean_ranks([[0.3]]) == [0.0]
    assert viewer.mean_ranks([]) == []


def test_only_complete_datasets_are_shown(tmp_path):
    found = collected(tmp_path, heads=("things", "far"))
    assert [head["name"] for head in found["heads"]] == ["things", "far"]
    assert [pair["question"] for pair in found["pairs"]] == ["edge"]


def test_a_damaged_column_is_told_and_left_out(tmp_path, capsys):
    run = labeled_run.make(tmp_path)
    (run.labels("teacher_far", "pool").folder / "ledger.json").write_text("{}")
    viewer.write(run)
    assert "ledger.json" in capsys.readouterr().err
    assert "teacher_far" not in (run.path / "labels.html").read_text()


class FakeSource:
    """A source whose first image is gone."""

    def __init__(self, name, count):
        self.name, self._count, self.label_spaces = name, count, {}

    def __len__(self):
        return self._count

    def is_gone(self, index):
        return index == 0


class FakeHead:
    """A head that has labeled some sources, but for their second images."""

    def __init__(self, *names):
        self.readers = dict.fromkeys(names)

    def labels(self, place):
        return place.source.name in self.readers and place.index != 1


def test_the_sample_is_spread_over_all_pools_that_have_labels():
    sources = [FakeSource("a", 4), FakeSource("unlabeled", 100), FakeSource("b", 6)]
    recipe = types.SimpleNamespace(pools=[types.SimpleNamespace(source=s) for s in sources])
    heads = [FakeHead("a"), FakeHead("a", "b", "elsewhere")]

    def found(number):
        return [(source.name, index) for source, index in spread_images(recipe, heads, number)]

    a, b = [("a", 2), ("a", 3)], [("b", 2), ("b", 3), ("b", 4), ("b", 5)]
    assert found(512) == a + b
    # Of the ten images the places 0, 3, 6 and 9.
    assert found(4) == [("a", 3), ("b", 2), ("b", 5)]


def test_without_a_pool_the_training_sets_are_shown():
    recipe = types.SimpleNamespace(
        pools=[types.SimpleNamespace(source=FakeSource("pool", 3))],
        student_sources=[FakeSource("set", 3)],
    )
    (place,) = spread_images(recipe, [FakeHead("set")], 512)
    assert (place.source.name, place.index) == ("set", 2)


def test_there_is_no_page_where_nothing_can_be_shown(tmp_path):
    run = labeled_run.make(tmp_path)
    viewer.write(run)
    assert (run.path / "labels.html").is_file()
    for part in (run.path / "labels").glob("*/pool/finished.json"):
        part.unlink()
    viewer.write(run)
    assert not (run.path / "labels.html").exists()


def test_a_page_that_would_be_too_large_shows_fewer_images(tmp_path, monkeypatch):
    run = labeled_run.make(tmp_path)
    viewer.write(run)
    path = run.path / "labels.html"
    whole = path.stat().st_size
    # 40 images at most, halved until one of these five is too much.
    monkeypatch.setattr(viewer, "_MAX_BYTES", whole - 1000)
    viewer.write(run)
    assert path.stat().st_size < whole - 1000
    assert 1 <= path.read_text().count('"photo": ') < 5


def test_the_page_needs_nothing_else(tmp_path):
    run = labeled_run.make(tmp_path)
    viewer.write(run)
    text = (run.path / "labels.html").read_text()
    assert not re.search(r"""(src|href)=["'](?!data:)""", text)
    assert "import " not in text and "fetch(" not in text


def test_the_page_contains_a_sentence_on_what_was_never_taught(tmp_path):
    run = labeled_run.make(tmp_path)
    labels = run.labels("teacher_things", "pool")
    viewer.write(run)
    before = (run.path / "labels.html").read_text()
    labels.amend(untaught=["masks"])
    viewer.write(run)
    after = (run.path / "labels.html").read_text()
    assert "masks were never taught; they are left out." in after
    assert "masks were never taught" not in before
    heads = json.loads(re.search(r'id="data">(.*?)</script>', after, re.S)[1])["heads"]
    assert [len(head["untaught"]) for head in heads] == [0, 1, 0, 0, 0]


def test_the_report_makes_it_again_and_links_to_it(tmp_path):
    run = labeled_run.make(tmp_path)
    make("report", run)
    assert '<a href="labels.html">' in (run.path / "report.html").read_text()
    before = (run.path / "labels.html").read_text()
    things = dataclasses.replace(run.recipe.teachers[1], threshold=0.7)
    teachers = (run.recipe.teachers[0], things, *run.recipe.teachers[2:])
    changed = dataclasses.replace(run.recipe, teachers=teachers)
    make("report", dataclasses.replace(run, recipe=changed))
    after = (run.path / "labels.html").read_text()
    assert '"limits": [0.7, 0.7]' in after and '"limits": [0.7, 0.7]' not in before


def test_a_report_without_labels_links_to_no_page(tmp_path):
    run = labeled_run.make(tmp_path, heads=("none",))
    run.path.mkdir()
    make("report", run)
    assert "labels.html" not in (run.path / "report.html").read_text()
