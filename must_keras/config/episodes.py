"""Few-shot episodes: small classification problems that are drawn from one downstream set."""

import dataclasses
from typing import Literal

from must_keras.errors import UserError, expect


@dataclasses.dataclass(frozen=True, kw_only=True)
class Episodes:
    """How many episodes are drawn, how large they are, and what learns in each of them.

    An episode has `ways` classes, `shots` labeled images of each (see Protocol) and `queries` other
    images of each, which are scored. Only features of the frozen backbone are used.

    Attributes:
        ways: classes of an episode, at least 2.
        queries: scored images of each class, at least 1.
        count: number of episodes, at least 2.
        learner: "linear" trains a linear layer for each episode (transfer.episodes.LinearLayers);
            "centroid" takes the class whose mean labeled feature is nearest.

    Example:
        mk.Recipe(..., mode="episodes", shots=(1, 5), episodes=mk.Episodes(ways=5, queries=15))

    Reference: A Broader Study of Cross-Domain Few-Shot Learning (arXiv 1912.07200): 5 ways, 15
    queries, 600 episodes, a linear layer.

    """

    ways: int = 5
    queries: int = 15
    count: int = 600
    learner: Literal["linear", "centroid"] = "linear"

    def __post_init__(self) -> None:
        where = "episodes"
        expect(where, self, ways=int, queries=int, count=int)
        for name, lowest in {"ways": 2, "queries": 1, "count": 2}.items():
            if getattr(self, name) < lowest:
                raise UserError.of(where, name, getattr(self, name), f"at least {lowest}")
        if self.learner not in ("linear", "centroid"):
            raise UserError.of(where, "learner", self.learner, "allowed are linear, centroid")
