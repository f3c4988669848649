"""AdamW or SGD, the learning rate of each step, the sum of gradients; nothing here waits for a device."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from tsgc.config import TrainConfig
from tsgc.distributed.process import Process
from tsgc.network.timm_parts import param_groups_weight_decay

BETA1 = 0.9  # AdamW's decay of the gradient's mean, as published
MOMENTUM = 0.9  # SGD's, as CTR-GCN, 2s-AGCN and PYSKL have it
MIN_LR = 1e-6  # what the cosine ends at, as published
STEP_FACTOR = 0.1  # of the learning rate at each of lr_steps, as there


def build_optimizer(model: nn.Module, config: TrainConfig, device: torch.device) -> torch.optim.Optimizer:
    """The config's optimiser of `parameter_groups`, as one fused kernel.

    On a GPU its learning rate is a tensor there, which a captured step reads anew.
    """
    on_gpu = device.type == "cuda"
    groups = parameter_groups(model, config)
    lr: float | Tensor = torch.tensor(config.lr, device=device) if on_gpu else config.lr
    if config.optimiser == "sgd":
        return _with_momentum(torch.optim.SGD(groups, lr=lr, momentum=MOMENTUM, nesterov=True, fused=True))
    betas = (BETA1, config.beta2)
    return torch.optim.AdamW(groups, lr=lr, betas=betas, fused=True, capturable=on_gpu)


def parameter_groups(model: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """The parameters that do not decay, then those that do by `weight_decay`.

    Biases and tensors of one dimension do not, unless `decay_biases`; nor the graphs without `decay_graphs`.
    """
    graphs = {name for name, _ in model.named_parameters() if name.endswith("graphs")}
    spared = set() if config.decay_graphs else graphs
    if not config.decay_biases:
        return param_groups_weight_decay(model, config.weight_decay, no_weight_decay_list=spared)
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    return [
        {"params": [one for name, one in named if name in spared], "weight_decay": 0.0},
        {"params": [one for name, one in named if name not in spared], "weight_decay": config.weight_decay},
    ]


def _with_momentum(optimizer: torch.optim.SGD) -> torch.optim.SGD:
    """The optimiser with momenta of 0, from which its first step is that of torch.

    The fused kernel would leave unset memory as momenta where the gradients of its first step overflow.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The optimiser's state for a file: the same whatever device it is on."""
    state = optimizer.state_dict()
    any_device = {"fused": None, "capturable": False}
    groups = [
        {
            **group,
            "lr": float(group["lr"]),
            **{name: any_device[name] for name in any_device if name in group},
        }
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
    """Linear rise from 0 to lr, both included, then half a cosine towards MIN_LR; or `stepped_rate`.

    `step` counts from 0 over the whole run; the cosine stops one step short of its end, as the
    published schedule does.
    """
    if config.schedule == "steps":
        return stepped_rate(step // steps_per_epoch, config)
    warmup = config.warmup_epochs * steps_per_epoch
    if step < warmup:
        return config.lr * step / max(warmup - 1, 1)
    cosine = config.epochs * steps_per_epoch - warmup
    return MIN_LR + (config.lr - MIN_LR) * (1 + math.cos(math.pi * (step - warmup) / cosine)) / 2


def stepped_rate(epoch: int, config: TrainConfig) -> float:
    """The rate of a whole epoch, counted from 0: a linear rise to lr, then a tenth from each of lr_steps on.

    As CTR-GCN's published code has it: the last epoch of the warm-up is at lr, and one that is both in the
    warm-up and past a step is the warm-up's.
    """
    if epoch < config.warmup_epochs:
        return config.lr * (epoch + 1) / config.warmup_epochs
    return config.lr * STEP_FACTOR ** sum(epoch >= start for start in config.lr_steps)


def last_rate(config: TrainConfig) -> float:
    """What the learning rate comes down to at the end of a run."""
    return MIN_LR if config.schedule == "cosine" else stepped_rate(config.epochs - 1, config)


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
