"""The streams of a fusion, from runs, score files and pickles of other programs."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.datasets.pyskl import read_order
from pipelines.errors import TsgcError, UsageError
from pipelines.reading.unpickle import load_pickle
from shards.load_manifest import load_manifest
from tsgc.evaluation.scores import Scores, ScoreSource, read_scores
from tsgc.fusion.fuse import match_clips, match_names, stream_name
from tsgc.workspace.runs import open_run, refuse_twice

PICKLES = (".pkl", ".pickle")
RAW_SUFFIXES = (".skeleton", ".json")  # raw files; clips are named after them
NTU_NAME = re.compile(r"S(?P<setup>\d{3})C\d{3}P(?P<performer>\d{3})R\d{3}A\d{3}")
# The order in which CTR-GCN and its descendants number test clips: by a part of the name, then by name.
PUBLISHED_ORDERS: dict[str, Callable[[re.Match[str]], str]] = {
    "xsub": lambda name: name["performer"],
    "xset": lambda name: name["setup"],
    "xview": lambda name: "",
}


@dataclass(frozen=True)
class ScoredStream:
    """One stream's scores and their path."""

    name: str
    """Different from all other streams' of the fusion."""
    path: Path
    scores: Scores


def open_streams(
    paths: Sequence[Path], checkpoint: str, shards: Path | None = None, annotations: Path | None = None
) -> list[ScoredStream]:
    """The streams at `paths`, their clips in one order.

    A path is a run's folder (its scores of `checkpoint`), a score file (.npz), or a pickle of
    {name: logits} (.pkl), or of a list of logits in the order of the annotation pickle `annotations`.
    Pickles have no labels: they get those of the test split of the shard set `shards`, or of the first
    stream that has some. Raises TsgcError where names, labels or classes differ,
    UsageError where two paths lead to one file.
    """
    files = [
        path if path.suffix in (".npz", *PICKLES) else open_run(path).scores(checkpoint) for path in paths
    ]
    refuse_twice(paths, files, "scores", "--weights gives a stream more")
    ours = {file: read_scores(file) for file in files if file.suffix == ".npz"}
    if shards is not None:
        labelled = labelled_clips(shards)
    elif ours:
        labelled = next(iter(ours.values()))
    else:
        raise UsageError(
            f"{files[0]}: a pickle has no labels; give --shards with the benchmark's shard set,"
            " or a stream of ours"
        )
    if annotations is not None and len(ours) == len(files):
        raise UsageError(f"--annotations {annotations}: says the order of a .pkl's scores; none is given")
    order = read_order(annotations) if annotations is not None else None
    scores = [ours[file] if file in ours else read_pickle(file, labelled, order) for file in files]
    if shards is not None:
        scores = [_with_labels(labelled, part) for part in scores]
    scores = [match_clips(scores[0], part) for part in scores]
    return [ScoredStream(name, file, part) for name, file, part in zip(unlike(scores), files, scores)]


def unlike(scores: Sequence[Scores]) -> list[str]:
    """A unique name for each stream; seeds, then numbers, are added where names are equal."""
    names = [stream_name(part) for part in scores]
    again = Counter(names)
    names = [
        f"{name} seed {part.source.seed}" if again[name] > 1 and part.source.seed is not None else name
        for name, part in zip(names, scores)
    ]
    again = Counter(names)
    seen: Counter[str] = Counter()
    for index, name in enumerate(names):
        seen[name] += 1
        if again[name] > 1:
            names[index] = f"{name} #{seen[name]}"
    return names


def labelled_clips(shards: Path) -> Scores:
    """Names, labels and source of a shard set's test split, with logits (N, 0)."""
    manifest = load_manifest(shards)
    clips = manifest.clips["test"]
    source = ScoreSource(
        manifest.benchmark, "test", manifest.preset, "", "", None, "", "none", list(manifest.class_names)
    )
    return Scores(np.asarray(clips.names), clips.labels, np.zeros((len(clips), 0)), clips.repeats, source)


def _with_labels(labelled: Scores, part: Scores) -> Scores:
    """A stream with the shard set's labels and order of clips."""
    classes = len(labelled.source.class_names)
    if part.logits.shape[1] != classes:
        raise TsgcError(f"{stream_name(part)}: {part.logits.shape[1]} classes, the shards have {classes}")
    return match_clips(replace(labelled, logits=np.zeros((len(labelled.names), classes))), part)


def read_pickle(path: Path, labelled: Scores, order: Mapping[str, int] | None = None) -> Scores:
    """The scores in a pickle of {name: logits (K,)}, with the labels of `labelled`.

    Names are clips' names, with or without the raw file's suffix, or `test_0`, `test_1`, ... in the
    published order. Or a list of logits, as PYSKL and MMAction2 save them: of the clips of `labelled` in the
    order of the annotations, `order` (name -> label). Nothing in the pickle is run.
    """
    content = load_pickle(path)
    if (
        isinstance(content, list)
        and content
        and all(isinstance(row, np.ndarray) and row.ndim == 1 for row in content)
    ):
        content = _in_order(content, labelled, order, path)
    if not isinstance(content, dict) or not content:
        raise TsgcError(f"{path}: holds a {type(content).__name__}, expected {{clip name: logits}}")
    rows = [np.asarray(row) for row in content.values()]
    shape = rows[0].shape
    if len(shape) != 1 or any(row.shape != shape or row.dtype.kind not in "fiu" for row in rows):
        raise TsgcError(f"{path}: expected a row of logits for each clip, all of one length")
    logits = np.stack(rows).astype(np.float32)
    if not np.isfinite(logits).all():
        raise TsgcError(f"{path}: logits that are not finite; did the training diverge?")
    names = np.array([_clip_name(str(key)) for key in content])
    if all(re.fullmatch(r"test_\d+", name) for name in names):
        names = _published_names(names, labelled, path)
    place = match_names(labelled.names, names, str(path), labelled.source.benchmark)
    source = replace(
        labelled.source,
        preset="unknown",
        variant="pickle",
        modality=f"{path.resolve().parent.name}/{path.stem}",
        seed=None,
        checkpoint=path.name,
        selected_on="unknown",
    )
    return replace(labelled, logits=logits[place], source=source)


def _in_order(
    rows: list[Any], labelled: Scores, order: Mapping[str, int] | None, path: Path
) -> dict[str, Any]:
    """A list of logits by the names of the clips that it is of."""
    if order is None:
        raise TsgcError(
            f"{path}: a list of logits, which says nothing of its clips; give --annotations with the pickle"
            " of annotations (PYSKL's, MMAction2's) that it was scored on"
        )
    labels = dict(zip(labelled.names.tolist(), labelled.labels.tolist()))
    names = [name for name in order if name in labels]
    benchmark = labelled.source.benchmark
    if len(names) != len(rows):
        raise TsgcError(
            f"{path}: logits of {len(rows):,} clips, the annotations have {len(names):,} of the"
            f" {len(labels):,} clips of {benchmark} {labelled.source.split}; were both of one split?"
        )
    if wrong := [name for name in names if order[name] != labels[name]]:
        raise TsgcError(
            f"{path}: the annotations say class {order[wrong[0]]} of {wrong[0]}, {benchmark} says"
            f" {labels[wrong[0]]}; classes have to be in one order"
        )
    return dict(zip(names, rows))


def _clip_name(key: str) -> str:
    name = Path(key).name
    return name.removesuffix(Path(name).suffix) if Path(name).suffix in RAW_SUFFIXES else name


def _published_names(keys: np.ndarray, labelled: Scores, path: Path) -> np.ndarray:
    """The clip names that `test_<number>` keys (N,) stand for."""
    benchmark = labelled.source.benchmark
    order = PUBLISHED_ORDERS.get(benchmark.split("/")[-1])
    matches = [NTU_NAME.fullmatch(name) for name in labelled.names]
    if order is None or labelled.source.split != "test" or not all(matches):
        raise TsgcError(
            f"{path}: keys such as {keys[0]}, whose order is known for the test splits of NTU alone, not for"
            f" {benchmark} {labelled.source.split}; expected clip names such as {labelled.names[0]}"
        )
    named = sorted((order(match), match[0]) for match in matches if match)
    numbers = [int(key.removeprefix("test_")) for key in keys]
    if sorted(numbers) != list(range(len(named))):
        raise TsgcError(
            f"{path}: {len(keys)} clips, test_{min(numbers)} to test_{max(numbers)}; {benchmark} has"
            f" {len(named)} test clips, so numbers do not tell which is which"
        )
    return np.array([named[number][1] for number in numbers])


def held_out(streams: Sequence[ScoredStream]) -> list[Scores]:
    """The scores of each stream on the clips that its training left out, in one order.

    Raises TsgcError, with their names, where streams are not of runs that were trained with --holdout.
    """
    wrong = [f"{stream.name} ({reason})" for stream in streams if (reason := _no_holdout(stream))]
    if wrong:
        raise TsgcError(
            f"{', '.join(wrong)}: only clips that training left out can be learned from; train these with"
            " --holdout, or use --tune-on-test to compare with papers"
        )
    scores = [read_scores(_held_out_file(stream)) for stream in streams]
    return [match_clips(scores[0], part) for part in scores]


def _held_out_file(stream: ScoredStream) -> Path:
    return stream.path.with_name(f"holdout-{stream.path.name}")


def _no_holdout(stream: ScoredStream) -> str | None:
    """The reason why a stream has no held-out scores; None where it has some."""
    folder = stream.path.parent.parent
    if stream.scores.source.split != "test" or not (folder / "config.yaml").is_file():
        return "no test scores in a run's folder"
    if not open_run(folder).config.holdout:  # the file may be there all the same: `evaluate --split holdout`
        return "trained without --holdout"
    if not _held_out_file(stream).is_file():
        return f"no {_held_out_file(stream)}; `tsgc evaluate --split holdout` writes it"
    return None
