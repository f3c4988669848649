"""The published weights: read, renamed and reshaped to ours."""

import argparse
import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from pipelines.errors import TsgcError, first_line
from pipelines.formats.other_files import HEAD, what_is
from tsgc.network.layers import EXPANSION

FOREIGN = re.compile(r"GLOBAL (\S+)")  # what a pickle asks for, in torch's refusal
UNREADABLE = re.compile(r"WeightsUnpickler error:\s*([^\n]+)")


def load_released(path: Path, *, ema: bool) -> dict[str, Tensor]:
    """The weights in a checkpoint of the published code, under our names.

    Only tensors, plain containers and argparse.Namespace are unpickled; anything else is refused.
    """
    if not path.is_file():
        raise TsgcError(f"{path}: no such file; expected a checkpoint, ours (.safetensors) or a released one")
    try:
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle protocols; what cannot be read is refused below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise TsgcError(f"{path}: {_found_instead(path, error)}") from None
    key = "model_ema" if ema else "model"
    if not isinstance(content, dict) or not isinstance(content.get(key), dict):
        raise TsgcError(f"{path}: no {key!r} inside; expected a checkpoint of the published code")
    return from_reference(content[key], path)


def _found_instead(path: Path, error: Exception) -> str:
    """What a file is that torch cannot read as weights, in one line without torch's own advice."""
    with path.open("rb") as file:
        name, words = what_is("", file.read(HEAD))
    if name in ("page", "pointer", "video", "picture", "hdf5", "empty"):
        return f"{words}; expected a released checkpoint"
    if code := FOREIGN.search(str(error)):
        return (
            f"not a released checkpoint: it holds {code[1]}, a pickled object such as a whole module, which"
            " would run code; save `module.state_dict()` in its place"
        )
    return f"not a released checkpoint: no whole file of torch.save ({_reason(error)}); get it again"


def _reason(error: Exception) -> str:
    """What torch says was wrong, less its advice."""
    said = UNREADABLE.search(str(error))
    return said[1].strip() if said else first_line(error)


def from_reference(
    state: Mapping[str, Tensor], source: Path | str = "reference weights"
) -> dict[str, Tensor]:
    """The published state dict under our names and layouts; its unused gamma and alpha are left out."""
    depths = _reference_depths(state, source)
    weights: dict[str, Tensor] = {}
    for name, tensor in state.items():
        head, _, rest = name.removeprefix("module.").partition(".")
        if head == "data_bn":
            weights[f"input_norm.{rest}"] = tensor
        elif head in ("norm", "fc"):
            weights[f"{'head' if head == 'fc' else head}.{rest}"] = tensor
        elif head == "l1":
            layer, _, kind = rest.partition(".")
            index = {"0": 0, "1": 1}[layer]
            weights[f"stem.{index}.{kind}"] = _flatten_kernel(tensor)
        else:
            stage, block = _place(int(head[1:]) - 2, depths)
            if rest.startswith("down."):
                layer, _, kind = rest.removeprefix("down.").partition(".")
                weights[f"downs.{stage}.{0 if layer == '0' else 1}.{kind}"] = _flatten_kernel(tensor)
            elif rest not in ("gamma", "alpha"):
                ours, convert = _BLOCK[rest]
                weights[f"stages.{stage}.{block}.{ours}"] = convert(tensor)
    return weights


def _reference_depths(state: Mapping[str, Tensor], source: Path | str) -> list[int]:
    """Blocks of each stage, found by where the published `down` layers are."""
    names = [name.removeprefix("module.") for name in state]
    blocks = sorted(int(name[1:].split(".")[0]) for name in names if name.endswith(".PA"))
    downs = sorted(int(name[1:].split(".")[0]) for name in names if name.endswith(".down.1.weight"))
    if not blocks or len(downs) != 2 or blocks != list(range(2, len(blocks) + 2)):
        raise TsgcError(f"{source}: the names inside are not those of the published network")
    ends = [*(down - 1 for down in downs), len(blocks)]
    return [end - start for start, end in zip([0, *ends], ends)]


def _place(block: int, depths: list[int]) -> tuple[int, int]:
    for stage, depth in enumerate(depths):
        if block < depth:
            return stage, block
        block -= depth
    raise AssertionError("more blocks than the stages hold")


def _flatten_kernel(tensor: Tensor) -> Tensor:
    """A temporal convolution's (out, in, stride, 1) as our linear layer's (out, stride * in)."""
    return tensor[..., 0].transpose(1, 2).flatten(1).contiguous() if tensor.ndim == 4 else tensor


def _quarters_first(tensor: Tensor) -> Tensor:
    """Rows in channel-major order, the 4 quarters fastest -> quarter-major order, as ours."""
    return tensor.unflatten(0, (-1, EXPANSION)).transpose(0, 1).flatten(0, 1).contiguous()


def _same(tensor: Tensor) -> Tensor:
    return tensor


_BLOCK = {
    "PA": ("graphs", _same),
    "dwconv.weight": ("temporal.weight", lambda x: x[:, 0, :, 0].T.contiguous()),
    "dwconv.bias": ("temporal.bias", _same),
    "norm.weight": ("norm.weight", _same),
    "norm.bias": ("norm.bias", _same),
    "pwconv1.weight": ("expand.weight", _quarters_first),
    "pwconv1.bias": ("expand.bias", _quarters_first),
    "pwconv2.weight": ("project.weight", lambda x: _quarters_first(x.T).T.contiguous()),
    "pwconv2.bias": ("project.bias", _same),
}
