"""Score files, and the accuracies that they give."""

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import orjson

from pipelines.errors import BAD_NPY, TsgcError
from pipelines.files import write_atomic


@dataclass(frozen=True)
class ScoreSource:
    """Where the logits of a score file come from."""

    benchmark: str
    split: str
    preset: str
    variant: str
    modality: str
    seed: int | None
    checkpoint: str
    """`last`, `last-ema`, `best`, ... or a file's name."""
    selected_on: str
    """What the epoch was selected on: `none`, `holdout` or `test`; `unknown` for files of other programs."""
    class_names: list[str] = field(default_factory=list)
    missing: int = 0
    """How many clips of the split are left out: damaged ones, skipped by `--on-error skip`."""
    tta: str = "none"
    """The views of each clip that logits are averaged over: a key of tsgc.input.tta.VIEWS."""


@dataclass(frozen=True)
class Scores:
    """Logits of N clips, with their names and labels."""

    names: np.ndarray
    """Clip names, text (N,)."""
    labels: np.ndarray
    """Classes from 0, int64 (N,)."""
    logits: np.ndarray
    """float32 (N, K)."""
    repeats: np.ndarray
    """bool (N,): whether the joints equal a training clip's, so that training has seen the answer."""
    source: ScoreSource

    def _repr_html_(self) -> str:
        """The accuracies as a table, for Jupyter."""
        from tsgc.drawing.notebook import Table, framed

        source = self.source
        stream = f"{source.benchmark} {source.split}, {source.variant} {source.modality}"
        table = Table(COLUMNS, accuracy_rows(source.checkpoint, self))
        return framed(f"Scores: {stream}", lines=remarks([self]), tables=[table])


def write_scores(path: Path, scores: Scores) -> None:
    """Write scores as a compressed .npz without object arrays; source and accuracy are JSON text in it."""
    accuracies = {part: asdict(figures) for part, figures in all_and_clean(scores).items()}
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        names=np.asarray(scores.names, dtype=np.str_),
        labels=scores.labels.astype(np.int64),
        logits=scores.logits.astype(np.float32),
        repeats=scores.repeats.astype(bool),
        source=np.asarray(orjson.dumps(asdict(scores.source)).decode()),
        accuracy=np.asarray(orjson.dumps(accuracies).decode()),  # so that lists of runs need not count again
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, buffer.getvalue())


def read_scores(path: str | Path) -> Scores:
    """Read a file of `write_scores`; nothing in it is unpickled. Raises TsgcError for any other file."""
    path = Path(path)
    if not path.is_file():
        raise TsgcError(f"{path}: no such file; `tsgc evaluate` writes a run's scores")
    try:
        with np.load(path, allow_pickle=False) as content:
            scores = Scores(
                content["names"],
                content["labels"],
                content["logits"],
                content["repeats"],
                ScoreSource(**orjson.loads(str(content["source"]))),
            )
    except (OSError, BadZipFile, KeyError, *BAD_NPY) as error:
        raise TsgcError(
            f"{path}: not a score file of tsgc ({error}); `tsgc evaluate` writes a run's"
        ) from None
    count = len(scores.names)
    if scores.logits.ndim != 2 or not (
        len(scores.labels) == len(scores.logits) == len(scores.repeats) == count
    ):
        raise TsgcError(f"{path}: {count} names, {scores.labels.shape} labels, {scores.logits.shape} logits")
    if not np.isfinite(scores.logits).all():
        raise TsgcError(f"{path}: logits that are not finite; did the training diverge?")
    return scores


@dataclass(frozen=True)
class Accuracy:
    """Accuracies of a set of clips, in percent."""

    clips: int
    classes: int
    """Classes that have clips."""
    top1: float
    top5: float
    mean_class: float
    """Mean of the top-1 accuracies of these classes."""


def hits(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether each clip's class is first, and among the first 5: bool (N,) each.

    Logits (N, K), labels (N,); ties go to the class of lower number.
    """
    order = np.argsort(-logits, axis=1, kind="stable")[:, :5]
    return order[:, 0] == labels, (order == labels[:, None]).any(1)


def accuracy(logits: np.ndarray, labels: np.ndarray) -> Accuracy:
    """Accuracies of logits (N, K) for labels (N,); ties go to the class of lower number."""
    return accuracy_of_hits(*hits(logits, labels), labels)


def accuracy_of_hits(top1: np.ndarray, top5: np.ndarray, labels: np.ndarray) -> Accuracy:
    """Accuracies from the results of `hits`, (N,) each, and labels (N,)."""
    if len(labels) == 0:
        return Accuracy(0, 0, float("nan"), float("nan"), float("nan"))
    counts = np.bincount(labels)
    right = np.bincount(labels, weights=top1)
    present = counts > 0
    return Accuracy(
        clips=len(labels),
        classes=int(present.sum()),
        top1=100 * float(top1.mean()),
        top5=100 * float(top5.mean()),
        mean_class=100 * float((right[present] / counts[present]).mean()),
    )


def all_and_clean(scores: Scores) -> dict[str, Accuracy]:
    """Accuracies of all clips and, where some but not all repeat training clips, of those that do not."""
    result = {"all": accuracy(scores.logits, scores.labels)}
    if has_clean_part(scores):
        clean = ~scores.repeats
        result["clean"] = accuracy(scores.logits[clean], scores.labels[clean])
    return result


def has_clean_part(scores: Scores) -> bool:
    """Whether the clean clips are a part of their own: neither all of the clips nor none of them."""
    return bool(scores.repeats.any() and not scores.repeats.all())


COLUMNS = ("", "clips", "classes", "top-1 %", "top-5 %", "mean class %")


def accuracy_rows(name: str, scores: Scores) -> list[list[str]]:
    """A table row for all clips and one for the clean ones."""
    rows = []
    for part, figures in all_and_clean(scores).items():
        missing = f" ({scores.source.missing:,} missing)" if scores.source.missing else ""
        label = (name if part == "all" else "  clean") + missing
        figures_text = [f"{value:.2f}" for value in (figures.top1, figures.top5, figures.mean_class)]
        rows.append([label, f"{figures.clips:,}", str(figures.classes), *figures_text])
    return rows


def remarks(scores: Sequence[Scores]) -> list[str]:
    """Notes for below a table of `scores`: what clean means, and what was selected on the test split."""
    said = []
    if any(has_clean_part(part) for part in scores):
        said.append("clean: without the clips whose joints equal a training clip's")
    for split in sorted({part.source.split for part in scores if len(part.repeats) and part.repeats.all()}):
        said.append(
            f"every {split} clip repeats a training clip: none is clean, and this is no measure of new clips"
        )
    for source in {part.source.checkpoint: part.source for part in scores if part.source.missing}.values():
        said.append(
            f"{source.checkpoint}: clips of {source.split} missing, skipped as damaged: {source.missing:,};"
            " these are no figures of the whole split"
        )
    for source in {
        part.source.checkpoint: part.source for part in scores if part.source.tta != "none"
    }.values():
        said.append(f"{source.checkpoint}: test-time augmentation, logits averaged over views: {source.tta}")
    chosen = sorted({part.source.checkpoint for part in scores if part.source.selected_on == "test"})
    if chosen:
        said.append(f"{', '.join(chosen)}: epoch selected on the test split; for comparison with papers only")
    unknown = sorted({part.source.checkpoint for part in scores if part.source.selected_on == "unknown"})
    if unknown:
        said.append(
            f"{', '.join(unknown)}: not ours; whether its epoch was chosen on the test split is not known"
        )
    return said
