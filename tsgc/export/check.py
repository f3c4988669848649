"""Checks of exported files: clips, and PyTorch's logits for them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from shards.batch import pack_clips
from shards.load_manifest import load_manifest
from shards.loader import EvalLoader
from tsgc.checkpoint import check_match
from tsgc.export.modules import any_length, least_frames
from tsgc.inference.trained_stream import TrainedStream
from tsgc.workspace.data_root import shard_sets

CHECK_CLIPS = 6
EXAMPLE = 3  # clips in the first batch, which is traced; the exporter takes a size of 1 for a constant

Arrays = dict[str, np.ndarray]
"""Inputs of a file, by name."""


@dataclass(frozen=True)
class CheckCase:
    """Inputs of a file, and PyTorch's logits for them."""

    inputs: Arrays
    logits: np.ndarray


def largest_difference(run_file: Callable[[Arrays], np.ndarray], cases: Sequence[CheckCase]) -> float:
    """The largest difference of a file's logits from PyTorch's; NaN where any is NaN."""
    return float(np.max([np.abs(run_file(case.inputs) - case.logits).max() for case in cases]))


def check_clips(stream: TrainedStream, data_root: Path) -> tuple[list[np.ndarray], str]:
    """Clips (T, M, V, C) of the run's test split, or made ones, and in words where they come from."""
    benchmark = stream.description.benchmark
    folder = shard_sets(data_root).get(benchmark)
    if folder is None:
        return made_clips(stream), "made clips"
    manifest = load_manifest(folder)
    check_match(stream.description, manifest, stream.path)
    clips = []
    for batch in islice(EvalLoader(manifest, "test", batch=1), CHECK_CLIPS):
        shape = (int(batch.frames[0]), int(batch.bodies[0]), *batch.joints.shape[1:])
        clips.append(batch.joints.numpy().reshape(shape))
    if len(clips) < EXAMPLE:
        clips *= EXAMPLE
    return clips, f"the test clips of {benchmark}"


def made_clips(stream: TrainedStream) -> list[np.ndarray]:
    """Made clips of wandering bodies, of several lengths; one has a single frame."""
    rng = np.random.default_rng(0)
    V, C, M = stream.pipeline.skeleton.num_joints, len(stream.pipeline.channels), stream.pipeline.bodies
    clips = []
    for number, frames in enumerate((73, 20, 1, 45, 300, 110)):
        bodies = 1 + number % M
        start = rng.normal(0, 0.5, (1, bodies, V, C))
        clips.append((start + rng.normal(0, 0.03, (frames, bodies, V, C)).cumsum(0)).astype(np.float32))
    return clips


def input_cases(stream: TrainedStream, clips: Sequence[np.ndarray]) -> list[CheckCase]:
    """Batches of network input: the clips in threes, and other lengths where the file takes them."""
    cases = [input_case(stream, clips[start : start + EXAMPLE]) for start in range(0, len(clips), EXAMPLE)]
    least = least_frames(stream)
    others = (least, least + 13, 2 * stream.pipeline.config.frames) if any_length(stream) else ()
    for other in others:
        config = replace(stream.pipeline.config, frames=other)
        longer = replace(stream, pipeline=replace(stream.pipeline, config=config))
        cases.append(input_case(longer, clips[:1]))
    return cases


@torch.inference_mode()
def input_case(stream: TrainedStream, clips: Sequence[np.ndarray]) -> CheckCase:
    """One batch of network input."""
    x, presence = stream.pipeline.test(pack_clips(clips), torch.device("cpu"))
    inputs = {"x": x.numpy()} if presence is None else {"x": x.numpy(), "presence": presence.numpy()}
    return CheckCase(inputs, stream.model(x, presence=presence).numpy())


def joint_cases(stream: TrainedStream, clips: Sequence[np.ndarray]) -> list[CheckCase]:
    """Three clips cut to one length, and each clip alone, with PyTorch's logits as in `tsgc evaluate`."""
    alone = [joint_case(stream, [clip]) for clip in clips]
    shortest = min(len(clip) for clip in clips[:EXAMPLE])
    together = joint_case(stream, [clip[:shortest] for clip in clips[:EXAMPLE]])
    return [together, *alone]


def joint_case(stream: TrainedStream, clips: Sequence[np.ndarray]) -> CheckCase:
    """One batch of joints, all clips of one length."""
    filled = [fill_bodies(clip, stream.pipeline.bodies, stream.pipeline.absent_body) for clip in clips]
    return CheckCase({"joints": np.stack(filled)}, stream.logits(pack_clips(clips), torch.device("cpu")))


def fill_bodies(clip: np.ndarray, bodies: int, absent_body: str) -> np.ndarray:
    """A clip (T, M, V, C) with the network's number of bodies: missing ones are 0, or copies of the first."""
    missing = bodies - clip.shape[1]
    if missing <= 0:
        return np.ascontiguousarray(clip[:, :bodies])
    filler = np.repeat(clip[:, :1], missing, axis=1)
    return np.concatenate([clip, filler if absent_body == "copy" else np.zeros_like(filler)], axis=1)
