"""Files of models that want more than to compute: nothing in them may be imported or run."""

import json
import os
import zipfile

import keras
import numpy as np
import pytest

from must_keras.errors import UserError
from must_keras.modeling.loading import load_model

REMEDY = "make it again"


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A small model of built-in layers, activations, operations and a regularizer."""
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, activation="gelu", kernel_regularizer=keras.regularizers.L2(0.1))(
        image
    )
    x = keras.layers.Activation(keras.ops.tanh)(x * 2.0)
    path = tmp_path_factory.mktemp("models") / "plain.keras"
    keras.Model(image, keras.layers.BatchNormalization()(x)).save(path)
    return path


def changed(plain, path, change):
    """The file with another config.json; `change` gets the configuration and returns a new one."""
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "config.json":
                data = json.dumps(change(json.loads(data))).encode()
            new.writestr(name, data)
    return path


def with_layer(layer):
    """Put an object into the place of the first activation's configuration."""

    def change(config):
        for item in config["config"]["layers"]:
            if item["class_name"] == "Activation":
                item["config"]["activation"] = layer
        return config

    return change


def test_a_model_of_built_in_layers_is_loaded(plain):
    model = load_model(plain, remedy=REMEDY)
    images = np.ones((1, 8, 8, 3), "float32")
    assert np.array_equal(model(images), keras.saving.load_model(plain)(images))


@pytest.mark.parametrize(
    "make",
    [lambda: keras.layers.Lambda(lambda x: x), lambda: keras.layers.StringLookup(vocabulary=["a"])],
)
def test_layers_that_run_code_or_read_files_are_named(make, tmp_path):
    layer = make()
    kind = "string" if isinstance(layer, keras.layers.StringLookup) else "float32"
    path = tmp_path / "m.keras"
    keras.Sequential([keras.Input((4,), dtype=kind), layer]).save(path)
    with pytest.raises(UserError, match=rf"m.keras names the class {type(layer).__name__} .*layer"):
        load_model(path, remedy=REMEDY)


OBJECT = {"config": {"name": "odd"}, "registered_name": None}
NAMED = {
    "a module": {"module": "evil", "class_name": "Layer"},
    "a module by its registered name": {
        "module": "evil", "class_name": "Layer", "registered_name": "evil>Layer",
    },
    "a saved model": {"module": "keras.layers", "class_name": "TFSMLayer"},
    "a pickled module": {"module": "keras.layers", "class_name": "TorchModuleWrapper"},
    "a function of JAX": {"module": "keras.layers", "class_name": "JaxLayer"},
    "by a path through modules": {"module": "keras", "class_name": "layers.Lambda"},
    "by its private module": {
        "module": "keras.src.layers.core.lambda_layer", "class_name": "Lambda",
    },
    "a module of Keras that nobody has imported": {"module": "keras.evil", "class_name": "Layer"},
    "a module of keras_cv": {"module": "keras_cv.evil", "class_name": "Layer"},
    "a downloader": {"module": "keras.utils", "class_name": "function", "config": "get_file"},
    "a loader": {"module": "keras.saving", "class_name": "function", "config": "load_model"},
    "a maker": {"module": "keras.losses", "class_name": "function", "config": "deserialize"},
    "a function of os": {"module": "os", "class_name": "function", "config": "system"},
    "a lambda": {"class_name": "__lambda__", "config": {"value": "4wEAAAA="}},
    "a type": {"class_name": "__typespec__", "module": "evil", "spec_name": "X", "config": []},
    "no module": {"class_name": "Lambda"},
    "odd types": {"class_name": 3, "module": ["evil"]},
    "a function that keras_cv registered": {
        "module": "builtins", "class_name": "function",
        "config": "keras_cv.datasets.imagenet>load", "registered_name": "x",
    },
}  # fmt: skip


@pytest.mark.parametrize("named", NAMED.values(), ids=NAMED)
def test_what_a_file_names_is_neither_imported_nor_called(named, plain, tmp_path, monkeypatch):
    (tmp_path / "evil.py").write_text("import os; os.mkdir('executed')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(keras.saving, "load_model", lambda *a, **k: pytest.fail("Keras reads it"))
    path = changed(plain, tmp_path / "m.keras", with_layer(OBJECT | named))
    with pytest.raises(UserError, match=r"m.keras names the .* and is not loaded.*trust the file"):
        load_model(path, remedy=REMEDY)
    assert sorted(os.listdir(tmp_path)) == ["evil.py", "m.keras"]


@pytest.mark.parametrize("place", ["compile_config", "build_config", "extra"])
def test_objects_are_found_wherever_they_are(place, plain, tmp_path):
    lambda_ = {"module": "keras.layers", "class_name": "Lambda", "config": {}}
    path = changed(plain, tmp_path / "m.keras", lambda c: c | {place: {"deep": [[lambda_]]}})
    with pytest.raises(UserError, match="names the class Lambda"):
        load_model(path, remedy=REMEDY)


def test_what_a_recipe_has_registered_is_loaded(tmp_path):
    @keras.saving.register_keras_serializable(package="recipe_of_a_test")
    class Half(keras.layers.Layer):
        def call(self, x):
            return x / 2

    path = tmp_path / "m.keras"
    keras.Sequential([keras.Input((4,)), Half()]).save(path)
    assert float(load_model(path, remedy=REMEDY)(np.ones((1, 4)))[0, 0]) == 0.5


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))


def without(member):
    def damage(path):
        with zipfile.ZipFile(path) as old:
            parts = {name: old.read(name) for name in old.namelist() if name != member}
        with zipfile.ZipFile(path, "w") as new:
            for name, data in parts.items():
                new.writestr(name, data)

    return damage


def bomb(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        new.writestr("model.weights.h5", bytes(2**28 + 1))


def deep(path):
    with zipfile.ZipFile(path, "w") as new:
        new.writestr("config.json", '{"class_name": ' + "[" * 100_000)


def other_shapes(path):
    def wider(config):
        for item in config["config"]["layers"]:
            if item["class_name"] == "Conv2D":
                item["config"]["filters"] = 5
        return config

    copy = path.with_suffix(".old")
    path.rename(copy)
    changed(copy, path, wider)


def wrong_value(path):
    copy = path.with_suffix(".old")
    path.rename(copy)
    changed(copy, path, lambda c: c | {"config": c["config"] | {"layers": 3}})


DAMAGES = [
    lambda p: p.write_bytes(b""), lambda p: p.write_bytes(bytes(500)), cut, without("config.json"),
    without("model.weights.h5"), bomb, deep, other_shapes, wrong_value, flip,
    lambda p: (p.unlink(), p.mkdir()), lambda p: p.unlink(),
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_ends_in_one_short_line(damage, plain, tmp_path):
    path = tmp_path / "m.keras"
    path.write_bytes(plain.read_bytes())
    damage(path)
    with pytest.raises(UserError, match=r"m.keras .*make it again") as error:
        load_model(path, remedy=REMEDY)
    assert "\n" not in str(error.value) and len(str(error.value)) < 600


def test_other_formats_and_layers_are_no_models(plain, tmp_path):
    (tmp_path / "m.h5").write_bytes(b"x")
    with pytest.raises(UserError, match=r"m.h5 .*does not end in .keras.*save it as .keras"):
        load_model(tmp_path / "m.h5", remedy=REMEDY)
    path = changed(plain, tmp_path / "l.keras", lambda c: c["config"]["layers"][1])
    with pytest.raises(UserError, match=r"l.keras"):
        load_model(path, remedy=REMEDY)
