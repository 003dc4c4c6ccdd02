"""The grid of transfer runs of a recipe: set x start x protocol x seed."""

import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Any

from must_keras.config.recipe import Transfer
from must_keras.config.transfers import Protocol, TransferStart
from must_keras.runs.artifact import Artifact
from must_keras.runs.run import Run

# Raised when the same inputs would give something else than before.
VERSION = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransferRun:
    """One training on a downstream set.

    Attributes:
        transfer: the downstream set.
        protocol: the rules.
        start: what it starts from.
        seed: 0 and up.

    Example:
        first = next(transfer_runs(run, transfer))
        first.artifact(run).result().value
    """

    transfer: Transfer
    protocol: Protocol
    start: TransferStart
    seed: int

    def __str__(self) -> str:
        rules = "" if not self.protocol.differs() else f", {self.protocol}"
        return f"{self.transfer.name} from {self.start.name}, seed {self.seed}{rules}"

    @property
    def sweeps(self) -> bool:
        """Whether a learning rate is chosen here."""
        return len(self.transfer.rates) > 1 and self.seed == 0 and self.transfer.rates_from is None

    def read(self, run: Run) -> Artifact:
        """Return its artifact, to read."""
        return run.transfer(self.transfer.name, self.start.name, str(self.protocol), self.seed)

    def origin(self, run: Run) -> Artifact | None:
        """Return the artifact that it starts from; None where the run does not make it."""
        start = self.start
        return run.artifact(*start.folder).declare(stage=start.stage) if start.folder else None

    def chooser(self, run: Run) -> Artifact | None:
        """Return the artifact whose choice of a learning rate is used; None where there is none."""
        if self.sweeps or len(self.transfer.rates) < 2:
            return None
        other = self.transfer.rates_from
        chosen_in = run if other is None else Run(recipe=run.recipe, path=pathlib.Path(other))
        first = dataclasses.replace(self, seed=0)
        return first.read(chosen_in).declare(stage="transfer")

    def artifact(self, run: Run) -> Artifact:
        """Declare its artifact."""
        needs = tuple(need for need in (self.origin(run), self.chooser(run)) if need is not None)
        named = {"stage": "transfer", "name": str(self), "group": self.transfer.name}
        return self.read(run).declare(find_inputs=lambda: self._inputs(run), needs=needs, **named)

    def _inputs(self, run: Run) -> dict[str, Any] | None:
        """Return what it depends on; None while what it starts from is not complete."""
        recipe, transfer, origin = run.recipe, self.transfer, self.origin(run)
        made_from = self.start.depends_on(recipe.network) if origin is None else origin.result()
        if origin is not None and made_from is None:
            return None
        more = self.protocol.differs()
        if len(transfer.rates) > 1:
            more["learning_rates"] = transfer.rates
        if transfer.rates_from is not None:
            chosen = self.chooser(run).result()
            more["rates_from"] = chosen.learning_rate if chosen else None
        return {
            "version": VERSION,
            "start": self.start.name,
            "made_from": made_from,
            "seed": [recipe.seed, self.seed],
            "network": recipe.network,
            "task": transfer.task,
            "sets": transfer.sets,
            "training": dataclasses.replace(transfer.training, learning_rate=transfer.rates[0]),
            "neck": self.protocol.neck,
        } | more


def transfer_runs(run: Run, transfer: Transfer) -> Iterator[TransferRun]:
    """Return all transfer runs of a set, in the order in which they are made.

    What neighbors share is made once: the order of the images where all weights are trained, the
    features where they are frozen.
    """
    recipe = run.recipe
    for protocol in recipe.protocols:
        pairs = [(start, k) for k in range(recipe.transfer_seeds) for start in recipe.start_names]
        if protocol.mode == "frozen":
            pairs.sort(key=lambda pair: recipe.start_names.index(pair[0]))
        for name, seed in pairs:
            start = recipe.start(name)
            yield TransferRun(transfer=transfer, protocol=protocol, start=start, seed=seed)
