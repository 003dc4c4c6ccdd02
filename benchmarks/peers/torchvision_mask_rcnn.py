"""A training step of torchvision's Mask R-CNN, at the setting of benchmarks/detection_step.py.

    OTHER/bin/python benchmarks/peers/torchvision_mask_rcnn.py [--channels_last]
    OTHER/bin/python benchmarks/peers/torchvision_mask_rcnn.py --size=640 --batch=16 \
        --device=cuda --bfloat16 --channels_last [--stock]

Needs torch and torchvision in an environment of its own. ResNet-50-FPN with P3 to P7, all layers
trained, BatchNorm, a box head of four convolutions and one dense layer; with --stock it is
maskrcnn_resnet50_fpn as torchvision makes it: P2 to P6, a box head of two dense layers and no
BatchNorm in the heads. The mask head sees positive regions alone. Prints one JSON line; with
--matmul also how fast this machine multiplies large bfloat16 matrices.
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

CLASSES, OBJECTS, CHAIN = 81, 6, 10
LEVELS = ["0", "1", "2", "p6", "p7"]


def build(size: int, regions: int, *, stock: bool) -> MaskRCNN:
    """The network of the setting, or torchvision's own with its numbers of regions."""
    proposals = max(500, 2 * regions)
    numbers = {
        "rpn_pre_nms_top_n_train": 2 * proposals,
        "rpn_post_nms_top_n_train": proposals,
        "box_batch_size_per_image": regions,
    }
    if stock:
        return torchvision.models.detection.maskrcnn_resnet50_fpn(
            weights=None,
            weights_backbone=None,
            num_classes=CLASSES,
            min_size=size,
            max_size=size,
            **numbers,
        )
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
        box_roi_pool=MultiScaleRoIAlign(LEVELS, 7, 2),
        box_head=FastRCNNConvFCHead((256, 7, 7), [256] * 4, [1024], norm_layer=nn.BatchNorm2d),
        box_predictor=FastRCNNPredictor(1024, CLASSES),
        mask_roi_pool=MultiScaleRoIAlign(LEVELS, 14, 2),
        mask_head=MaskRCNNHeads(256, [256] * 4, 1, norm_layer=nn.BatchNorm2d),
        mask_predictor=MaskRCNNPredictor(256, 256, CLASSES),
        **numbers,
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


def wait_for(device: str) -> None:
    """Returns when all work is done."""
    if device == "cuda":
        torch.cuda.synchronize()


def matmul_rate(side: int, device: str) -> float:
    """Operations a second of products of square bfloat16 matrices, at best."""
    # So scaled, products of products stay of the same size.
    a, b = (torch.randn(side, side, device=device) / side**0.5 for _ in range(2))
    a, b, seconds = a.bfloat16(), b.bfloat16(), []
    for _ in range(6):
        start, c = time.perf_counter(), a
        for _ in range(CHAIN):
            c = c @ b
        wait_for(device)
        seconds.append(time.perf_counter() - start)
    return 2.0 * side**3 * CHAIN / min(seconds[1:])


def peak_gib(device: str) -> float:
    """The most memory so far: of the GPU, or of this process."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--regions", type=int, default=128, help="of an image, with a loss")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--channels_last", action="store_true")
    parser.add_argument("--bfloat16", action="store_true", help="layers, by autocast")
    parser.add_argument("--stock", action="store_true", help="maskrcnn_resnet50_fpn as it is")
    parser.add_argument("--matmul", type=int, help="rows of the matrices")
    options = parser.parse_args()
    device = options.device
    torch.manual_seed(0)
    model = build(options.size, options.regions, stock=options.stock).train().to(device)
    if options.channels_last:
        model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9, weight_decay=4e-5)
    images, targets = examples(options.size, options.batch, device)
    regions = {"box": [], "mask": []}
    heads = model.roi_heads
    for name, head in (("box", heads.box_head), ("mask", heads.mask_head)):
        head.register_forward_pre_hook(lambda _, x, n=name: regions[n].append(len(x[0])))
    half = torch.autocast(device, dtype=torch.bfloat16, enabled=options.bfloat16)
    with torch.no_grad(), half, FlopCounterMode(display=False) as counter:
        model(images, targets)

    def step() -> None:
        with half:
            loss = sum(model(images, targets).values())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        float(loss.detach())
        wait_for(device)

    def timed() -> float:
        start = time.perf_counter()
        step()
        return time.perf_counter() - start

    first, _ = timed(), timed()
    regions["box"].clear(), regions["mask"].clear()
    seconds = [timed() for _ in range(options.steps)]
    chosen = [name for name in ("stock", "channels_last") if getattr(options, name)]
    found = {
        "side": ", ".join(["torchvision", *(name.replace("_", " ") for name in chosen)]),
        "versions": f"torch {torch.__version__}, torchvision {torchvision.__version__}",
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "precision": "bfloat16 by autocast" if options.bfloat16 else "float32",
        "first_call_s": round(first, 1),
        "step_s": round(statistics.median(seconds), 4),
        "peak_memory_gib": round(peak_gib(device), 2),
        "box_regions": round(statistics.mean(regions["box"]), 1),
        "mask_regions": round(statistics.mean(regions["mask"]), 1),
        "parameters_m": round(sum(p.numel() for p in model.parameters()) / 1e6, 1),
        "forward_gflop": round(counter.get_total_flops() / 1e9, 1),
    }
    if options.matmul:
        found["matmul_tflop_per_s"] = matmul_rate(options.matmul, device) / 1e12
    print(json.dumps(found))


if __name__ == "__main__":
    main()
