"""What a recipe and a command line may ask of an export, and what cannot be converted."""

import dataclasses
import importlib.util
import pathlib

import pytest
import tensorflow as tf

from must_keras import cli, command
from must_keras.errors import UserError
from must_keras.exports import LiteRT, Onnx, frozen
from must_keras.request import Request, _with_exports
from must_keras.runs import preflight
from must_keras.runs.fingerprint import describe
from must_keras.runs.run import Run
from must_keras.stages import export

PATH = pathlib.Path("nowhere")


@pytest.mark.parametrize(
    ("make", "key", "message"),
    [
        (lambda: Onnx(heads="kind"), "heads", "export 'onnx': heads is no tuple"),
        (lambda: Onnx(heads=(1,)), "heads", "export 'onnx': heads contain an int"),
        (lambda: LiteRT(name="a/b"), "name", "an export 'a/b'"),
        (lambda: LiteRT(size=64), "size", "export 'litert': size=64: expected (height, width)"),
        (lambda: LiteRT(size=(64, 0)), "size", "size=(64, 0)"),
        (lambda: LiteRT(size=(64.0, 64)), "size", "size=(64.0, 64)"),
    ],
)
def test_mistakes_of_a_format(make, key, message):
    with pytest.raises(UserError) as error:
        make()
    assert str(error.value).startswith(message) or message in str(error.value)
    assert error.value.key == key


def test_mistakes_of_a_recipe(recipe):
    def with_exports(*exports):
        return dataclasses.replace(recipe, exports=exports)

    assert with_exports(Onnx(heads=("shapes",)), LiteRT()).exports[1].name == "litert"
    with pytest.raises(UserError, match="did you mean 'shapes'") as error:
        with_exports(Onnx(heads=("shape",)))
    assert error.value.key == "heads" and "objects" in error.value.allowed
    with pytest.raises(UserError, match="exports 'onnx' and 'ONNX'"):
        with_exports(Onnx(), LiteRT(name="ONNX"))
    with pytest.raises(UserError, match="exports contain a str, expected an ExportFormat"):
        with_exports("onnx")


def test_a_missing_package_is_named_with_its_extra(recipe):
    class Other(Onnx):
        packages = ("numpy", "no_such_package")

    with pytest.raises(UserError) as error:
        Other().check_installed()
    assert error.value.value == "no_such_package" and "must-keras[export]" in error.value.remedy
    assert "numpy" not in str(error.value)
    # Before anything is read or trained.
    with pytest.raises(UserError, match="no_such_package"):
        preflight.check_data(Run(recipe=dataclasses.replace(recipe, exports=(Other(),)), path=PATH))


def test_formats_are_artifacts_beside_the_export(recipe, tmp_path):
    asked = dataclasses.replace(recipe, exports=(Onnx(), LiteRT(name="phone", size=(48, 64))))
    plain, *forms = export.STAGE.artifacts(Run(recipe=asked, path=tmp_path))
    assert plain.folder == tmp_path / "export" and not plain.is_renewed
    assert [one.folder for one in forms] == [plain.folder / "onnx", plain.folder / "phone"]
    assert [one.name for one in forms] == ["onnx", "phone"]
    # A complete run can be given formats, and lose them, and nothing else is made again.
    (alone,) = export.STAGE.artifacts(Run(recipe=recipe, path=tmp_path))
    assert alone == plain
    assert describe(LiteRT(size=(48, 64)))["size"] == [48, 64]


def test_the_command_adds_formats(monkeypatch, recipe):
    asked = []
    monkeypatch.setattr(Request, "make", lambda self, stage: asked.append((self, stage)))
    words = ["export", "scenes", "--format=onnx,litert", "--heads=shapes"]
    assert command.run_one_of(cli.COMMANDS, words) == 0
    ((request, stage),) = asked
    exports = (Onnx(heads=("shapes",)), LiteRT(heads=("shapes",)))
    assert stage == "export" and request == Request(experiment="scenes", exports=exports)
    own = dataclasses.replace(recipe, exports=(LiteRT(size=(48, 64)), Onnx(name="whole")))
    found = _with_exports(lambda: own, exports).exports
    assert found == (exports[1], Onnx(name="whole"), exports[0])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--format=onxn"],
            "error: --format=onxn; did you mean 'onnx'? allowed are onnx, litert\n",
        ),
        (["--heads=a,b"], "error: --heads='a,b': give their format too\n"),
    ],
)
def test_mistakes_of_the_command(words, message, capsys):
    assert command.run_one_of(cli.COMMANDS, ["export", "scenes", *words]) == 2
    assert capsys.readouterr().err == message


# ---- operations without a form ------------------------------------------------------------------


class FakeModel:
    """A model whose predictions are `served`."""

    size = (4, 4)


def served(_, images):
    """One head of plain operations, and one that needs TensorFlow itself, within a loop."""
    values = tf.cast(images, tf.float32)
    looped = tf.while_loop(
        lambda i, _: i < 2,
        lambda i, v: (i + 1, tf.image.resize(v, (4, 4), antialias=True)),
        (0, values),
    )[1]
    return {"kind.probabilities": values * 2.0, "odd.depth": looped[..., 0]}


def test_a_head_is_found_by_its_operations(monkeypatch):
    monkeypatch.setattr(frozen, "serve", served)
    found = frozen.freeze(FakeModel(), (1, 4, 4, 3), heads=())
    assert found.heads_with(["ScaleAndTranslate", "Mul", "Conv2D"]) == {
        "ScaleAndTranslate": ["odd"], "Mul": ["kind"], "Conv2D": [],
    }  # fmt: skip
    outputs = found.function(tf.ones((1, 4, 4, 3), tf.uint8))
    assert outputs["kind.probabilities"].numpy().max() == 2.0
    assert list(frozen.freeze(FakeModel(), (1, 4, 4, 3), heads=("kind",)).outputs) == [
        "kind.probabilities"
    ]


WITHOUT_TF2ONNX = importlib.util.find_spec("tf2onnx") is None
NO_EXTRA = "the extra must-keras[export] is not installed"


@pytest.mark.parametrize(
    "form",
    [pytest.param(Onnx(), marks=pytest.mark.skipif(WITHOUT_TF2ONNX, reason=NO_EXTRA)), LiteRT()],
    ids=lambda form: form.name,
)
def test_an_operation_without_a_form_is_named(form, monkeypatch, tmp_path, capfd):
    monkeypatch.setattr(frozen, "serve", served)
    with pytest.raises(UserError) as error:
        form.write(FakeModel(), tmp_path / form.file)
    assert str(error.value) == (
        f"export {form.name!r}: the operation ScaleAndTranslate (head odd) cannot be converted; leave out by "
        "heads=(...) what uses it, or use the SavedModel"
    )
    assert not list(tmp_path.iterdir()) and "ScaleAndTranslate" not in capfd.readouterr().err
    dataclasses.replace(form, heads=("kind",)).write(FakeModel(), tmp_path / form.file)
    assert (tmp_path / form.file).stat().st_size > 100
