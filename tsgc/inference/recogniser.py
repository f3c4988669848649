"""Recognition: raw or prepared clips to classes, by one run or a fusion of several.

Clips take the path of training data: the data set's own reader, the run's preset, the run's test input. So
logits equal those of `tsgc evaluate`: to the bit in batches of the same clips, to 1e-5 in other batches
(matrix products of another size add in another order).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path

import numpy as np
import torch

from pipelines.channels import in_space
from pipelines.cleaning.align import JOINTS, align
from pipelines.cleaning.centre import present_bodies
from pipelines.cleaning.missing import fill, seen_joints
from pipelines.datasets.table import DATASETS
from pipelines.errors import TsgcError, UsageError
from shards.batch import pack_clips
from tsgc.checkpoint import dataset_name
from tsgc.config import TrainConfig
from tsgc.distributed.process import pick_device
from tsgc.explain.saliency import explain
from tsgc.explain.summary import Saliency
from tsgc.inference.prediction import Guess, Prediction
from tsgc.inference.raw_clips import Failure, PreparedClip, find_raw, read_recordings
from tsgc.inference.raw_format import ImageSize, raw_format
from tsgc.inference.recording import ClipSource, Recording
from tsgc.inference.trained_stream import TrainedStream, load_stream
from tsgc.inference.windows import is_centred, plan_windows, recentre
from tsgc.network.own.code import admit
from tsgc.workspace.runs import checkpoint_path, refuse_twice

BATCH = 32  # clips at once
MOST_NAMED = 12  # classes that a recogniser names where it shows itself


class Recogniser:
    """A run, or a fusion of several, ready to recognise clips. Made by `load_run`."""

    def __init__(
        self,
        streams: Sequence[TrainedStream],
        weights: Sequence[float],
        device: torch.device,
        image_size: ImageSize | None = None,
        up: str | None = None,
    ) -> None:
        self.streams = list(streams)
        self.weights = list(weights)
        self.device = device
        first = streams[0].description
        self.format = raw_format(first, image_size, up)
        """The raw clips that can be read."""
        self.preset = first.preset
        self.classes = tuple(first.class_names) or DATASETS[self.format.dataset].class_names
        """Class names, in the order of the logits."""
        self.fps = first.fps or DATASETS[self.format.dataset].fps
        """Frames a second of the recordings."""
        self.skeleton = streams[0].pipeline.skeleton
        self.channels = streams[0].pipeline.channels
        self.alignment = first.alignment

    def _repr_html_(self) -> str:
        """The streams, and the classes that are told apart, for Jupyter."""
        from tsgc.drawing.notebook import Table, framed

        rows = []
        for stream, weight in zip(self.streams, self.weights):
            said = stream.description
            ema = "averaged" if said.ema else "raw"
            words = [said.config.modality, said.config.network_name, ema, str(said.epoch), f"{weight:g}"]
            rows.append([str(stream.path), *words, said.selected_on])
        first = self.streams[0].description
        lines = [
            f"{first.preset} preset, {self.skeleton.num_joints} joints ({self.channels}),"
            f" {self.fps:g} frames/s, on {self.device}",
            f"classes: {', '.join(self.classes[:MOST_NAMED])}"
            + (f" and {len(self.classes) - MOST_NAMED} more" if len(self.classes) > MOST_NAMED else ""),
        ]
        columns = ("checkpoint", "modality", "variant", "weights", "epoch", "share", "selected on")
        title = f"Recogniser of {first.benchmark}: {len(self.classes)} classes"
        return framed(title, lines=lines, tables=[Table(columns, rows)])

    @property
    def joint_shape(self) -> tuple[int, int]:
        """Joints of a body, and coordinates of a joint."""
        return self.skeleton.num_joints, len(self.channels)

    @property
    def config(self) -> TrainConfig:
        """The training settings of the (first) run."""
        return self.streams[0].description.config

    def predict(
        self,
        clips: ClipSource | Iterable[ClipSource],
        *,
        top: int = 5,
        window: int | None = None,
        stride: int | None = None,
        batch: int = BATCH,
        explain: bool = False,
    ) -> list[Prediction]:
        """Recognise raw files, folders, zips, or joints (T, M, V, C) of bodies with C coordinates.

        `top`: classes in each answer. With `window`, a recording gives an answer for every window of so
        many frames, one each `stride` (default: half a window). `batch`: clips at once.
        `explain`: with the saliency of each answer, which takes as long as about a hundred clips.
        Raises TsgcError at the first clip that cannot be read, or that has no body.
        """
        origins: dict[str, ClipSource] = {}
        recordings = self.recordings(clips, origins)
        answers = []
        for answer in self.answers(
            recordings, top=top, window=window, stride=stride, batch=batch, explain=explain
        ):
            if isinstance(answer, Failure):
                raise TsgcError(answer.reason)
            given = origins[answer.source]
            answers.append(replace(answer, recording=self._recording(given, answer.source)))
        return answers

    def _recording(self, given: ClipSource, source: str) -> Recording:
        return Recording(given, source, self.format, self.skeleton, self.channels, self.fps)

    def recordings(
        self, clips: ClipSource | Iterable[ClipSource], origins: dict[str, ClipSource] | None = None
    ) -> Iterator[PreparedClip | Failure]:
        """The prepared clips of files and arrays, in order; `origins` takes what each source was found in."""
        several = [clips] if isinstance(clips, (str, Path, np.ndarray)) else clips
        for number, clip in enumerate(several):
            if isinstance(clip, np.ndarray):
                found: Iterable[PreparedClip | Failure] = [self.prepare_joints(clip, f"array {number}")]
            else:
                found = read_recordings(find_raw([Path(clip)], self.format), self.format)
            for recording in found:
                if origins is not None:
                    origins[recording.source] = clip
                yield recording

    def prepare_joints(self, joints: np.ndarray, name: str) -> PreparedClip:
        """Joints (T, M, V, C) as preparation makes them: filled, centred where the data set's are.

        A joint was not seen where a number is NaN, the score is 0 or, in space, all coordinates are. Prepared
        joints in which nothing is missing do not change. Raises TsgcError: another shape, infinite, nobody.
        """
        skeleton, channels = self.skeleton, self.channels
        shape = (skeleton.num_joints, len(channels))
        if joints.ndim != 4 or joints.shape[2:] != shape or not joints.shape[0] * joints.shape[1]:
            raise TsgcError(
                f"{name}: shape {joints.shape}, expected (frames, bodies, {shape[0]}, {shape[1]})"
            )
        with np.errstate(over="ignore"):
            joints = joints.astype(np.float32)
        if np.isinf(joints).any():
            raise TsgcError(f"{name}: values that are not finite, expected numbers, or NaN for not seen")
        # Stored joints of pictures are from the middle: there 0 is a place.
        seen = seen_joints(joints, channels, skeleton, zeros=in_space(channels))
        if not seen.any():
            raise TsgcError(f"{name}: no joint in it is seen (all 0 or not finite), nothing to recognise")
        missing = None if seen.all() or not (seen.any(axis=2, keepdims=True) & ~seen).any() else seen
        if in_space(channels) or self.preset == "corrected":
            joints = fill(joints, seen, skeleton, channels, self.fps).joints
        else:
            joints = np.where(np.isnan(joints), np.float32(0), joints)
        if in_space(channels):
            # A clip that preparation has centred is not moved again: there its centre was seen first.
            centre = joints[:, 0, skeleton.centre, :3]
            if not (seen[:, 0, skeleton.centre] & ~centre.any(axis=1)).any():
                joints = recentre(joints, skeleton.centre, missing)
            joints = self.turned(joints, missing)
        return PreparedClip(name, name, joints, missing)

    def turned(self, joints: np.ndarray, seen: np.ndarray | None) -> np.ndarray:
        """Centred joints in space (T, M, V, 3 or 4), for aligned runs turned as preparation does."""
        if not self.alignment:
            return joints
        return align(joints, present_bodies(joints), JOINTS[self.skeleton.name], seen)

    def answers(
        self,
        recordings: Iterable[PreparedClip | Failure],
        *,
        top: int = 5,
        window: int | None = None,
        stride: int | None = None,
        batch: int = BATCH,
        explain: bool = False,
    ) -> Iterator[Prediction | Failure]:
        """Recognise prepared clips as they come, `batch` windows at once; failures keep their place."""
        waiting: list[tuple[PreparedClip, tuple[int, int]] | Failure] = []
        for recording in recordings:
            if isinstance(recording, Failure):
                waiting.append(recording)
                continue
            for frames in plan_windows(len(recording.joints), window, stride):
                waiting.append((recording, frames))
                if sum(not isinstance(item, Failure) for item in waiting) == batch:
                    yield from self._answer(waiting, top, explain)
                    waiting = []
        yield from self._answer(waiting, top, explain)

    def _answer(
        self, waiting: Sequence[tuple[PreparedClip, tuple[int, int]] | Failure], top: int, explain: bool
    ) -> Iterator[Prediction | Failure]:
        cut = [self.cut(*item) for item in waiting if not isinstance(item, Failure)]
        found = iter(zip(cut, self.logits(cut))) if cut else iter(())
        for item in waiting:
            if isinstance(item, Failure):
                yield item
                continue
            clip, logits = next(found)
            try:
                answer = self.prediction(*item, logits, top)
            except TsgcError as error:
                yield Failure(item[0].source, str(error))
                continue
            yield replace(answer, saliency=self.explain(clip, answer.top[0].label)) if explain else answer

    def explain(self, clip: np.ndarray, label: int | None = None) -> Saliency:
        """What each joint's movement adds to a class's score (default: the most likely class's).

        `clip`: a prepared clip (T, M, V, C), as `prepare_joints` gives it or as it lies in the shards.
        """
        return explain(self, clip, label)

    def cut(self, recording: PreparedClip, frames: tuple[int, int]) -> np.ndarray:
        """A window of a recording, centred and turned as a clip of its own would be."""
        joints, seen = recording.joints[slice(*frames)], recording.seen
        whole = len(joints) == len(recording.joints)
        if whole or not is_centred(recording.joints, self.skeleton.centre, self.channels, seen):
            return joints
        seen = None if seen is None else seen[slice(*frames)]
        return self.turned(recentre(joints, self.skeleton.centre, seen), seen)

    def logits(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """Prepared clips (T, M, V, C) -> logits (N, K): the weighted sum over the streams."""
        batch = pack_clips(clips)
        parts = [np.float32(w) * s.logits(batch, self.device) for s, w in zip(self.streams, self.weights)]
        return reduce(np.add, parts)

    def prediction(
        self, recording: PreparedClip, frames: tuple[int, int], logits: np.ndarray, top: int
    ) -> Prediction:
        """The most likely classes by logits (K,), with names and probabilities.

        Raises TsgcError where logits are not finite.
        """
        if not np.isfinite(logits).all():
            raise TsgcError(f"{recording.source}: logits that are not finite; did the training diverge?")
        likely = probabilities(logits / sum(self.weights))
        order = np.argsort(-logits, kind="stable")[:top].tolist()
        return Prediction(
            recording.source,
            recording.clip,
            frames,
            (frames[0] / self.fps, frames[1] / self.fps),
            [Guess(label, self.classes[label], float(likely[label])) for label in order],
            logits,
        )


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis, in float64."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


def load_run(
    run: str | Path | Sequence[str | Path],
    checkpoint: str = "last",
    ema: bool = False,
    device: str | None = None,
    weights: Sequence[float] | None = None,
    image_size: ImageSize | None = None,
    up: str | None = None,
    network: str | Sequence[str] | None = None,
) -> Recogniser:
    """Open a trained run: its folder, a .safetensors file, or several of either to be fused.

    `checkpoint`: `last` or `best`; with `ema` its averaged weights. `device`: `cpu` or `cuda` (default: a
    GPU where there is one). `weights`: of the streams, equal by default. `image_size`: width and
    height of the picture that your own clips' x and y are in; not for data in space. `up`: the axis that
    points up in your own clips in space (default: as in the training
    clips). `network`: FILE.py:NAME or package.module:NAME of a network of your own, whose code may then run.
    Raises TsgcError: no such run or checkpoint, or runs of
    different data; UsageError: one run given twice.
    """
    admit(network)
    runs = [run] if isinstance(run, (str, Path)) else list(run)
    if not runs:
        raise TsgcError("no run given; name one or more run folders or checkpoints")
    given = [1.0] * len(runs) if weights is None else list(weights)
    if len(given) != len(runs) or not np.isfinite(given).all() or min(given) < 0 or not any(given):
        raise UsageError(f"weights {given} for {len(runs)} runs; expected one each, 0 or more, not all 0")
    chosen = pick_device(device)
    files = [checkpoint_path(Path(one), checkpoint, ema) for one in runs]
    refuse_twice([Path(one) for one in runs], files, "checkpoint", "weights give a stream more")
    streams = [load_stream(file, chosen) for file in files]
    for other in streams[1:]:
        check_fusible(streams[0], other)
    return Recogniser(streams, given, chosen, image_size, up)


def check_fusible(first: TrainedStream, other: TrainedStream) -> None:
    """Refuse streams that do not read the same clips or do not name the same classes."""
    facts = [
        {
            "data set": dataset_name(stream.description),
            "preset": stream.description.preset,
            "alignment": stream.description.alignment or "none",
            "number of classes": stream.description.num_classes,
        }
        for stream in (first, other)
    ]
    for what, ours in facts[0].items():
        if facts[1][what] != ours:
            raise TsgcError(
                f"{other.path}: {what} {facts[1][what]}, {first.path} has {ours}; fuse runs of the same data"
            )


def predict(
    clips: ClipSource | Iterable[ClipSource],
    run: str | Path | Sequence[str | Path] | Recogniser,
    *,
    top: int = 5,
    window: int | None = None,
    stride: int | None = None,
    network: str | Sequence[str] | None = None,
) -> list[Prediction]:
    """Recognise clips by `run`: a run folder, several to be fused, or what `load_run` returned.

    `network`: FILE.py:NAME or package.module:NAME of a network of your own, whose code may then run.
    The other arguments, and the errors, are those of `Recogniser.predict`.
    """
    recogniser = run if isinstance(run, Recogniser) else load_run(run, network=network)
    return recogniser.predict(clips, top=top, window=window, stride=stride)
