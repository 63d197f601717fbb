"""tinyshakespeare to a validation loss with PyTorch: nanoGPT's CPU recipe, as its README has it.

4 layers, 4 heads, width 128, context 64, batch 12, AdamW (0.9, 0.99), weight decay 0.1, clipping at 1, a rate of 1e-3
that warms up for 100 steps and falls to 1e-4 by a cosine over 2,000; evaluated every 250 steps on 20 batches.
"""

import math
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from bench.contenders.with_torch import GPTNet
from bench.models import GPT

CONTEXT, BATCH, STEPS, EVERY, BATCHES = 64, 12, 2000, 250, 20


def rate(step: int) -> float:
    if step < 100:
        return 1e-3 * (step + 1) / 101
    return 1e-4 + 0.5 * (1 + math.cos(math.pi * (step - 100) / (STEPS - 100))) * 9e-4


def train(path: Path, enough: float) -> tuple[float, float, int]:
    """(seconds, validation loss, steps), once the loss is low enough."""
    torch.manual_seed(1337)
    ids = torch.tensor(np.unique(np.frombuffer(path.read_bytes(), np.uint8), return_inverse=True)[1].astype(np.int64))
    parts = {"train": ids[: int(0.9 * len(ids))], "validation": ids[int(0.9 * len(ids)) :]}
    net = GPTNet(GPT())
    for name, p in net.named_parameters():
        if p.dim() > 1:
            torch.nn.init.normal_(p, 0.0, 0.02 / math.sqrt(8) if name.endswith(("out.weight", "back.weight")) else 0.02)
    groups = [{"params": [p for p in net.parameters() if p.dim() > 1], "weight_decay": 0.1}]
    groups.append({"params": [p for p in net.parameters() if p.dim() < 2], "weight_decay": 0.0})
    update = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99), fused=True)

    def batch(part: str) -> tuple[torch.Tensor, torch.Tensor]:
        places = torch.randint(len(parts[part]) - CONTEXT, (BATCH, 1)) + torch.arange(CONTEXT + 1)
        pieces = parts[part][places]
        return pieces[:, :-1], pieces[:, 1:]

    def loss_of(part: str) -> torch.Tensor:
        x, y = batch(part)
        return F.cross_entropy(net(x).flatten(0, 1), y.flatten())

    start, loss = time.perf_counter(), math.nan
    for step in range(1, STEPS + 1):
        for group in update.param_groups:
            group["lr"] = rate(step - 1)
        update.zero_grad()
        loss_of("train").backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        update.step()
        if step % EVERY == 0:
            with torch.no_grad():
                loss = sum(loss_of("validation").item() for _ in range(BATCHES)) / BATCHES
            if loss <= enough:
                return time.perf_counter() - start, loss, step
    return time.perf_counter() - start, loss, STEPS
