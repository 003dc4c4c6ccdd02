"""Training that is interrupted at any step and resumed exactly; steps that are not finite."""

import dataclasses
import os
import queue
import signal
import threading
import types

import keras
import numpy as np
import pytest

from fakes.random_examples import (
    ALL,
    KIND,
    NETWORK,
    NORM,
    PARTS,
    RandomExamples,
    artifact_in,
    train,
    training,
)
from must_keras import interruption
from must_keras.errors import UserError
from must_keras.runs.artifact import Artifact
from must_keras.training import diagnostics, loop
from must_keras.training.building import build_model
from must_keras.training.checkpoints import Checkpoints
from must_keras.training.config import averaging_momentum
from must_keras.training.input_pipeline import InputPipeline
from must_keras.training.loggers import Loggers, read_metrics
from must_keras.training.loop import fit
from must_keras.training.optimizers import AdamW
from must_keras.training.strategy import make_strategy

RUN = training(
    12, batch=4, learning_rate=0.01, optimizer=AdamW(), ema=True, accumulate=2, save_seconds=0.0,
    log_every=8,
)  # fmt: skip


@pytest.fixture(scope="module")
def strategy():
    return make_strategy("one")


@pytest.fixture(autouse=True)
def one_device(strategy):
    with strategy.scope():
        yield
    interruption._State.asked = False


def build(run, tasks=(KIND, PARTS), seed=3):
    model = build_model(NETWORK, tasks, seed=seed, **(run.of_model() | {"norm": NORM}))
    run.compile(model)
    return model


def without_speed(folder):
    return [
        row._replace(values={k: v for k, v in row.values.items() if k != "images_per_second"})
        for row in read_metrics(folder)
    ]


def equal(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.fixture(scope="module")
def whole(strategy, tmp_path_factory):
    """A training without interruption: its traced model, weights before and after, log lines."""
    with strategy.scope():
        folder, model = tmp_path_factory.mktemp("whole"), build(RUN)
        before = model.get_weights()
        train(model, folder, RUN)
        return types.SimpleNamespace(
            model=model, before=before, after=model.get_weights(), rows=without_speed(folder)
        )


@pytest.fixture
def model(whole):
    """The traced model with its initial weights."""
    whole.model.set_weights(whole.before)
    return whole.model


@pytest.mark.slow
@pytest.mark.parametrize("step", [5, 12])
def test_an_interrupted_training_is_resumed_to_the_same_weights(
    tmp_path, whole, model, monkeypatch, step
):
    """Step 5 lies between two log lines: the numbers of both sides make the next one."""
    sums = loop.sum_over_workers
    asked = iter(range(1, 13))
    monkeypatch.setattr(
        loop, "sum_over_workers", lambda v: [1.0] if next(asked) == step else sums(v)
    )
    with pytest.raises(interruption.Interrupted, match=f"step {step} of 12, which is saved"):
        train(model, tmp_path, RUN)
    monkeypatch.undo()
    again = build(RUN, seed=9)
    train(again, tmp_path, RUN)
    assert equal(again.get_weights(), whole.after)
    assert without_speed(tmp_path) == whole.rows
    assert [row.step for row in whole.rows] == [8, 12]


def test_the_result_is_the_average_of_the_weights(tmp_path, model):
    """Of the kernel of one layer, recomputed from its values after each step."""
    kernel, values = model.trainable_variables[0], []
    keep = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: values.append(np.array(kernel))
    )
    fit = model.fit
    model.fit = lambda *a, callbacks, **k: fit(*a, callbacks=[keep, *callbacks], **k)
    momentum, average = averaging_momentum(12, 0.9999), np.array(kernel)
    try:
        train(model, tmp_path, RUN)
    finally:
        del model.fit
    for value in values:
        average = momentum * average + (1 - momentum) * value
    np.testing.assert_allclose(kernel, average, rtol=1e-4, atol=1e-7)
    assert not np.allclose(kernel, values[-1], rtol=1e-3)


def test_sigterm_is_postponed_to_the_end_of_the_step(tmp_path, model, monkeypatch):
    before = signal.getsignal(signal.SIGTERM)
    interruption.listen()
    try:
        send = keras.callbacks.LambdaCallback(
            on_train_batch_begin=lambda batch, logs: os.kill(os.getpid(), signal.SIGTERM)
        )
        fit = model.fit
        monkeypatch.setattr(
            model, "fit", lambda *a, callbacks, **k: fit(*a, callbacks=[send, *callbacks], **k)
        )
        with pytest.raises(interruption.Interrupted, match="step 1 of 12, which is saved"):
            train(model, tmp_path, RUN)
        assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-00000001.npz"]
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL, "a second one ends it"
        interruption.listen()
        with pytest.raises(interruption.Interrupted, match="complete artifacts are kept"):
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_the_newest_complete_checkpoint_is_used(tmp_path, capsys):
    variables = [keras.Variable([1.0, 2.0], name="a"), keras.Variable(3, dtype="int64", name="b")]
    checkpoints = Checkpoints(tmp_path, variables)
    assert checkpoints.newest() is None
    for step in (1, 2, 3, 4):
        variables[0].assign([step, -step])
        checkpoints.save(step, {"rows": [step]})
        variables[0].assign([0.0, 0.0])
    checkpoints.wait()
    paths = sorted((tmp_path / "checkpoints").iterdir())
    assert [p.name for p in paths] == [f"step-0000000{i}.npz" for i in (2, 3, 4)]
    data = bytearray(paths[-1].read_bytes())
    data[data.index(np.float32(4.0).tobytes())] ^= 1
    paths[-1].write_bytes(bytes(data))
    (tmp_path / "checkpoints" / "step-00000005.npz").write_bytes(b"PK")
    (tmp_path / "checkpoints" / "step-00000006.npz.tmp").write_bytes(b"half")
    saved = checkpoints.newest()
    assert saved.step == 3 and saved.state == {"rows": [3]}
    told = capsys.readouterr().err
    assert "step-00000005.npz is damaged" in told and "step-00000004.npz is damaged" in told
    checkpoints.restore(saved)
    assert variables[0].numpy().tolist() == [3.0, -3.0] and int(variables[1]) == 3
    with pytest.raises(UserError, match="another network"):
        Checkpoints(tmp_path, variables[:1]).newest()


def test_a_checkpoint_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "checkpoints").write_text("a file")
    checkpoints = Checkpoints(tmp_path, [keras.Variable(1.0)])
    checkpoints.save(1, {})
    with pytest.raises(OSError, match="checkpoints"):
        checkpoints.wait()


class Meagre(RandomExamples):
    """Pictures without objects, with five pixels of depth, with a wholly unknown map."""

    def load(self, index):
        image, labels = super().load(index)
        things, far = labels["things"], labels["far"]
        few = {key: things[key][:0] for key in ("boxes", "classes", "masks", "has_mask", "ignore")}
        depth = np.zeros((64, 64), np.float32)
        depth[5, :5] = 2.0
        return image, labels | {
            "things": things | few | {"labelled": np.ones((), np.float32)},
            "far": far | {"depth": depth},
            "parts": {"map": np.full((64, 64), 255, np.uint8)},
        }


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["metric", "relative_inverse"])
def test_one_image_a_step_with_hardly_a_label_trains(tmp_path, kind):
    some = [task for task in ALL if task.name in ("things", "parts", "far")]
    tasks = [dataclasses.replace(t, kind=kind) if t.name == "far" else t for t in some]
    run = training(3, batch=1, log_every=1, optimizer=AdamW())
    model = build(run, tasks=tasks)
    feed = InputPipeline(Meagre(tasks), tasks, run, size=64, seed=5)
    fit(artifact_in(tmp_path), model, feed, run, title="test", origin="scratch").close()
    rows = [row.values for row in read_metrics(tmp_path)]
    assert len(rows) == 3
    assert all(np.isfinite(w).all() for w in model.get_weights())
    largest = {key: max(row[key] for row in rows) for key in rows[0]}
    assert (largest["far_loss"] > 0) == (kind == "metric") and largest["parts_loss"] == 0
    assert largest["things_loss"] > 0


def test_no_steps_keep_the_weights(tmp_path, whole, model):
    run = dataclasses.replace(RUN, steps=0)
    train(model, tmp_path, run)
    assert equal(model.get_weights(), whole.before)


def test_sigterm_after_the_last_step_stops_before_what_follows(tmp_path, model, monkeypatch):
    sums, answers = loop.sum_over_workers, iter(range(100))
    monkeypatch.setattr(
        loop, "sum_over_workers", lambda v: [1.0] if next(answers) == 12 else sums(v)
    )
    with pytest.raises(interruption.Interrupted, match="step 12 of 12, which is saved"):
        train(model, tmp_path, RUN)
    assert (tmp_path / "checkpoints" / "step-00000012.npz").is_file()


def test_a_gradient_that_is_not_finite_names_the_head(tmp_path):
    """The loss is finite; its gradient is too large for a float32."""
    run = training(2, log_every=1, optimizer=AdamW())
    model = build(run, tasks=(KIND, PARTS))
    head = model.get_layer("parts")
    # What comes last gives scores of 1e25: their gradient's square is more than a float32 holds.
    last = [np.sign(w) * 1e25 if w.shape[2:] == (8, 3) else w for w in head.get_weights()]
    head.set_weights(last)
    backbone = [np.array(v) for v in model.get_layer("backbone").trainable_variables]
    with pytest.raises(diagnostics.NonFiniteLossError) as caught:
        train(model, tmp_path, run)
    assert "parts" in str(caught.value) and "kind" not in str(caught.value).split("not finite")[0]
    for value, variable in zip(
        backbone, model.get_layer("backbone").trainable_variables, strict=True
    ):
        np.testing.assert_array_equal(value, variable)
    Artifact(folder=tmp_path).begin()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["begun.json", "nonfinite-step-00000001"], "kept"


def test_a_loss_that_is_not_finite_stops_the_run_and_is_kept(tmp_path):
    run = training(3, log_every=1, optimizer=AdamW())
    model = build(run, tasks=(KIND,))
    weights = model.get_weights()
    weights[-1] = np.full_like(weights[-1], np.inf)
    model.set_weights(weights)
    before = [np.array(v) for v in model.trainable_variables]
    wanted = r"the loss of kind is not finite at step 1 of 3 \(images painted/\d+, painted/\d+"
    with pytest.raises(diagnostics.NonFiniteLossError, match=wanted) as caught:
        train(model, tmp_path, run, tasks=(KIND,))
    assert isinstance(caught.value, UserError) and "must-keras replay" in str(caught.value)
    for value, variable in zip(before, model.trainable_variables, strict=True):
        np.testing.assert_array_equal(value, variable), "the step was not taken"
    kept = tmp_path / "nonfinite-step-00000001"
    replayed = diagnostics.replay(kept)
    assert len(replayed.ids) == 4 and replayed.step == 1
    labeled = replayed.weights["kind"] > 0
    assert labeled.any() and not np.isfinite(replayed.losses["kind"][labeled]).any()
    assert np.isfinite(replayed.losses["kind"][~labeled]).all()
    assert "not finite" in str(replayed) and replayed.ids[0] in str(replayed)
    with pytest.raises(UserError, match="contains no kept step"):
        diagnostics.replay(tmp_path)


def test_an_input_is_destroyed_in_a_thread_of_its_own(model):
    """That may take seconds: the model does not wait, and keeps no reference to it."""
    ended_in = queue.Queue()

    class Input:
        def __next__(self):
            return next(
                iter(
                    InputPipeline(
                        RandomExamples((KIND, PARTS)), (KIND, PARTS), RUN, size=64, seed=5
                    ).batches()
                )
            )

        def __del__(self):
            ended_in.put(threading.current_thread())

    model.make_train_function()
    model.train_function(Input())
    assert ended_in.empty()
    model.release_input()
    assert ended_in.get(timeout=10) is not threading.current_thread()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-40]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(bytes(path.stat().st_size)),
        lambda path: np.savez(path, **{"variable-0": np.zeros(2)}),
        lambda path: np.savez(path, state=np.array("[" * 90_000)),
        lambda path: np.savez(path, state=np.array({"a": 1}, object)),
        lambda path: np.save(path.open("wb"), np.zeros(2)),
        lambda path: (path.unlink(), path.mkdir()),
    ],
)
def test_a_spoilt_checkpoint_leaves_the_one_before(spoil, tmp_path, capsys):
    variable = keras.Variable([1.0, 2.0], name="a")
    checkpoints = Checkpoints(tmp_path, [variable])
    for step in (1, 2):
        checkpoints.save(step, {"rows": []})
    checkpoints.wait()
    folder = tmp_path / "checkpoints"
    for name in ("step-00000002 (conflicted copy).npz", "step-.npz", "step-2.npz", "mine.npz"):
        (folder / name).write_bytes(b"a copy")
    spoil(folder / "step-00000002.npz")
    assert checkpoints.newest().step == 1
    told = capsys.readouterr().err
    assert "step-00000002.npz is damaged" in told
    assert "4 files are no checkpoints of this training" in told and "Traceback" not in told
    checkpoints.save(3, {"rows": []})
    checkpoints.wait()
    assert checkpoints.newest().step == 3 and (folder / "mine.npz").is_file()


def test_numbers_are_appended_behind_a_line_that_was_cut_off(tmp_path, capsys):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "split": "train"}\n{"step": 2, "sp')
    Loggers(tmp_path).scalars(3, "train", {"loss": 1.0})
    assert [row.step for row in read_metrics(tmp_path)] == [
        1,
        3,
    ] and "its last line was cut off" in capsys.readouterr().err
