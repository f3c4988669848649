"""TSGCNeXt: training, evaluation, fusion and recognition of skeleton clips.

The public interface is small: `load_run` opens a trained run or several, `predict` recognises clips.
Both are imported on first use, so that `import tsgc` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tsgc.inference.recogniser import Guess, Prediction, Recogniser, load_run, predict

__all__ = ["Guess", "Prediction", "Recogniser", "load_run", "predict"]


def __getattr__(name: str) -> Any:
    """The public names, from where they are defined (PEP 562)."""
    if name in __all__:
        return getattr(import_module("tsgc.inference.recogniser"), name)
    raise AttributeError(f"module 'tsgc' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
