import pathlib
import re
import subprocess
import sys
import tempfile
import time

from absl import flags

import programs
from must_keras import main, stages

ROOT = pathlib.Path(__file__).resolve().parents[1]


def run(*arguments: str, cwd=ROOT) -> subprocess.CompletedProcess:
    return programs.run(
        ["-m", "must_keras.main", *arguments],
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": tempfile.gettempdir()},
    )


def test_the_list_of_flags():
    found = {f.name for f in flags.FLAGS.get_flags_for_module("must_keras.main")}
    assert found == {
        "experiment", "stage", "only", "workdir", "reuse", "label_engine", "data_dir", "strategy",
        "verify", "plan", "diff",
    }  # fmt: skip


def test_every_stage_is_a_file():
    names = set(main.STAGES) - {"all"}
    folder = ROOT / "must_keras" / "stages"
    for name in names:
        assert (folder / f"{name}.py").is_file() or (folder / name / "__init__.py").is_file()


def test_the_names_of_stages_are_those_that_the_stages_have():
    """`--help` lists them before anything is imported."""
    shown = [stage.name for stage in stages.load() if stage.is_shown]
    assert ("all", *shown, "status", "check") == main.STAGES


def test_the_folders_of_stages_are_those_that_the_stages_have():
    found = {stage.name: stage.folder or stage.name for stage in stages.load()}
    assert list(found.items()) == list(stages.FOLDERS.items())


def test_help_imports_nothing_heavy():
    start = time.monotonic()
    answer = subprocess.run(
        [sys.executable, "-m", "must_keras.main", "--help"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    seconds = time.monotonic() - start
    assert "--experiment" in answer.stdout
    assert seconds < 5, seconds  # about 0.2 s; TensorFlow alone takes longer than this
    code = (
        "import sys, must_keras.main; print(any(m in sys.modules for m in ('tensorflow', 'keras')))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT).strip() == b"False"


def test_mistakes_end_with_status_2_and_one_line(tmp_path):
    for arguments, message in [
        (["--experiment=scene"], r"did you mean 'scenes'\?"),
        (["--experiment=scenes:sead=1"], r"did you mean 'seed'\?"),
        (["--experiment=scenes", "--strategy=tow", f"--workdir={tmp_path / 'w'}"], "auto, one"),
        (["surplus"], "'surplus'"),
        (["--stage=students"], "student"),
        (["--stge=student"], "stage"),
    ]:
        answer = run(*arguments)
        assert answer.returncode == 2, answer.stderr
        assert "Traceback" not in answer.stderr
        assert re.search(message, answer.stderr), answer.stderr
    assert not (tmp_path / "w" / "teachers").exists()
