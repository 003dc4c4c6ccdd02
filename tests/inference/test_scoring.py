"""Scores of a model: names of metrics, progress, unreadable images, a visualization."""

import json
import types

import numpy as np
import pytest
from PIL import Image

from fakes.few_layers import NETWORK
from must_keras.data.sources.source import LabelSpace, Source, class_label
from must_keras.errors import DataError, UserError
from must_keras.inference.predictor import Predicted, Predictor
from must_keras.inference.scoring import Reliability, Scorer, labeled
from must_keras.inference.worst_images import WorstImages
from must_keras.runs import details
from must_keras.tasks import Classification
from must_keras.training.building import build_model
from must_keras.training.loggers import Loggers

NORM = {"momentum": 0.9, "epsilon": 1e-4, "synchronized": False}
KIND = Classification(name="kind", classes=("a", "b", "c"))
SHAPE = Classification(name="shape", classes=("a", "b", "c"))
OPTIONS = {"size": 32, "batch": 4, "max_unreadable": 0.2}


class Pictures(Source):
    """Six gray images of the classes a, b, c, a, b, c; some cannot be read."""

    def __init__(self, unreadable=()):
        self.name, self._unreadable = "pictures", unreadable
        self.label_spaces = {"kind": LabelSpace.of(KIND)}

    def __len__(self):
        return 6

    def image_id(self, index):
        return f"{index}.png"

    def image(self, index):
        if index in self._unreadable:
            raise UserError(f"image {index} cannot be read", key="image", value=index)
        return np.full((32, 32, 3), 40 * index, np.uint8)

    def labels(self, index):
        return {"kind": class_label(index % 3, 3)}

    def describe(self):
        return {}


def sets():
    return types.SimpleNamespace(train=Pictures(), validation=Pictures(), test=Pictures())


@pytest.fixture(scope="module")
def predictor():
    return Predictor(build_model(NETWORK, [KIND], seed=0, norm=NORM))


def test_metrics_of_every_split_are_logged(predictor, tmp_path, capsys):
    loggers, scorer = Loggers(tmp_path), Scorer(KIND, sets(), **OPTIONS)
    found = scorer.score(predictor, step=7, loggers=loggers)
    loggers.close()
    rows = [json.loads(row) for row in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["split"] for row in rows] == ["validation", "test"]
    assert rows[1] == {"step": 7, "split": "test", "top1": found["top1"]}
    assert "kind on test: 2/2" in capsys.readouterr().err
    # Of the six validation images alone.
    assert sum(scorer.reliability.result()["answers"]) == 6


def test_details_of_the_last_split_have_the_worst_images_and_their_pictures(predictor, tmp_path):
    loggers, scorer = Loggers(tmp_path), Scorer(KIND, sets(), **OPTIONS)
    found = scorer.score(predictor, step=7, loggers=loggers, details=tmp_path)
    loggers.close()
    read = details.read(tmp_path, "kind")
    assert read.split == "test" and list(read.by_class) == ["a", "b", "c"]
    assert [one["images"] for one in read.by_class.values()] == [2, 2, 2]
    right = sum(read.confusion.get(name, {}).get(name, 0) for name in "abc")
    assert found["top1"] == pytest.approx(right / 6)
    amounts = [one.amount for one in read.worst]
    assert len(amounts) == 4 and amounts == sorted(amounts, reverse=True)
    assert {one.image for one in read.worst} <= {f"pictures/{i}.png" for i in range(6)}
    for one in read.worst:
        index = int(one.image.removeprefix("pictures/").removesuffix(".png"))
        picture = np.asarray(Image.open(tmp_path / "pictures" / one.picture))
        assert (picture[:, : picture.shape[1] // 4] == 40 * index).all()
    assert details.read(tmp_path, "shape") is None


def test_of_equal_images_the_first_is_the_worse_one():
    def batch(first, probabilities):
        count = len(probabilities)
        label = {"probabilities": np.eye(3)[[0] * count], "labelled": np.ones(count)}
        x = {"image": np.zeros((count, 32, 32, 3)), "area": np.tile([0, 0, 32, 32], (count, 1))}
        y = {"labels": {"kind": label}, "index": first + np.arange(count)}
        return Predicted(x, y, {"kind": {"probabilities": np.float32(probabilities)}})

    worst = WorstImages(KIND, count=3)
    worst.add(batch(0, [[0.5, 0.5, 0], [1, 0, 0], [0.5, 0, 0.5]]))
    worst.add(batch(3, [[0.1, 0.9, 0], [0.5, 0.5, 0]]))
    assert [one.index for one in worst._kept] == [3, 0, 2]


def test_metrics_of_one_of_several_heads_have_its_name(tmp_path):
    loggers = Loggers(tmp_path)
    both = Predictor(build_model(NETWORK, [KIND, SHAPE], seed=0, norm=NORM))
    scorer = Scorer(KIND, sets(), **OPTIONS)
    found = scorer.score(both, step=7, loggers=loggers, splits=("test",))
    loggers.close()
    (row,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(row) == {"step": 7, "split": "test", "kind_top1": found["top1"]}
    assert scorer.reliability.result() is None


def test_the_trivial_baseline_has_progress_too(capsys):
    assert Scorer(KIND, sets(), **OPTIONS).trivial()["top1"] == pytest.approx(1 / 3)
    printed = capsys.readouterr().err
    assert "trivial baseline, train: 2/2" in printed and "trivial baseline, test: 2/2" in printed


def test_unreadable_images_are_skipped_up_to_a_share(capsys):
    examples = labeled(Pictures(unreadable=(1, 3)), KIND, max_unreadable=0.2)
    assert examples.load(1)[0].shape == (1, 1, 3)
    assert "skipped: image 1 cannot be read" in capsys.readouterr().err
    with pytest.raises(DataError, match="image 3"):
        examples.load(3)


def test_a_visualization_shows_image_label_and_prediction(predictor, tmp_path):
    loggers = Loggers(tmp_path)
    Scorer(KIND, sets(), **OPTIONS).visualize(predictor, step=0, loggers=loggers)
    loggers.close()
    picture = np.asarray(Image.open(tmp_path / "pictures" / "kind.png"))
    # A batch of four rows of three pictures, with gaps of 4 pixels; the images are gray.
    height, width = (picture.shape[0] - 3 * 4) // 4, (picture.shape[1] - 2 * 4) // 3
    assert picture.shape == (4 * height + 12, 3 * width + 8, 3)
    for index in range(4):
        top = index * (height + 4)
        image = picture[top : top + height, :width]
        assert (image == 40 * index).all()
        label = picture[top : top + height, width + 4 : 2 * width + 4]
        assert (label != image).any()


def test_predictions_are_counted_by_their_confidence():
    found = Reliability()
    found.add(np.array([0.0, 0.05, 0.55, 0.999, 1.0]), np.array([False, True, True, False, True]))
    found.add(np.array([0.5]), np.array([False]))
    assert found.result() == {
        "answers": [2, 0, 0, 0, 0, 2, 0, 0, 0, 2],
        "right": [1, 0, 0, 0, 0, 1, 0, 0, 0, 1],
    }
    assert Reliability().result() is None
