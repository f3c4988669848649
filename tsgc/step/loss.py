"""Targets and the loss."""

import torch.nn.functional as F
from torch import Tensor


def soft_targets(labels: Tensor, partner: Tensor, lam: Tensor, num_classes: int, smoothing: float) -> Tensor:
    """Smoothed one-hot targets of mixed clips, (N, num_classes).

    `labels` are classes (N,), or soft targets (N, num_classes), which are only mixed.
    `lam` (N,) is each clip's own part; the rest is its partner's.
    """
    if labels.dim() == 2:
        on = labels
    else:
        on = F.one_hot(labels, num_classes).to(lam.dtype)
        on = on * (1 - smoothing) + smoothing / num_classes
    return lam[:, None] * on + (1 - lam[:, None]) * on[partner]


def agreement(logits: Tensor, temperature: float) -> Tensor:
    """T^2 KL(mean answer || a head's) at temperature T, the heads' mean, summed over clips, in float32.

    `logits` (N, heads, K). The mean answer is a target: no gradient goes through it. Source: deep mutual
    learning, Zhang et al. (2018), arXiv 1706.00384.
    """
    scaled = logits.float() / temperature
    answer = F.softmax(scaled.detach(), dim=-1).mean(1, keepdim=True).expand_as(scaled)
    divergence = F.kl_div(F.log_softmax(scaled, dim=-1), answer, reduction="sum")
    return temperature**2 * divergence / logits.shape[1]


def summed_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy with soft targets (N, K), summed over clips, in float32.

    Of several heads' logits (N, heads, K) it is the heads' mean.
    """
    logarithms = F.log_softmax(logits.float(), dim=-1)
    if logits.dim() == 3:
        return -(targets[:, None] * logarithms).sum() / logits.shape[1]
    return -(targets * logarithms).sum()
