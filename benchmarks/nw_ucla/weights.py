"""Weights that a training starts from, or of the teachers that it learns from."""

import hashlib
from pathlib import Path

from nw_ucla.folds import FOLDS, HOLDOUT_FOLD, NW_UCLA
from pipelines.errors import TsgcError
from tsgc.checkpoint import read_weights_description
from tsgc.workspace.runs import checkpoint_path


def weights_file(init: Path) -> Path:
    """The file that `init` names: itself, or a run folder's last-ema. Raises TsgcError: none there."""
    path = checkpoint_path(init, "last", ema=True) if init.suffix not in (".safetensors", ".pth") else init
    if not path.is_file():
        raise TsgcError(
            f"{path}: no such file; expected weights to start from (benchmarks/nw_ucla/README.md)"
        )
    return path


def weights_digest(init: Path) -> str:
    """A digest of the weights' bytes, whatever their path."""
    with weights_file(init).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def check_unseen(init: Path, fold: str) -> None:
    """Raise TsgcError where weights were trained on clips that `fold` judges by.

    Weights that trials save name their fold as their benchmark: nw-ucla/2to1. What another fold of the same
    data set trains on judges this one.
    """
    path = weights_file(init)
    if path.suffix != ".safetensors":  # released ones know NTU alone
        return
    said = read_weights_description(path)
    dataset = FOLDS[fold].dataset
    split = said.benchmark.split("/")[-1]
    held = said.config.holdout and dataset == NW_UCLA
    trained = split if split in FOLDS else HOLDOUT_FOLD if held else ""
    if (said.dataset or said.benchmark).startswith(dataset) and trained != fold:
        clips = f"the training clips of {trained}" if trained else "all training clips"
        raise TsgcError(
            f"{path}: trained on {clips} of {said.benchmark}, expected none of the clips that judge {fold};"
            f" made data need a name of their own, and --holdout serves fold {HOLDOUT_FOLD} alone"
        )
