"""Models that were trained elsewhere, as teachers."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from must_keras.errors import UserError
from must_keras.inference.external import ExternalModel, ExternalPredictor
from must_keras.runs.fingerprint import describe
from must_keras.tasks import Classification, Depth, Detection, Normals, Segmentation

KIND = Classification(name="kind", classes=("a", "b", "c"))
PARTS = Segmentation(name="parts", classes=("x", "y"))
SIZE, MAP = 8, (8, 8)


def batch():
    images = np.random.default_rng(0).uniform(0, 255, (3, SIZE, SIZE, 3)).astype("float32")
    area = np.tile(np.float32([0, 0, SIZE, SIZE]), (3, 1))
    x = {"image": tf.constant(images), "area": tf.constant(area)}
    return images, [(x, {"labels": {}, "index": tf.constant([4, 5, -1], tf.int64)})]


def predicted(model, task):
    _, batches = batch()
    (found,) = ExternalPredictor(model, task, MAP)(batches)
    return found


def test_images_are_prepared_as_the_model_wants_them():
    seen = []

    def function(images):
        seen.append(np.asarray(images))
        return tf.one_hot([1, 0, 2], 3)

    model = ExternalModel(
        model=function, version="1", size=SIZE, form="probabilities", offset=(1.0, 2.0, 3.0),
        scale=(2.0, 4.0, 8.0), colors="bgr",
    )  # fmt: skip
    found = predicted(model, KIND)
    images, _ = batch()
    np.testing.assert_allclose(seen[0], ((images - [1, 2, 3]) / [2, 4, 8])[..., ::-1], rtol=1e-6)
    # The filler is gone.
    assert found.y["index"].tolist() == [4, 5] and found.x["image"].shape == (2, SIZE, SIZE, 3)
    np.testing.assert_array_equal(found.outputs["kind"]["probabilities"], np.eye(3)[[1, 0]])


@pytest.fixture(scope="module")
def classifier():
    image = keras.Input((SIZE, SIZE, 3))
    return keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(image)))


def test_files_of_both_kinds_say_the_same(classifier, tmp_path):
    classifier.save(tmp_path / "model.keras")
    classifier.export(tmp_path / "saved", verbose=False)
    images, _ = batch()
    expected = keras.ops.convert_to_numpy(keras.ops.softmax(classifier(images)))[:2]
    for path in (tmp_path / "model.keras", str(tmp_path / "saved")):
        model = ExternalModel(model=path, size=SIZE, form="logits")
        said = predicted(model, KIND).outputs["kind"]["probabilities"]
        np.testing.assert_allclose(said, expected, rtol=1e-4, atol=1e-5)
        assert describe(model)["model"] == model.sha256() and len(model.sha256()) == 64


def test_one_of_several_outputs_is_named():
    def function(images):
        return {"logits": tf.zeros((3, 3)), "kinds": tf.one_hot([0, 1, 2], 3)}

    model = ExternalModel(
        model=function, version="1", size=SIZE, form="probabilities", output="kinds"
    )
    assert predicted(model, KIND).outputs["kind"]["probabilities"].argmax(-1).tolist() == [0, 1]
    odd = ExternalModel(model=function, version="1", size=SIZE, form="logits", output="kind")
    with pytest.raises(UserError) as error:
        predicted(odd, KIND)
    found = error.value
    assert (found.key, found.value, found.allowed) == ("output", "kind", ("logits", "kinds"))


@pytest.mark.parametrize("values", [[[5.0, 5.0, 5.0]], [[-1.0, 1.0, 1.0]], [[np.nan, 0.5, 0.5]]])
def test_probabilities_that_are_none(values):
    model = ExternalModel(
        model=lambda images: tf.constant(values * 3), version="1", size=SIZE, form="probabilities"
    )
    with pytest.raises(UserError, match=r"kind: .* model's probabilities lie in"):
        predicted(model, KIND)


def test_a_model_is_tried_before_it_labels(classifier, tmp_path):
    classifier.save(tmp_path / "model.keras")
    ExternalPredictor(
        ExternalModel(model=tmp_path / "model.keras", size=SIZE, form="logits"), KIND, MAP
    ).check()
    large = ExternalModel(model=tmp_path / "model.keras", size=16, form="logits")
    with pytest.raises(UserError, match=r"\(1, 16, 16, 3\)") as error:
        ExternalPredictor(large, KIND, MAP).check()
    assert (error.value.key, error.value.value) == ("model", tmp_path / "model.keras")


# ---- what the tasks read ------------------------------------------------------------------------


def test_maps_are_resized_and_judged():
    probabilities = np.zeros((1, 2, 2, 2), np.float32)
    probabilities[..., 0], probabilities[..., 1] = 0.25, 0.75
    for form, values in (("probabilities", probabilities), ("logits", np.log(probabilities))):
        found = PARTS.external.decode(values, form, (4, 4), size=MAP)
        assert found["map"].shape == (1, 4, 4) and (found["map"] == 1).all()
        np.testing.assert_allclose(found["confidence"], 0.75, rtol=1e-5)


def test_depth_is_meters_or_larger_where_nearer():
    metric, relative = Depth(name="d"), Depth(name="d", kind="relative_inverse")
    values = np.full((1, 2, 2), 4.0, np.float32)
    np.testing.assert_allclose(
        metric.external.decode(values, "meters", (4, 4), size=MAP)["depth"], 4.0
    )
    np.testing.assert_allclose(
        relative.external.decode(values[..., None], "meters", (2, 2), size=MAP)["depth"], 0.25
    )
    said = relative.external.decode(values, "relative_inverse", (2, 2), size=MAP)["depth"]
    np.testing.assert_allclose(said, 4.0)
    with pytest.raises(UserError, match="a metric head needs form='meters'"):
        metric.external.check_form("relative_inverse")


def test_normals_become_unit_vectors():
    values = np.tile(np.float32([0, 0, -3]), (1, 2, 2, 1))
    found = Normals(name="n").external.decode(values, "normals", (4, 4), size=MAP)["normals"]
    np.testing.assert_allclose(found, np.tile([0, 0, -1.0], (1, 4, 4, 1)), atol=1e-6)


def test_boxes_are_sorted_and_turned():
    task = Detection(name="o", classes=("cat", "dog"))
    said = {
        "boxes": np.float32([[[1, 2, 3, 4], [0, 0, 8, 4]]]),
        "scores": np.float32([[0.3, 0.9]]),
        "classes": np.int64([[1, 0]]),
    }
    found = task.external.decode(said, "xyxy", MAP, size=MAP)
    assert found["boxes"].tolist() == [[[0, 0, 4, 8], [2, 1, 4, 3]]]
    assert found["classes"].tolist() == [[0, 1]]
    np.testing.assert_allclose(found["scores"], [[0.9, 0.3]])
    assert task.external.decode(said, "yxyx", MAP, size=MAP)["boxes"][0, 1].tolist() == [1, 2, 3, 4]
    record = task.records.from_prediction(
        {k: v[0] for k, v in found.items()}, np.float32([0, 0, 8, 8]), MAP
    )
    np.testing.assert_allclose(record["boxes"][0], [0, 0, 0.5, 1])
    with pytest.raises(UserError, match="class 2, there are 2"):
        task.external.decode(said | {"classes": np.int64([[1, 2]])}, "xyxy", MAP, size=MAP)
    with pytest.raises(UserError, match=r"does not return \['scores'\]"):
        task.external.decode(
            {k: v for k, v in said.items() if k != "scores"}, "xyxy", MAP, size=MAP
        )


@pytest.mark.parametrize(
    ("task", "values", "form", "message"),
    [
        (KIND, np.zeros((1, 4)), "logits", r"kind: .* shape \(1, 4\); logits are \(batch, 3\)"),
        (PARTS, np.zeros((1, 4, 4, 3)), "logits", r"parts: .* are \(batch, any, any, 2\)"),
        (Depth(name="d"), np.zeros((1, 4, 4, 3)), "meters", r"d: .* are \(batch, any, any, 1\)"),
    ],
)
def test_answers_of_another_shape(task, values, form, message):
    with pytest.raises(UserError, match=message):
        task.external.decode(values, form, MAP, size=MAP)


def test_models_that_cannot_be_used(tmp_path):
    with pytest.raises(UserError, match="kind: form='classes' cannot be read; allowed are prob"):
        KIND.external.check_form("classes")
    (tmp_path / "x.keras").write_text("no model")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "readme").write_text("no model")
    for name in ("gone", "x.keras", "folder"):
        with pytest.raises(UserError, match=name) as error:
            ExternalModel(model=tmp_path / name, size=8, form="logits").load()
        assert name == "x.keras" or error.value.path == tmp_path / name


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda images: {}["logit"], "KeyError: 'logit'"),
        (lambda images: images.foo, "AttributeError"),
        (lambda images: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda images: [[1.0, 2.0], [3.0]], "returns 2 arrays of different shapes"),
        (lambda images: None, r"returns the shape \(\)"),
    ],
)
def test_a_function_that_fails_ends_in_one_line(function, message):
    model = ExternalModel(model=function, version="1", size=SIZE, form="logits")
    with pytest.raises(UserError, match=message):
        ExternalPredictor(model, KIND, MAP).check()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("size", "8"), ("size", 0), ("scale", 255.0), ("scale", (1.0, 1.0)), ("scale", (1, 0, 1)),
        ("offset", None), ("model", 3), ("version", ""), ("colors", "grb"), ("layout", "first"),
    ],
)  # fmt: skip
def test_an_argument_that_is_not_allowed(key, value):
    arguments = {"model": len, "version": "1", "size": SIZE, "form": "logits"} | {key: value}
    with pytest.raises(UserError) as error:
        ExternalModel(**arguments)
    assert (error.value.key, error.value.value) == (key, value)
    assert error.value.allowed == (("rgb", "bgr") if key == "colors" else error.value.allowed)
