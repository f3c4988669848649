"""AdamW's parameter groups, the learning rate of each step, the loss."""

import math

import torch
import torch.nn.functional as F
from timm.optim import param_groups_weight_decay
from torch import Tensor, nn

from tsgc.config import TrainConfig


def build_optimizer(model: nn.Module, config: TrainConfig, device: torch.device) -> torch.optim.AdamW:
    """AdamW; biases and tensors of one dimension do not decay."""
    groups = param_groups_weight_decay(model, config.weight_decay)
    return torch.optim.AdamW(groups, lr=config.lr, fused=device.type == "cuda")


def learning_rate(step: int, steps_per_epoch: int, config: TrainConfig) -> float:
    """Linear rise from 0 to lr, both included, then half a cosine towards min_lr.

    `step` counts from 0 over the whole run; the cosine stops one step short of its end, as the
    published schedule does.
    """
    warmup = config.warmup_epochs * steps_per_epoch
    if step < warmup:
        return config.lr * step / max(warmup - 1, 1)
    cosine = config.epochs * steps_per_epoch - warmup
    return (
        config.min_lr + (config.lr - config.min_lr) * (1 + math.cos(math.pi * (step - warmup) / cosine)) / 2
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr


def soft_targets(
    labels: Tensor, partner: Tensor, weight: Tensor, num_classes: int, smoothing: float
) -> Tensor:
    """Smoothed one-hot targets of mixed clips, (N, num_classes).

    `weight` (N,) is lambda: each clip's own share; the rest is its partner's.
    """
    on = F.one_hot(labels, num_classes).to(weight.dtype)
    on = on * (1 - smoothing) + smoothing / num_classes
    return weight[:, None] * on + (1 - weight[:, None]) * on[partner]


def summed_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy with soft targets, summed over clips, in float32."""
    return -(targets * F.log_softmax(logits.float(), dim=-1)).sum()
