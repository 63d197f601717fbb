"""MNIST to 98 % of the test part with PyTorch, as short and as fast as it goes.

python bench/scripts/mnist_torch.py FOLDER       the folder of the four IDX files; prints one line of JSON
"""

import gzip
import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

BATCH, EPOCHS, ENOUGH = 128, 6, 0.98


def read(folder: Path, part: str) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = (
        np.frombuffer(gzip.decompress((folder / f"{part}-{name}.gz").read_bytes()), np.uint8, offset=skip)
        for name, skip in (("images-idx3-ubyte", 16), ("labels-idx1-ubyte", 8))
    )
    x = (torch.tensor(images.reshape(-1, 784)).float() / 255 - 0.1307) / 0.3081
    return x, torch.tensor(labels.astype(np.int64))


def train(x: torch.Tensor, y: torch.Tensor, test_x: torch.Tensor, test_y: torch.Tensor) -> tuple[float, int]:
    """The accuracy of the test part once it is enough, and after how many epochs."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 10))
    update = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=True)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(update, EPOCHS * -(-len(x) // BATCH))
    accuracy = 0.0
    for epoch in range(1, EPOCHS + 1):
        order = torch.randperm(len(x))
        for i in range(0, len(x), BATCH):
            pick = order[i : i + BATCH]
            update.zero_grad()
            F.cross_entropy(net(x[pick]), y[pick]).backward()
            update.step()
            rate.step()
        with torch.inference_mode():
            accuracy = float((net(test_x).argmax(1) == test_y).float().mean())
        if accuracy >= ENOUGH:
            return accuracy, epoch
    return accuracy, EPOCHS


def main() -> None:
    folder = Path(sys.argv[1])
    sets = (*read(folder, "train"), *read(folder, "t10k"))
    start = time.perf_counter()
    accuracy, epochs = train(*sets)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    told = {"accuracy": accuracy, "epochs": epochs, "seconds": time.perf_counter() - start, "peak_memory_bytes": peak}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
