"""Files of other runtimes, written, read back in fresh processes and compared with Keras."""

import http.client
import importlib.util
import io
import json
import pathlib
import socket
import subprocess
import sys
import time
import types

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from fakes.few_layers import FewLayers
from fakes.random_examples import ALL, KIND, NETWORK, NORM, PARTS
from fakes.results import finish
from fenced_blocks import blocks
from must_keras.errors import DataError
from must_keras.exports import LiteRT, Onnx, frozen
from must_keras.exports.comparison import _predicted, compared
from must_keras.exports.format import ExportFormat
from must_keras.inference.model import export_saved_model, serve
from must_keras.modeling.loading import load_model
from must_keras.runs.run import Run
from must_keras.stages import export
from must_keras.training.building import build_model
from must_keras.training.network import Network

ROOT = pathlib.Path(__file__).resolve().parents[2]
MISSING = [
    name for name in (*Onnx.packages, *LiteRT.packages) if importlib.util.find_spec(name) is None
]
needs_extra = pytest.mark.skipif(
    bool(MISSING), reason=f"the extra must-keras[export] is not installed: no {', '.join(MISSING)}"
)


class Photos:
    """A source of smooth random images of different sizes."""

    name = "photos"

    def __len__(self):
        return 6

    def image(self, index):
        random = np.random.default_rng(index)
        size = [(64, 64), (48, 96), (97, 51), (200, 130), (64, 64), (30, 41)][index]
        small = Image.fromarray(random.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        return np.asarray(small.resize(size[::-1], Image.Resampling.BICUBIC))


def a_run(path, tasks, *exports):
    """A run with a complete student, whose recipe has nothing but what an export reads."""
    recipe = types.SimpleNamespace(
        tasks=tasks, labelers=(), exports=exports, trained_teachers=(), student_sources=[Photos()]
    )
    run = Run(recipe=recipe, path=path)
    run.student.begin()
    return run


def make(run):
    """The results of the formats."""
    forms = [
        run.export_of(form.name).declare(find_inputs=lambda form=form: {"format": form})
        for form in run.recipe.exports
    ]
    export.STAGE.make(run, forms)
    return [form.result() for form in forms]


# ---- what needs no converter --------------------------------------------------------------------


class Text(ExportFormat):
    """A format of one word."""

    file, packages, program = "model.onnx", (), Onnx.program

    def write(self, model, path):
        path.write_text("word")


def test_a_file_that_differs_is_not_left_behind(tmp_path, monkeypatch):
    run = a_run(tmp_path, [KIND], Text(name="text"))
    monkeypatch.setattr(export, "load_artifact", lambda _: types.SimpleNamespace(untaught={}))
    seen = []

    def differs(form, path, model, images):
        seen.append((path.read_text(), [image.shape[:2] for image in images]))
        raise DataError("head 'kind': it differs")

    monkeypatch.setattr(export, "compared", differs)
    with pytest.raises(DataError, match="it differs"):
        make(run)
    ((text, sizes),) = seen
    assert text == "word" and sizes == [Photos().image(i).shape[:2] for i in range(6)]
    assert [path.name for path in (tmp_path / "export" / "text").iterdir()] == ["begun.json"]
    assert not run.export_of("text").is_there


def test_a_file_that_cannot_be_read_back_is_an_error_of_one_line(tmp_path):
    program = tmp_path / "program.py"
    program.write_text("raise ValueError('it is no model')")
    form = types.SimpleNamespace(file="model.onnx", program=program)
    with pytest.raises(DataError) as error:
        _predicted(form, tmp_path / "model.onnx", [np.zeros((2, 2, 3), np.uint8)])
    assert str(error.value) == (
        f"{tmp_path}/model.onnx: model.onnx cannot be read back: ValueError: it is no model"
    )


def test_the_predictions_of_a_program_are_those_of_its_images(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import sys, numpy as np; assert 'tensorflow' not in sys.modules;"
        "images = np.load(sys.argv[2]);"
        "np.savez(sys.argv[3], **{f'{k}/a.mean': v.mean() for k, v in images.items()})"
    )
    form = types.SimpleNamespace(file="model.onnx", program=program)
    images = [np.full((2, 2, 3), value, np.uint8) for value in (3, 5)]
    found = _predicted(form, tmp_path / "model.onnx", images)
    assert [float(one["a.mean"]) for one in found] == [3.0, 5.0]


# ---- converted ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run whose student of every task is exported to every format, and the student."""
    run = a_run(tmp_path_factory.mktemp("run"), ALL, Onnx(), LiteRT(size=(48, 80)))
    model = build_model(NETWORK, ALL, seed=0, norm=NORM)
    # A fresh detector is confident of nothing.
    for variable in model.get_layer("things").weights:
        if "class" in variable.path and variable.path.endswith("bias"):
            variable.assign(np.array([-2.0, 1.0, 2.0, 1.5], "float32"))
    model.save(run.student.model_path)
    finish(run.student)
    return run, make(run), model


@pytest.mark.slow
@needs_extra
def test_every_format_predicts_every_task_as_keras_does(whole):
    run, results, _ = whole
    for form, result in zip(run.recipe.exports, results, strict=True):
        folder = run.export_of(form.name).folder
        assert sorted(path.name for path in folder.iterdir()) == sorted(
            ["finished.json", "labels.json", form.file]
        )
        assert result.bytes == (folder / form.file).stat().st_size and result.images == 6
        assert set(result.heads) == set(json.loads((folder / "labels.json").read_text()))
        assert set(result.heads) == {task.name for task in ALL}
        things = result.heads["things"]
        assert things.objects == things.matched > 6 and things.lowest_iou > 0.999
        assert all(like.difference < 1e-4 for like in result.heads.values())
        assert result.heads["parts"].agreement > 0.99
        assert set(result.versions) > {"tensorflow"}
    assert len(results[0].sizes) == 5 and results[1].sizes == ["48x80"]


@needs_extra
def test_what_is_not_selected_may_be_infinite(monkeypatch, tmp_path):
    """As the scores of an image without any object."""
    monkeypatch.setattr(frozen, "serve", lambda _, images: {"a.logs": logs(images)})
    Onnx().write(None, tmp_path / "model.onnx")
    (found,) = _predicted(Onnx(), tmp_path / "model.onnx", [np.uint8([[[0, 1, 2]]])])
    np.testing.assert_allclose(found["a.logs"], [[[[0, 0, np.log(2)]]]], rtol=1e-6)


def logs(images):
    values = tf.math.log(tf.cast(images, tf.float32))
    return tf.where(images > 0, values, 0.0)


@pytest.mark.slow
@needs_extra
@pytest.mark.parametrize("form", [Onnx(heads=("kind",)), LiteRT(heads=("kind",))], ids=str)
def test_other_heads_are_left_out(whole, form, tmp_path):
    _, results, model = whole
    path = tmp_path / form.file
    form.write(model, path)
    result = compared(form, path, model, [Photos().image(i) for i in (1, 2)])
    assert list(result.heads) == ["kind"]
    assert result.bytes < min(one.bytes for one in results) / 2


@pytest.mark.slow
@needs_extra
def test_a_student_of_half_precision_is_exported_in_float32(tmp_path):
    network = Network(backbone=FewLayers(), size=128, channels=8)
    mixed = build_model(network, [KIND, PARTS], seed=0, norm=NORM, precision="mixed_bfloat16")
    assert mixed.get_layer("neck").layers[-1].compute_dtype == "bfloat16"
    mixed.clean_copy().save(tmp_path / "model.keras")  # As a training saves it.
    model = load_model(tmp_path / "model.keras", remedy="")
    for form in (Onnx(), LiteRT()):
        form.write(model, tmp_path / form.file)
        assert b"bfloat16" not in (tmp_path / form.file).read_bytes()
        result = compared(form, tmp_path / form.file, model, [Photos().image(3)])
        assert all(like.difference < 1e-4 for like in result.heads.values())


@pytest.mark.slow
@needs_extra
def test_the_server_of_the_page_answers_with_the_predictions(whole, tmp_path):
    run, _, model = whole
    (block,) = blocks("python", "serve")
    (tmp_path / "serve.py").write_text(block.code)
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    command = [sys.executable, "serve.py", str(run.export_of("onnx").folder), str(port)]
    server = subprocess.Popen(command, cwd=tmp_path)
    try:
        found = ask(port, Photos().image(1))
    finally:
        server.kill()
        server.wait()
    wanted = serve(model, tf.constant(Photos().image(1)[None]))
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value[0], rtol=1e-3, atol=1e-3, err_msg=name)


def ask(port, image):
    """The answer to an image, once the server is up."""
    body = io.BytesIO()
    Image.fromarray(image).save(body, "PNG")
    for _ in range(300):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            connection.request("POST", "/", body.getvalue())
            return json.loads(connection.getresponse().read())
        except ConnectionRefusedError:
            time.sleep(0.2)
    raise AssertionError("the server does not answer")


@pytest.mark.slow
def test_the_signatures_of_a_saved_model_need_tensorflow_alone(tmp_path):
    model = build_model(NETWORK, [KIND], seed=0, norm=NORM)
    export_saved_model(model, str(tmp_path / "saved_model"))
    image = Photos().image(1)
    np.save(tmp_path / "image.npy", image)
    code = (
        "import numpy as np, sys, tensorflow as tf; m = tf.saved_model.load('saved_model');"
        "x = np.load('image.npy')[None]; a = m.serve(tf.constant(x));"
        "b = m.signatures['serving_default'](images=tf.constant(x, tf.float32));"
        "assert set(a) == set(b) == {'kind.probabilities'};"
        "np.savez('found.npz', a=a['kind.probabilities'], b=b['kind.probabilities']);"
        "assert not any(name.startswith(('must_keras', 'keras_cv')) for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    wanted = serve(model, tf.constant(image[None]))["kind.probabilities"]
    with np.load(tmp_path / "found.npz") as found:
        for key in ("a", "b"):
            np.testing.assert_allclose(found[key], wanted, rtol=1e-4, atol=1e-6)
