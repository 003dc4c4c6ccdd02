"""Where training runs: one device, several, or several machines; chosen once, by name."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from must_keras import interruption
from must_keras.errors import UserError
from must_keras.experiment import nearest
from must_keras.interruption import ToBeContinued

NAMES = ("auto", "one", "mirrored", "multiworker", "tpu")
_OF_LOST_WORKERS = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
)
_CANNOT_WORK = {
    "parameter_server": "Keras' fit does not run under ParameterServerStrategy",
    "central_storage": "Keras' fit does not run under CentralStorageStrategy",
}


def make_strategy(name: str) -> tf.distribute.Strategy:
    """The strategy called `name`; to be made before any TensorFlow operation has run.

    "one" uses the first GPU, or the CPU; "mirrored" every GPU of the machine, or every logical
    CPU where there is none; "multiworker" the GPUs, or the CPU, of every machine that the
    environment variable TF_CONFIG lists; "tpu" the TPU of this machine; "auto" is "multiworker"
    where TF_CONFIG lists several machines, "mirrored" where there are several GPUs, else "one".

    Raises:
        UserError: no strategy has this name, or it cannot work here.
    """
    if name in _CANNOT_WORK:
        raise UserError(f"--strategy={name}: {_CANNOT_WORK[name]}; choose multiworker")
    if name not in NAMES:
        raise UserError(f"--strategy={name}: {nearest(name, NAMES)}")
    if name in ("auto", "multiworker"):
        workers = _workers()
        if len(workers) > 1:
            return _multi_worker(workers)
        if name == "multiworker" and not workers:
            raise UserError(
                "--strategy=multiworker needs the environment variable TF_CONFIG on every machine: "
                '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, '
                '"task": {"type": "worker", "index": 0}}'
            )
    if name == "tpu":
        return _tpu()
    gpus = tf.config.list_logical_devices("GPU")
    devices = [device.name for device in gpus or tf.config.list_logical_devices("CPU")]
    if name == "mirrored" or (name != "one" and len(gpus) > 1):
        return tf.distribute.MirroredStrategy(devices)
    return tf.distribute.OneDeviceStrategy(devices[0])


def _multi_worker(workers: Sequence[str]) -> tf.distribute.Strategy:
    print(f"waiting for all of {', '.join(workers)}", file=sys.stderr, flush=True)
    # TensorFlow waits where no signal is heard, and puts a handler of its own in place.
    interruption.stop_listening()
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    interruption.listen()
    return strategy


def _workers() -> list[str]:
    """The addresses in TF_CONFIG; empty where it is not set.

    Raises:
        UserError: it cannot be read, or lists what does not train synchronously.
    """
    text = os.environ.get("TF_CONFIG", "")
    if not text:
        return []
    try:
        config = json.loads(text)
        cluster, task = config.get("cluster", {}), config.get("task", {})
        workers = [*cluster.get("chief", []), *cluster.get("worker", [])]
        others = sorted(set(cluster) - {"chief", "worker"})
        index, kind = int(task.get("index", 0)), task.get("type", "worker")
    except (AttributeError, TypeError, ValueError) as error:
        raise UserError(f"TF_CONFIG cannot be read: {error}") from None
    if others:
        raise UserError(
            f"TF_CONFIG lists tasks of type {others[0]!r}; only chief and worker train together"
        )
    if workers and not (kind in ("chief", "worker") and 0 <= index < len(cluster.get(kind, []))):
        raise UserError(f"TF_CONFIG: the task {kind} {index} does not train in {cluster}")
    return workers


def _tpu() -> tf.distribute.Strategy:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver("local")
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except Exception as error:  # TensorFlow raises whatever the missing piece raises.
        first = str(error).strip().splitlines()
        reason = first[0] if first else repr(error)
        raise UserError(f"--strategy=tpu: no TPU answers here: {reason}") from None
    return tf.distribute.TPUStrategy(resolver)


@contextlib.contextmanager
def chief_alone(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Work of the chief within, for which the others wait at the end.

    It is done under `strategy` itself if there is only one process; under that of several every
    new variable would wait for the others.

    Raises:
        UserError: in the others, where the chief's work has failed.
        ToBeContinued: in the others, where the chief was stopped from outside.
    """
    with strategy.scope():
        several, chief = is_multi_worker(), is_chief()
    if not several:
        with strategy.scope():
            yield
        return
    failure: BaseException | None = None
    try:
        with tf.distribute.OneDeviceStrategy(strategy.extended.worker_devices[0]).scope():
            yield
    except (Exception, ToBeContinued) as error:  # Raised again below, when the others know.
        failure = error
    with strategy.scope():
        stopped = chief_says(lambda: float(isinstance(failure, ToBeContinued)))
        failed = chief_says(lambda: float(failure is not None))
    if failure is not None:
        raise failure
    if stopped and not chief:
        raise ToBeContinued("the chief was stopped")
    if failed and not chief:
        raise UserError("the chief has stopped: its own message says why")


@contextlib.contextmanager
def lost_workers(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Says so where a process that trains with this one is gone.

    Raises:
        ToBeContinued: it is gone.
    """
    try:
        yield
    except _OF_LOST_WORKERS as error:
        with strategy.scope():
            alone = not is_multi_worker()
        if alone:
            raise
        lines = [line.strip() for line in str(error.message).splitlines() if line.strip()]
        told = [line for line in lines if "unhealthy" in line or "onnection" in line]
        reason = (told or [type(error).__name__])[0]
        raise ToBeContinued(
            f"another worker is gone ({reason}); start all of them again, they go on from the "
            "newest checkpoint"
        ) from None


def is_multi_worker() -> bool:
    """Whether several processes train together under the current strategy."""
    return _num_workers() > 1


def is_chief() -> bool:
    """Whether this process writes what a run leaves behind; exactly one of all does."""
    return not is_multi_worker() or tf.distribute.get_strategy().extended._is_chief


def _num_workers() -> int:
    return getattr(tf.distribute.get_strategy().extended, "_num_workers", 1)


def num_replicas() -> int:
    """How many replicas train together under the current strategy."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def local_replicas() -> int:
    """How many of them are in this process."""
    return num_replicas() // _num_workers()


def sum_over_replicas(value: Any) -> Any:
    """The sum of a tensor over all replicas; the tensor itself where there is only one.

    Works on any Keras backend: only TensorFlow has replicas here.
    """
    if keras.backend.backend() != "tensorflow" or not tf.distribute.has_strategy():
        return value
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return value
    return context.all_reduce(tf.distribute.ReduceOp.SUM, value)


def replica_index() -> Any:
    """Which replica this is computed on: 0 and up, in the order of their shares of a batch."""
    context = tf.distribute.get_replica_context() if tf.distribute.has_strategy() else None
    if context is None or context.num_replicas_in_sync == 1:
        return 0
    return context.replica_id_in_sync_group


def gather_over_replicas(value: Any) -> Any:
    """The rows of all replicas, [R * B, ...], of a tensor [B, ...]; itself where there is one.

    Gradients flow back to the replica that a row is of, summed over those that used it.
    """
    if num_replicas() == 1:
        return value
    # A sum, because that has a gradient under every strategy: each fills its own place.
    mine = tf.one_hot(replica_index(), num_replicas(), dtype=value.dtype)
    places = tf.reshape(mine, [-1] + [1] * len(value.shape)) * value[None]
    return tf.reshape(sum_over_replicas(places), [-1, *value.shape[1:]])


def sum_over_workers(values: Sequence[float]) -> list[float]:
    """The sums over all processes of what each of them says; all wait for one another.

    Raises:
        tensorflow.errors.OpError: another one is gone.
    """
    if not is_multi_worker():
        return list(values)
    return [float(v) for v in _summed(tf.constant(values, tf.float64)).numpy()]


@tf.function(autograph=False)
def _summed(values: tf.Tensor) -> tf.Tensor:
    strategy, local = tf.distribute.get_strategy(), local_replicas()

    def mine(values: tf.Tensor) -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        # A worker with several replicas speaks once.
        first = context.replica_id_in_sync_group % local == 0
        return context.all_reduce("SUM", tf.where(first, values, tf.zeros_like(values)))

    return strategy.experimental_local_results(strategy.run(mine, (values,)))[0]


def chief_says(question: Callable[[], float]) -> float:
    """The chief's answer, in every process; only the chief is asked."""
    return sum_over_workers([float(question()) if is_chief() else 0.0])[0]


def wait_for_all() -> None:
    """Returns when every process is here."""
    sum_over_workers([0.0])
