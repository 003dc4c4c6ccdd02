"""A random ResNet-50 of torchvision, and what torchvision computes with a student's weights.

python torchvision_resnet50.py make FOLDER   # resnet50.pth
python torchvision_resnet50.py load FOLDER   # student.safetensors and images.npy to c5.npy
"""

import pathlib
import sys

import numpy as np
import safetensors.torch
import torch
import torchvision

MEAN = torch.tensor([123.675, 116.28, 103.53])
DEVIATION = torch.tensor([58.395, 57.12, 57.375])


def make(folder: pathlib.Path) -> None:
    """Write the state dict of a network with statistics off their initial values."""
    torch.manual_seed(0)
    model = torchvision.models.resnet50()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.uniform_(-0.5, 0.5)
                module.running_var.uniform_(0.5, 1.5)
            # Or sixteen random residual blocks in a row amplify every rounding.
            if isinstance(module, torchvision.models.resnet.Bottleneck):
                module.bn3.weight.mul_(0.2)
    torch.save(model.state_dict(), folder / "resnet50.pth")


def load(folder: pathlib.Path) -> None:
    """Load the student's weights strictly, and write C5 [B, h, w, C] of images [B, H, W, 3]."""
    model = torchvision.models.resnet50()
    model.fc = torch.nn.Identity()
    state = safetensors.torch.load_file(folder / "student.safetensors")
    model.load_state_dict(state, strict=True)
    model.eval()
    images = torch.from_numpy(np.load(folder / "images.npy"))
    x = ((images - MEAN) / DEVIATION).permute(0, 3, 1, 2)
    with torch.no_grad():
        x = model.maxpool(model.relu(model.bn1(model.conv1(x))))
        for stage in (model.layer1, model.layer2, model.layer3, model.layer4):
            x = stage(x)
    np.save(folder / "c5.npy", x.permute(0, 2, 3, 1).numpy())


if __name__ == "__main__":
    {"make": make, "load": load}[sys.argv[1]](pathlib.Path(sys.argv[2]))
