"""TensorFlow data sets by name, on the features and the generated data that TFDS itself mocks."""

import numpy as np
import pytest
import tensorflow_datasets as tfds

from must_keras.data.sources import (
    LabelSpace,
    Reading,
    TfdsSource,
    box_reading,
    class_reading,
    depth_reading,
    map_reading,
    tags_reading,
    tfds_builder,
)
from must_keras.errors import UserError
from must_keras.tasks import Classification, Depth, Detection, Segmentation, Tags

ROOMS = tuple(f"class {i}" for i in range(1, 151))


def prepared(name, tmp_path):
    """A data set with the real features, filled with what TFDS mocks."""
    with tfds.testing.mock_data(num_examples=3):
        real = tfds.builder(name, data_dir=str(tmp_path / "mock"))
        examples = list(tfds.as_numpy(real.as_dataset(split="train")))
    features = real.info.features

    class Stored(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for index, example in enumerate(examples):
                if name == "scene_parse150":
                    # Three equal colors, 0 is "other". (What TFDS downloads has a thing's category
                    # and number as colors instead: see data.public_sets.ade20k.)
                    gray = example["annotation"][:, :, :1] % 151
                    example["annotation"] = np.repeat(gray, 3, axis=2)
                if "objects" in example:
                    # The mock draws a length for every feature, and any corners.
                    shortest = min(map(len, example["objects"].values()))
                    found = {k: v[:shortest] for k, v in example["objects"].items()}
                    corners = found["bbox"].reshape(-1, 2, 2)
                    found["bbox"] = np.sort(corners, axis=1).reshape(-1, 4)
                    example["objects"] = found
                yield index, example

    builder = Stored(data_dir=str(tmp_path / "stored"))
    builder.download_and_prepare()
    return builder


CASES = {
    "coco/2017": (lambda b: box_reading(b), Detection, 80),
    "voc/2007": (lambda b: box_reading(b), Detection, 20),
    "cifar100": (lambda b: class_reading(b, "label"), Classification, 100),
    "imagenet2012": (lambda b: class_reading(b), Classification, 1000),
    "bigearthnet/rgb": (lambda b: tags_reading(b), Tags, 43),
    "nyu_depth_v2": (lambda b: depth_reading(b), Depth, 0),
    "scene_parse150": (
        lambda b: map_reading(b, "annotation", classes=ROOMS, values=range(1, 151), ignore=(0,)),
        Segmentation,
        150,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_data_set_by_its_name(name, tmp_path):
    read, kind, num_classes = CASES[name]
    builder = prepared(name, tmp_path)
    source = TfdsSource(name="s", builder=builder, split="train", labels={"h": read(builder)})
    space = source.label_spaces["h"]
    assert len(space.classes) == num_classes and len(source) == 3
    task = kind(name="h", **({"classes": space.classes} if num_classes else {}))
    assert LabelSpace.of(task) == space
    for index in range(3):
        label, spec = source.labels(index)["h"], task.labels.stored_spec()
        assert label.keys() == spec.keys()
        for key, part in spec.items():
            assert label[key].dtype == part.dtype and label[key].ndim == len(part.shape)
        assert source.image(index).dtype == np.uint8 and source.image(index).shape[2] == 3


def test_crowds_and_difficult_objects_are_ignored(tmp_path):
    builder = prepared("coco/2017", tmp_path)
    reading = box_reading(builder)
    found = {
        "bbox": np.float32([[0, 0, 0.5, 0.5], [0.1, 0.1, 0.9, 0.9], [0.2, 0.2, 0.2, 0.4]]),
        "label": np.int64([3, 4, 5]),
        "is_crowd": np.array([False, True, False]),
    }
    label = reading.read({"objects": found})
    # The third has no area.
    assert label["classes"].tolist() == [3, 4] and label["ignore"].tolist() == [False, True]
    with pytest.raises(UserError, match="an object is of class 80; classes are 0 to 79"):
        reading.read({"objects": found | {"label": np.int64([3, 80, 5])}})


def test_boxes_of_a_class_that_is_none_are_told(tmp_path):
    builder = prepared("voc/2007", tmp_path)
    few = Reading(LabelSpace("boxes", ("a", "b")), box_reading(builder).read)
    source = TfdsSource(name="s", builder=builder, split="train", labels={"h": few})
    with pytest.raises(UserError, match=r"head 'h': class \d+ is in its boxes; classes are 0 to 1"):
        for index in range(3):
            source.labels(index)


def test_images_without_a_class_have_no_label(tmp_path):
    reading = class_reading(prepared("cifar100", tmp_path), "coarse_label")
    assert reading.read({"coarse_label": np.int64(-1)}) is None
    assert reading.read({"coarse_label": np.int64(4)})["probabilities"].argmax() == 4


def test_features_that_are_not_what_is_asked_for(tmp_path):
    builder = prepared("coco/2017", tmp_path)
    with pytest.raises(UserError, match="has no feature 'objcts'; did you mean 'objects'"):
        box_reading(builder, "objcts")
    with pytest.raises(UserError, match="feature 'image' is no class"):
        class_reading(builder, "image")
    with pytest.raises(UserError, match="feature 'image' is no sequence of objects"):
        box_reading(builder, "image")
    with pytest.raises(UserError, match="feature 'area' of 'objects' is no box"):
        box_reading(builder, box="area")
    with pytest.raises(UserError, match="has no feature 'depth'"):
        depth_reading(builder)
    pixels = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    reading = depth_reading(prepared("nyu_depth_v2", tmp_path))
    with pytest.raises(UserError, match="not one number a pixel"):
        reading.read({"depth": pixels})


def test_unknown_names_are_answered_by_the_nearest(tmp_path):
    with pytest.raises(
        UserError, match="TFDS has no data set 'cifar1000': did you mean 'cifar100'"
    ):
        tfds_builder("cifar1000", str(tmp_path))


# ---- numbers and a user's own functions -------------------------------------------------------

RANDOM = np.random.default_rng(0)
NUMBERS = {
    "image": RANDOM.integers(0, 256, (8, 10, 3), np.uint8),
    "millimeters": np.where(np.eye(8, 10) > 0, 65535, 2500)[:, :, None].astype(np.uint16),
    "meters": RANDOM.uniform(1, 5, (8, 10, 1)).astype(np.float32),
    "bytes": RANDOM.integers(50, 255, (8, 10, 1), np.uint8),
    "map": (np.eye(8, 10) - 1).astype(np.int32),
    "deep": RANDOM.integers(0, 4096, (8, 10, 3), np.uint16),
    "objects": [
        {"bbox": tfds.features.BBox(0.0, 0.0, 0.5, 0.5), "label": "a", "is_group_of": group}
        for group in (-1, 0, 1)
    ],
}


@pytest.fixture(scope="module")
def numbers(tmp_path_factory):
    """One example with numbers of many kinds."""
    Image, Tensor = tfds.features.Image, tfds.features.Tensor
    one, three = (None, None, 1), (None, None, 3)
    features = {
        "image": Image(),
        "millimeters": Image(shape=one, dtype=np.uint16),
        "meters": Image(shape=one, dtype=np.float32),
        "bytes": Image(shape=one),
        "map": Tensor(shape=(8, 10), dtype=np.int32),
        "deep": Image(shape=three, dtype=np.uint16),
        "objects": tfds.features.Sequence(
            {
                "bbox": tfds.features.BBoxFeature(),
                "label": tfds.features.ClassLabel(names=["a"]),
                "is_group_of": tfds.features.Scalar(np.int8),
            }
        ),
    }

    class Numbers(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, manager):
            return {"train": iter([(0, NUMBERS)])}

        def _generate_examples(self):
            return ()

    builder = Numbers(data_dir=str(tmp_path_factory.mktemp("numbers")))
    builder.download_and_prepare()
    return builder


def read(builder, reading, **arguments):
    source = TfdsSource(
        name="s", builder=builder, split="train", labels={"h": reading}, **arguments
    )
    return source.labels(0)["h"]


def test_numbers_are_those_of_files(numbers):
    depth = read(numbers, depth_reading(numbers, "millimeters", depth_scale=0.001))["depth"]
    np.testing.assert_array_equal(depth, np.where(np.eye(8, 10) > 0, 0, np.float32(2.5)))
    np.testing.assert_array_equal(
        read(numbers, depth_reading(numbers, "meters"))["depth"], NUMBERS["meters"][:, :, 0]
    )
    with pytest.raises(UserError, match=r"^source 's', image 0 \(.*\), head 'h': its median depth"):
        read(numbers, depth_reading(numbers, "meters", depth_scale=1e-6))
    with pytest.raises(UserError, match="image 0 has 8 bits"):
        read(numbers, depth_reading(numbers, "bytes", depth_scale=0.01))
    code = map_reading(numbers, "map", classes=("a",), ignore=(-1,))
    np.testing.assert_array_equal(read(numbers, code)["map"], np.where(np.eye(8, 10) > 0, 0, 255))
    with pytest.raises(UserError, match="neither a class nor to be ignored: -1.*ignore="):
        read(numbers, map_reading(numbers, "map", classes=("a",)))
    with pytest.raises(UserError, match="1 to 255 classes"):
        map_reading(numbers, "map", classes=tuple(map(str, range(256))))
    # -1 is unknown in Open Images.
    reading = box_reading(numbers)
    assert read(numbers, reading)["ignore"].tolist() == [False, False, True]
    assert reading.described == {"version": 2}


def test_colors_of_sixteen_bits_are_those_of_files(numbers, capsys):
    def image(**arguments):
        return TfdsSource(
            name="s", builder=numbers, split="train", labels={}, image="deep", **arguments
        ).image(0)

    assert image().max() <= 16
    (line,) = capsys.readouterr().err.splitlines()
    assert "bits=12" in line and line.count("source ") == 1
    np.testing.assert_array_equal(
        image(bits=12), np.round(NUMBERS["deep"] * (255 / 4095)).astype(np.uint8)
    )


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda e: {"depth": e["meter"]}, "no feature 'meter'; did you mean 'meters'"),
        (lambda e: {}[3], "its label cannot be read: KeyError: 3"),
        (lambda e: 1 / 0, "its label cannot be read: ZeroDivisionError: division by zero"),
        (lambda: None, "its label cannot be read: TypeError"),
    ],
)
def test_a_function_of_a_user_that_fails_is_named(numbers, function, message):
    with pytest.raises(UserError, match=f"source 's', image 0 .*head 'h': .*{message}"):
        read(numbers, Reading(LabelSpace("metric"), function))


@pytest.mark.parametrize("labels", [{"h": "label"}, {"h": class_reading}, ["label"], None])
def test_labels_that_are_no_readings_are_named(numbers, labels):
    with pytest.raises(UserError, match="source 's': .*class_reading"):
        TfdsSource(name="s", builder=numbers, split="train", labels=labels)
    with pytest.raises(UserError, match="builder='numbers': expected tfds_builder"):
        TfdsSource(name="s", builder="numbers", split="train", labels={})
