"""Every single transfer of a recipe: to a set, from a start, by a protocol, with a seed."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterator

from must_keras.config.protocol import Protocol
from must_keras.config.recipe import Recipe, Transfer
from must_keras.runs.workdir import Artifact, Workdir


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
    """One transfer.

    Attributes:
        transfer: the downstream set.
        protocol: the rules.
        start: where it starts from.
        seed: 0 and up.
    """

    transfer: Transfer
    protocol: Protocol
    start: str
    seed: int

    def __str__(self) -> str:
        rules = "" if not self.protocol.differs() else f", {self.protocol}"
        return f"{self.transfer.name} from {self.start}, seed {self.seed}{rules}"

    def part(self, workdir: Workdir) -> Artifact:
        """Its folder."""
        return workdir.transfer(self.transfer.name, self.start, str(self.protocol), self.seed)

    def with_seed(self, seed: int) -> Cell:
        """The same with other random numbers."""
        return dataclasses.replace(self, seed=seed)

    @property
    def sweeps(self) -> bool:
        """Whether a learning rate is chosen here."""
        is_first = self.seed == 0 and self.transfer.rates_from is None
        return len(self.transfer.rates) > 1 and is_first

    def chooser(self, workdir: Workdir) -> Artifact | None:
        """The transfer whose choice of a learning rate is taken; None where there is none."""
        if self.sweeps or len(self.transfer.rates) < 2:
            return None
        other = self.transfer.rates_from
        chosen_in = workdir if other is None else Workdir(pathlib.Path(other))
        return self.with_seed(0).part(chosen_in)


def cells(recipe: Recipe, transfer: Transfer) -> Iterator[Cell]:
    """All of a set in the order in which they are made.

    What two neighbors share is made once: the order of the images where all weights are trained,
    the features where they are frozen.
    """
    for protocol in recipe.protocols:
        pairs = [(start, k) for k in range(recipe.transfer_seeds) for start in recipe.start_names]
        if protocol.mode == "frozen":
            pairs.sort(key=lambda pair: recipe.start_names.index(pair[0]))
        for start, seed in pairs:
            yield Cell(transfer=transfer, protocol=protocol, start=start, seed=seed)
