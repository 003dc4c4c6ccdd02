"""A training step of TensorFlow Model Garden's Mask R-CNN: a peer of benchmarks/detection_step.py.

    OTHER/bin/python benchmarks/peers/model_garden_mask_rcnn.py

Needs tf-models-official in an environment of its own. Its mask head sees a fixed number of sampled
regions of every image, whether they hold an object or not. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import time
from importlib.metadata import version

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
import tf_keras
from official.vision.configs import backbones, common
from official.vision.configs import maskrcnn as config
from official.vision.dataloaders import maskrcnn_input
from official.vision.tasks import maskrcnn

CLASSES, OBJECTS, REGIONS, PROPOSALS, CANDIDATES = 81, 6, 128, 500, 1000


def build(size: int) -> tuple[maskrcnn.MaskRCNNTask, tf_keras.Model]:
    """The network of the setting, and the task that trains it."""
    model = config.MaskRCNN(
        num_classes=CLASSES,
        input_size=[size, size, 3],
        min_level=3,
        max_level=7,
        backbone=backbones.Backbone(type="resnet", resnet=backbones.ResNet(model_id=50)),
        norm_activation=common.NormActivation(use_sync_bn=False),
    )
    model.rpn_head.num_convs = 2
    model.roi_generator.num_proposals = PROPOSALS
    model.roi_generator.pre_nms_top_k = CANDIDATES
    model.roi_sampler.num_sampled_rois = REGIONS
    model.mask_sampler.num_sampled_masks = REGIONS // 4
    task = maskrcnn.MaskRCNNTask(config.MaskRCNNTask(model=model, init_checkpoint=None))
    return task, task.build_model()


def examples(size: int, batch: int) -> tuple[tf.Tensor, dict]:
    """Noise, with six boxes filled by their masks on each image."""
    parser = maskrcnn_input.Parser(
        output_size=[size, size],
        min_level=3,
        max_level=7,
        num_scales=1,
        aspect_ratios=[0.5, 1.0, 2.0],
        anchor_size=8.0,
        max_num_instances=50,
        include_mask=True,
        mask_crop_size=112,
        dtype="float32",
    )
    pairs = []
    for index in range(batch):
        random = np.random.default_rng(index)
        corners = random.uniform(0.0, 0.6, (OBJECTS, 2))
        sides = random.uniform(0.1, 0.4, (OBJECTS, 2))
        boxes = np.concatenate([corners, np.minimum(corners + sides, 1.0)], axis=1)
        masks = np.zeros((OBJECTS, size, size), np.float32)
        for mask, (top, left, bottom, right) in zip(masks, (boxes * size).astype(int), strict=True):
            mask[top:bottom, left:right] = 1.0
        example = {
            "image": tf.constant(random.integers(0, 256, (size, size, 3)), tf.uint8),
            "groundtruth_classes": tf.constant(random.integers(1, CLASSES, OBJECTS), tf.int64),
            "groundtruth_boxes": tf.constant(boxes, tf.float32),
            "groundtruth_instance_masks": tf.constant(masks),
            "groundtruth_is_crowd": tf.zeros(OBJECTS, tf.bool),
            "groundtruth_area": tf.ones(OBJECTS),
        }
        pairs.append(parser._parse_train_data(example))
    images, labels = zip(*pairs, strict=True)
    return tf.stack(images), tf.nest.map_structure(lambda *values: tf.stack(values), *labels)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=8)
    options = parser.parse_args()
    task, model = build(options.size)
    optimizer = tf_keras.optimizers.SGD(0.001, momentum=0.9)
    images, labels = examples(options.size, options.batch)
    regions = {}
    for name in ("detection_head", "mask_head"):
        head = getattr(model, name)
        # One for every iteration of a cascade; here one.
        head = head[0] if name == "detection_head" else head
        original = head.call

        def call(inputs, *args, name=name, original=original, **kwargs):
            features = inputs[0] if isinstance(inputs, list | tuple) else inputs
            # Shapes are static here: what is traced is what runs.
            regions[name] = int(np.prod(features.shape[:2]))
            return original(inputs, *args, **kwargs)

        head.call = call
    step = tf.function(lambda x, y: task.train_step((x, y), model, optimizer))

    def timed() -> float:
        start = time.perf_counter()
        for value in step(images, labels).values():
            float(value)
        return time.perf_counter() - start

    first, _ = timed(), timed()
    seconds = [timed() for _ in range(options.steps)]
    count = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    print(
        json.dumps(
            {
                "side": "Model Garden",
                "versions": f"tensorflow {tf.__version__}, tf-models-official "
                f"{version('tf-models-official')}",
                "first_call_s": round(first, 1),
                "step_s": round(statistics.median(seconds), 3),
                "peak_memory_gib": round(
                    resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2
                ),
                "box_regions": regions["detection_head"],
                "mask_regions": regions["mask_head"],
                "parameters_m": round(count / 1e6, 1),
            }
        )
    )


if __name__ == "__main__":
    main()
