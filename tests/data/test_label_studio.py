"""Exports of Label Studio (as JSON) and of CVAT (COCO 1.0, YOLO), as these tools lay them out."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from must_keras.data.io.brush_codes import encode_brush
from must_keras.data.sources import CocoJson, LabelSpace, LabelStudioJson, YoloTxt
from must_keras.errors import UserError
from must_keras.runs.fingerprint import describe

HEIGHT, WIDTH = 20, 40
SIZE = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}


def photo(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(path)


def result(kind, class_name, **value):
    names = {"type": kind, "from_name": "label", "to_name": "image", "origin": "manual"}
    return {"id": "x1", **names, **SIZE, "value": {**value, kind: [class_name]}}


def rectangle(class_name="cat", **changed):
    value = {"x": 25, "y": 50, "width": 50, "height": 25, "rotation": 0} | changed
    return result("rectanglelabels", class_name, **value)


def annotation(*results, **fields):
    return {"id": 9, "completed_by": 1, "was_cancelled": False, "ground_truth": False,
            "result": list(results), **fields}  # fmt: skip


def task(image, *annotations, **data):
    return {"id": 5, "annotations": list(annotations), "predictions": [],
            "data": {"image": image, **data}, "project": 1}  # fmt: skip


@pytest.fixture
def read(tmp_path):
    def read(*tasks, images=("a.jpg",), **arguments):
        for name in images:
            photo(tmp_path / "images" / name)
        path = tmp_path / "export.json"
        path.write_text(json.dumps(list(tasks)))
        named = {"name": "pets", "images": tmp_path / "images", "annotations": path}
        return LabelStudioJson(**named | arguments)

    return read


# ---- Label Studio -------------------------------------------------------------------------------


def test_rectangles_are_percents_of_the_upright_image(read):
    source = read(task("/data/local-files/?d=images/a.jpg", annotation(rectangle())))
    assert source.label_spaces == {"pets": LabelSpace("boxes", ("cat",))}
    label = source.labels(0)["pets"]
    np.testing.assert_allclose(label["boxes"], [[0.5, 0.25, 0.75, 0.75]])
    assert not label["has_mask"].any() and source.image_id(0) == "a.jpg"


def test_a_turned_rectangle_is_turned_clockwise_around_its_corner(read):
    # 20 x 5 pixels from (10, 10); a quarter turn: 5 to the left and 20 down, which is cut at 20.
    source = read(task("a.jpg", annotation(rectangle(rotation=90))))
    label = source.labels(0)["pets"]
    np.testing.assert_allclose(label["boxes"], [[0.5, 5 / 40, 1.0, 10 / 40]], atol=1e-6)
    assert label["has_mask"].all()


def test_polygons_and_brushes_have_masks(read):
    points = [[0, 0], [50, 0], [50, 100], [0, 100]]
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[5:15, 30:40] = 1
    results = (
        result("polygonlabels", "dog", points=points, closed=True),
        result("brushlabels", "cat", format="rle", rle=encode_brush(mask)),
    )
    label = read(task("a.jpg", annotation(*results))).labels(0)["pets"]
    np.testing.assert_allclose(label["boxes"], [[0, 0, 1, 0.5], [0.25, 0.75, 0.75, 1]])
    assert label["classes"].tolist() == [1, 0] and label["masks"].all() and label["has_mask"].all()


def test_a_map_is_painted_in_the_order_of_the_regions(read):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[12:, :] = 1
    results = (
        rectangle("wall"),
        result("brushlabels", "floor", format="rle", rle=encode_brush(mask)),
    )
    source = read(task("a.jpg", annotation(*results)), kind="map")
    expected = np.full((HEIGHT, WIDTH), 255, np.uint8)
    expected[10:15, 10:30] = 1
    expected[12:] = 0
    np.testing.assert_array_equal(source.labels(0)["pets"]["map"], expected)


def test_choices_are_classes(read):
    tasks = [task(f"{name}.jpg", annotation(*results)) for name, results in {
        "a": [result("choices", "dog")], "b": [result("choices", "cat")], "c": [],
    }.items()]  # fmt: skip
    source = read(*tasks, images=("a.jpg", "b.jpg", "c.jpg"), kind="classes")
    assert source.label_spaces["pets"].classes == ("cat", "dog")
    assert source.labels(0)["pets"]["probabilities"].tolist() == [0, 1]
    assert source.labels(2) == {} and not source.labeled_heads(2)


def test_which_annotation_counts(read, capsys):
    tasks = (
        task("a.jpg", annotation(rectangle("cat")), annotation(rectangle("dog"))),
        task(
            "b.jpg", annotation(rectangle("cat"), ground_truth=True), annotation(rectangle("dog"))
        ),
        task("c.jpg", annotation(rectangle("dog"), was_cancelled=True)),
        task("d.jpg"),
        task("e.jpg", annotation()),
    )
    source = read(*tasks, images=[f"{name}.jpg" for name in "abcde"])
    labels = [source.labels(i).get("pets") for i in range(5)]
    names = [source.label_spaces["pets"].classes[int(label["classes"][0])] for label in labels[:2]]
    assert names == ["dog", "cat"] and labels[2] is labels[3] is None and source.num_unlabeled == 2
    assert len(labels[4]["boxes"]) == 0 and source.labeled_heads(4) and not source.labeled_heads(3)
    error = capsys.readouterr().err
    assert "2 tasks have no annotation" in error and "2 tasks have several annotations" in error


@pytest.mark.parametrize(
    "url",
    ["a b/c.jpg", "../images/a b/c.jpg", "/data/local-files/?d=pile/images/a%20b/c.jpg", "s3://bucket/x/a%20b/c.jpg",
     "https://example.org/a%20b/c.jpg?token=1", "/data/upload/3/1a2b3c4d-d.jpg"],
)  # fmt: skip
def test_images_are_found_by_the_end_of_their_url(read, url):
    source = read(task(url, annotation(rectangle())), images=("a b/c.jpg", "d.jpg"))
    assert source.image_id(0) == ("d.jpg" if "upload" in url else "a b/c.jpg")


def test_the_file_of_our_own_export_comes_first(read):
    source = read(
        task("https://x/y.jpg", annotation(rectangle()), file="b/a.jpg"), images=["b/a.jpg"]
    )
    assert source.image_id(0) == "b/a.jpg"


def test_boxes_without_an_area_and_other_results_are_counted(read, capsys):
    results = (rectangle(x=120), rectangle(), result("keypointlabels", "eye", x=1, y=1, width=1))
    source = read(task("a.jpg", annotation(*results)))
    assert len(source.labels(0)["pets"]["boxes"]) == 1
    error = capsys.readouterr().err
    assert "1 boxes have no area" in error and "1 results of other kinds" in error


def test_changed_annotations_change_the_description(read):
    one = describe(read(task("a.jpg", annotation(rectangle()))))
    assert one != describe(read(task("a.jpg", annotation(rectangle(x=26)))))


WRONG = {
    "has the label 'cow'; allowed are cat, dog": task("a.jpg", annotation(rectangle("cow"))),
    "is of the image 'z.jpg', which is not in": task("z.jpg", annotation(rectangle())),
    "has no 'image' in its data ('photo'): set image_key=": {
        "id": 5, "annotations": [], "data": {"photo": "a.jpg"}
    },
    "has no 'annotations', expected Label Studio's export as JSON": {
        "id": 5, "label": [], "data": {"image": "a.jpg"}
    },
    "has the data None (null), expected Label Studio's": {"id": 5, "image": "a.jpg", "label": []},
    "has x, y, width, height of ['a', 50, 50, 25], expected percents": task(
        "a.jpg", annotation(rectangle(x="a"))
    ),
    "has the points [[0, 0]], expected at least three points": task(
        "a.jpg", annotation(result("polygonlabels", "cat", points=[[0, 0]]))
    ),
    "has an 'rle' that cannot be read: it is not of 20 x 40 pixels": task(
        "a.jpg", annotation(result("brushlabels", "cat", rle=encode_brush(np.ones((2, 2)))))
    ),
    "was turned in Label Studio": task("a.jpg", annotation(rectangle() | {"image_rotation": 90})),
}  # fmt: skip


@pytest.mark.parametrize("problem", WRONG)
def test_a_task_that_does_not_fit(problem, read, tmp_path):
    with pytest.raises(UserError) as error:
        read(WRONG[problem], classes=("cat", "dog"))
    assert str(error.value).startswith(f"{tmp_path}/export.json: task 5")
    assert problem in str(error.value)


def test_files_of_another_form(read, tmp_path):
    with pytest.raises(UserError, match="kind='box'; did you mean 'boxes'?") as error:
        read(kind="box")
    assert error.value.key == "kind"
    with pytest.raises(UserError, match="has no task"):
        read()
    (tmp_path / "coco.json").write_text("{}")
    with pytest.raises(UserError, match="expected Label Studio's export"):
        read(annotations=tmp_path / "coco.json")
    with pytest.raises(UserError, match="nothing is annotated"):
        read(task("a.jpg", annotation()))


# ---- CVAT ---------------------------------------------------------------------------------------


def test_cvats_coco(tmp_path):
    """COCO 1.0: annotations/instances_default.json beside images/default/, "attributes"."""
    photo(tmp_path / "images" / "default" / "a" / "1.jpg")
    shape = {"id": 1, "image_id": 1, "category_id": 2, "iscrowd": 0, "area": 50.0,
             "attributes": {"occluded": False, "rotation": 0.0}}  # fmt: skip
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[:10, :20] = 1
    runs = coco_mask.encode(np.asfortranarray(mask))
    plain = {"counts": [0, *(10, 10) * 19, 10, 410], "size": [HEIGHT, WIDTH]}
    assert coco_mask.frPyObjects(plain, HEIGHT, WIDTH) == runs
    content = {
        "licenses": [{"name": "", "id": 0, "url": ""}],
        "info": {"contributor": "", "version": ""},
        "categories": [{"id": 1, "name": "cat", "supercategory": ""},
                       {"id": 2, "name": "dog", "supercategory": ""}],
        "images": [{"id": 1, "width": WIDTH, "height": HEIGHT, "file_name": "a/1.jpg",
                    "license": 0, "flickr_url": "", "coco_url": "", "date_captured": 0}],
        "annotations": [
            shape | {"segmentation": [], "bbox": [10.0, 5.0, 10.0, 5.0]},
            shape | {"id": 2, "segmentation": plain, "bbox": [0.0, 0.0, 20.0, 10.0]},
        ],
    }  # fmt: skip
    path = tmp_path / "annotations" / "instances_default.json"
    path.parent.mkdir()
    path.write_text(json.dumps(content))
    source = CocoJson(name="p", images=tmp_path / "images" / "default", annotations=path)
    label = source.labels(0)["p"]
    np.testing.assert_allclose(label["boxes"], [[0.25, 0.25, 0.5, 0.5], [0, 0, 0.5, 0.5]])
    assert label["has_mask"].tolist() == [False, True] and not source.has_scores


def test_cvats_yolo_of_ultralytics(tmp_path):
    """Ultralytics YOLO Detection 1.0: data.yaml, train.txt, images/train, labels/train."""
    photo(tmp_path / "images" / "train" / "a.jpg")
    (tmp_path / "labels" / "train").mkdir(parents=True)
    (tmp_path / "labels/train/a.txt").write_text("1 0.500000 0.500000 0.250000 0.500000\n")
    (tmp_path / "train.txt").write_text("data/images/train/a.jpg\n")
    text = "names:\n  0: cat\n  1: dog\npath: .\ntrain: train.txt\n"
    (tmp_path / "data.yaml").write_text(text)
    source = YoloTxt(name="p", data=tmp_path / "data.yaml")
    assert source.image_id(0) == "images/train/a.jpg"
    np.testing.assert_allclose(source.labels(0)["p"]["boxes"], [[0.25, 0.375, 0.75, 0.625]])


def test_cvats_yolo_of_darknet(tmp_path):
    """YOLO 1.1: obj.data, obj.names, train.txt, and images and labels in obj_train_data/."""
    photo(tmp_path / "obj_train_data" / "a.jpg")
    (tmp_path / "obj_train_data/a.txt").write_text("0 0.5 0.5 0.25 0.5\n")
    (tmp_path / "obj.names").write_text("cat\ndog\n")
    (tmp_path / "train.txt").write_text("data/obj_train_data/a.jpg\n")
    lines = ("classes = 2", "train = data/train.txt", "names = data/obj.names", "backup = backup/")
    (tmp_path / "obj.data").write_text("\n".join(lines))
    source = YoloTxt(name="p", data=tmp_path / "obj.data")
    assert source.image_id(0) == "obj_train_data/a.jpg"
    assert source.label_spaces["p"].classes == ("cat", "dog")
    assert len(source.labels(0)["p"]["boxes"]) == 1


def test_label_studios_yolo(tmp_path):
    """classes.txt, notes.json, images/ and labels/."""
    photo(tmp_path / "images" / "1a2b3c4d-a.jpg")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/1a2b3c4d-a.txt").write_text("1 0.5 0.5 0.25 0.5\n")
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    (tmp_path / "notes.json").write_text("{}")
    source = YoloTxt(name="p", data=tmp_path / "classes.txt")
    assert source.image_id(0) == "1a2b3c4d-a.jpg"
    assert source.labels(0)["p"]["classes"].tolist() == [1]


def test_label_studios_own_converter_finds_the_same_boxes(read, tmp_path):
    """Its COCO and YOLO, read by our sources, beside its JSON."""
    converter = pytest.importorskip(
        "label_studio_sdk.converter", reason="label-studio-sdk is not installed"
    )
    points = [[10, 10], [60, 10], [60, 90], [10, 90]]
    results = (rectangle("cat"), rectangle("dog", x=0, y=0, width=20, height=40),
               result("polygonlabels", "dog", points=points, closed=True))  # fmt: skip
    for number, one in enumerate(results):
        one |= {"id": f"r{number}", "from_name": one["type"], "to_name": "image"}
    photo_ = str(tmp_path / "images" / "a.jpg")
    source = read(task(photo_, annotation(*results)))
    ours = source.labels(0)["pets"]
    config = (
        '<View><Image name="image" value="$image"/>'
        '<RectangleLabels name="rectanglelabels" toName="image"><Label value="cat"/>'
        '<Label value="dog"/></RectangleLabels>'
        '<PolygonLabels name="polygonlabels" toName="image"><Label value="cat"/>'
        '<Label value="dog"/></PolygonLabels></View>'
    )
    tool = converter.Converter(config, str(tmp_path), download_resources=False)
    export = str(tmp_path / "export.json")
    tool.convert_to_coco(export, str(tmp_path / "coco"), is_dir=False)
    (found,) = json.loads((tmp_path / "coco/result.json").read_text())["images"]
    coco = CocoJson(
        name="pets", images=(tmp_path / "coco" / found["file_name"]).resolve().parent,
        annotations=_renamed(tmp_path / "coco/result.json"),
    )  # fmt: skip
    tool.convert_to_yolo(export, str(tmp_path / "yolo"), is_dir=False)
    photo(tmp_path / "yolo/images/a.jpg")
    yolo = YoloTxt(name="pets", data=tmp_path / "yolo/classes.txt")
    for other in (coco, yolo):
        assert other.label_spaces == source.label_spaces
        theirs = other.labels(0)["pets"]
        order = np.lexsort(np.round(theirs["boxes"], 2).T)
        own = np.lexsort(np.round(ours["boxes"], 2).T)
        np.testing.assert_allclose(theirs["boxes"][order], ours["boxes"][own], atol=1e-3)
        assert theirs["classes"][order].tolist() == ours["classes"][own].tolist()


def _renamed(path):
    """COCO's file with the names of images alone: the converter has paths of its own."""
    content = json.loads(path.read_text())
    for image in content["images"]:
        image["file_name"] = image["file_name"].replace("\\", "/").split("/")[-1]
    path.write_text(json.dumps(content))
    return path
