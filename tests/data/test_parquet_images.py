"""Parquet files as Hugging Face writes them, and files without images."""

import concurrent.futures
import io
import json

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from must_keras.data.io.images import read_image
from must_keras.data.sources import LabelSpace, ParquetImages
from must_keras.errors import UserError
from must_keras.runs.fingerprint import describe

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def picture(seed, form="PNG"):
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 12, 3), np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, form)
    return data.getvalue()


def write(path, rows, *, names=None, image=IMAGE, **columns):
    """A file of some rows in groups of two, with the names of Hugging Face's ClassLabel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = rows if image != IMAGE else [row if row is None else {"bytes": row} for row in rows]
    table = pa.table({"image": pa.array(values, image)} | columns)
    if names is not None:
        features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata(
            {"huggingface": json.dumps({"info": {"features": features}})}
        )
    parquet.write_table(table, path, row_group_size=2)
    return path


@pytest.fixture
def beans(tmp_path):
    folder = tmp_path / "beans"
    write(folder / "train-00000-of-00002.parquet", [picture(i) for i in range(5)],
          names=["rust", "spot"], label=[0, 1, None, -1, 1])  # fmt: skip
    write(folder / "train-00001-of-00002.parquet", [picture(5, "JPEG")], names=["rust", "spot"],
          label=[0])  # fmt: skip
    return folder


def test_images_are_read_in_any_order(beans, tmp_path):
    source = ParquetImages(name="beans", files=beans)
    assert len(source) == 6 and source.label_spaces == {} and source.labels(0) == {}
    assert source.image_id(4) == "train-00000-of-00002/4"
    assert source.image_id(5) == "train-00001-of-00002/0"
    for index in (5, 0, 3, 4, 1, 2, 0):
        path = tmp_path / "x.png"
        path.write_bytes(picture(index, "JPEG" if index == 5 else "PNG"))
        np.testing.assert_array_equal(source.image(index), read_image(path))
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = list(pool.map(source.image, range(6)))
    for index, image in enumerate(found):
        np.testing.assert_array_equal(image, source.image(index))


def test_labels_have_the_names_of_class_label(beans):
    source = ParquetImages(name="beans", files=beans, label="label")
    assert source.label_spaces == {"beans": LabelSpace("classes", ("rust", "spot"))}
    labels = [source.labels(i).get("beans", {}).get("probabilities") for i in range(6)]
    assert [None if label is None else label.tolist() for label in labels] == [
        [1, 0], [0, 1], None, None, [0, 1], [1, 0],
    ]  # fmt: skip
    assert [bool(source.labeled_heads(i)) for i in (1, 2)] == [True, False]
    assert ParquetImages(name="b", files=beans, label="label", head=None).label_spaces == {}


def test_labels_that_are_texts_or_have_given_names(tmp_path):
    rows = [picture(0), picture(1)]
    path = write(tmp_path / "a.parquet", rows, label=["dog", "cat"])
    source = ParquetImages(name="p", files=path, label="label")
    assert source.label_spaces["p"].classes == ("cat", "dog")
    assert source.labels(0)["p"]["probabilities"].tolist() == [0, 1]
    path = write(tmp_path / "b.parquet", rows, label=[1, 0])
    source = ParquetImages(name="p", files=path, label="label", classes=("cat", "dog"))
    assert source.labels(0)["p"]["probabilities"].tolist() == [0, 1]
    with pytest.raises(UserError, match="label 1 has no name, and no file names it; set classes="):
        ParquetImages(name="p", files=path, label="label")
    with pytest.raises(UserError, match="b/0: label 1; allowed are cat"):
        ParquetImages(name="p", files=path, label="label", classes=("cat",))


def test_a_column_of_plain_bytes(tmp_path):
    path = write(tmp_path / "a.parquet", [picture(0)], image=pa.binary())
    assert ParquetImages(name="p", files=[path]).image(0).shape == (8, 12, 3)


def test_changed_labels_change_the_description_and_another_place_does_not(beans, tmp_path):
    one = describe(ParquetImages(name="b", files=beans, label="label"))
    for path in beans.iterdir():
        (tmp_path / "other").mkdir(exist_ok=True)
        (tmp_path / "other" / path.name).write_bytes(path.read_bytes())
    assert describe(ParquetImages(name="b", files=tmp_path / "other", label="label")) == one
    write(tmp_path / "other" / "train-00001-of-00002.parquet", [picture(5, "JPEG")],
          names=["rust", "spot"], label=[1])  # fmt: skip
    assert describe(ParquetImages(name="b", files=tmp_path / "other", label="label")) != one


def test_files_without_images_are_one_clear_line(tmp_path):
    path = tmp_path / "a.parquet"

    def problem(match, key=None, **given):
        with pytest.raises(UserError, match=match) as error:
            ParquetImages(**{"name": "p", "files": path} | given)
        assert "\n" not in str(error.value) and (key is None or error.value.key == key)

    parquet.write_table(pa.table({"text": ["a"], "url": ["b"]}), path)
    problem("'image' is absent, expected .*its columns are text, url: none has images", "image")
    parquet.write_table(pa.table({"image": ["a.png"]}), path)
    problem("the column 'image' is of string, expected encoded images", "image")
    parquet.write_table(pa.table({"image": [3], "img": pa.array([b"x"])}), path)
    problem("images are in img; set image=", "image")
    write(path, [])
    problem(r"a\.parquet has no row")
    write(path, [picture(0)])
    problem("has no column 'labels'; allowed are image", "label", label="labels")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    problem(r"a\.parquet cannot be read as Parquet: ")
    path.write_bytes(b"")
    problem(r"a\.parquet cannot be read as Parquet: ")
    path.unlink()
    problem(r"there is no file .*a\.parquet")
    problem("holds no Parquet file", files=tmp_path)
    problem("there is no folder", files=tmp_path / "gone")
    problem("expected at least one Parquet file", files=[])
    problem("two files have this name", files=["a/x.parquet", "b/x.parquet"])


def test_rows_without_an_image(tmp_path):
    path = write(tmp_path / "a.parquet", [picture(0), None, b"", b"no picture"])
    source = ParquetImages(name="p", files=path)
    for index in (1, 2):
        with pytest.raises(UserError, match=rf"a\.parquet, row {index} has no bytes of an image"):
            source.image(index)
    with pytest.raises(UserError, match=r"a\.parquet, row 3 cannot be read as a picture"):
        source.image(3)


def test_hugging_face_itself_writes_such_files(tmp_path):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["rust", "spot"])}
    )
    pictures = [Image.open(io.BytesIO(picture(i))) for i in range(3)]
    data = datasets.Dataset.from_dict({"image": pictures, "label": [0, 1, 0]}, features)
    data.to_parquet(str(tmp_path / "a.parquet"))
    source = ParquetImages(name="p", files=tmp_path, label="label")
    assert source.label_spaces["p"].classes == ("rust", "spot") and len(source) == 3
    np.testing.assert_array_equal(source.image(1), np.asarray(pictures[1]))
