"""The parts of timm that training uses, imported without W&B, which timm loads wherever it is installed."""

import sys

hidden = "wandb" not in sys.modules
if hidden:
    sys.modules["wandb"] = None  # type: ignore[assignment]  # importing it fails, and timm goes on without
try:
    from timm.optim import param_groups_weight_decay
    from timm.utils import ModelEmaV3
finally:
    if hidden:
        del sys.modules["wandb"]

__all__ = ["ModelEmaV3", "param_groups_weight_decay"]
