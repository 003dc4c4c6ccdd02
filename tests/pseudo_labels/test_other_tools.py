"""Exports, opened with the other tools' own libraries where these are installed."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from fakes import labeled_run
from must_keras.data.sources import YoloTxt
from must_keras.pseudo_labels.exporting import export

HEIGHT, WIDTH = 40, 60


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """{format: folder} of the boxes of one run at 0.5."""
    folder = tmp_path_factory.mktemp("run")
    run, found = labeled_run.make(folder), {}
    for format, teacher in (("coco", "things"), ("yolo", "things"), ("label-studio", "things"),
                            ("label-studio", "parts"), ("label-studio", "kind"),
                            ("maps", "parts"), ("maps", "far")):  # fmt: skip
        found[format, teacher] = folder / f"{format}-{teacher}"
        export(run, found[format, teacher], format=format, teacher=f"teacher_{teacher}")
    return found


def pixels(boxes):
    """Boxes as fractions, (ymin, xmin, ymax, xmax), as pixels (xmin, ymin, xmax, ymax)."""
    ymin, xmin, ymax, xmax = (np.reshape(boxes, (-1, 4)) * np.tile((HEIGHT, WIDTH), 2)).T
    return np.stack([xmin, ymin, xmax, ymax], axis=1)


def expected(number):
    return pixels([box for score, _, box in labeled_run.FOUND[number] if score >= 0.5])


def test_pycocotools_scores_an_export_against_itself(exports):
    path = exports["coco", "things"] / "annotations.json"
    truth, results = COCO(str(path)), json.loads(path.read_text())["annotations"]
    found = truth.loadRes(results)
    for kind in ("bbox", "segm"):
        evaluation = COCOeval(truth, found, kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        assert evaluation.stats[0] == pytest.approx(1.0)


def test_supervision_reads_yolo_and_coco(exports):
    supervision = pytest.importorskip("supervision", reason="supervision is not installed")
    yolo, coco = exports["yolo", "things"], exports["coco", "things"]
    sets = (
        supervision.DetectionDataset.from_yolo(
            images_directory_path=str(yolo / "images"),
            annotations_directory_path=str(yolo / "labels"),
            data_yaml_path=str(yolo / "data.yaml"),
            force_masks=True,
        ),
        supervision.DetectionDataset.from_coco(
            images_directory_path=str(coco / "images"),
            annotations_path=str(coco / "annotations.json"),
            force_masks=True,
        ),
    )
    for found in sets:
        assert found.classes == ["car", "bench"] and len(found) == 5
        for path, image, detections in found:
            number = int(path.split("/")[-1].split(".")[0])
            assert image.shape == (HEIGHT, WIDTH, 3)
            if not len(expected(number)):
                assert not len(detections)
                continue
            order = np.lexsort(detections.xyxy.T[::-1])
            wanted = expected(number)
            wanted = wanted[np.lexsort(wanted.T[::-1])]
            np.testing.assert_allclose(detections.xyxy[order], wanted, atol=1.01)
            for mask, (left, top, right, bottom) in zip(
                detections.mask[order], wanted, strict=True
            ):
                area = (right - left) * (bottom - top)
                assert abs(mask.sum() - area) <= 2 * (right - left + bottom - top)


def test_yolo_that_supervision_writes_is_read(tmp_path):
    supervision = pytest.importorskip("supervision", reason="supervision is not installed")
    (tmp_path / "in").mkdir()
    Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(tmp_path / "in" / "a.png")
    path = str(tmp_path / "in" / "a.png")
    boxes = np.array([[6.0, 10.0, 24.0, 30.0]])
    found = supervision.Detections(xyxy=boxes, class_id=np.array([1]))
    supervision.DetectionDataset(["cat", "dog"], [path], {path: found}).as_yolo(
        images_directory_path=str(tmp_path / "images"),
        annotations_directory_path=str(tmp_path / "labels"),
        data_yaml_path=str(tmp_path / "data.yaml"),
    )
    text = (tmp_path / "data.yaml").read_text()
    (tmp_path / "data.yaml").write_text(f"{text}train: images\n")
    source = YoloTxt(name="p", data=tmp_path / "data.yaml", split="train")
    label = source.labels(0)["p"]
    np.testing.assert_allclose(pixels(label["boxes"]), boxes, atol=1e-3)
    assert label["classes"].tolist() == [1]


@pytest.mark.parametrize("head", ["things", "parts", "kind"])
def test_label_studio_accepts_the_predictions(exports, head):
    interface = pytest.importorskip(
        "label_studio_sdk.label_interface", reason="label-studio-sdk is not installed"
    )
    folder = exports["label-studio", head]
    config = interface.LabelInterface((folder / "labeling.xml").read_text())
    config.validate()
    tasks = json.loads((folder / "tasks.json").read_text())
    assert tasks
    for task in tasks:
        assert config.validate_task({"data": task["data"]})
        for prediction in task["predictions"]:
            problems = config.validate_prediction(prediction, return_errors=True)
            assert not problems, problems


def test_opencv_and_pillow_read_maps(exports):
    cv2 = pytest.importorskip("cv2")
    for name, dtype in (("parts", np.uint8), ("far", np.uint16)):
        (path, *_) = sorted((exports["maps", name] / "maps").iterdir())
        values = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert values.dtype == dtype and values.shape == (HEIGHT, WIDTH)
        np.testing.assert_array_equal(values, np.asarray(Image.open(path)))
