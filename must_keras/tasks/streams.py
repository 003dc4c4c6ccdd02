"""Streams: changed copies of an example that a self-labeled task receives beside the plain view.

The input pipeline makes them, one example at a time: some need the original image, and none costs
the step anything but its pass. Equal streams are one pass of the backbone.
"""

import abc
import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from keras import ops

from must_keras.ops import Tensor
from must_keras.tasks.parts import Size, Tensors


class Stream(abc.ABC):
    """A copy of an example, as a frozen dataclass; two that are equal (==) are one.

    Example:
        @dataclasses.dataclass(frozen=True)
        class Dark(Stream):
            def view(self, original, x, key):
                return {"image": x["image"] // 2, "area": x["area"]}
    """

    @abc.abstractmethod
    def view(self, original: Tensor, x: Tensors, key: Tensor) -> dict[str, Tensor]:
        """Return {"image": [H, W, 3] uint8, "area": [4] the picture without its padding}.

        Args:
            original: [h, w, 3] uint8, as the source provides it.
            x: the same keys of the plain view, before strong views and mixing.
            key: int32 scalar, the only source of randomness (see ops/sampling.py); a label gets the
                same ones, [B].
        """


@dataclasses.dataclass(frozen=True)
class Plain(Stream):
    """The view that all other heads receive; it has no pass of its own.

    Example:
        Features(name="lite0", backbone=EfficientNetLite0()).streams  # (Plain(),)
    """

    def view(self, original: Tensor, x: Tensors, key: Tensor) -> dict[str, Tensor]:
        return {"image": x["image"], "area": x["area"]}


PLAIN = Plain()


def distinct(streams: Iterable[Stream]) -> tuple[Stream, ...]:
    """Return the streams that need passes of their own, each once, in order."""
    found: list[Stream] = []
    for stream in streams:
        if stream != PLAIN and stream not in found:
            found.append(stream)
    return tuple(found)


def make_all(
    streams: Sequence[Stream], original: Tensor, x: Tensors, key: Tensor
) -> dict[str, Tensor]:
    """Return the inputs of an example's streams: {"image_0", "area_0", "image_1", ...}.

    Args:
        streams: of `distinct`.
        original: see Stream.view.
        x: see Stream.view.
        key: see Stream.view.
    """
    found = {}
    for number, stream in enumerate(streams):
        view = stream.view(original, x, key)
        found |= {f"{part}_{number}": view[part] for part in ("image", "area")}
    return found


def inputs_of(x: Mapping[str, Tensor], number: int) -> dict[str, Tensor]:
    """Return {"image", "area"} of one of the streams of `make_all`."""
    return {part: x[f"{part}_{number}"] for part in ("image", "area")}


def whole(size: Size) -> Tensor:
    """Return the area of a view without padding: [4] float32."""
    return ops.convert_to_tensor([0.0, 0.0, *size], dtype="float32")
