"""What detectors say in COCO's formats."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from must_keras.data.sources import CocoJson, Concatenated, Joined, Relabeled, Subset
from must_keras.errors import UserError

HEIGHT, WIDTH = 20, 30


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    for name in ("a.png", "b.png", "c.png"):
        Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "images" / name)
    content = {
        "images": [
            {"id": i, "file_name": name, "height": HEIGHT, "width": WIDTH}
            for i, name in ((7, "a.png"), (8, "b.png"), (9, "c.png"))
        ],
        "categories": [{"id": 90, "name": "zebra"}, {"id": 5, "name": "cow"}],
    }
    # As the file of a test set: it has no annotations.
    (tmp_path / "info.json").write_text(json.dumps(content))
    return tmp_path


def entry(**changes):
    found = {"image_id": 8, "category_id": 90, "bbox": [3, 4, 6, 10], "score": 0.75}
    return {k: v for k, v in (found | changes).items() if v is not None}


def read(folder, results, name="found"):
    (folder / f"{name}.json").write_text(json.dumps(results))
    return CocoJson(
        name=name, images=folder / "images", annotations=folder / "info.json", head="things",
        results=folder / f"{name}.json",
    )  # fmt: skip


def test_results_are_boxes_with_scores(folder):
    source = read(folder, [entry(), entry(category_id=5, bbox=[0, 0, 30, 5], score=1)])
    assert source.has_scores
    label = source.labels(1)["things"]
    np.testing.assert_allclose(
        label["boxes"], [[4 / 20, 3 / 30, 14 / 20, 9 / 30], [0, 0, 5 / 20, 1]]
    )
    assert label["scores"].tolist() == [0.75, 1.0] and label["classes"].tolist() == [1, 0]
    nothing = source.labels(0)["things"]
    assert nothing["labelled"] == 1 and nothing["scores"].shape == (0,)
    assert source.describe() != read(folder, [entry()]).describe()


def test_run_lengths_bound_themselves(folder):
    bitmap = np.zeros((HEIGHT, WIDTH), np.uint8)
    bitmap[4:14, 3:9] = 1
    runs = coco_mask.encode(np.asfortranarray(bitmap))
    shape = {"size": [HEIGHT, WIDTH], "counts": runs["counts"].decode()}
    label = read(folder, [entry(bbox=None, segmentation=shape)]).labels(1)["things"]
    np.testing.assert_allclose(label["boxes"], [[4 / 20, 3 / 30, 14 / 20, 9 / 30]])
    assert label["has_mask"].all() and label["masks"].all()


def test_annotations_with_scores(folder):
    content = json.loads((folder / "info.json").read_text())
    for scores, known in (([0.5, None], True), ([1, None], False), ([None, None], False)):
        whole = content | {"annotations": [entry(score=score) for score in scores]}
        (folder / "whole.json").write_text(json.dumps(whole))
        source = CocoJson(
            name="w", images=folder / "images", annotations=folder / "whole.json", head="things"
        )
        assert source.has_scores == known
        label = source.labels(1)["things"]
        assert ("scores" in label) == known
        if known:
            assert label["scores"].tolist() == [0.5, 1.0]


def test_scores_go_with_their_boxes(folder):
    source = read(folder, [entry(), entry(category_id=5, score=0.25)])
    cows = Relabeled(source, head="things", classes=("cow",), mapping={"cow": "cow"})
    assert cows.labels(1)["things"]["scores"].tolist() == [0.25]
    for made_of in (
        cows,
        Subset(source, [1], name="s"),
        Concatenated([source], name="c"),
        Joined([source], name="j"),
    ):
        assert made_of.has_scores


@pytest.mark.parametrize(
    ("results", "message"),
    [
        (
            [entry(score=1.5)],
            "result at position 0 has the score 1.5, expected a number from 0 to 1",
        ),
        ([entry(score="high")], "result at position 0 has the score 'high'"),
        ([entry(), entry(image_id=3)], "result at position 1 is of image 3, which is not listed"),
        ([entry(bbox=None)], "result at position 0 has no 'bbox'"),
        ({"annotations": []}, "expected a list of .* a whole file is given as annotations="),
        ([3], "result at position 0 is 3, expected an object"),
    ],
)
def test_results_that_are_none(folder, results, message):
    with pytest.raises(UserError, match=rf"found\.json.*{message}"):
        read(folder, results)


def test_results_in_the_place_of_annotations(folder):
    (folder / "found.json").write_text(json.dumps([entry()]))
    with pytest.raises(UserError, match=r"not a list; a detector's results are given as results="):
        CocoJson(name="c", images=folder / "images", annotations=folder / "found.json", head="h")
