"""TSGCNeXt: training, evaluation, fusion and recognition of skeleton clips.

The public interface is small: `load_run` opens a trained run or several, `predict` recognises clips;
`inspect_path`, `run_results`, `read_scores` and `write_report` look at what is there.
All are imported on first use, so that `import tsgc` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tsgc.evaluation.scores import Scores, read_scores
    from tsgc.inference.prediction import Guess, Prediction
    from tsgc.inference.recogniser import Recogniser, load_run, predict
    from tsgc.inspect.inspect_path import inspect_path
    from tsgc.inspect.inspection import Inspection
    from tsgc.report.run_results import RunResults, run_results
    from tsgc.report.write import write_report

PLACES = {
    "Guess": "tsgc.inference.prediction",
    "Prediction": "tsgc.inference.prediction",
    "Recogniser": "tsgc.inference.recogniser",
    "load_run": "tsgc.inference.recogniser",
    "predict": "tsgc.inference.recogniser",
    "Inspection": "tsgc.inspect.inspection",
    "inspect_path": "tsgc.inspect.inspect_path",
    "RunResults": "tsgc.report.run_results",
    "run_results": "tsgc.report.run_results",
    "Scores": "tsgc.evaluation.scores",
    "read_scores": "tsgc.evaluation.scores",
    "write_report": "tsgc.report.write",
}
"""Public name -> the module that defines it."""

__all__ = [
    "Guess",
    "Inspection",
    "Prediction",
    "Recogniser",
    "RunResults",
    "Scores",
    "inspect_path",
    "load_run",
    "predict",
    "read_scores",
    "run_results",
    "write_report",
]


def __getattr__(name: str) -> Any:
    """The public names, from where they are defined (PEP 562)."""
    if name in PLACES:
        return getattr(import_module(PLACES[name]), name)
    raise AttributeError(f"module 'tsgc' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
