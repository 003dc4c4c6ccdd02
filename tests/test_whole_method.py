"""The whole method on tiny settings, as a user runs it: every stage, in a process of its own."""

import json
import pathlib
import re
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest

import programs

TINY = (
    "scenes:pool_images=48,teacher_steps=4,student_steps=4,transfer_steps=2,transfer_seeds=1,"
    "images=40,batch=8"
)
TEACHERS = ("shapes", "objects", "surfaces", "distance")
# Two of the six downstream sets: a network of its own is traced for each.
DOWNSTREAM = ("dev_class", "dev_normals")
ONLY = "--only=" + ",".join((*TEACHERS, *DOWNSTREAM))


def main(*flags: str) -> subprocess.CompletedProcess:
    return programs.run(["-m", "must_keras.main", f"--experiment={TINY}", *flags])


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("method")
    # The command itself: what follows forks a process that has imported TensorFlow already.
    answer = subprocess.run(
        [
            sys.executable, "-m", "must_keras.main", f"--experiment={TINY}", ONLY,
            f"--workdir={folder / 'run'}", f"--data_dir={folder / 'data'}",
        ],
        cwd=programs.ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr[-3000:]
    return folder / "run"


def finite_or_none(value) -> bool:
    if isinstance(value, dict):
        return all(map(finite_or_none, value.values()))
    if isinstance(value, list):
        return all(map(finite_or_none, value))
    return not isinstance(value, float) or np.isfinite(value)


def test_the_report_has_every_number(run):
    report = json.loads((run / "report.json").read_text())
    assert finite_or_none(report)
    assert set(report["teachers"]) == set(TEACHERS)
    for teacher in report["teachers"].values():
        assert teacher["images_seen"] > 0 and teacher["parameters"] > 0
        assert list(teacher["metrics"]) == list(teacher["trivial"])
    headlines = [next(iter(t["metrics"])) for t in report["teachers"].values()]
    assert headlines == ["top1", "box_ap50", "miou", "delta1"]
    assert set(report["student"]["tasks"]) == set(report["teachers"])
    assert all(weight > 0 for weight in report["student"]["loss_weights"].values())
    for teacher, columns in report["labels"].items():
        assert "pool" in columns and len(columns) == 4, teacher
        for column in columns.values():
            assert column["labelled"] == column["images"] and column["bytes"] > 0
        assert columns["pool"]["quality"]
    cells = {(row["set"], row["start"]) for row in report["transfers"]}
    starts = ("random", "teacher-shapes", "student")
    assert cells == {(name, start) for name in DOWNSTREAM for start in starts}
    for row in report["transfers"]:
        assert row["mode"] == "full" and row["shots"] is None and row["split"] == "test"
    assert {r["metric"] for r in report["transfers"]} == {"top1", "within_11"}
    # The page's own time is not over yet when it is written.
    assert list(report["seconds"]) == ["teacher", "label", "student", "transfer", "export"]


def test_starts_share_their_fresh_weights_and_images(run):
    rows = json.loads((run / "report.json").read_text())["transfers"]
    for row in rows:
        same = [r for r in rows if r["set"] == row["set"]]
        for key in ("images", "steps", "learning_rate", "seed", "trivial"):
            assert len({r[key] for r in same}) == 1


def test_the_page_is_one_small_file(run):
    page = (run / "report.html").read_text()
    assert len(page) < 15e6
    assert "downstream set" in page and "data:image/jpeg;base64," in page
    assert 'src="http' not in page
    assert 'href="labels.html"' in page and (run / "labels.html").stat().st_size < 10e6


@pytest.mark.parametrize("width", [400, 1600])
def test_the_page_opens_in_a_browser(run, tmp_path, width):
    """From a file, without an error on the console, and nothing wider than the window."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("neither chromium nor google-chrome is there")
    page = (run / "report.html").read_text()
    said = (
        "<script>const e = document.documentElement; document.body.dataset.widths = "
        "`${e.scrollWidth} ${e.clientWidth} ${[...document.images].every(i => i.naturalWidth)}`"
        "</script></body>"
    )
    (tmp_path / "page.html").write_text(page.replace("</body>", said))
    # A frame has the width that is asked for; a browser's window has a smallest one.
    frame = f'<iframe src="page.html" width="{width}" height="900"></iframe>'
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
        "--allow-file-access-from-files", f"--user-data-dir={tmp_path / 'profile'}",
        "--virtual-time-budget=4000", "--window-size=1700,1000", "--dump-dom",
    ]  # fmt: skip
    reader = (
        "<script>onload = () => document.body.dataset.found = "
        "document.querySelector('iframe').contentDocument.body.dataset.widths</script>"
    )
    (tmp_path / "frame.html").write_text(f"<!doctype html><body>{frame}{reader}")
    answer = subprocess.run(
        [*command, (tmp_path / "frame.html").as_uri()],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert "CONSOLE" not in answer.stderr, answer.stderr
    found = re.search(r'data-found="(\d+) (\d+) (true|false)"', answer.stdout)
    assert found, answer.stdout[-500:]
    assert int(found[1]) <= int(found[2]) <= width and found[3] == "true"


def test_every_training_folder_has_its_files(run):
    for part in (run / "teachers" / "objects", run / "student"):
        assert (part / "model.keras").is_file()
        assert list(part.glob("tensorboard/*/events*"))
        assert json.loads((part / "progress.json").read_text())["step"] > 0
        for line in (part / "metrics.jsonl").read_text().splitlines():
            row = json.loads(line)
            assert row["split"] in ("train", "validation", "test") and row["step"] > 0


def test_the_student_loads_in_a_fresh_process_and_predicts_the_same(run, tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)))
    codes = {
        "keras": (
            "import must_keras.training.model, keras; "
            f"m = keras.saving.load_model({str(run / 'student' / 'model.keras')!r}); "
            "m.run_eagerly = True; "  # tracing takes longer than one batch
            "out = m.predict(x.astype('float32'), verbose=0); "
            "flat = {f'{h}.{k}': v for h, d in out.items() for k, v in d.items()}"
        ),
        "saved_model": (
            f"import tensorflow as tf; m = tf.saved_model.load({str(run / 'export/saved_model')!r});"
            "flat = {k: v.numpy() for k, v in m.serve(tf.constant(x, tf.float32)).items()}; "
            "import sys; assert 'must_keras' not in sys.modules"
        ),
    }
    found = {}
    for name, code in codes.items():
        path = tmp_path / f"{name}.npz"
        script = (
            f"import numpy as np; x = np.load({str(tmp_path / 'x.npy')!r}); {code}; "
            f"np.savez({str(path)!r}, **flat)"
        )
        programs.run(["-c", script], check=True)
        found[name] = dict(np.load(path))
    assert set(found["keras"]) == set(found["saved_model"])
    for key, value in found["keras"].items():
        other = found["saved_model"][key]
        assert value.shape == other.shape, key
        same = np.isclose(value, other, rtol=1e-3, atol=1e-3)
        assert same.mean() > 0.999, key


def test_the_exported_backbone_is_plain_keras(run, tmp_path):
    code = (
        "import keras, numpy as np, sys; "
        f"m = keras.saving.load_model({str(run / 'export' / 'backbone.keras')!r}); "
        "out = m(np.zeros((1, 64, 64, 3), 'float32')); "
        "assert list(out['C5'].shape) == [1, 2, 2, 512]; "
        "assert list(m(np.zeros((2, 96, 160, 3), 'float32'))['C5'].shape) == [2, 3, 5, 512]; "
        f"n = keras.saving.load_model({str(run / 'export' / 'neck.keras')!r}); "
        "assert list(n(np.zeros((1, 64, 64, 3), 'float32'))['fused'].shape)[:3] == [1, 16, 16]; "
        "assert list(n(np.zeros((2, 96, 160, 3), 'float32'))['fused'].shape)[:3] == [2, 24, 40]; "
        "assert not any(name.startswith(('must_keras', 'keras_cv')) for name in sys.modules)"
    )
    programs.run(["-c", code], cwd=tmp_path, check=True)


def test_a_second_run_does_nothing_again(run):
    before = {p: p.stat().st_mtime_ns for p in run.rglob("finished.json")}
    answer = main(f"--workdir={run}", f"--data_dir={run.parent / 'data'}", "--stage=status")
    assert answer.returncode == 0 and "next: --stage=transfer" in answer.stdout
    answer = main(f"--workdir={run}", f"--data_dir={run.parent / 'data'}", "--stage=student")
    assert answer.returncode == 0 and "student: it is complete (skipped)" in answer.stdout
    assert before == {p: p.stat().st_mtime_ns for p in run.rglob("finished.json")}


@pytest.mark.slow
def test_every_downstream_set_from_every_start(run):
    flags = (f"--workdir={run}", f"--data_dir={run.parent / 'data'}")
    answer = main(*flags, "--stage=transfer")
    assert answer.returncode == 0, answer.stderr[-3000:]
    assert "complete (skipped)" in answer.stdout and "dev_class from" in answer.stdout
    assert main(*flags, "--stage=report").returncode == 0
    rows = json.loads((run / "report.json").read_text())["transfers"]
    assert len({(row["set"], row["start"]) for row in rows}) == 18
    assert {row["metric"] for row in rows} == {"top1", "box_ap50", "miou", "delta1", "within_11"}
    assert not any("final" in row["set"] for row in rows)
    assert "all stages are complete" in main(*flags, "--stage=status").stdout


def test_check_counts_the_origins(run):
    answer = main(f"--workdir={run}", f"--data_dir={run.parent / 'data'}", "--stage=check")
    counts = json.loads(answer.stdout)
    assert set(counts) == {"pool", "single", "crowd", "rooms", "depth"}
    # The drawn pool's truth is for the report alone: none of it reaches a student's batch.
    for head in ("shapes", "objects", "surfaces", "distance"):
        assert counts["pool"][head]["true"] == 0 and counts["pool"][head]["pseudo"] > 0
    assert counts["single"]["shapes"]["pseudo"] == 0 and counts["single"]["shapes"]["true"] > 0
    assert sum(sum(c["shapes"].values()) for c in counts.values()) == 1000


def test_another_recipe_in_the_same_folder_is_refused(run):
    other = TINY.replace("batch=8", "batch=4")
    folders = (f"--workdir={run}", f"--data_dir={run.parent / 'data'}")
    answer = programs.run(["-m", "must_keras.main", f"--experiment={other}", *folders])
    assert answer.returncode == 2
    assert "training.batch = 8, the recipe now has 4" in answer.stderr


def test_models_of_the_run_are_keras_models(run):
    import must_keras.training.model  # noqa: F401

    model = keras.saving.load_model(run / "teachers" / "surfaces" / "model.keras")
    model.run_eagerly = True  # tracing takes longer than one batch
    out = model.predict(np.zeros((1, 64, 64, 3), "float32"), verbose=0)
    assert out["surfaces"]["map"].shape == (1, 64, 64)


def test_the_exported_backbone_is_the_students(run):
    import must_keras.training.model  # noqa: F401

    student = keras.saving.load_model(run / "student" / "model.keras")
    exported = keras.saving.load_model(run / "export" / "backbone.keras")
    images = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype("float32")
    own, found = student.get_layer("backbone")(images), exported(images)
    for level in ("C2", "C3", "C4", "C5"):
        # Plain Keras normalizes by other operations: what rounding makes of values up to 10.
        np.testing.assert_allclose(found[level], own[level], rtol=1e-5, atol=1e-4)
