"""How fast running averages forget, by the length of the run."""

from __future__ import annotations


def averaging_momentum(num_steps: int, limit: float) -> float:
    """The momentum of a running average that is to be worth something after `num_steps` updates.

    max(0, min(limit, 1 - 10 / num_steps)): the initial value keeps a weight of at most e^-10. With
    a momentum of 0.997 the statistics of a run of 300 steps would keep 41 % of their initial value.

    Args:
        num_steps: updates in the whole run, at least 1.
        limit: the momentum of a long run: 0.997 for BatchNormalization, 0.9999 for weights.
    """
    return max(0.0, min(limit, 1.0 - 10.0 / num_steps))
