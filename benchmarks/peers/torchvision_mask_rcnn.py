"""A training step of torchvision's Mask R-CNN, at the setting of benchmarks/detection_step.py.

    OTHER/bin/python benchmarks/peers/torchvision_mask_rcnn.py [--channels_last]

Needs torch and torchvision in an environment of its own. ResNet-50-FPN with P3 to P7, all layers
trained, BatchNorm, a box head of four convolutions and one dense layer. Its mask head sees positive
regions alone. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time

import numpy as np
import torch
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

CLASSES, OBJECTS, REGIONS, PROPOSALS, CANDIDATES = 81, 6, 128, 500, 1000
LEVELS = ["0", "1", "2", "p6", "p7"]


def build(size: int) -> MaskRCNN:
    """The network of the setting."""
    backbone = resnet_fpn_backbone(
        backbone_name="resnet50",
        weights=None,
        norm_layer=nn.BatchNorm2d,
        trainable_layers=5,
        returned_layers=[2, 3, 4],
        extra_blocks=LastLevelP6P7(256, 256),
    )
    return MaskRCNN(
        backbone,
        min_size=size,
        max_size=size,
        rpn_anchor_generator=AnchorGenerator(
            tuple((8 * stride,) for stride in (8, 16, 32, 64, 128)), ((0.5, 1.0, 2.0),) * 5
        ),
        rpn_head=RPNHead(256, 3, conv_depth=2),
        rpn_pre_nms_top_n_train=CANDIDATES,
        rpn_post_nms_top_n_train=PROPOSALS,
        box_roi_pool=MultiScaleRoIAlign(LEVELS, 7, 2),
        box_head=FastRCNNConvFCHead((256, 7, 7), [256] * 4, [1024], norm_layer=nn.BatchNorm2d),
        box_predictor=FastRCNNPredictor(1024, CLASSES),
        box_batch_size_per_image=REGIONS,
        mask_roi_pool=MultiScaleRoIAlign(LEVELS, 14, 2),
        mask_head=MaskRCNNHeads(256, [256] * 4, 1, norm_layer=nn.BatchNorm2d),
        mask_predictor=MaskRCNNPredictor(256, 256, CLASSES),
    )


def examples(size: int, batch: int, device: str) -> tuple[list, list]:
    """Noise, with six boxes filled by their masks on each image."""
    images, targets = [], []
    for index in range(batch):
        random = np.random.default_rng(index)
        corners = random.uniform(0.0, 0.6, (OBJECTS, 2))
        sides = random.uniform(0.1, 0.4, (OBJECTS, 2))
        boxes = np.concatenate([corners, np.minimum(corners + sides, 1.0)], axis=1) * size
        masks = np.zeros((OBJECTS, size, size), np.uint8)
        for mask, (top, left, bottom, right) in zip(masks, boxes.astype(int), strict=True):
            mask[top:bottom, left:right] = 1
        images.append(torch.rand(3, size, size, device=device))
        targets.append(
            {
                "boxes": torch.tensor(boxes[:, [1, 0, 3, 2]], dtype=torch.float32, device=device),
                "labels": torch.tensor(random.integers(1, CLASSES, OBJECTS), device=device),
                "masks": torch.tensor(masks, device=device),
            }
        )
    return images, targets


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--channels_last", action="store_true")
    options = parser.parse_args()
    torch.manual_seed(0)
    model = build(options.size).train()
    if options.channels_last:
        model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9, weight_decay=4e-5)
    images, targets = examples(options.size, options.batch, "cpu")
    regions = {"box": [], "mask": []}
    heads = model.roi_heads
    for name, head in (("box", heads.box_head), ("mask", heads.mask_head)):
        head.register_forward_pre_hook(lambda _, x, n=name: regions[n].append(len(x[0])))

    def step() -> None:
        loss = sum(model(images, targets).values())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        float(loss.detach())

    def timed() -> float:
        start = time.perf_counter()
        step()
        return time.perf_counter() - start

    first, _ = timed(), timed()
    regions["box"].clear(), regions["mask"].clear()
    seconds = [timed() for _ in range(options.steps)]
    found = {
        "side": "torchvision" + (", channels last" if options.channels_last else ""),
        "versions": f"torch {torch.__version__}, torchvision {torchvision.__version__}",
        "first_call_s": round(first, 1),
        "step_s": round(statistics.median(seconds), 3),
        "peak_rss_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "box_regions": round(statistics.mean(regions["box"]), 1),
        "mask_regions": round(statistics.mean(regions["mask"]), 1),
        "parameters_m": round(sum(p.numel() for p in model.parameters()) / 1e6, 1),
    }
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(images, targets)
    found["forward_gflop"] = round(counter.get_total_flops() / 1e9, 1)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
