"""Starting a run from the weights of another."""

from pathlib import Path

from pipelines.errors import TsgcError
from tsgc import checkpoint
from tsgc.model import TSGCNeXt


def fine_tune(model: TSGCNeXt, path: Path) -> str:
    """Load what fits of a checkpoint; says what was loaded and what was not."""
    if path.suffix == ".safetensors":
        found = checkpoint.load_model(path)[0].state_dict()
    else:
        found = checkpoint.load_released(path, ema=True)
    own = model.state_dict()
    fits = {name: tensor for name, tensor in found.items() if name in own and own[name].shape == tensor.shape}
    if not fits:
        raise TsgcError(f"{path}: no tensor fits this network; is it of another variant?")
    model.load_state_dict(fits, strict=False)
    new = [name for name in own if name not in fits]
    return f"from {path}: {len(fits)} of {len(own)} tensors; new: {', '.join(new) or 'none'}"
