"""Sources made of others: joined labels, other class lists, classes in a table."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from must_keras.data.sources import (
    CocoJson,
    Concatenated,
    CsvClasses,
    DepthMaps,
    FolderPerClass,
    ImagesOnly,
    Joined,
    LabelMaps,
    LabelSpace,
    Relabeled,
    Source,
)
from must_keras.data.sources.source import class_label, objects
from must_keras.errors import UserError

PIXELS = np.zeros((4, 6, 3), np.uint8)


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def photos(tmp_path):
    for name in ("a.png", "deep/B.PNG", "c.jpg", "d.bmp", "e.webp"):
        save(tmp_path / "photos" / name, PIXELS)
    return tmp_path / "photos"


# ---- classes in a table -----------------------------------------------------------------------


def table(tmp_path, text):
    (tmp_path / "tags.csv").write_text(text, encoding="utf-8-sig")
    return tmp_path / "tags.csv"


def test_a_table_labels_some_images(photos, tmp_path):
    text = 'class,file,by\ncat,a.png,me\n"dog, big",deep/B.PNG,me\n,c.jpg,nobody\n'
    source = CsvClasses(name="tags", images=photos, csv_file=table(tmp_path, text), head="animal")
    assert source.label_spaces == {"animal": LabelSpace("classes", ("cat", "dog, big"))}
    labels = {source.image_id(i): source.labels(i) for i in range(len(source))}
    assert list(labels) == ["a.png", "c.jpg", "d.bmp", "deep/B.PNG", "e.webp"]
    assert [name for name, label in labels.items() if label] == ["a.png", "deep/B.PNG"]
    np.testing.assert_array_equal(labels["deep/B.PNG"]["animal"]["probabilities"], [0, 1])
    assert source.image(4).shape == (4, 6, 3)
    listed = CsvClasses(
        name="tags", images=photos, csv_file=tmp_path / "tags.csv", head="animal", listed_only=True
    )
    assert [listed.image_id(i) for i in range(len(listed))] == ["a.png", "c.jpg", "deep/B.PNG"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,class\na.png,cat\n", "no column 'file'; allowed are name, class"),
        ("file|class\na.png|cat\n", "has one column, 'file.class': expected columns separated by"),
        ("file,class\na.png,cat\ngone.png,cat\n", "line 3: there is no picture 'gone.png'"),
        ("file,class\na.png,cat\na.png,dog\n", "line 3: 'a.png' is also on line 2"),
        ("file,class\na.png,cow\n", "line 2: no class 'cow'; allowed are cat, dog"),
        ("", "no column 'file'"),
    ],
)
def test_tables_that_do_not_fit(photos, tmp_path, text, message):
    with pytest.raises(UserError, match=f"tags.csv.*{message}"):
        CsvClasses(
            name="t", images=photos, csv_file=table(tmp_path, text), head="h",
            classes=("cat", "dog"),
        )  # fmt: skip


def test_a_table_that_names_no_class(photos, tmp_path):
    with pytest.raises(UserError, match="tags.csv names no class"):
        CsvClasses(name="t", images=photos, csv_file=table(tmp_path, "file,class\n"), head="h")
    with pytest.raises(UserError, match="no file .*gone.csv"):
        CsvClasses(name="t", images=photos, csv_file=tmp_path / "gone.csv", head="h")


# ---- labels of several sources ----------------------------------------------------------------


def test_a_pool_brings_the_labels_that_it_has(photos, tmp_path):
    save(tmp_path / "maps" / "c.png", np.array([[0, 1, 255] * 2] * 4, np.uint8))
    save(tmp_path / "depths" / "a.png", np.full((4, 6), 1500, np.uint16))
    tags = table(tmp_path, "file,class\na.png,cat\ne.webp,dog\n")
    pool = Joined(
        [
            ImagesOnly(name="photos", root=photos),
            CsvClasses(name="tags", images=photos, csv_file=tags, head="animal"),
            LabelMaps(
                name="maps", images=photos, maps=tmp_path / "maps", head="street",
                classes=("road", "sky"),
            ),
            DepthMaps(name="depths", images=photos, depths=tmp_path / "depths", head="far"),
        ],
        name="photos",
    )  # fmt: skip
    assert set(pool.label_spaces) == {"animal", "street", "far"}
    found = {pool.image_id(i): sorted(pool.labels(i)) for i in range(len(pool))}
    assert found == {
        "a.png": ["animal", "far"], "c.jpg": ["street"], "d.bmp": [], "deep/B.PNG": [],
        "e.webp": ["animal"],
    }  # fmt: skip
    np.testing.assert_allclose(pool.labels(0)["far"]["depth"], np.full((4, 6), 1.5), rtol=1e-6)


def test_how_some_images_of_several_sources_are_read(tmp_path):
    for name in ("one/a.tif", "two/a.png"):
        save(tmp_path / name, PIXELS)
    parts = [ImagesOnly(name=name, root=tmp_path / name) for name in ("one", "two")]
    both = Concatenated(parts, name="both")
    assert list(both.describe_reading()["reading"]) == ["one"]
    assert both.describe_reading(["one/a.tif", "two/a.png"]) == both.describe_reading()
    assert both.describe_reading(["two/a.png"]) == {}


def test_joined_boxes_are_those_of_a_picture_of_their_size(photos, tmp_path):
    """Their fractions would be wrong, though the pixels come from elsewhere."""
    entry = {"id": 1, "file_name": "a.png", "height": 4, "width": 9}
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 2, 2]}
    content = {"images": [entry], "annotations": [box], "categories": [{"id": 1, "name": "cat"}]}
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    boxes = CocoJson(name="boxes", images=photos, annotations=tmp_path / "boxes.json", head="boxes")
    pool = Joined([ImagesOnly(name="photos", root=photos), boxes], name="photos")
    with pytest.raises(UserError, match=r"a.png is 6x4 pixels upright, .*boxes.json has 9x4"):
        pool.labels(0)


def test_the_last_label_of_a_head_counts(photos, tmp_path):
    tables = {"first": "a.png,cat\nc.jpg,cat\n", "second": "a.png,dog\ne.webp,\n"}
    parts = [ImagesOnly(name="photos", root=photos)]
    for name, rows in tables.items():
        (tmp_path / f"{name}.csv").write_text(f"file,class\n{rows}")
        path, classes = tmp_path / f"{name}.csv", ("cat", "dog")
        parts.append(
            CsvClasses(name=name, images=photos, csv_file=path, head="animal", classes=classes)
        )
    pool = Joined(parts, name="photos")
    labels = {pool.image_id(i): pool.labels(i) for i in range(len(pool))}
    found = {k: v["animal"]["probabilities"].tolist() for k, v in labels.items() if v}
    assert found == {"a.png": [0, 1], "c.jpg": [1, 0]}
    assert [bool(pool.labeled_heads(i)) for i in range(len(pool))] == [
        bool(v) for v in labels.values()
    ]


def test_sources_that_cannot_be_joined(photos, tmp_path):
    images = ImagesOnly(name="photos", root=photos)
    tags = CsvClasses(
        name="tags", images=photos, csv_file=table(tmp_path, "file,class\na.png,x\n"), head="h"
    )
    path = tmp_path / "more.csv"
    path.write_text("file,class\na.png,y\n")
    more = CsvClasses(name="more", images=photos, csv_file=path, head="h")
    with pytest.raises(UserError, match="'more' does not fit source 'tags' .* for head 'h'"):
        Joined([images, tags, more], name="p")
    save(tmp_path / "others" / "z" / "odd.png", PIXELS)
    others = FolderPerClass(name="others", root=tmp_path / "others", head="k")
    with pytest.raises(UserError, match="'others' of 'p' labels 'z/odd.png', which is no image"):
        Joined([images, others], name="p")


# ---- other class lists ------------------------------------------------------------------------


class One(Source):
    def __init__(self, kind, label, classes=("cat", "dog", "horse", "car")):
        self.name, self.label_spaces = "one", {"h": LabelSpace(kind, classes)}
        self._label = label

    def __len__(self):
        return 1

    def image_id(self, index):
        return "x"

    def image(self, index):
        return PIXELS

    def labels(self, index):
        return {"h": self._label}

    def describe(self):
        return {"name": self.name}


MAPPING = {"horse": "horse", "cat": "pet", "dog": "pet"}


def renamed(kind, label):
    source = Relabeled(One(kind, label), head="h", classes=("pet", "horse"), mapping=MAPPING)
    assert source.label_spaces == {"h": LabelSpace(kind, ("pet", "horse"))}
    return source.labels(0).get("h")


def test_boxes_of_other_classes_are_left_out():
    masks = np.arange(4, dtype=np.uint8).reshape(4, 1, 1) % 2
    boxes = np.linspace(0, 1, 16).reshape(4, 4)
    label = objects(
        boxes=boxes, classes=[3, 1, 2, 0], masks=masks, ignore=[False, False, True, False]
    )
    found = renamed("boxes", label)
    assert found["classes"].tolist() == [0, 1, 0] and found["classes"].dtype == np.int32
    np.testing.assert_allclose(found["boxes"], boxes[1:])
    assert found["ignore"].tolist() == [False, True, False] and found["labelled"] == 1
    np.testing.assert_array_equal(found["masks"], masks[1:])


def test_pixels_of_other_classes_are_ignored():
    found = renamed("map", {"map": np.array([[0, 1, 2, 3, 255]], np.uint8)})
    assert found["map"].tolist() == [[0, 0, 1, 255, 255]]


def test_images_of_other_classes_have_no_label():
    assert renamed("classes", class_label(3, 4)) is None
    np.testing.assert_array_equal(renamed("classes", class_label(1, 4))["probabilities"], [1, 0])


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({**MAPPING, "hose": "horse"}, "names the class 'hose', .* there; did you mean 'horse'"),
        ({**MAPPING, "car": "pets"}, "names the class 'pets', .* here; did you mean 'pet'"),
        ({"horse": "horse"}, "no class there becomes pet"),
    ],
)
def test_mappings_that_do_not_fit(mapping, message):
    with pytest.raises(UserError, match=message):
        Relabeled(One("boxes", {}), head="h", classes=("pet", "horse"), mapping=mapping)
    with pytest.raises(UserError, match="has no classes for head 'k'"):
        Relabeled(One("boxes", {}), head="k", classes=("pet",), mapping={})


# ---- sources of one's own ---------------------------------------------------------------------


@pytest.mark.parametrize("how", [{}, {"frozen": True}, {"kw_only": True, "frozen": True}])
def test_a_source_of_ones_own_may_be_a_dataclass(how):
    @dataclasses.dataclass(**how)
    class Own(Source):
        name: str
        label_spaces: dict
        size: int

        def __len__(self):
            return self.size

        def image_id(self, index):
            return str(index)

        def image(self, index):
            return PIXELS

        def labels(self, index):
            return {}

        def describe(self):
            return {"name": self.name}

    source = Own(name="own", label_spaces={"kind": LabelSpace("classes", ("a",))}, size=2)
    assert source.label_spaces["kind"].classes == ("a",)
    with pytest.raises(UserError, match="source 'own' labels kind, not 'kinds'; did you mean"):
        source.label_spaces["kinds"]
