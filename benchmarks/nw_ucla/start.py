"""What a training starts from: weights of another run, as `tsgc train --init` takes them."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.errors import TsgcError
from tsgc.checkpoint import read_description
from tsgc.runs import checkpoint_path

if TYPE_CHECKING:
    from nw_ucla.plan import Spec

HOLDOUT_FOLD = "1to2"  # whose training view is all that a run of `tsgc train nw-ucla --holdout` has seen


def weights_file(init: Path) -> Path:
    """The file that `init` names: itself, or a run folder's last-ema. Raises TsgcError: not there."""
    path = checkpoint_path(init, "last", ema=True) if init.suffix not in (".safetensors", ".pth") else init
    if not path.is_file():
        raise TsgcError(f"{path}: no such file; expected weights to start from (docs/search.md makes some)")
    return path


def digest(init: Path) -> str:
    """Of the weights' bytes, wherever they lie."""
    with weights_file(init).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def check(init: Path, fold: str) -> None:
    """Raises TsgcError where the weights come from clips of NW-UCLA that judge `fold`."""
    path = weights_file(init)
    if fold == "all" or path.suffix != ".safetensors":  # released ones know NTU alone
        return
    said = read_description(path)
    seen = (said.dataset or said.benchmark).startswith("nw-ucla")
    if seen and not (said.config.holdout and fold == HOLDOUT_FOLD):
        views = "view 1" if said.config.holdout else "both views"
        raise TsgcError(
            f"{path}: trained on {views} of {said.benchmark}, expected none of the clips that judge {fold};"
            f" made data need a name of their own, and --holdout serves fold {HOLDOUT_FOLD} alone"
        )


def startable(specs: Sequence["Spec"]) -> tuple[list["Spec"], list[str]]:
    """Those whose weights are there; and a line for each of the others, which have to wait for them."""
    ready, waiting = [], []
    for spec in specs:
        try:
            if spec.init is not None:
                weights_file(spec.init)
            ready.append(spec)
        except TsgcError as error:
            waiting.append(f"{spec.name} {spec.fold} seed {spec.config.seed} is left out: {error}")
    return ready, waiting
