"""What a training starts from, or learns from: weights of others, as `tsgc train` takes them."""

import hashlib
from pathlib import Path

from pipelines.errors import TsgcError
from tsgc.checkpoint import read_weights_description
from tsgc.workspace.runs import checkpoint_path

FOLDS = {"1to2": (1, 2), "2to1": (2, 1)}  # views that train and validate
HOLDOUT_FOLD = "1to2"  # whose training view is all that a run of `tsgc train nw-ucla --holdout` has seen


def weights_file(init: Path) -> Path:
    """The file that `init` names: itself, or a run folder's last-ema. Raises TsgcError: not there."""
    path = checkpoint_path(init, "last", ema=True) if init.suffix not in (".safetensors", ".pth") else init
    if not path.is_file():
        raise TsgcError(
            f"{path}: no such file; expected weights to start from (benchmarks/nw_ucla/README.md)"
        )
    return path


def weights_digest(init: Path) -> str:
    """Of the weights' bytes, wherever they lie."""
    with weights_file(init).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def check_unseen_view(init: Path, fold: str) -> None:
    """Raises TsgcError where the weights come from clips of NW-UCLA that judge `fold`.

    Those that trials save name their fold as their benchmark: nw-ucla/2to1.
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
