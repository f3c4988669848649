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


def summed_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy with soft targets, summed over clips, in float32."""
    return -(targets * F.log_softmax(logits.float(), dim=-1)).sum()
