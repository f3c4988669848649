"""Shard sets for a training loop of one's own: the exact loader, the input pipeline, raw clips.

`open_shards` opens a set; all else comes from there. The names are imported on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tsgc.data.batch import Batch
    from tsgc.data.eval_batches import EvalBatches
    from tsgc.data.raw_clips import RawClips
    from tsgc.data.shard_set import ShardSet, open_shards
    from tsgc.data.train_batches import TrainBatches

PLACES = {
    "Batch": "tsgc.data.batch",
    "EvalBatches": "tsgc.data.eval_batches",
    "RawClips": "tsgc.data.raw_clips",
    "ShardSet": "tsgc.data.shard_set",
    "TrainBatches": "tsgc.data.train_batches",
    "open_shards": "tsgc.data.shard_set",
}
"""Public name -> the module that defines it."""

__all__ = ["Batch", "EvalBatches", "RawClips", "ShardSet", "TrainBatches", "open_shards"]


def __getattr__(name: str) -> Any:
    """The public names, from where they are defined (PEP 562)."""
    if name in PLACES:
        return getattr(import_module(PLACES[name]), name)
    raise AttributeError(f"module 'tsgc.data' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
