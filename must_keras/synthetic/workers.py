"""Draws examples in several processes, in order.

Each worker is this module run as a program that writes its examples to a pipe, which holds it back
when the reader is slower. A new Python rather than a fork: the parent may hold TensorFlow's
threads, and its main module need not guard against being imported twice.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator

from must_keras.synthetic.config import SceneConfig
from must_keras.synthetic.encoding import encoded_example

# Under this many images a process costs more time to start than it saves.
_FEWEST_PER_WORKER = 150


def num_workers(num_images: int) -> int:
    """One for each core that this process may use, and for every 150 images; at least 1."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return max(1, min(cores, num_images // _FEWEST_PER_WORKER))


def examples(config: SceneConfig, split: str, *, workers: int | None = None) -> Iterator[dict]:
    """The split's encoded examples by index. With one worker they are drawn in this process."""
    count = config.splits[split]
    workers = num_workers(count) if workers is None else workers
    if workers == 1:
        yield from (encoded_example(config, split, config.first + i) for i in range(count))
        return
    with contextlib.ExitStack() as stack:
        pipes = []
        for worker in range(workers):
            process = _start(config, split, worker, workers)
            stack.callback(_stop, process)
            pipes.append(process.stdout)
        for place in range(count):
            try:
                yield pickle.load(pipes[place % workers])
            except (EOFError, pickle.UnpicklingError) as error:
                raise RuntimeError(
                    f"A drawing process ended before image {place} of {config.name}, {split}; "
                    "its own message is above."
                ) from error


def _start(config: SceneConfig, split: str, worker: int, workers: int) -> subprocess.Popen:
    task = {"config": dataclasses.asdict(config), "split": split, "step": [worker, workers]}
    # The matrices are tiny: threads of the linear algebra library would only get in the way.
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    return subprocess.Popen(
        [sys.executable, "-m", __name__, json.dumps(task)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env=environment,
    )


def _stop(process: subprocess.Popen) -> None:
    process.stdout.close()
    process.terminate()
    process.wait()


def main(task: str) -> None:
    """Writes every n-th example of a split to standard output, pickled."""
    values = json.loads(task)
    config = SceneConfig(**values["config"])
    start, step = values["step"]
    for place in range(start, config.splits[values["split"]], step):
        example = encoded_example(config, values["split"], config.first + place)
        pickle.dump(example, sys.stdout.buffer, protocol=5)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(sys.argv[1])
