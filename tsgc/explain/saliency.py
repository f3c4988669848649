"""Saliency of joints and frames: how much each joint's movement adds to the score of a class.

Integrated gradients (Sundararajan et al., arXiv 1703.01365) from the clip held still to the clip itself. Held
still, each joint of each body rests at its mean place over the frames in which it is there. So all values add
up to what the movement adds to the score, and what does not move adds nothing. The gradient goes back through
the run's whole input (resizing, normalisation, modality) to the joints of the prepared clip, which are those
that `tsgc inspect` draws. The score of a class is its logit less the mean of all logits.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from torch import nn

from pipelines.channels import coordinates, has_score
from pipelines.errors import TsgcError
from shards.batch import pack_clips
from tsgc.explain.summary import Saliency
from tsgc.input.pipeline import InputPipeline
from tsgc.network.own.wrapped import Wrapped, told_of
from tsgc.network.precision import arithmetic

STEPS = (32, 64)  # between the still clip and the clip itself: more where the fewer are not exact enough
TOLERANCE = 0.05  # of the difference that all values should add up to, or of 1 where that is less
BATCH = 16  # steps at once


class Stream(Protocol):
    """A network with the pipeline of its input: a `TrainedStream`."""

    @property
    def model(self) -> nn.Module: ...

    @property
    def pipeline(self) -> InputPipeline: ...


class Streams(Protocol):
    """Streams that score clips together: a `Recogniser`."""

    @property
    def streams(self) -> Sequence[Stream]: ...

    weights: list[float]
    device: torch.device
    channels: str


def explain(by: Streams, clip: np.ndarray, label: int | None = None) -> Saliency:
    """The saliency of a prepared clip (T, M, V, C) for a class (default: the most likely one).

    Of a fusion, for the weighted sum of its streams' logits. Raises TsgcError where logits are not finite.
    """
    start = held_still(clip, by.channels)
    ends = logits_and_gradients(by, [start, clip])[0]
    if not np.isfinite(ends).all():
        raise TsgcError("logits that are not finite; did the training diverge?")
    chosen = int(ends[1].argmax()) if label is None else label
    still, score = (ends[:, chosen] - ends.mean(1)).tolist()
    for steps in STEPS:
        values = _integrated(by, start, clip, chosen, steps)
        if abs(values.sum() - (score - still)) <= TOLERANCE * max(1, abs(score - still)):
            break
    return Saliency(chosen, values, score, still)


def _integrated(by: Streams, start: np.ndarray, clip: np.ndarray, label: int, steps: int) -> np.ndarray:
    """Integrated gradients (T, M, V) float32 from `start` to `clip`, (T, M, V, C), by Gauss's rule."""
    places, weights = np.polynomial.legendre.leggauss(steps)  # of an integral over -1..1
    total = np.zeros(clip.shape)
    for first in range(0, steps, BATCH):
        here = slice(first, first + BATCH)
        between = [start + np.float32((place + 1) / 2) * (clip - start) for place in places[here]]
        total += np.tensordot(weights[here] / 2, logits_and_gradients(by, between, label)[1], 1)
    # What does not move adds nothing, even where it has no gradient: a clip that is flat along an axis.
    values = np.where(clip != start, total * (clip - start), 0).sum(-1)
    return np.nan_to_num(values).astype(np.float32)


def held_still(clip: np.ndarray, channels: str) -> np.ndarray:
    """A clip (T, M, V, C) whose joints rest at their mean place over the frames in which they are there.

    Rows of an absent body (all 0), joints of score 0, and scores stay as they are.
    """
    there = np.broadcast_to(np.any(clip, axis=(2, 3))[..., None, None], (*clip.shape[:3], 1))
    if has_score(channels):
        there = there & (clip[..., -1:] > 0)
    axes = coordinates(channels)
    places = clip[..., :axes]
    mean = np.where(there, places, 0).sum(0, dtype=np.float64) / np.maximum(there.sum(0), 1)
    still = np.where(there, mean.astype(np.float32), places)
    return np.concatenate([still, clip[..., axes:]], -1)


def logits_and_gradients(
    by: Streams, clips: Sequence[np.ndarray], label: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, K) of clips of one shape, and with `label` the gradients of its score, (N, T, M, V, C)."""
    batch = pack_clips(clips)
    joints = batch.joints.requires_grad_(label is not None)
    batch = replace(batch, joints=joints)
    total: torch.Tensor | None = None
    with torch.set_grad_enabled(label is not None), arithmetic("float32", by.device):
        for stream, weight in zip(by.streams, by.weights):
            x, presence = stream.pipeline.test(batch, by.device)
            logits = weight * stream.model(x, presence=presence).float()
            total = logits if total is None else total + logits
    assert total is not None
    found = total.detach().cpu().numpy()
    if label is None:
        return found, np.zeros(0, np.float32)
    others = ", ".join(one.model.source for one in by.streams if isinstance(one.model, Wrapped))
    with told_of(others, "backward pass"):  # such as cuDNN's of an RNN, which is for training mode alone
        (gradient,) = torch.autograd.grad((total[:, label] - total.mean(1)).sum(), joints)
    return found, gradient.numpy().reshape(len(clips), *clips[0].shape)
