"""AdamW, the learning rate of each step, the sum of gradients; nothing here waits for a device."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from tsgc.config import TrainConfig
from tsgc.distributed.process import Process
from tsgc.network.timm_parts import param_groups_weight_decay

BETA1 = 0.9  # AdamW's decay of the gradient's mean, as published
MIN_LR = 1e-6  # what the cosine ends at, as published


def build_optimizer(model: nn.Module, config: TrainConfig, device: torch.device) -> torch.optim.AdamW:
    """AdamW; biases and tensors of one dimension do not decay, nor do the graphs where the config says so.

    One fused kernel; on a GPU its learning rate is a tensor there, which a captured step reads anew.
    """
    graphs = [name for name, _ in model.named_parameters() if name.endswith("graphs")]
    spared = () if config.decay_graphs else graphs
    groups = param_groups_weight_decay(model, config.weight_decay, no_weight_decay_list=spared)
    betas = (BETA1, config.beta2)
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
    """Go on from a state; how this optimiser works on its own device stays as it is."""
    own = [dict(group) for group in optimizer.param_groups]
    groups = [
        {**mine, "params": saved["params"]} for mine, saved in zip(own, state["param_groups"], strict=True)
    ]
    optimizer.load_state_dict({"state": state["state"], "param_groups": groups})
    for group, mine in zip(optimizer.param_groups, own, strict=True):
        group["lr"] = mine["lr"]  # loading has put a copy in the place of the tensor


def learning_rate(step: int, steps_per_epoch: int, config: TrainConfig) -> float:
    """Linear rise from 0 to lr, both included, then half a cosine towards MIN_LR.

    `step` counts from 0 over the whole run; the cosine stops one step short of its end, as the
    published schedule does.
    """
    warmup = config.warmup_epochs * steps_per_epoch
    if step < warmup:
        return config.lr * step / max(warmup - 1, 1)
    cosine = config.epochs * steps_per_epoch - warmup
    return MIN_LR + (config.lr - MIN_LR) * (1 + math.cos(math.pi * (step - warmup) / cosine)) / 2


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the rate of all groups, in place where it is a tensor."""
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
