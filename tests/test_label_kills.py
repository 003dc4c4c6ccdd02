"""Labeling killed with -9 and with SIGTERM, in one process and on Ray, and continued."""

import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from fakes import label_recipe
from must_keras.pseudo_labels.store.layout import verify
from programs import Program

ROOT = pathlib.Path(__file__).resolve().parents[1]
RECIPE = ROOT / "tests" / "fakes" / "label_recipe.py"
RAY = "--label_engine=ray:workers=2"


def start(pool, workdir, *flags, seconds=0.0, stage="label", before=()):
    command = [
        "-m", "must_keras.main", f"--workdir={workdir}", f"--stage={stage}",
        f"--experiment={RECIPE}:data={pool},seconds={seconds}", *flags,
    ]  # fmt: skip
    if not before:
        return Program(command, merged=True)
    return subprocess.Popen(
        [*before, sys.executable, *command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(pool, workdir, *flags, stage="label") -> str:
    process = start(pool, workdir, *flags, stage=stage)
    answer = process.communicate(timeout=600)[0]
    assert process.returncode == 0, answer[-3000:]
    return answer


def files(workdir, pattern="*") -> set[pathlib.Path]:
    return {path for path in workdir.glob(f"labels/*/pool/{pattern}") if path.is_file()}


def made(workdir) -> dict[str, bytes]:
    """All files of the columns, but for those that tell times and processes."""
    told = ("progress.json", "finished.json")
    return {
        str(p.relative_to(workdir)): p.read_bytes() for p in files(workdir) if p.name not in told
    }


def results(workdir) -> list[dict]:
    found = [json.loads(p.read_text())["result"] for p in sorted(files(workdir, "finished.json"))]
    return [{k: v for k, v in one.items() if k != "images_per_second"} for one in found]


def wait_until(happens, process) -> bool:
    """Whether it happens before the process ends."""
    while process.poll() is None:
        if happens():
            return True
        time.sleep(0.005)
    return False


def writing(workdir):
    """Whether a shard is being written that was not when this was called."""
    before = files(workdir, "labels-*.tmp")
    return lambda: bool(files(workdir, "labels-*.tmp") - before)


def one_more_shard(workdir):
    """Whether a shard is finished that was not when this was called."""
    before = files(workdir, "labels-*[0-9]")
    return lambda: bool(files(workdir, "labels-*[0-9]") - before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A pool, and the run that nobody interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    label_recipe.paint(folder / "pool", 1100)
    run(folder / "pool", folder / "run", stage="teacher")
    run(folder / "pool", folder / "run")
    assert len(files(folder / "run", "labels-*")) == 2 * 3
    return folder


def take_teachers(whole, workdir) -> None:
    shutil.copy(whole / "run" / "run.json", workdir)
    shutil.copytree(whole / "run" / "teachers", workdir / "teachers")


def kill(process, moments, happens, latest: float) -> bool:
    """Kills the process some seconds after something happened; whether it was still there."""
    if wait_until(happens, process):
        time.sleep(moments.uniform(0.0, latest))
    was_there = process.poll() is None
    process.kill()
    answer = process.communicate()[0]
    assert process.returncode in (0, -9), answer[-3000:]
    return was_there


def test_a_kill_and_sigterm_leave_nothing_lost_and_nothing_twice(whole, tmp_path):
    pool = whole / "pool"
    take_teachers(whole, tmp_path)
    # At 8 images a batch the first shard takes 64 batches.
    process = start(pool, tmp_path, seconds=0.02)
    assert kill(process, random.Random(0), one_more_shard(tmp_path), 0.2)
    assert files(tmp_path, "labels-*.tmp") and not files(tmp_path, "ledger.json")
    process = start(pool, tmp_path, seconds=0.05)
    assert wait_until(writing(tmp_path), process)
    process.terminate()
    answer = process.communicate(timeout=60)[0]
    assert process.returncode == 75, answer[-3000:]
    run(pool, tmp_path)
    assert made(tmp_path) == made(whole / "run")
    assert results(tmp_path) == results(whole / "run")
    source = label_recipe.recipe(data=str(pool)).pools[0].source
    for name in ("light", "lights"):
        assert verify(tmp_path / "labels" / name / "pool", source) == []


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_the_same_command_goes_on(whole, tmp_path):
    pool = whole / "pool"
    take_teachers(whole, tmp_path)
    # A file of maps has 530 kB.
    limit = ["prlimit", "--fsize=400000"]
    process = start(pool, tmp_path, before=limit)
    answer = process.communicate(timeout=300)[0]
    assert process.returncode == 2, answer[-3000:]
    assert "Traceback" not in answer
    assert re.search("error: .*labels/lights/pool/labels-train.*; File too large", answer), answer
    assert not files(tmp_path, "*.tmp")
    run(pool, tmp_path)
    assert made(tmp_path) == made(whole / "run")


@pytest.mark.slow
def test_twenty_kills(tmp_path):
    label_recipe.paint(tmp_path / "pool", 6000)
    pool, seed = tmp_path / "pool", random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    moments = random.Random(seed)
    for name in ("whole", "killed"):
        run(pool, tmp_path / name, stage="teacher")
    run(pool, tmp_path / "whole")
    kills = 0
    while kills < 20:
        process = start(pool, tmp_path / "killed", seconds=0.01)
        # At every other kill there is one more shard, which is not made again.
        happens = one_more_shard if kills % 2 else writing
        kills += kill(process, moments, happens(tmp_path / "killed"), 1.0)
        if process.returncode == 0:
            break
        print(f"{kills} kills, {len(files(tmp_path / 'killed', 'labels-*[0-9]'))} shards")
    assert kills == 20
    run(pool, tmp_path / "killed")
    assert made(tmp_path / "killed") == made(tmp_path / "whole")
    assert results(tmp_path / "killed") == results(tmp_path / "whole")


def workers() -> list[int]:
    """Process numbers of Ray's workers that hold teachers."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            name = path.read_bytes()
        except OSError:
            continue
        if name.startswith(b"ray::_Worker"):
            found.append(int(path.parent.name))
    return found


@pytest.fixture
def ray_is_there():
    pytest.importorskip("ray", reason="Ray is not installed: requirements-ray.txt")
    yield
    deadline = time.monotonic() + 30
    while workers() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not workers()


@pytest.mark.slow
@pytest.mark.usefixtures("ray_is_there")
@pytest.mark.parametrize("seed", range(3))
def test_a_killed_worker_of_ray(whole, tmp_path, seed):
    pool = whole / "pool"
    take_teachers(whole, tmp_path)
    # Both workers are at shards of both teachers, which take them at least 6 s.
    process = start(pool, tmp_path, RAY, seconds=0.1)
    assert wait_until(lambda: len(files(tmp_path, "labels-*.tmp")) == 4, process)
    time.sleep(random.Random(seed).uniform(0.0, 2.0))
    assert len(workers()) == 2
    os.kill(workers()[seed % 2], signal.SIGKILL)
    answer = process.communicate(timeout=600)[0]
    assert process.returncode == 0, answer[-3000:]
    assert "a worker died at" in answer
    assert made(tmp_path) == made(whole / "run")
    assert results(tmp_path) == results(whole / "run")


@pytest.mark.slow
@pytest.mark.usefixtures("ray_is_there")
@pytest.mark.parametrize("seed", range(3))
def test_a_killed_driver_of_ray(whole, tmp_path, seed):
    pool = whole / "pool"
    take_teachers(whole, tmp_path)
    # The last shards, of ten batches, take 2 s.
    process = start(pool, tmp_path, RAY, seconds=0.2)
    assert kill(process, random.Random(seed), one_more_shard(tmp_path), 1.0)
    done = {path: path.stat().st_mtime_ns for path in files(tmp_path, "labels-*[0-9]")}
    assert len(done) < 2 * 3
    run(pool, tmp_path, RAY)
    assert all(path.stat().st_mtime_ns == at for path, at in done.items())
    assert made(tmp_path) == made(whole / "run")


@pytest.mark.slow
@pytest.mark.usefixtures("ray_is_there")
def test_ray_stops_at_sigterm(whole, tmp_path):
    pool = whole / "pool"
    take_teachers(whole, tmp_path)
    process = start(pool, tmp_path, RAY, seconds=0.05)
    assert wait_until(writing(tmp_path), process)
    process.terminate()
    answer = process.communicate(timeout=60)[0]
    assert process.returncode == 75, answer[-3000:]
    run(pool, tmp_path, RAY)
    assert made(tmp_path) == made(whole / "run")
