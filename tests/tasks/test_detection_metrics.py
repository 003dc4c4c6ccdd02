import contextlib
import io
import math

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from must_keras.tasks.details import BACKGROUND
from must_keras.tasks.detection import Detection

TASK = Detection(name="objects", classes=("cat", "dog", "owl"), max_detections=50, mask_region=2)
ROOM = 6


def label_of(images, labeled=None):
    """From lists of (box, class, ignored)."""
    number = len(images)
    label = {
        "boxes": np.zeros((number, ROOM, 4), np.float32),
        "classes": np.full((number, ROOM), -1, np.int32),
        "masks": np.zeros((number, ROOM, 4, 4), np.uint8),
        "has_mask": np.zeros((number, ROOM), bool),
        "ignore": np.zeros((number, ROOM), bool),
        "labelled": np.ones(number, np.float32) if labeled is None else np.float32(labeled),
        "truncated_boxes": np.zeros((number, ROOM, 4), np.float32),
    }
    for i, image in enumerate(images):
        for j, (box, category, ignored) in enumerate(image):
            label["boxes"][i, j], label["classes"][i, j] = box, category
            label["ignore"][i, j], label["has_mask"][i, j] = ignored, not ignored
            label["masks"][i, j] = 1
    return label


def outputs_of(images):
    """From lists of (box, class, score)."""
    number = len(images)
    outputs = {
        "boxes": np.zeros((number, ROOM, 4), np.float32),
        "scores": np.zeros((number, ROOM), np.float32),
        "classes": np.full((number, ROOM), -1, np.int32),
        "masks": np.ones((number, ROOM, 4, 4), np.float32),
    }
    for i, image in enumerate(images):
        for j, (box, category, score) in enumerate(image):
            outputs["boxes"][i, j], outputs["classes"][i, j] = box, category
            outputs["scores"][i, j] = score
    return outputs


TRUTH = [
    [([0, 0, 20, 20], 0, False), ([30, 30, 50, 60], 1, False), ([60, 0, 90, 90], 1, True)],
    [([10, 10, 40, 40], 0, False), ([50, 50, 60, 60], 2, False)],
    [],
]
FOUND = [
    [([0, 0, 20, 18], 0, 0.9), ([30, 32, 50, 60], 1, 0.6), ([62, 5, 80, 40], 1, 0.95)],
    [([10, 10, 40, 25], 0, 0.8), ([12, 10, 40, 40], 0, 0.7), ([0, 0, 9, 9], 2, 0.5)],
    [([5, 5, 25, 25], 0, 0.4)],
]


def score(truth, found, task=TASK):
    evaluator = task.metrics.evaluator()
    evaluator.update(truth, found)
    return evaluator.result()


def drawn(box, mask):
    """What pycocotools makes of a mask [4, 4] at a box of 4 whole pixels a side."""
    ymin, xmin, ymax, xmax = box
    picture = np.zeros((100, 100), np.uint8, order="F")
    picture[ymin:ymax, xmin:xmax] = mask
    return coco_mask.encode(picture)


def reference(truth, found, masks=None):
    """AP and AP50 by pycocotools as its own demonstration uses it."""
    evaluation = by_pycocotools(truth, found, masks)
    evaluation.summarize()
    return evaluation.stats[0], evaluation.stats[1]


def by_pycocotools(truth, found, masks=None, areas=None):
    """The accumulated evaluation; masks: those of truth and found, in order; areas: four ranges."""
    annotations, detections = [], []
    masks = [None, None] if masks is None else [iter(each) for each in masks]
    kind = "segm" if masks[0] else "bbox"
    for image, objects in enumerate(truth):
        for (ymin, xmin, ymax, xmax), category, crowd in objects:
            box = [xmin, ymin, xmax - xmin, ymax - ymin]
            annotations.append(
                {"id": len(annotations) + 1, "image_id": image + 1, "category_id": category + 1}
                | {"bbox": box, "area": box[2] * box[3], "iscrowd": int(crowd)}
            )
            if masks[0]:
                annotations[-1]["segmentation"] = drawn((ymin, xmin, ymax, xmax), next(masks[0]))
    for image, objects in enumerate(found):
        for (ymin, xmin, ymax, xmax), category, chance in objects:
            box = [xmin, ymin, xmax - xmin, ymax - ymin]
            detections.append(
                {"image_id": image + 1, "category_id": category + 1, "bbox": box, "score": chance}
            )
            if masks[1]:
                del detections[-1]["bbox"]
                detections[-1]["segmentation"] = drawn((ymin, xmin, ymax, xmax), next(masks[1]))
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": i + 1, "height": 100, "width": 100} for i in range(len(truth))],
            "categories": [{"id": k + 1, "name": str(k)} for k in range(3)],
            "annotations": annotations,
        }
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(detections), kind)
        evaluation.params.areaRng = areas or evaluation.params.areaRng
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def test_equals_pycocotools_with_a_crowd():
    metrics = score(label_of(TRUTH), outputs_of(FOUND))
    box_ap, box_ap50 = reference(TRUTH, FOUND)
    assert list(metrics) == ["box_ap50", "box_ap", "mask_ap"]
    assert metrics["box_ap"] == pytest.approx(box_ap)
    assert metrics["box_ap50"] == pytest.approx(box_ap50)
    assert 0 < metrics["box_ap"] < metrics["box_ap50"] < 1
    # Full masks are boxes, and these boxes are whole pixels.
    assert metrics["mask_ap"] == pytest.approx(box_ap)


def test_equals_pycocotools_on_random_boxes():
    rng = np.random.default_rng(0)
    truth, found = [], []
    for _ in range(20):
        objects, predicted = [], []
        for _ in range(rng.integers(0, ROOM + 1)):
            corner, side = rng.integers(0, 50, 2), rng.integers(5, 40, 2)
            box = np.concatenate([corner, corner + side]).tolist()
            objects.append((box, int(rng.integers(3)), bool(rng.random() < 0.1)))
            if rng.random() < 0.8:
                moved = (np.array(box) + rng.integers(-3, 4, 4)).clip(0).tolist()
                predicted.append((moved, objects[-1][1], float(np.float32(rng.random()))))
        truth.append(objects)
        found.append(predicted)
    metrics = score(label_of(truth), outputs_of(found))
    box_ap, box_ap50 = reference(truth, found)
    assert metrics["box_ap"] == pytest.approx(box_ap)
    assert metrics["box_ap50"] == pytest.approx(box_ap50)


@pytest.mark.parametrize("seed", range(4))
def test_every_value_by_size_and_class_is_that_of_pycocotools_on_random_cases(seed):
    rng = np.random.default_rng(seed)
    truth, found = [], []
    for _ in range(30):
        objects, predicted = [], []
        for _ in range(rng.integers(0, ROOM // 2 + 1)):
            corner = rng.integers(0, 50, 2)
            box = np.concatenate([corner, corner + rng.integers(2, 45, 2)]).tolist()
            objects.append((box, int(rng.integers(3)), bool(rng.random() < 0.15)))
            for _ in range(rng.integers(0, 3)):
                moved = (np.array(box) + rng.integers(-2, 3, 4)).clip(0).tolist()
                category = objects[-1][1] if rng.random() < 0.8 else int(rng.integers(3))
                # Equal scores: their order decides.
                predicted.append((moved, category, float(np.float32(rng.integers(1, 9) / 8))))
        truth.append(objects)
        found.append(predicted)
    evaluator = Detection(
        name="objects", classes=TASK.classes, with_masks=False
    ).metrics.evaluator()
    label, outputs = label_of(truth), outputs_of(found)
    label["has_mask"][:] = False
    evaluator.update(label, outputs)
    # In an image of 100 pixels small objects have 5 a side, large ones 15.
    details = evaluator.details(TASK.classes, size=100)
    areas = [[0, 1e10], [0, 25], [25, 225], [225, 1e10]]
    evaluation = by_pycocotools(truth, found, areas=areas)
    precision, recall = evaluation.eval["precision"][..., -1], evaluation.eval["recall"][..., -1]

    def mean(values):
        return values[values > -1].mean() if (values > -1).any() else math.nan

    expected = {"box_ap75": mean(precision[5, :, :, 0]), "box_ar": mean(recall[:, :, 0])}
    for place, which in enumerate(("small", "medium", "large"), start=1):
        expected[f"box_ap_{which}"] = mean(precision[..., place])
    assert details.values == pytest.approx(expected, abs=1e-6, nan_ok=True)
    assert len({round(v, 3) for v in details.values.values()}) > 3
    for k, name in enumerate(TASK.classes):
        real = [one for image in truth for one in image if one[1] == k and not one[2]]
        assert details.by_class[name] == pytest.approx(
            {
                "objects": len(real),
                "box_ap50": mean(precision[0, :, k, 0]),
                "box_ap": mean(precision[:, :, k, 0]),
                "box_ar": mean(recall[:, k, 0]),
            },
            abs=1e-6,
        )


def test_confusions_have_missed_and_false_objects_by_hand():
    truth = [
        [([0, 0, 20, 20], 0, False), ([30, 30, 50, 50], 1, False), ([60, 0, 90, 90], 1, True)],
        [([0, 0, 20, 20], 2, False)],
        [([0, 0, 20, 20], 2, False)],
    ]
    found = [
        [
            ([0, 0, 20, 18], 0, 0.9),  # right
            ([0, 0, 20, 20], 0, 0.8),  # a second one: false
            ([30, 30, 50, 48], 2, 0.95),  # an owl where a dog is
            ([62, 5, 80, 40], 1, 0.9),  # in the ignored region: neither
            ([62, 5, 80, 40], 0, 0.2),  # below a score of 0.25
        ],
        [],
        [([0, 0, 20, 20], 0, 0.9), ([0, 0, 20, 20], 2, 0.6)],  # its own class is taken first
    ]
    evaluator = TASK.metrics.evaluator()
    evaluator.update(label_of(truth), outputs_of(found))
    assert evaluator.details(TASK.classes, size=100).confusion == {
        "cat": {"cat": 1},
        "dog": {"owl": 1},
        "owl": {"owl": 1, BACKGROUND: 1},
        BACKGROUND: {"cat": 2},
    }
    found_by = TASK.metrics.disagreements(label_of(truth, [1, 1, 0]), outputs_of(found))
    assert found_by == [(2.0, "objects: 1 false, 1 confused"), (1.0, "objects: 1 missed"), None]


def test_the_size_of_an_object_is_its_masks_as_in_coco():
    truth = label_of([[([0, 0, 40, 40], 0, False)]])
    truth["masks"][0, 0] = np.diag([0, 0, 0, 1])  # A corner of 10 x 10 pixels.
    found = outputs_of([[([0, 0, 40, 40], 0, 0.9)]])
    evaluator = TASK.metrics.evaluator()
    evaluator.update(truth, found)
    values = evaluator.details(TASK.classes, size=640).values
    assert values["box_ap_small"] == pytest.approx(1.0) and math.isnan(values["box_ap_medium"])
    assert values["mask_ap_small"] == 0.0  # The mask of the detection is the whole box.


def test_mask_ap_equals_pycocotools_on_random_masks():
    rng = np.random.default_rng(1)
    truth, found, masks = [], [], ([], [])
    for _ in range(20):
        objects, predicted = [], []
        for _ in range(rng.integers(1, ROOM + 1)):
            corner = rng.integers(0, 90, 2)
            objects.append(
                (np.concatenate([corner, corner + 4]).tolist(), int(rng.integers(3)), False)
            )
            masks[0].append((rng.random((4, 4)) < 0.8).astype(np.uint8))
            if rng.random() < 0.8:
                corner = corner + (rng.random(2) < 0.2)
                box = np.concatenate([corner, corner + 4]).tolist()
                predicted.append((box, objects[-1][1], float(np.float32(rng.random()))))
                masks[1].append(masks[0][-1] ^ (rng.random((4, 4)) < 0.1))
        truth.append(objects)
        found.append(predicted)
    label, outputs = label_of(truth), outputs_of(found)
    for given, images, all_masks in ((label, truth, masks[0]), (outputs, found, masks[1])):
        places = [(i, j) for i, image in enumerate(images) for j in range(len(image))]
        for place, mask in zip(places, all_masks, strict=True):
            given["masks"][place] = mask
    mask_ap, _ = reference(truth, found, masks)
    assert score(label, outputs)["mask_ap"] == pytest.approx(mask_ap)
    assert 0.2 < mask_ap < 0.8


def test_nothing_is_printed(capsys):
    score(label_of(TRUTH), outputs_of(FOUND))
    assert capsys.readouterr().out == ""


def test_no_detection_is_zero_and_no_object_is_unknown():
    assert score(label_of(TRUTH), TASK.metrics.trivial_baseline().predict(3)) == {
        "box_ap50": 0.0,
        "box_ap": 0.0,
        "mask_ap": 0.0,
    }
    assert all(math.isnan(v) for v in score(label_of([[]]), outputs_of([[]])).values())
    unlabeled = score(label_of(TRUTH, [0, 0, 0]), outputs_of(FOUND))
    assert all(math.isnan(v) for v in unlabeled.values())
    assert all(math.isnan(v) for v in TASK.metrics.evaluator().result().values())


def test_a_region_ignored_for_every_class_and_truncated_objects_hide_false_detections():
    truth = [[([0, 0, 20, 20], 0, False)]]
    wrong = ([50, 50, 70, 70], 0, 0.9)
    found = outputs_of([[([0, 0, 20, 20], 0, 0.5), wrong]])
    assert score(label_of(truth), found)["box_ap"] == pytest.approx(0.5)
    whole = [[*truth[0], ([0, 0, 100, 100], -1, True)]]
    assert score(label_of(whole), found)["box_ap"] == pytest.approx(1.0)
    truncated = label_of(truth)
    truncated["truncated_boxes"][0, 0] = [45, 45, 75, 75]
    assert score(truncated, found)["box_ap"] == pytest.approx(1.0)


def test_masks_differ_from_boxes_and_objects_without_masks_are_not_scored():
    truth = label_of([[([0, 0, 20, 20], 0, False), ([40, 40, 60, 60], 0, False)]])
    found = outputs_of([[([0, 0, 20, 20], 0, 0.9), ([40, 40, 60, 60], 0, 0.8)]])
    found["masks"][0, 0, :, 2:] = 0.0
    metrics = score(truth, found)
    assert metrics["box_ap"] == pytest.approx(1.0)
    assert metrics["mask_ap"] < 1.0
    truth["has_mask"][0, 0] = False
    assert score(truth, found)["mask_ap"] == pytest.approx(1.0)
    without = Detection(name="objects", classes=TASK.classes, with_masks=False)
    assert list(score(truth, found, without)) == ["box_ap50", "box_ap"]


def test_quality_of_pseudo_boxes_by_hand():
    truth = label_of(
        [[([0, 0, 20, 20], 0, False), ([30, 30, 50, 50], 1, False), ([60, 60, 99, 99], 0, True)]]
    )
    predicted = label_of(
        [
            [
                ([0, 0, 20, 18], 0, False),  # right
                ([0, 0, 20, 20], 0, False),  # a second one: wrong
                ([30, 30, 50, 50], 0, False),  # another class: wrong
                ([70, 70, 80, 80], 0, False),  # in a crowd: neither
            ]
        ]
    )
    evaluator = TASK.metrics.quality()
    evaluator.update(truth, predicted)
    metrics = evaluator.result()
    assert list(metrics) == ["precision50", "recall50", "mask_iou"]
    assert metrics["precision50"] == pytest.approx(1 / 3)
    assert metrics["recall50"] == pytest.approx(1 / 2)
    assert metrics["mask_iou"] == pytest.approx(0.9)


def test_quality_counts_only_images_with_both_labels():
    evaluator = TASK.metrics.quality()
    evaluator.update(label_of(TRUTH), label_of(TRUTH, [0, 0, 0]))
    assert all(math.isnan(v) for v in evaluator.result().values())
