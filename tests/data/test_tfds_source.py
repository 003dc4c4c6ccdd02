import concurrent.futures
import io
import time

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from must_keras.data.sources import LabelSpace, Reading, TfdsSource, tfds_source
from must_keras.data.sources.source import class_label, objects
from must_keras.errors import DataError, UserError

NUM = 23


def png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    stream.seek(0)
    return stream


def drawn(index):
    random = np.random.default_rng(index)
    n = index % 4
    return {
        "id": f"picture-{index}",
        "image": random.integers(0, 256, (64, 64, 3), np.uint8),
        "depth": random.integers(0, 65536, (64, 64, 1), np.uint16),
        "label": index % 3,
        "objects": [
            {"bbox": tfds.features.BBox(0.1, 0.2, 0.5, 0.25 + 0.1 * k), "label": k}
            for k in range(n)
        ],
    }


class Tiny(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "id": tfds.features.Text(),
                    "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
                    "depth": tfds.features.Image(
                        shape=(64, 64, 1), dtype=np.uint16, encoding_format="png"
                    ),
                    "label": tfds.features.ClassLabel(names=["a", "b", "c"]),
                    "objects": tfds.features.Sequence(
                        {"bbox": tfds.features.BBoxFeature(), "label": np.int64}
                    ),
                }
            ),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(0), "test": self._generate_examples(100)}

    def _generate_examples(self, first):
        for index in range(first, first + NUM):
            example = drawn(index)
            pixels = {"image": png(example["image"]), "depth": png(example["depth"][:, :, 0])}
            yield index, example | pixels


LABELS = {
    "letter": Reading(
        LabelSpace("classes", ("a", "b", "c")), lambda e: class_label(int(e["label"]), 3)
    ),
    "things": Reading(
        LabelSpace("boxes", ("p", "q", "r")),
        lambda e: objects(boxes=e["objects"]["bbox"], classes=e["objects"]["label"]),
    ),
    "depth": Reading(
        LabelSpace("metric"),
        lambda e: {"depth": e["depth"][:, :, 0] * np.float32(0.001)} if e["label"] else None,
    ),
}


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    builder = Tiny(data_dir=str(tmp_path_factory.mktemp("tfds")))
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(num_shards=4))
    return builder


def test_examples_are_those_that_were_written(builder):
    assert builder.info.splits["train"].num_shards == 4
    source = TfdsSource(name="t", builder=builder, split="train", labels=LABELS, image_id="id")
    assert len(source) == NUM
    assert source.label_spaces["letter"] == LabelSpace("classes", ("a", "b", "c"))
    for index in range(NUM):
        example, labels = drawn(index), source.labels(index)
        assert source.image_id(index) == f"picture-{index}"
        np.testing.assert_array_equal(source.image(index), example["image"])
        assert labels["letter"]["probabilities"].argmax() == index % 3
        assert labels["things"]["classes"].tolist() == list(range(index % 4))
        assert labels["things"]["boxes"].shape == (index % 4, 4)
        assert labels["things"]["masks"].shape == (index % 4, 1, 1)
        assert ("depth" in labels) == (index % 3 > 0)
        if index % 3:
            expected = example["depth"][:, :, 0] / 1000
            np.testing.assert_allclose(labels["depth"]["depth"], expected, rtol=1e-6)


def test_parts_of_splits_are_tfds_own(builder):
    split = "train[20%:70%]+test[-3:]"
    source = TfdsSource(name="t", builder=builder, split=split, labels={}, image_id="id")
    expected = [e["id"].decode() for e in tfds.as_numpy(builder.as_dataset(split=split))]
    assert [source.image_id(i) for i in range(len(source))] == expected
    assert source.labels(0) == {}


def test_ids_without_a_feature_are_positions_in_files(builder):
    source = TfdsSource(name="t", builder=builder, split="train", labels={})
    part = TfdsSource(name="t", builder=builder, split="train[8:12]", labels={})
    ids = [source.image_id(i) for i in range(NUM)]
    assert ids[0] == "tiny-train.tfrecord-00000-of-00004:0" and len(set(ids)) == NUM
    assert [part.image_id(i) for i in range(4)] == ids[8:12]


def test_threads_read_what_one_thread_reads(builder):
    source = TfdsSource(name="t", builder=builder, split="train", labels=LABELS)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        images = list(pool.map(source.image, [i % NUM for i in range(200)]))
    for i, image in enumerate(images):
        np.testing.assert_array_equal(image, drawn(i % NUM)["image"])


def test_reading_is_fast(builder):
    source = TfdsSource(name="t", builder=builder, split="train", labels={})
    source.image(0)
    start = time.perf_counter()
    for i in range(100):
        source.image(i % NUM)
    assert (time.perf_counter() - start) / 100 < 0.005  # 0.3 ms on two quiet cores


def test_a_user_is_told_what_is_wrong(builder, tmp_path):
    with pytest.raises(UserError, match="not prepared"):
        TfdsSource(name="t", builder=Tiny(data_dir=str(tmp_path)), split="train", labels={})
    with pytest.raises(UserError, match=r"no split 'dev'; it has .*train"):
        TfdsSource(name="t", builder=builder, split="dev", labels={})
    with pytest.raises(UserError, match="no feature 'picture'"):
        TfdsSource(name="t", builder=builder, split="train", labels={}, image="picture")


def test_lost_records_are_noticed(tmp_path):
    builder = Tiny(data_dir=str(tmp_path))
    builder.download_and_prepare()
    source = TfdsSource(name="t", builder=builder, split="train", labels={})
    (file,) = builder.info.splits["train"].filepaths
    whole = file.read_bytes()
    length = int.from_bytes(whole[:8], "little") + 16
    file.write_bytes(whole[length:])
    with pytest.raises(DataError, match=r"22 records .* have 23"):
        source.image(0)


def test_the_features_of_coco_with_a_gray_jpeg():
    with tfds.testing.mock_data(num_examples=1):
        features = tfds.builder("coco/2017").info.features
    gray = np.full((8, 9), 77, np.uint8)
    stream = io.BytesIO()
    Image.fromarray(gray).save(stream, "JPEG")
    stream.seek(0)
    thing = {
        "area": 4, "bbox": tfds.features.BBox(0.0, 0.25, 0.5, 1.0), "id": 1, "is_crowd": True,
        "label": 7,
    }  # fmt: skip
    payload = features.serialize_example(
        features.encode_example(
            {"image": stream, "image/filename": "a.jpg", "image/id": 5, "objects": [thing]}
        )
    )
    alone = {key: tfds.features.FeaturesDict({key: f}) for key, f in features.items()}
    example = tfds_source._Decoded(payload, alone, "image 0")
    np.testing.assert_array_equal(example["image"], np.full((8, 9, 3), 77))
    found = example["objects"]
    label = objects(boxes=found["bbox"], classes=found["label"], ignore=found["is_crowd"])
    np.testing.assert_array_equal(label["boxes"], [[0.0, 0.25, 0.5, 1.0]])
    assert label["classes"].tolist() == [7] and label["ignore"].tolist() == [True]
    assert set(example) == set(features) and len(example) == 4
