"""The labeler on a Ray cluster: workers hold the teachers and label ranges of a source."""

import collections
import contextlib
import importlib.util
import os
import pathlib
import re
import signal
import socket
import time
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from must_keras import interruption
from must_keras.config.recipe import Recipe
from must_keras.config.teachers import AnyTeacher
from must_keras.data.pipeline import errors_of_sources
from must_keras.data.sources import Source
from must_keras.errors import DataError, UserError
from must_keras.log import LOG
from must_keras.pseudo_labels.labeler import (
    Labeler,
    Range,
    Writers,
    check_readable,
    unreadable_before,
)
from must_keras.pseudo_labels.store import PseudoLabelWriter
from must_keras.runs import pools
from must_keras.runs.run import Run

if TYPE_CHECKING:
    import ray

# Where so many workers died at the same range, or while they were starting, another would too.
_MOST_DEATHS = 3
# Seconds after which a message reports that no worker has started.
_PATIENCE = 60.0
_KNOCK_SECONDS = 10.0


class RayLabeler(contextlib.AbstractContextManager):
    """What `Labeler` is in one process: ranges of a source are given to workers.

    A worker makes the recipe anew, loads the teachers once, and writes the shards of a range into
    the run's folder, under their names when they are whole. So the folder and the images must lie
    under the same path on every machine. The bytes are those of one process: batches and shards
    are the same, and each worker computes in as many threads as this process would.

    A worker that dies is replaced, and its range goes to the next one that is free.

    Args:
        run: the run.
        teachers: those that label.
        writer: returns the writer of a pseudo-label dataset, called with (run, teacher, source).
        load: returns the recipe in another process; Ray must be able to pickle it and `writer`.
        workers: how many; None: one for each GPU of the cluster, or on each machine as many as
            have CPUs for the threads of this process, and at least one.

    Raises:
        UserError: there is no cluster at the address that is given.

    Example:
        with RayLabeler(run, teachers, writer=writer_of, load=load, workers=4) as labeler:
            for done in labeler.write(source, writers, pending_ranges(writers)):
                print(done.count, "images")
    """

    def __init__(
        self,
        run: Run,
        teachers: Sequence[AnyTeacher],
        *,
        writer: Callable[..., PseudoLabelWriter],
        load: Callable[[], Recipe],
        workers: int | None = None,
    ):
        self._max_unreadable = run.recipe.max_unreadable
        self._ray = _connected()
        gpus = int(self._ray.cluster_resources().get("GPU", 0))
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        cpus = [node["CPU"] for node in nodes if node.get("CPU")]
        threads = os.cpu_count() or 1
        self._count = workers or gpus or sum(max(1, int(number // threads)) for number in cpus)
        # So few that the smallest machine has room for a worker, and all of them have room.
        each = min(threads, *cpus, sum(cpus) / self._count)
        actor = self._ray.remote(
            num_cpus=each, num_gpus=1 if gpus else 0, max_restarts=0, scheduling_strategy="SPREAD"
        )(_Worker)
        LOG.info(f"Ray: workers: {self._count}, machines: {len(cpus)}, CPUs: {sum(cpus):g}")
        self._new_worker = lambda: actor.remote(threads)
        names = tuple(teacher.name for teacher in teachers)
        self._work = (load, writer, str(pathlib.Path.cwd()), str(run.path.resolve()), names)
        self._idle: list[ray.actor.ActorHandle] = []
        # What was asked of whom: a range; None: to prepare itself.
        self._asked: dict[ray.ObjectRef, tuple[ray.actor.ActorHandle, Range | None]] = {}

    def __exit__(self, *raised: object) -> None:
        # Workers end with the connection; a cluster that was there before stays.
        self._ray.shutdown()

    def write(
        self, source: Source, writers: Writers, ranges: list[Range], *, empty: Iterable[int] = ()
    ) -> Iterator[Range]:
        """See AnyLabeler.write; the workers have writers of their own."""
        waiting, left = collections.deque(ranges), len(ranges)
        deaths: collections.Counter[Range | None] = collections.Counter()
        unreadable = unreadable_before(source, empty)
        while left:
            self._start_workers(min(self._count, left))
            while waiting and self._idle:
                worker, part = self._idle.pop(), waiting.popleft()
                self._asked[worker.write.remote(source.name, part)] = (worker, part)
            worker, part, answer = self._next_answer()
            if isinstance(answer, self._ray.exceptions.RayError):
                deaths[part] += 1
                _tell_death(source, part, deaths[part], answer)
                self._drop_dead()
                if part is not None:
                    waiting.appendleft(part)
                continue
            self._idle.append(worker)
            deaths[None] = 0
            if part is not None:
                left -= 1
                unreadable |= answer
                check_readable(source, unreadable, self._max_unreadable)
                yield part

    def _start_workers(self, count: int) -> None:
        while len(self._idle) + len(self._asked) < count:
            worker = self._new_worker()
            self._asked[worker.prepare.remote(*self._work)] = (worker, None)

    def _drop_dead(self) -> None:
        """Forgets idle workers that are dead too: no range is given to them."""
        asked = {worker.is_there.remote(): worker for worker in self._idle}
        self._idle = []
        for answer, worker in asked.items():
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._ray.get(answer)
                self._idle.append(worker)

    def _next_answer(self) -> "tuple[ray.actor.ActorHandle, Range | None, Any]":
        """The next worker that has an answer, to what, and which; RayError: it is dead."""
        done: list[ray.ObjectRef] = []
        since = time.monotonic()
        while not done:
            interruption.stop_if_asked()
            done, _ = self._ray.wait([*self._asked], num_returns=1, timeout=1.0)
            if time.monotonic() - since > _PATIENCE:
                since = time.monotonic()
                if not any(part for _, part in self._asked.values()):
                    LOG.warning("no worker has started yet: is the cluster busy?")
        worker, part = self._asked.pop(done[0])
        try:
            return worker, part, self._ray.get(done[0])
        except self._ray.exceptions.RayTaskError as error:
            # What a person can fix is raised as in one process.
            if isinstance(error.cause, UserError | DataError | OSError):
                raise error.cause from None
            raise
        except self._ray.exceptions.RayError as error:
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._ray.kill(worker)
            return worker, part, error


class _Worker:
    """A process that holds the teachers."""

    def __init__(self, threads: int):
        tf.config.threading.set_intra_op_parallelism_threads(threads)

    def is_there(self) -> None:
        """Answers while the process is alive."""

    def prepare(
        self,
        load: Callable[[], Recipe],
        writer: Callable[..., PseudoLabelWriter],
        folder: str,
        path: str,
        teachers: tuple[str, ...],
    ) -> None:
        """Load what is needed; paths of the recipe are relative to `folder`."""
        os.chdir(folder)
        with errors_of_sources():
            self._run = pools.frozen(Run(recipe=load(), path=pathlib.Path(path)), new=False)
            recipe = self._run.recipe
            self._teachers = {t.name: t for t in recipe.teachers if t.name in teachers}
            self._sources = {source.name: source for source in recipe.student_sources}
            self._labeler = Labeler(self._run, [*self._teachers.values()])
        self._new_writer = writer
        self._writers: dict[tuple[str, str], PseudoLabelWriter] = {}

    def write(self, name: str, part: Range) -> dict[int, str]:
        """Writes the shards of a range; which images could not be read, and why."""
        source = self._sources[name]
        writers = {teacher: self._writer(teacher, source) for teacher in part.teachers}
        with errors_of_sources():
            for _ in self._labeler.write(source, writers, [part]):
                pass
        return dict(self._labeler.unreadable[name])

    def _writer(self, name: str, source: Source) -> PseudoLabelWriter:
        key = (name, source.name)
        if key not in self._writers:
            self._writers[key] = self._new_writer(self._run, self._teachers[name], source)
        return self._writers[key]


def _tell_death(source: Source, part: Range | None, deaths: int, error: Exception) -> None:
    """Says that a worker died; raises DataError where that happens again and again."""
    where = "while starting"
    if part is not None:
        where = f"at {part.count} images of {source.name}, from {source.image_id(part.first)!r} on"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # Of a long story the exception is what helps.
    named = [line for line in lines if re.match(r"[\w.]+(Error|Exception): ", line)]
    why = (named or lines or [type(error).__name__])[-1 if named else 0]
    if deaths == _MOST_DEATHS:
        raise DataError(f"{deaths} workers died {where}: {why}")
    LOG.warning(f"a worker died {where} ({why}); another does its work")


def check_installed() -> None:
    """Raises UserError where Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        problem = "Ray is missing: pip install -r requirements-ray.txt"
        raise UserError.of("", "label_engine", "ray", problem)


def _knock(address: str) -> None:
    """Raises UserError where nobody listens at host:port, for which Ray would wait for minutes."""
    found = re.fullmatch(r"(?:ray://)?([^:/]+):(\d+)", address)
    if found:
        try:
            socket.create_connection((found[1], int(found[2])), timeout=_KNOCK_SECONDS).close()
        except OSError as error:
            problem = f"no cluster at RAY_ADDRESS={address} ({error.strerror or error})"
            raise UserError.of("", "label_engine", "ray", problem) from None


def _connected() -> types.ModuleType:
    """Ray: the cluster at RAY_ADDRESS or on this machine, or else one of our own.

    Raises:
        UserError: there is no cluster where there should be one.
    """
    import ray

    _knock(os.environ.get("RAY_ADDRESS", ""))
    # Ray takes SIGTERM for itself.
    handler: Any = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(logging_level="error", include_dashboard=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        hint = "; is RAY_AUTH_MODE the cluster's?" if "connect" in str(error) else ""
        problem = f"{str(error).splitlines()[0]}{hint}"
        raise UserError.of("", "label_engine", "ray", problem) from None
    finally:
        signal.signal(signal.SIGTERM, handler)
    return ray
