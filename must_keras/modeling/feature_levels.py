"""The feature maps of a classifier: which layers compute them, and a copy of these layers alone."""

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers

from must_keras.ops import Tensor

# What stands between the image and the first layer with weights.
_PIXEL_LAYERS = (layers.Rescaling, layers.Normalization)


class PixelStatistics(NamedTuple):
    """What a network receives for a pixel: (color - mean) / deviation, each [3], in [0, 255].

    Example:
        PixelStatistics(mean=(127.5,) * 3, deviation=(127.5,) * 3, is_bgr=False)  # -1 to 1
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    is_bgr: bool


def pixel_statistics(
    model: keras.Model,
    preprocess: Callable[[np.ndarray], Any],
    *,
    learned: tuple[tuple[float, ...], tuple[float, ...]],
) -> PixelStatistics:
    """Return the affine map from RGB in [0, 255] to the input of a classifier's first convolution.

    It is found from four colors: black, and each of the three primary ones.

    Args:
        model: begins with layers that rescale and normalize, or with the first convolution.
        preprocess: what its images go through before it.
        learned: mean and deviation in [0, 1] for a Normalization whose statistics are weights.

    Returns:
        the statistics, rounded to the three decimals with which they are published.
    """
    colors = np.concatenate([np.zeros((1, 3)), np.diag([255.0] * 3)])[:, None, None]
    x = np.asarray(preprocess(colors))
    for layer in _pixel_layers(model):
        if isinstance(layer, layers.Normalization) and layer.get_config()["mean"] is None:
            mean, deviation = map(np.asarray, learned)
            x = (x - mean) / deviation
        else:
            # In full precision, whatever the network computes in.
            exact = type(layer).from_config(layer.get_config() | {"dtype": "float32"})
            x = keras.ops.convert_to_numpy(exact(x))
    black, primary = x[0, 0, 0].astype("float64"), x[1:, 0, 0].astype("float64")
    slopes = (primary - black) / 255.0
    is_bgr = bool(slopes[0, 0] == 0.0)
    deviation = 1.0 / np.diag(slopes[::-1] if is_bgr else slopes)
    rounded = [
        tuple(round(float(v), 3) for v in values) for values in (-black * deviation, deviation)
    ]
    return PixelStatistics(*rounded, is_bgr)


def _pixel_layers(model: keras.Model) -> list[keras.Layer]:
    found = []
    for operation in model.operations[1:]:
        if not isinstance(operation, _PIXEL_LAYERS):
            break
        found.append(operation)
    return found


def find_levels(model: keras.Model) -> dict[str, str]:
    """Return {"C2", ..., "C5": name of the layer}, as far as there are maps of stride 4 to 32.

    C5 is the model's output. Each other level is the last map of its stride that everything
    computed after it depends on, without what already belongs to the next block: padding, and a
    1x1 convolution that widens or narrows the map.

    Args:
        model: a functional model without a classifier, of an image of known size.
    """
    height = model.input.shape[1]
    strides = {height // stride: f"C{level}" for level, stride in enumerate((4, 8, 16, 32), 2)}
    found = {}
    for operation in _bottlenecks(model):
        shape = operation.output.shape
        if len(shape) == 4 and shape[1] in strides:
            found[strides[shape[1]]] = operation
    last = found.pop("C5", None)
    names = {level: _end_of_block(operation).name for level, operation in found.items()}
    return names if last is None else names | {"C5": last.name}


def _bottlenecks(model: keras.Model) -> Iterator[Any]:
    """Yield the operations through which every path from the image to the output goes."""
    operations = model.operations  # In an order in which inputs come first.
    places = {operation: place for place, operation in enumerate(operations)}
    last_uses = dict.fromkeys(operations, -1)
    for operation, place in places.items():
        for source in _sources(operation):
            if source in last_uses:
                last_uses[source] = max(last_uses[source], place)
    pending = -1
    for operation, place in places.items():
        if pending <= place:
            yield operation
        pending = max(pending, last_uses[operation])


def _sources(operation: Any) -> list[Any]:
    return [node.operation for own in operation._inbound_nodes for node in own.parent_nodes]


def _end_of_block(operation: Any) -> Any:
    """Return the operation before padding and a convolution that changes the number of channels."""
    while isinstance(operation, layers.ZeroPadding2D):
        operation = _sources(operation)[0]
    below = operation
    while not _is_convolution(below) and len(_sources(below)) == 1:
        below = _sources(below)[0]
    is_pointwise = _is_convolution(below) and set(below.kernel_size) == {1}
    if is_pointwise and below.input.shape[-1] != below.output.shape[-1]:
        return _sources(below)[0]
    return operation


def _is_convolution(operation: Any) -> bool:
    return isinstance(operation, layers.Conv2D | layers.DepthwiseConv2D)


def layer_names(model: keras.Model) -> dict[Any, str]:
    """Return {layer: name} of a model's layers and of those in a Sequential in it.

    The names are equal for two models that one function built: those that Keras has numbered over
    the whole process are numbered over the model.
    """
    names, counts = {}, {}
    for operation in model.operations:
        names[operation] = operation.name
        kind = re.sub(r"_\d+$", "", operation.name)
        if kind.replace("_", "") == type(operation).__name__.lower():  # Keras chose it.
            counts[kind] = counts.get(kind, 0) + 1
            names[operation] = f"{kind}_{counts[kind]}"
        if isinstance(operation, keras.Sequential):
            names |= {layer: layer.name for layer in operation.layers}
    return names


def copied_weights(model: keras.Model, copy: keras.Model) -> list[np.ndarray]:
    """Return the weights of a copy of some layers of a model, as `copy_levels` makes them.

    Args:
        model: from which the weights are.
        copy: of its layers under their names, with other weights; is changed.
    """
    found = layer_names(model).items()
    weights = {name: one.get_weights() for one, name in found if isinstance(one, keras.Layer)}
    for layer in copy.layers:
        if layer.name in weights:
            layer.set_weights(weights[layer.name])
    return copy.get_weights()


def copy_levels(model: keras.Model, image: Tensor, levels: dict[str, str]) -> dict[str, Tensor]:
    """Return the maps of some layers of a copy of a model, with new random weights.

    The copy has no Dropout (a training has its own stochastic depth), and of an odd side each level
    has the larger half, where the model may have the smaller; at multiples of 32 both compute the
    same. A `+` of two maps becomes a layer.

    Args:
        model: a functional model; what it does to pixels before its first convolution is left out.
        image: [B, H, W, 3], what its first convolution receives.
        levels: {level: name of a layer of the model}.
    """
    names, made = layer_names(model), {}
    left_out = {*_pixel_layers(model)}
    left_out |= {one for one in model.operations if isinstance(one, layers.Dropout)}
    padded = {one: pad for one in model.operations if (pad := _same_padding(one)) is not None}
    left_out |= set(padded.values())

    def renewed(layer: Any) -> Any:
        config = layer.get_config() | {"name": names[layer]}
        if layer in padded or _covers_all(layer):
            config["padding"] = "same"
        return type(layer).from_config(config)

    def call(operation: Any, *args: Any, **kwargs: Any) -> Tensor:
        if operation in left_out:
            x = args[0]
        elif _is_sum(operation, args):
            x = layers.Add(name=names[operation])(list(args))
        elif isinstance(operation, keras.Sequential):
            x = args[0]
            for layer in operation.layers:
                x = renewed(layer)(x)
        else:
            x = renewed(operation)(*args, **kwargs)
        made[operation.name] = x
        return x

    keras.models.clone_model(
        model, input_tensors=image, clone_function=lambda one: one, call_function=call
    )
    return {level: made[name] for level, name in levels.items()}


def _is_sum(operation: Any, args: tuple[Any, ...]) -> bool:
    """Return whether an operation is the `+` of two maps, as at the end of a residual block."""
    is_operator = type(operation).__name__ == "Add" and not isinstance(operation, keras.Layer)
    return (
        is_operator
        and all(map(keras.backend.is_keras_tensor, args))
        and (args[0].shape == args[1].shape)
    )


def _same_padding(operation: Any) -> layers.ZeroPadding2D | None:
    """Return the layer before a convolution that pads as "same" does where sides are even."""
    pad = next(iter(_sources(operation)), None)
    is_pair = _is_convolution(operation) and isinstance(pad, layers.ZeroPadding2D)
    if not is_pair or operation.padding != "valid" or tuple(operation.strides) != (2, 2):
        return None
    sides = [((side - 2) // 2, (side - 1) // 2) for side in operation.kernel_size]
    return pad if list(map(tuple, pad.padding)) == sides else None


def _covers_all(layer: Any) -> bool:
    """Return whether a layer's windows lie side by side, so that "same" only adds a last one."""
    size = getattr(layer, "kernel_size", None) or getattr(layer, "pool_size", None)
    return (
        size is not None
        and getattr(layer, "padding", None) == "valid"
        and tuple(size) == tuple(layer.strides) != (1, 1)
    )
