"""`tsgc predict`: choose the runs, recognise, print the answers as a table, JSON, CSV or JSON lines."""

import csv
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from pipelines.skeleton import Skeleton
from tsgc.console import Count, Talker, write_json
from tsgc.explain.summary import as_json, joint_rows, movement_line
from tsgc.inference.live import recognise_live
from tsgc.inference.raw_clips import Failure, PreparedClip, find_raw, read_recording, read_recordings
from tsgc.inference.recogniser import Prediction, Recogniser
from tsgc.network.precision import replacement
from tsgc.networks import OURS
from tsgc.workspace.newest_runs import Say, newest_trained
from tsgc.workspace.runs import checkpoint_path

LIVE_WINDOW = 64  # frames; about two seconds, the length of a short action
STDIN = Path("-")
STDIN_NAME = "standard input"


def choose_runs(runs: Sequence[Path], runs_root: Path, checkpoint: str, ema: bool, say: Say) -> list[Path]:
    """The checkpoints of the runs that are named, or of the newest streams.

    `say` is told which runs are left out then.
    """
    name = f"{checkpoint}-ema" if ema else checkpoint
    named = runs or [run.folder for run in newest_trained(runs_root, name, say)]
    return [checkpoint_path(run, checkpoint, ema) for run in named]


def say_precision(talker: Talker, recogniser: Recogniser) -> None:
    """Tell of runs whose precision this device only emulates, which are recognised in another."""
    configs = (stream.description.config for stream in recogniser.streams)
    lines = (replacement(one.precision, recogniser.device, one.network == OURS) for one in configs)
    for line in dict.fromkeys(filter(None, lines)):
        talker.aside(line)


def predict_files(
    talker: Talker,
    recogniser: Recogniser,
    files: Sequence[Path],
    *,
    top: int = 5,
    style: str = "table",
    window: int | None = None,
    stride: int | None = None,
    batch: int,
    explain: bool = False,
) -> int:
    """Recognise raw clips and print the answers; returns how many clips could not be read."""
    found: list[Prediction] = []
    failures: list[Failure] = []
    with talker.counting("recognising", "clips") as count:
        recordings = _recordings(files, recogniser, count)
        for answer in recogniser.answers(
            recordings, top=top, window=window, stride=stride, batch=batch, explain=explain
        ):
            if isinstance(answer, Failure):
                talker.warn(f"error: {answer.reason}")
                failures.append(answer)
            else:
                found.append(answer)
    STYLES[style](talker, recogniser, found, failures)
    return len(failures)


def _recordings(
    files: Sequence[Path], recogniser: Recogniser, count: Count
) -> Iterator[PreparedClip | Failure]:
    """The clips at the given paths; `-` is one raw clip on standard input."""
    if list(files) == [STDIN]:
        yield read_recording(STDIN_NAME, STDIN_NAME, sys.stdin.buffer.read(), recogniser.format)
        return
    raw = find_raw(files, recogniser.format)
    for done, recording in enumerate(read_recordings(raw, recogniser.format), 1):
        yield recording
        count(done, len(raw))


def predict_live(
    talker: Talker,
    recogniser: Recogniser,
    *,
    top: int = 5,
    window: int,
    stride: int | None,
) -> int:
    """Recognise frames from standard input as they come; returns how many lines could not be read."""
    if not talker.quiet:
        for line in run_lines(recogniser):
            talker.warn(line)
    failures = 0
    for answer in recognise_live(
        recogniser, sys.stdin.buffer, window=window, stride=stride or max(1, window // 2), top=top
    ):
        if isinstance(answer, Failure):
            talker.warn(f"error: {answer.reason}")
            failures += 1
        else:
            write_json(orjson.dumps(asdict(answer)).decode())
    return failures


def run_lines(recogniser: Recogniser) -> list[str]:
    """A line about each run that recognises."""
    lines = []
    for stream, weight in zip(recogniser.streams, recogniser.weights):
        said = stream.description
        share = f", weight {weight:g}" if len(recogniser.streams) > 1 else ""
        chosen = "; epoch selected on the test split" if said.selected_on == "test" else ""
        lines.append(
            f"by {said.config.modality} {said.config.network_name} of {said.benchmark},"
            f" {said.preset} preset{share}: {stream.path}{chosen}"
        )
    return lines


def _as_table(
    talker: Talker, recogniser: Recogniser, found: Sequence[Prediction], failures: Sequence[Failure]
) -> None:
    for line in run_lines(recogniser):
        talker.note(line)
    by_clip: dict[str, list[Prediction]] = {}
    for prediction in found:
        by_clip.setdefault(prediction.source, []).append(prediction)
    if any(len(windows) > 1 for windows in by_clip.values()):
        for source, windows in by_clip.items():
            talker.table(source, ("seconds", *_columns(windows)), [_timeline_row(one) for one in windows])
    elif len(found) == 1:
        rows = [[guess.name, f"{100 * guess.probability:.2f}"] for guess in found[0].top]
        talker.table(found[0].source, ("class", "probability %"), rows)
    elif found:
        rows = [[one.clip, *_best(one)] for one in found]
        talker.table(f"{len(found):,} clips", ("clip", *_columns(found)), rows)
    for one in found:
        _explain(talker, recogniser, one)


def _explain(talker: Talker, recogniser: Recogniser, prediction: Prediction) -> None:
    """Print which joints speak for the most likely class, and when."""
    if prediction.saliency is None:
        return
    best, (start, end) = prediction.top[0].name, prediction.seconds
    talker.line(f"{best}: {movement_line(prediction.saliency)}")
    rows = joint_rows(prediction.saliency.values, recogniser.skeleton)
    title = f"{prediction.clip}: what speaks for {best}"
    talker.table(title, ("joint", "%", f"{start:.1f} to {end:.1f} s"), rows)


def _columns(found: Sequence[Prediction]) -> tuple[str, ...]:
    """Column titles for the cells of `_best`."""
    return ("class", "%", "next") if len(found[0].top) > 1 else ("class", "%")


def _timeline_row(prediction: Prediction) -> list[str]:
    start, end = prediction.seconds
    return [f"{start:.2f} to {end:.2f}", *_best(prediction)]


def _best(prediction: Prediction) -> list[str]:
    """The best class, its probability, and the class after it."""
    first, *others = prediction.top
    return [
        first.name,
        f"{100 * first.probability:.1f}",
        *(f"{one.name} {100 * one.probability:.0f}" for one in others[:1]),
    ]


def json_entry(prediction: Prediction, skeleton: Skeleton) -> dict[str, Any]:
    """A prediction for JSON: without its logits and its clip, and with its saliency where it has one."""
    left_out = ("logits", "recording", "saliency")
    entry = {name: value for name, value in asdict(prediction).items() if name not in left_out}
    if prediction.saliency is None:
        return entry
    return entry | {"saliency": as_json(prediction.saliency, skeleton)}


def _as_json(
    talker: Talker, recogniser: Recogniser, found: Sequence[Prediction], failures: Sequence[Failure]
) -> None:
    runs = [
        {
            "checkpoint": str(stream.path),
            "weight": weight,
            "benchmark": stream.description.benchmark,
            "preset": stream.description.preset,
            "variant": stream.description.config.network_name,
            "modality": stream.description.config.modality,
            "selected_on": stream.description.selected_on,
        }
        for stream, weight in zip(recogniser.streams, recogniser.weights)
    ]
    talker.data(
        {
            "runs": runs,
            "predictions": [json_entry(prediction, recogniser.skeleton) for prediction in found],
            "failures": [asdict(failure) for failure in failures],
        }
    )


def _as_csv(
    talker: Talker, recogniser: Recogniser, found: Sequence[Prediction], failures: Sequence[Failure]
) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("source", "clip", "start_s", "end_s", "rank", "label", "class", "probability"))
    for one in found:
        for rank, guess in enumerate(one.top, 1):
            times = [f"{second:.3f}" for second in one.seconds]
            row = (one.source, one.clip, *times, rank, guess.label, guess.name, f"{guess.probability:.6f}")
            writer.writerow(row)
    sys.stdout.write(text.getvalue())


STYLES: dict[str, Callable[[Talker, Recogniser, Sequence[Prediction], Sequence[Failure]], None]] = {
    "table": _as_table,
    "json": _as_json,
    "csv": _as_csv,
}
