"""Weights that a training starts from, or of the teachers that it learns from."""

import hashlib
from pathlib import Path

from pipelines.errors import TsgcError
from tsgc.checkpoint import read_weights_description
from tsgc.workspace.runs import checkpoint_path

FOLDS = {"1to2": (1, 2), "2to1": (2, 1)}  # views that train and validate
HOLDOUT_FOLD = "1to2"  # `tsgc train nw-ucla --holdout` trains on this fold's training view only


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


def check_unseen_view(init: Path, fold: str) -> None:
    """Raise TsgcError where weights were trained on clips of NW-UCLA that `fold` validates on.

    Weights that trials save name their fold as their benchmark: nw-ucla/2to1.
    """
    path = weights_file(init)
    if fold == "all" or path.suffix != ".safetensors":  # released ones know NTU alone
        return
    said = read_weights_description(path)
    seen = (said.dataset or said.benchmark).startswith("nw-ucla")
    split = said.benchmark.split("/")[-1]
    trained = split if split in FOLDS else HOLDOUT_FOLD if said.config.holdout else ""
    if seen and trained != fold:
        views = f"the training view of {trained}" if trained else "both views"
        raise TsgcError(
            f"{path}: trained on {views} of {said.benchmark}, expected none of the clips that judge {fold};"
            f" made data need a name of their own, and --holdout serves fold {HOLDOUT_FOLD} alone"
        )
