"""training/layout.py in processes of its own: what tests of several processes share."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import numpy as np

HERE = pathlib.Path(__file__).parent


def start(folder, *arguments: str, **environment: str) -> subprocess.Popen:
    """layout.py in a process of its own."""
    path = os.pathsep.join([str(HERE.parent), str(HERE)])
    return subprocess.Popen(
        [sys.executable, str(HERE / "training" / "layout.py"), str(folder), *arguments],
        env=os.environ | {"PYTHONPATH": path} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def start_workers(folder, dtype: str, kind: str) -> list[subprocess.Popen]:
    """Two that know of each other."""
    sockets = [socket.socket() for _ in range(2)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    cluster = {"worker": [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]}
    for one in sockets:
        one.close()
    tasks = [{"cluster": cluster, "task": {"type": "worker", "index": i}} for i in range(2)]
    return [start(folder, dtype, kind, "worker", TF_CONFIG=json.dumps(task)) for task in tasks]


def finish(processes: list[subprocess.Popen]) -> None:
    answers = [process.communicate(timeout=900)[0] for process in processes]
    for process, answer in zip(processes, answers, strict=True):
        assert process.returncode == 0, answer[-3000:]


def load(folder, *names: str) -> dict[str, dict[str, np.ndarray]]:
    return {name: dict(np.load(folder / f"{name}.npz")) for name in names}


def weights(found: dict[str, np.ndarray]) -> list[np.ndarray]:
    return [found[f"weight {i}"] for i in range(sum(k.startswith("weight ") for k in found))]
