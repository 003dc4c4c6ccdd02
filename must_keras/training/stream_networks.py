"""Forward passes of the streams of self-labeled tasks, through the layers of the plain view's."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from must_keras.ops import Tensor
from must_keras.tasks import streams
from must_keras.tasks.self_labeled import SelfLabeledTask
from must_keras.tasks.streams import PLAIN
from must_keras.training.layer_calls import fuse
from must_keras.training.network import Network, NetworkLayers


def check_backbone(network: Network) -> None:
    """Raise UserError where a network's backbone cannot be called for a second stream."""
    layers = NetworkLayers(network, {})
    for _ in range(2):
        layers.connect(())


class StreamNetworks:
    """A network for each stream beside the plain view; all have the same backbone.

    BatchNormalization normalizes each stream by itself. Its running averages are those of the first
    pass that reaches it: of the plain view where a head receives that, as in inference.

    Args:
        layers: of the network.
        tasks: the self-labeled tasks.

    Attributes:
        streams: beside the plain view, each once.
        networks: one for each of them, from {"image", "area"} to {task name: prediction}.

    Raises:
        UserError: the backbone cannot be called again.

    Example:
        layers = NetworkLayers(network, norm)
        model = keras.Model(*layers.connect(tasks))
        streams = StreamNetworks(layers, [Rotation()])
        streams.predictions(x, {}, model.layers, training=True)["rotation"]

    """

    def __init__(self, layers: NetworkLayers, tasks: Sequence[SelfLabeledTask]):
        self._tasks = [task for task in tasks if task.streams != (PLAIN,)]
        self.streams = streams.distinct(s for task in tasks for s in task.streams)
        self.networks = []
        for stream in self.streams:
            own = [task for task in self._tasks if stream in task.streams]
            self.networks.append(keras.Model(*layers.connect(own)))
            fuse(self.networks[-1])

    def predictions(
        self,
        x: Mapping[str, Tensor],
        plain: Mapping[str, Any],
        reached: Sequence[keras.Layer],
        *,
        training: bool,
    ) -> dict[str, Any]:
        """Return {task name: prediction} of the tasks with streams beside the plain view.

        Args:
            x: the inputs of a batch, see `tasks.streams.make_all`.
            plain: {task name: prediction} of the plain view.
            reached: the layers of the plain view's pass.
            training: whether it is a pass of a training step.
        """
        outputs, moved = [plain], {id(v) for one in reached for v in one.non_trainable_variables}
        for number, network in enumerate(self.networks):
            # What the pass assigns is discarded, but for variables that no pass has assigned yet.
            with keras.StatelessScope() as scope:
                outputs.append(network(streams.inputs_of(x, number), training=training))
            for variable in network.non_trainable_variables:
                value = scope.get_current_value(variable)
                if value is not None and id(variable) not in moved:
                    variable.assign(value)
                moved.add(id(variable))
        places = (PLAIN, *self.streams)
        found = {t.name: [outputs[places.index(s)][t.name] for s in t.streams] for t in self._tasks}
        return {name: many if len(many) > 1 else many[0] for name, many in found.items()}
