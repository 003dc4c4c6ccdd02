"""Processes that are killed with -9 at a random moment, and resumed."""

import os
import random
import subprocess
import time

import numpy as np
import pytest

from processes import finish, load, start, start_workers, weights

STEPS = list(range(1, 31))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Steps, losses and weights of a training that was not killed."""
    folder = tmp_path_factory.mktemp("whole")
    finish([start(folder, "float64", "killed", "one")])
    return load(folder, "one0")["one0"]


def wait_for_checkpoint(folder, process: subprocess.Popen) -> bool:
    """Return whether a process has saved a step of its own before it ended."""
    before = set(folder.glob("checkpoints/*.npz"))
    while not set(folder.glob("checkpoints/*.npz")) - before:
        if process.poll() is not None:
            assert process.returncode == 0, process.communicate()[0][-3000:]
            return False
        time.sleep(0.01)
    return True


def moment(longest: float) -> float:
    """Return a random time in seconds; its seed is printed where a test fails."""
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    return random.Random(seed).uniform(0.0, longest)


def test_a_killed_run_ends_with_the_same_bits(tmp_path):
    """Losses of every step once, and weights, as without the kill."""
    process = start(tmp_path, "float64", "killed", "one")
    wait_for_checkpoint(tmp_path / "work-one", process)
    time.sleep(moment(0.6))
    process.kill()
    process.communicate()
    # One process resumes and then trains without a kill: starting TensorFlow takes longest.
    (tmp_path / "whole").mkdir()
    resumed = start(f"{tmp_path}{os.pathsep}{tmp_path / 'whole'}", "float64", "killed", "one")
    answer = resumed.communicate(timeout=600)[0]
    assert resumed.returncode == 0 and "starts from its own checkpoint at step" in answer, answer
    found, whole = (load(folder, "one0")["one0"] for folder in (tmp_path, tmp_path / "whole"))
    assert found["steps"].tolist() == whole["steps"].tolist() == STEPS
    np.testing.assert_array_equal(found["losses"], whole["losses"])
    for ours, wanted in zip(weights(found), weights(whole), strict=True):
        np.testing.assert_array_equal(ours, wanted)


@pytest.mark.slow
def test_a_killed_worker_ends_the_other_and_both_are_resumed(tmp_path, whole):
    workers = start_workers(tmp_path, "float64", "killed")
    wait_for_checkpoint(tmp_path / "work-worker", workers[0])
    later = moment(4.0)
    time.sleep(later)
    killed = int(later * 1000) % 2
    workers[killed].kill()
    answer = workers[1 - killed].communicate(timeout=60)[0]
    assert workers[1 - killed].returncode == 75, answer[-3000:]
    assert "interrupted: another worker is gone" in answer
    workers[killed].communicate()
    workers = start_workers(tmp_path, "float64", "killed")
    if wait_for_checkpoint(tmp_path / "work-worker", workers[0]):
        workers[1].terminate()
        answers = [worker.communicate(timeout=60)[0] for worker in workers]
        assert [worker.returncode for worker in workers] == [75, 75], answers
        assert all("SIGTERM at step" in answer for answer in answers), answers
    finish(start_workers(tmp_path, "float64", "killed"))
    found = load(tmp_path, "worker0")["worker0"]
    assert found["steps"].tolist() == STEPS
    np.testing.assert_allclose(found["losses"], whole["losses"], rtol=0, atol=1e-5)
    for ours, wanted in zip(weights(found), weights(whole), strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64", "mixed_bfloat16"])
@pytest.mark.parametrize("layout", ["one", "mirrored", "worker"])
def test_seven_kills_in_every_layout_and_type(tmp_path, layout, dtype):
    def begin(folder) -> list[subprocess.Popen]:
        if layout == "worker":
            return start_workers(folder, dtype, "killed")
        return [start(folder, dtype, "killed", layout)]

    unkilled, again = tmp_path / "unkilled", tmp_path / "again"
    for folder in (unkilled, again):
        folder.mkdir()
    finish(begin(unkilled))
    kills, longest = 0, 0.8 if layout == "worker" else 0.05
    while kills < 7:
        processes = begin(again)
        if not wait_for_checkpoint(again / f"work-{layout}", processes[0]):
            break
        later = moment(longest)
        time.sleep(later)
        killed = processes[int(later * 10000) % len(processes)]
        killed.kill()
        kills += killed.wait() == -9
        for process in processes:
            process.communicate(timeout=60)
    print(f"{layout}, {dtype}: {kills} kills")
    assert kills == 7
    finish(begin(again))
    name = f"{layout}0"
    found, wanted = load(again, name)[name], load(unkilled, name)[name]
    assert found["steps"].tolist() == STEPS
    tolerance = 0.0 if layout == "one" else 1e-5
    np.testing.assert_allclose(found["losses"], wanted["losses"], rtol=0, atol=tolerance)
    for ours, theirs in zip(weights(found), weights(wanted), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)
