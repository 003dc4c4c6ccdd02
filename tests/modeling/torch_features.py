"""A program for an interpreter with torch, torchvision, timm and safetensors.

python torch_features.py make FOLDER     # random networks: their files, images and features
python torch_features.py load FOLDER     # what torchvision computes with student-*.safetensors
"""

import pathlib
import sys

import numpy as np
import safetensors.torch
import timm
import torch
import torchvision

SIZES = ((64, 96), (101, 67))
MEAN = torch.tensor([123.675, 116.28, 103.53])
DEVIATION = torch.tensor([58.395, 57.12, 57.375])


def features(model, images):
    """{"C2", ..., "C5"} of images [B, H, W, 3] in [0, 255], as arrays [B, h, w, C]."""
    model.eval()
    x = ((torch.from_numpy(images) - MEAN) / DEVIATION).permute(0, 3, 1, 2)
    activation = model.act1 if hasattr(model, "act1") else model.relu  # timm, torchvision
    found = {}
    with torch.no_grad():
        x = model.maxpool(activation(model.bn1(model.conv1(x))))
        for stage in range(1, 5):
            x = getattr(model, f"layer{stage}")(x)
            found[f"C{stage + 1}"] = x.permute(0, 2, 3, 1).numpy()
    return found


def moved(model):
    """Biases, scales and running statistics off their initial values."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                for values in (module.weight, module.running_var):
                    values.copy_(torch.rand(values.shape, generator=generator) + 0.5)
                for values in (module.bias, module.running_mean):
                    values.copy_(torch.rand(values.shape, generator=generator) - 0.5)
            # Or a hundred residual blocks in a row hide all but the last.
            if isinstance(
                module, (torchvision.models.resnet.Bottleneck, timm.models.resnet.Bottleneck)
            ):
                module.bn3.weight.mul_(0.2)
    return model


def make(folder):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    for depth in (18, 34, 50, 101, 152):
        for library, create in (
            ("torchvision", getattr(torchvision.models, f"resnet{depth}")),
            ("timm", lambda d=depth: timm.create_model(f"resnet{d}")),
        ):
            model = moved(create())
            state = model.state_dict()
            if library == "timm":
                safetensors.torch.save_file(state, folder / f"timm-{depth}.safetensors")
            else:
                torch.save(state, folder / f"torchvision-{depth}.pth")
            arrays = {}
            for number, size in enumerate(SIZES):
                images = rng.uniform(0, 255, (2, *size, 3)).astype("float32")
                arrays[f"{number}/images"] = images
                arrays |= {f"{number}/{k}": v for k, v in features(model, images).items()}
            np.savez(folder / f"{library}-{depth}.npz", **arrays)


def load(folder):
    for path in folder.glob("student-*.safetensors"):
        depth = int(path.stem.split("-")[1])
        images = np.load(folder / f"timm-{depth}.npz")["0/images"]
        state = safetensors.torch.load_file(path)
        classes = len(state["fc.bias"]) if "fc.bias" in state else 1000
        model = getattr(torchvision.models, f"resnet{depth}")(num_classes=classes)
        if "fc.bias" not in state:
            model.fc = torch.nn.Identity()
        model.load_state_dict(state, strict=True)
        found = features(model, images)
        x = ((torch.from_numpy(images) - MEAN) / DEVIATION).permute(0, 3, 1, 2)
        with torch.no_grad():
            found["top"] = model(x).numpy()
        np.savez(path.with_suffix(".npz"), **found)


if __name__ == "__main__":
    {"make": make, "load": load}[sys.argv[1]](pathlib.Path(sys.argv[2]))
