"""Tables of tags: a column for each, or one with all of them."""

import pytest
from PIL import Image

from must_keras.data.sources import CsvTags
from must_keras.errors import UserError
from must_keras.tasks import Tags


@pytest.fixture
def photos(tmp_path):
    for name in ("a", "b", "c", "d"):
        Image.new("RGB", (4, 4)).save(tmp_path / f"{name}.png")
    return tmp_path


def source(photos, text, **given) -> CsvTags:
    path = photos / "tags.csv"
    path.write_text(text, encoding="utf-8")
    return CsvTags(name="scene", images=photos, csv_file=path, **given)


def found(source: CsvTags) -> dict[str, list[float]]:
    labels = [source.labels(i) for i in range(len(source))]
    return {
        source.image_id(i).removesuffix(".png"): label["scene"]["tags"].tolist()
        for i, label in enumerate(labels)
        if label
    }


def test_a_column_for_each_tag(photos):
    read = source(photos, "file,beach,people\na.png,1,0\nb.png,,1.0\nc.png,-1,\nd.png,0,-1.0\n")
    assert Tags.of(read) == Tags(name="scene", classes=("beach", "people"))
    # c has a row in which nothing is known.
    assert found(read) == {"a": [1, 0], "b": [-1, 1], "d": [0, -1]}
    assert [bool(read.labeled_heads(i)) for i in range(4)] == [True, True, False, True]


def test_some_columns_in_an_order_of_their_own(photos):
    text = "people;image;age;beach\n1;a;30;0\n"
    read = source(
        photos, text, file_column="image", suffix=".png", classes=("beach", "people"), head="scene"
    )
    assert found(read) == {"a": [0, 1]}


def test_a_column_with_all_tags(photos):
    text = "file,findings,age\na.png,Edema|Mass,3\nb.png,No Finding,4\nc.png, Mass ,5\nd.png,,6\n"
    read = source(photos, text, tags_column="findings", no_tag="No Finding")
    assert read.label_spaces["scene"].classes == ("Edema", "Mass")
    assert found(read) == {"a": [1, 1], "b": [0, 0], "c": [0, 1], "d": [0, 0]}
    given = source(
        photos, text, tags_column="findings", no_tag="No Finding", classes=("Mass", "Cyst", "Edema")
    )
    assert found(given)["a"] == [1, 0, 1]


@pytest.mark.parametrize(
    ("text", "given", "problem"),
    [
        ("file,beach\na.png,yes\n", {}, r"line 2: 'beach' is 'yes'; allowed are 1, 0, and"),
        ("file,beach\na.png,0.5\n", {}, r"line 2: 'beach' is '0.5'; allowed"),
        ("file,beach\ne.png,1\n", {}, r"line 2: there is no picture 'e.png'"),
        ("file,beach\na.png,1\na.png,1\n", {}, r"line 3: 'a.png' is also on line 2"),
        ("file,beach\na.png,\nb.png,-1\n", {}, r"all tags are unknown"),
        ("file\na.png\n", {}, r"names no tag"),
        ("file,beach\na.png,1\n", {"classes": ("sea",)}, r"no column 'sea'"),
        ("file,tags\na.png,sea\n", {"tags_column": "tag"}, r"no column 'tag'"),
        (
            "file,tags\na.png,beech\n",
            {"tags_column": "tags", "classes": ("beach",)},
            r"line 2: no tag 'beech'.*beach",
        ),
    ],
)
def test_what_cannot_be_read_is_named(photos, text, given, problem):
    with pytest.raises(UserError, match=problem):
        source(photos, text, **given)


def test_another_table_is_another_source(photos):
    one = source(photos, "file,beach\na.png,1\n").describe()
    other = source(photos, "file,beach\na.png,0\n").describe()
    assert one != other


def test_the_images_of_a_split_have_the_tags_of_all_rows(photos):
    text = "file,tags,part\na.png,sea|sand,train\nb.png,sea,test\nc.png,hill,test\nd.png,sea,\n"
    given = {"tags_column": "tags", "split_column": "part"}
    read = source(photos, text, split="test", **given)
    assert read.label_spaces["scene"].classes == ("hill", "sand", "sea")
    assert found(read) == {"b": [0, 0, 1], "c": [1, 0, 0]} and len(read) == 2
    with pytest.raises(UserError, match="no picture is of split=val.*allowed are , test, train"):
        source(photos, text, split="val", **given)
    columns = "file,beach,part\na.png,1,train\nb.png,0,test\n"
    assert found(source(photos, columns, split_column="part", split="train")) == {"a": [1]}
