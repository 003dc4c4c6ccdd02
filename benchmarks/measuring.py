"""What the benchmarks share: fresh processes that take turns, seconds, memory and counted work."""

from __future__ import annotations

import contextlib
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

# Operations of a `matmul`.
MATMUL = 2 * 2048**3


def answer_of(command: Sequence[str]) -> dict[str, Any]:
    """The JSON line that a fresh process prints last.

    Raises:
        RuntimeError: it failed; with the end of what it said.
    """
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise RuntimeError(f"{' '.join(command)}:\n{answer.stderr[-2000:]}")
    return json.loads(answer.stdout.splitlines()[-1])


def each_alone(module: str, cases: Iterable[Sequence[str]], measure: Callable[..., Any]) -> None:
    """Prints a JSON line for every case, which a process of its own has measured.

    Args:
        module: the script that calls this; it is run again with a case as its arguments.
        cases: the arguments of `measure`.
        measure: what is called in that process.
    """
    if len(sys.argv) > 1:
        print(json.dumps(measure(*sys.argv[1:])))
        return
    for case in cases:
        print(json.dumps(answer_of([sys.executable, "-m", module, *case])), flush=True)


def take_turns(sides: Mapping[str, Sequence[str]], turns: int) -> dict[str, list[dict[str, Any]]]:
    """The answers of every side's command, asked one after the other, `turns` times."""
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    for _ in range(turns):
        for name, command in sides.items():
            answers[name].append(answer_of(command))
    return answers


def medians(answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The median of every number of several answers; of anything else, the last answer's."""
    found = dict(answers[-1])
    for key, value in found.items():
        if isinstance(value, float):
            found[key] = round(statistics.median(answer[key] for answer in answers), 4)
    return found


def seconds_of(
    work: Callable[[], Any], times: int, clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """How long each of several calls takes, by a clock."""
    seconds = []
    for _ in range(times):
        start = clock()
        work()
        seconds.append(clock() - start)
    return seconds


def in_turns(
    works: Mapping[str, Callable[[], Any]],
    times: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """How long each work takes, called one after the other; a first round is not counted."""
    rounds = [
        {name: seconds_of(work, 1, clock)[0] for name, work in works.items()}
        for _ in range(times + 1)
    ]
    return {name: [seconds[name] for seconds in rounds[1:]] for name in works}


def matmul() -> Callable[[], Any]:
    """A multiplication of two 2048 x 2048 matrices by TensorFlow: what a machine can do."""
    import tensorflow as tf

    a, b = tf.random.normal((2, 2048, 2048))
    work = tf.function(lambda: tf.reduce_sum(a @ b))
    return lambda: work().numpy()


def peak_gib() -> float:
    """The most memory that this process has had so far, in GiB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)


@contextlib.contextmanager
def counted_flops() -> Iterator[dict[str, float]]:
    """Counts the work of convolutions and dense layers that run eagerly meanwhile.

    Yields:
        {layer's name: operations}, a multiplication and an addition being two; filled by layers
        as they are called, by the shapes of what they give.
    """
    import keras
    import numpy as np

    counts: dict[str, float] = {}
    layers = keras.layers
    originals = {kind: kind.call for kind in (layers.Conv2D, layers.Conv2DTranspose, layers.Dense)}

    def counting(kind: type, original: Callable) -> Callable:
        def call(layer: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            outputs = original(layer, inputs, *args, **kwargs)
            # A transposed convolution uses its kernel once for every pixel that comes in.
            places = inputs.shape[:-1] if kind is layers.Conv2DTranspose else outputs.shape[:-1]
            work = 2.0 * float(np.prod(places)) * float(np.prod(layer.kernel.shape))
            counts[layer.path] = counts.get(layer.path, 0.0) + work
            return outputs

        return call

    for kind, original in originals.items():
        kind.call = counting(kind, original)
    try:
        yield counts
    finally:
        for kind, original in originals.items():
            kind.call = original
