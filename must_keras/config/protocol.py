"""By which rules starts are compared on a downstream set."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from must_keras.errors import UserError

Mode = Literal["full", "frozen"]
Neck = Literal["fpn", "backbone"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Protocol:
    """What all starts of a comparison have in common.

    Attributes:
        mode: "full" trains all weights; "frozen" leaves those of the backbone, and of a pyramid
            that is copied, as they are: the head alone learns, on whole images and, where the
            augmentation mirrors, their mirror images.
        neck: "fpn" copies the pyramid too where the start has one; "backbone" never does.
        shots: labeled images of each class for classification, in all for other tasks, and at
            most as many again for choosing a learning rate; None: all that there are.
    """

    mode: Mode = "full"
    neck: Neck = "fpn"
    shots: int | None = None

    def __post_init__(self) -> None:
        if self.mode not in ("full", "frozen"):
            raise UserError(f"mode={self.mode!r}: allowed are full, frozen")
        if self.neck not in ("fpn", "backbone"):
            raise UserError(f"neck={self.neck!r}: allowed are fpn, backbone")
        if self.shots is not None and self.shots < 1:
            raise UserError(f"shots={self.shots}: at least 1, or none for all")

    def __str__(self) -> str:
        """As the folder of its transfers is called."""
        return f"{self.mode}-{self.neck}-{'all' if self.shots is None else self.shots}"

    def title(self) -> str:
        """For a person."""
        mode = {"full": "full fine-tuning", "frozen": "frozen backbone"}[self.mode]
        shots = "all images" if self.shots is None else f"{self.shots} shots"
        neck = "pyramid copied where there is one" if self.neck == "fpn" else "fresh pyramid"
        return f"{mode}, {neck}, {shots}"

    def differs(self) -> dict[str, Any]:
        """What a transfer depends on beyond full fine-tuning on all images."""
        usual = Protocol(neck=self.neck)
        fields = {name: getattr(self, name) for name in ("mode", "shots")}
        return {name: value for name, value in fields.items() if value != getattr(usual, name)}
