"""Loggers of services that keep what they have received: Weights & Biases and MLflow."""

import abc
import contextlib
import importlib
import pathlib
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, TypedDict

import numpy as np

from must_keras.errors import UserError, reason, warn_once
from must_keras.json_files import find_json, write_json
from must_keras.training.hyperparameters import hyperparameters
from must_keras.training.loggers import Logger


class _State(TypedDict):
    """The run of the service, and the number of calls that it has received."""

    run: str
    calls: int


class ServiceLogger(Logger):
    """A logger of a service that cannot take back what it has received.

    A training that is resumed makes the same calls again, from its checkpoint on: those that the
    service has already are left out. A file in the folder counts them. What the service refuses is
    a warning, and the training goes on.

    Args:
        folder: for its files.

    Example:
        class Console(ServiceLogger):
            service, module = "console", "sys"

            def start(self, run):
                return run or "1"

            def send_scalars(self, step, values):
                print(step, values)

            ...

    """

    service: ClassVar[str]
    """Its name in messages and of its file."""

    module: ClassVar[str]
    """Of its Python package."""

    def __init__(self, folder: pathlib.Path):
        try:
            self.package = importlib.import_module(self.module)
        except ImportError as error:
            remedy = f"pip install {self.module}, or the extra must-keras[tracking]"
            problem = f"logger {type(self).__name__}: {self.module} cannot be imported: {remedy}"
            raise UserError(problem, remedy=remedy) from error
        self.folder, self._path = folder, folder / f"{self.service}.json"
        self._calls, self._is_started, self._run = 0, False, ""
        known = find_json(self._path, _State, remedy=f"delete {self._path} to start a new run")
        # A process that does not rewind adds to what an earlier one has logged.
        self._run, self._received = (known["run"], known["calls"]) if known else ("", 0)
        self._calls = self._received

    @abc.abstractmethod
    def start(self, run: str) -> str:
        """Begin a run of the service, or continue one; return its name there.

        Args:
            run: its name; "" for a new one.
        """

    @abc.abstractmethod
    def send_inputs(self, title: str, values: Mapping[str, Any]) -> None:
        """Send the title of the training, and {hyperparameter: value}."""

    @abc.abstractmethod
    def send_scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Send {"<split>/<name>": value} of a step."""

    @abc.abstractmethod
    def send_image(self, step: int, name: str, image: np.ndarray) -> None:
        """Send an image, [H, W, 3] uint8 RGB, "<split>/<name>"."""

    def finish(self) -> None:
        """End the run, or the part of it that this process has logged."""

    def inputs(self, title: str, values: Mapping[str, Any]) -> None:
        with self._call() as is_new:
            if is_new:
                self.send_inputs(title, hyperparameters(values))

    def scalars(self, step: int, split: str, values: Mapping[str, float]) -> None:
        with self._call() as is_new:
            if is_new:
                self.send_scalars(step, {f"{split}/{name}": v for name, v in values.items()})

    def image(self, step: int, split: str, name: str, image: np.ndarray) -> None:
        with self._call() as is_new:
            if is_new:
                self.send_image(step, f"{split}/{name}", image)

    def sizes(self) -> dict[str, int]:
        return {f"{self.service} calls": self._calls}

    def rewind(self, sizes: Mapping[str, int]) -> None:
        self._calls = sizes.get(f"{self.service} calls", 0)
        if not self._calls:  # From the first step on it is another run.
            self._run, self._received = "", 0

    def close(self) -> None:
        if self._is_started:
            with self._warning():
                self.finish()

    @contextlib.contextmanager
    def _call(self) -> Iterator[bool]:
        """Yield whether the service has not received this call yet."""
        self._calls += 1
        is_new = self._calls > self._received
        with self._warning():
            if is_new and not self._is_started:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._run, self._is_started = self.start(self._run), True
            yield is_new
        if is_new:
            self._received = self._calls
            write_json(self._path, {"run": self._run, "calls": self._received})

    @contextlib.contextmanager
    def _warning(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # Of networks and of services: no closed list.
            warn_once(f"{self.service} did not take what was logged: {reason(error)}")


class WandbLogger(ServiceLogger):
    """Logs to Weights & Biases: a run for each training.

    Numbers are "<split>/<name>" of a step. Log in with `wandb login`; without a network set
    mode="offline" (or WANDB_MODE), and append the files to the run later: `wandb sync`.

    Args:
        folder: for its files: loggers/ in the artifact's folder.
        project: of the service.
        mode: "online", "offline" or "disabled"; None: WANDB_MODE, or online.

    Raises:
        UserError: wandb is not installed.

    Example:
        mk.TrainingConfig(steps=800, loggers=(functools.partial(mk.WandbLogger, project="garden"),))

    """

    service, module = "wandb", "wandb"

    def __init__(
        self, folder: pathlib.Path, *, project: str = "must_keras", mode: str | None = None
    ):
        super().__init__(folder)
        self._project, self._mode = project, mode

    def start(self, run: str) -> str:
        self._session = self.package.init(
            project=self._project,
            id=run or uuid.uuid4().hex,
            name=_name_of(self.folder),
            dir=str(self.folder),
            mode=self._mode,
            resume="allow",
            settings=self.package.Settings(silent=True, console="off"),
        )
        return self._session.id

    def send_inputs(self, title: str, values: Mapping[str, Any]) -> None:
        self._session.config.update({"training": title, **values}, allow_val_change=True)

    def send_scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._session.log(dict(values), step=step)

    def send_image(self, step: int, name: str, image: np.ndarray) -> None:
        self._session.log({name: self.package.Image(image)}, step=step)

    def finish(self) -> None:
        self._session.finish()


class MlflowLogger(ServiceLogger):
    """Logs to MLflow: a run for each training.

    Numbers are "<split>/<name>" of a step, hyperparameters are parameters, images are files of the
    run.

    Args:
        folder: for its files: loggers/ in the artifact's folder.
        experiment: of MLflow; it is made where there is none of this name.
        tracking_uri: of a server, "sqlite:///runs/mlflow.db", or "file:runs/mlruns", which MLflow
            accepts with MLFLOW_ALLOW_FILE_STORE=true alone; None: MLFLOW_TRACKING_URI, or MLflow's
            own default.

    Raises:
        UserError: mlflow is not installed.

    Example:
        loggers = (functools.partial(mk.MlflowLogger, tracking_uri="http://localhost:5000"),)
        mk.TrainingConfig(steps=800, loggers=loggers)

    """

    service, module = "mlflow", "mlflow"

    def __init__(
        self,
        folder: pathlib.Path,
        *,
        experiment: str = "must_keras",
        tracking_uri: str | None = None,
    ):
        super().__init__(folder)
        self._experiment, self._uri = experiment, tracking_uri

    def start(self, run: str) -> str:
        self._client = self.package.MlflowClient(tracking_uri=self._uri)
        self._id = run
        if run:
            self._client.update_run(run, status="RUNNING")
        else:
            known = self._client.get_experiment_by_name(self._experiment)
            if known is None:
                experiment = self._client.create_experiment(self._experiment)
            else:
                experiment = known.experiment_id
            made = self._client.create_run(experiment, run_name=_name_of(self.folder))
            self._id = made.info.run_id
        return self._id

    def send_inputs(self, title: str, values: Mapping[str, Any]) -> None:
        self._client.set_tag(self._id, "training", title)
        for name, value in values.items():
            self._client.log_param(self._id, name, value)

    def send_scalars(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._client.log_metric(self._id, name, value, step=step)

    def send_image(self, step: int, name: str, image: np.ndarray) -> None:
        file = f"images/{name}/{step:08}.png"
        self._client.log_image(self._id, image, artifact_file=file)

    def finish(self) -> None:
        self._client.set_terminated(self._id)


def _name_of(folder: pathlib.Path) -> str:
    """Return the name of an artifact in its run's folder, "garden/student", for people."""
    return "/".join(folder.resolve().parent.parts[-2:])
