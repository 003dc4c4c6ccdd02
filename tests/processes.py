"""training/layout.py in processes of its own: what tests of several processes share."""

import json
import os
import pathlib
import socket

import numpy as np

from programs import Program

HERE = pathlib.Path(__file__).parent


def start(folder, *arguments: str, **environment: str) -> Program:
    """layout.py in a process of its own."""
    path = os.pathsep.join([str(HERE.parent), str(HERE)])
    return Program(
        [HERE / "training" / "layout.py", str(folder), *arguments],
        env=os.environ | {"PYTHONPATH": path} | environment,
        merged=True,
    )


def start_workers(folder, dtype: str, kind: str) -> list[Program]:
    """Two that know of each other."""
    sockets = [socket.socket() for _ in range(2)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    cluster = {"worker": [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]}
    for one in sockets:
        one.close()
    tasks = [{"cluster": cluster, "task": {"type": "worker", "index": i}} for i in range(2)]
    return [start(folder, dtype, kind, "worker", TF_CONFIG=json.dumps(task)) for task in tasks]


def finish(processes: list[Program]) -> None:
    answers = [process.communicate(timeout=900)[0] for process in processes]
    for process, answer in zip(processes, answers, strict=True):
        assert process.returncode == 0, answer[-3000:]


def load(folder, *names: str) -> dict[str, dict[str, np.ndarray]]:
    return {name: dict(np.load(folder / f"{name}.npz")) for name in names}


def weights(found: dict[str, np.ndarray]) -> list[np.ndarray]:
    return [found[f"weight {i}"] for i in range(sum(k.startswith("weight ") for k in found))]
