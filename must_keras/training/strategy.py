"""The devices of a training: one, several, or several machines; and what their processes share."""

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from must_keras import interruption
from must_keras.errors import UserError, not_allowed, reason
from must_keras.interruption import Interrupted
from must_keras.log import LOG

NAMES = ("auto", "one", "mirrored", "multiworker", "tpu")
_OF_LOST_WORKERS = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
)
_CANNOT_WORK = {
    "parameter_server": "ParameterServerStrategy",
    "central_storage": "CentralStorageStrategy",
}


def make_strategy(name: str) -> tf.distribute.Strategy:
    """Return the distribution strategy of a name; call it before any TensorFlow operation.

    "one" uses the first GPU, or the CPU; "mirrored" every GPU of the machine, or every logical
    CPU where there is none; "multiworker" the GPUs, or the CPU, of every machine that the
    environment variable TF_CONFIG lists; "tpu" the TPU of this machine; "auto" is "multiworker"
    where TF_CONFIG lists several machines, "mirrored" where there are several GPUs, else "one".

    Raises:
        UserError: no strategy has this name, or it cannot work here.

    Example:
        with make_strategy("auto").scope():
            model = build_model(network, tasks, seed=0, norm=norm)

    """
    if name in _CANNOT_WORK:
        problem = f"Keras' fit does not run under {_CANNOT_WORK[name]}; choose multiworker"
        raise UserError.of("", "strategy", name, problem)
    if name not in NAMES:
        raise not_allowed(f"strategy={name}", name, NAMES, key="strategy")
    if name in ("auto", "multiworker"):
        workers = _workers()
        if len(workers) > 1:
            return _multi_worker(workers)
        if name == "multiworker" and not workers:
            raise UserError(
                "strategy=multiworker needs the environment variable TF_CONFIG on every machine: "
                '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, '
                '"task": {"type": "worker", "index": 0}}',
                key="strategy",
            )
    if name == "tpu":
        return _tpu()
    gpus = tf.config.list_logical_devices("GPU")
    devices = [device.name for device in gpus or tf.config.list_logical_devices("CPU")]
    if name == "mirrored" or (name != "one" and len(gpus) > 1):
        return tf.distribute.MirroredStrategy(devices)
    return tf.distribute.OneDeviceStrategy(devices[0])


def connects_machines(name: str) -> bool:
    """Return whether the strategy of a name connects several processes; see `make_strategy`.

    Raises:
        UserError: TF_CONFIG cannot be read.
    """
    return name == "multiworker" or (name == "auto" and len(_workers()) > 1)


def _multi_worker(workers: Sequence[str]) -> tf.distribute.Strategy:
    LOG.warning(f"waiting for all of {', '.join(workers)}")
    # TensorFlow blocks signals while it waits, and installs a handler of its own.
    interruption.stop_listening()
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    interruption.listen()
    return strategy


def _workers() -> list[str]:
    """Return the addresses in TF_CONFIG; empty where it is not set.

    Raises:
        UserError: it cannot be read, or lists tasks that do not train synchronously.
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
        problem = f"no TPU was found here: {reason(error)}"
        raise UserError.of("", "strategy", "tpu", problem) from None
    return tf.distribute.TPUStrategy(resolver)


@contextlib.contextmanager
def on_chief(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Within, only the chief works; the other processes wait for it at the end.

    A single process works under `strategy` itself; under a strategy of several every new variable
    would wait for the other processes.

    Raises:
        UserError: in the other processes, where the chief's work has failed.
        Interrupted: in the other processes, where the chief was interrupted.

    Example:
        with on_chief(strategy):
            if is_chief():
                write_report()

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
    except (Exception, Interrupted) as error:  # Raised again below, after the others were informed.
        failure = error
    with strategy.scope():
        stopped = broadcast_from_chief(lambda: float(isinstance(failure, Interrupted)))
        failed = broadcast_from_chief(lambda: float(failure is not None))
    if failure is not None:
        raise failure
    if stopped and not chief:
        raise Interrupted("the chief was interrupted")
    if failed and not chief:
        raise UserError("the chief has failed: its own message contains the reason")


@contextlib.contextmanager
def lost_workers(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Turn TensorFlow's errors about a lost worker into Interrupted.

    Raises:
        Interrupted: another process is gone.
    """
    try:
        yield
    except _OF_LOST_WORKERS as error:
        with strategy.scope():
            alone = not is_multi_worker()
        if alone:
            raise
        lines = [line.strip() for line in str(error.message).splitlines() if line.strip()]
        found = [line for line in lines if "unhealthy" in line or "onnection" in line]
        why = (found or [type(error).__name__])[0]
        raise Interrupted(
            f"another worker is gone ({why}); re-run the command on all of them to resume from "
            "the newest checkpoint"
        ) from None


def is_multi_worker() -> bool:
    """Return whether several processes train together under the current strategy."""
    return _num_workers() > 1


def is_chief() -> bool:
    """Return whether this is the one process that writes files."""
    return not is_multi_worker() or tf.distribute.get_strategy().extended._is_chief


def _num_workers() -> int:
    return getattr(tf.distribute.get_strategy().extended, "_num_workers", 1)


def num_replicas() -> int:
    """Return the number of replicas that train together under the current strategy."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def local_replicas() -> int:
    """Return the number of replicas in this process."""
    return num_replicas() // _num_workers()


def sum_over_replicas(value: Any) -> Any:
    """Return the sum of a tensor over all replicas; the tensor itself where there is only one.

    It works on any Keras backend: only TensorFlow has replicas here.
    """
    context = _replica_context() if keras.backend.backend() == "tensorflow" else None
    return value if context is None else context.all_reduce(tf.distribute.ReduceOp.SUM, value)


def replica_index() -> Any:
    """Return the index of the current replica: 0 and up, in the order of the batch's shares."""
    context = _replica_context()
    return 0 if context is None else context.replica_id_in_sync_group


def _replica_context() -> tf.distribute.ReplicaContext | None:
    """Return the context of the current replica; None where there is only one."""
    context = tf.distribute.get_replica_context() if tf.distribute.has_strategy() else None
    return None if context is None or context.num_replicas_in_sync == 1 else context


def gather_over_replicas(value: Any) -> Any:
    """Return the rows of all replicas, [R * B, ...], of a tensor [B, ...].

    Gradients flow back to the replica of a row, summed over the replicas that used it.
    """
    if num_replicas() == 1:
        return value
    # A sum has a gradient under every strategy: each replica fills its own rows.
    mine = tf.one_hot(replica_index(), num_replicas(), dtype=value.dtype)
    places = tf.reshape(mine, [-1] + [1] * len(value.shape)) * value[None]
    return tf.reshape(sum_over_replicas(places), [-1, *value.shape[1:]])


def sum_over_workers(values: Sequence[float]) -> list[float]:
    """Return the sums of each value over all processes, which wait for one another.

    Raises:
        tensorflow.errors.OpError: another process is gone.
    """
    if not is_multi_worker():
        return list(values)
    return [float(v) for v in _summed(tf.constant(values, tf.float64)).numpy()]


@tf.function(autograph=False)
def _summed(values: tf.Tensor) -> tf.Tensor:
    strategy, local = tf.distribute.get_strategy(), local_replicas()

    def mine(values: tf.Tensor) -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        # A worker with several replicas counts once.
        first = context.replica_id_in_sync_group % local == 0
        return context.all_reduce("SUM", tf.where(first, values, tf.zeros_like(values)))

    return strategy.experimental_local_results(strategy.run(mine, (values,)))[0]


def broadcast_from_chief(compute: Callable[[], float]) -> float:
    """Return, in every process, a number that only the chief computes.

    Example:
        step = int(broadcast_from_chief(lambda: newest.step))

    """
    return sum_over_workers([float(compute()) if is_chief() else 0.0])[0]


def wait_for_all() -> None:
    """Return when every process has called this."""
    sum_over_workers([0.0])
