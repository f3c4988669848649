"""AdamW, the learning rate of each step, the loss, the averaged weights; nothing here waits for a device."""

import math
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from timm.optim import param_groups_weight_decay
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from tsgc.config import TrainConfig
from tsgc.distributed.process import Process


def build_optimizer(model: nn.Module, config: TrainConfig, device: torch.device) -> torch.optim.AdamW:
    """AdamW; biases and tensors of one dimension do not decay, nor do the graphs where the config says so.

    One fused kernel; on a GPU its learning rate is a tensor there, which a captured step reads anew.
    """
    graphs = [name for name, _ in model.named_parameters() if name.endswith("graphs")]
    spared = () if config.decay_graphs else graphs
    groups = param_groups_weight_decay(model, config.weight_decay, no_weight_decay_list=spared)
    betas = (config.beta1, config.beta2)
    if device.type != "cuda":
        return torch.optim.AdamW(groups, lr=config.lr, betas=betas, fused=True)
    lr = torch.tensor(config.lr, device=device)
    return torch.optim.AdamW(groups, lr=lr, betas=betas, fused=True, capturable=True)


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The optimiser's state for a file: the same whatever device it is on."""
    state = optimizer.state_dict()
    groups = [
        {**group, "lr": float(group["lr"]), "fused": None, "capturable": False}
        for group in state["param_groups"]
    ]
    return {"state": state["state"], "param_groups": groups}


def load_optimizer_state(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Goes on from a state; how this optimiser works on its own device stays as it is."""
    own = [dict(group) for group in optimizer.param_groups]
    groups = [
        {**mine, "params": saved["params"]} for mine, saved in zip(own, state["param_groups"], strict=True)
    ]
    optimizer.load_state_dict({"state": state["state"], "param_groups": groups})
    for group, mine in zip(optimizer.param_groups, own, strict=True):
        group["lr"] = mine["lr"]  # loading has put a copy in the place of the tensor


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
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr)  # in place: captured steps read this tensor
        else:
            group["lr"] = lr


def sum_gradients(parameters: Iterable[nn.Parameter], process: Process) -> None:
    """Each gradient's sum over all ranks, in one exchange."""
    if process.world == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = process.sum(torch.cat([gradient.flatten() for gradient in gradients]))
    parts = flat.split([gradient.numel() for gradient in gradients])
    torch._foreach_copy_(gradients, [part.view_as(own) for part, own in zip(parts, gradients)])


class Average:
    """Keeps `ema` the running average of a model's parameters and buffers, all tensors at once.

    The twin of `ModelEmaV3.update`, to the bit on CPUs. `on_device`: the decay is a tensor there, so that a
    captured update reads it anew.
    """

    def __init__(self, ema: ModelEmaV3, model: nn.Module, on_device: bool) -> None:
        pairs = list(zip(ema.module.state_dict().values(), model.state_dict().values(), strict=True))
        self._averaged = [pair for pair in pairs if pair[0].is_floating_point()]
        self._copied = [pair for pair in pairs if not pair[0].is_floating_point()]
        self._share: float | Tensor = 1.0
        if on_device:
            self._share = torch.ones((), device=self._averaged[0][0].device)

    def set_decay(self, decay: float) -> None:
        """The next updates' decay: the part of the average that stays."""
        if isinstance(self._share, Tensor):
            self._share.fill_(1 - decay)
        else:
            self._share = 1 - decay

    @torch.no_grad()
    def update(self) -> None:
        """Moves the average by 1 - decay of the way to the model."""
        averages, values = ([pair[side] for pair in self._averaged] for side in (0, 1))
        if isinstance(self._share, Tensor):
            # lerp takes no tensor for all; rounds differently in the last place.
            way = torch._foreach_sub(values, averages)
            torch._foreach_mul_(way, self._share)
            torch._foreach_add_(averages, way)
        else:
            torch._foreach_lerp_(averages, values, weight=self._share)
        for average, value in self._copied:
            average.copy_(value)


def soft_targets(
    labels: Tensor, partner: Tensor, weight: Tensor, num_classes: int, smoothing: float
) -> Tensor:
    """Smoothed one-hot targets of mixed clips, (N, num_classes).

    `labels` are classes (N,), or soft targets (N, num_classes), which are only mixed.
    `weight` (N,) is lambda: each clip's own share; the rest is its partner's.
    """
    if labels.dim() == 2:
        on = labels
    else:
        on = F.one_hot(labels, num_classes).to(weight.dtype)
        on = on * (1 - smoothing) + smoothing / num_classes
    return weight[:, None] * on + (1 - weight[:, None]) * on[partner]


def summed_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy with soft targets, summed over clips, in float32."""
    return -(targets * F.log_softmax(logits.float(), dim=-1)).sum()
