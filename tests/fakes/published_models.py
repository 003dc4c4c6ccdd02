"""Networks with the conventions of published ones, of which the right answers are known.

Both are made from scratch here: a depth network with MiDaS's conventions that says how bright each
pixel is, and a detector with those of TensorFlow's object detection API that finds the bright
rectangle.
"""

import keras
import numpy as np
import tensorflow as tf

# ImageNet's, of pixels from 0 to 255: MiDaS's (pixel / 255 - mean) / std.
OFFSET, SCALE = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def midas(path, size: int) -> None:
    """A .keras file: [B, size, size, 3], normalized, to [B, size, size] relative inverse depth.

    It says the brightness, mean(R, G, B) / 255: what is bright is near.
    """
    image = keras.Input((size, size, 3))
    undo = keras.layers.Conv2D(1, 1, name="brightness")
    model = keras.Model(image, keras.layers.Reshape((size, size))(undo(image)))
    weights = np.float32(SCALE).reshape(1, 1, 3, 1) / 3 / 255
    undo.set_weights([weights, np.float32([sum(OFFSET) / 3 / 255])])
    model.save(path)


def midas_of_tf_hub(path, size: int) -> None:
    """A SavedModel as intel/midas/v2_1_small on TF Hub: [1, 3, size, size] of 0 to 1, "default"."""

    class Midas(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((1, 3, size, size), tf.float32)])
        def run(self, image):
            return {"default": tf.reduce_mean(image, axis=1)}

    model = Midas()
    tf.saved_model.save(model, str(path), signatures=model.run)


def detector(path, first: int = 2, room: int = 5) -> None:
    """A SavedModel as exporter_lib_v2.py writes it: one uint8 image of any size to float32.

    Args:
        path: of the folder.
        first: the number of the class of what is bright.
        room: detections that it always answers; only the first is one.
    """

    class Detector(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((1, None, None, 3), tf.uint8)])
        def __call__(self, input_tensor):
            bright = tf.reduce_min(input_tensor[0], axis=-1) > 150
            places = tf.cast(tf.where(bright), tf.float32)
            size = tf.cast(tf.shape(bright), tf.float32)
            low = tf.reduce_min(places, axis=0) / size
            high = (tf.reduce_max(places, axis=0) + 1.0) / size
            exists = tf.reduce_any(bright)
            box = tf.where(exists, tf.concat([low, high], axis=0), tf.zeros(4))
            others = room - 1
            return {
                "detection_boxes": tf.concat([box[None], tf.ones((others, 4))], axis=0)[None],
                "detection_scores": tf.constant([[0.75] + [0.0] * others]),
                "detection_classes": tf.constant([[float(first)] + [1.0] * others]),
                "num_detections": tf.cast(exists, tf.float32)[None],
                "raw_detection_boxes": tf.zeros((1, 7, 4)),
            }

    model = Detector()
    signature = model.__call__.get_concrete_function()
    tf.saved_model.save(model, str(path), signatures=signature)
