"""Learning without labels before a training: hidden tubes of the clips that train are predicted (masked.py).

Clips that judge are never seen. Of further data sets all training clips are, their joints put in the order of
the trial's skeleton, by name; they are augmented and normalised as the trial's own.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import fields

import numpy as np
import torch
from torch import nn

from nw_ucla.data import ResidentClips, ResidentLoader
from nw_ucla.ideas.masked import Masked, MaskedFeed
from nw_ucla.ideas.settings import Pretraining
from pipelines.errors import TsgcError
from pipelines.skeletons.joint_names import common_names
from shards.manifest import Clips
from shards.resident import ResidentReader
from tsgc.config import TrainConfig
from tsgc.input.pipeline import InputPipeline
from tsgc.network.precision import arithmetic
from tsgc.step.cuda_graphs import StepGraphs
from tsgc.step.micro_batch import MicroBatch
from tsgc.step.optimizer import build_optimizer, learning_rate, set_learning_rate

WARM_UP = 0.05  # of the epochs
MARKS = (0.25, 0.5, 0.75, 1.0)  # parts of it after which the error is told


class JoinedClips:
    """The training clips of several data sets, one after another, with the first one's joints."""

    def __init__(self, several: Sequence[ResidentClips]) -> None:
        first = several[0].manifest
        joints, starts, rows = [], [], 0
        for one in several:
            order = same_joints(one, several[0])
            joints.append(one.joints[:, torch.tensor(order, device=one.joints.device)])
            starts.append(one.offsets + rows)
            rows += len(one.joints)
        self.clips = joined([one.clips for one in several])
        self.joints, self.starts = torch.cat(joints), np.concatenate(starts)
        counted = [f"{len(one.clips)} clips of {one.manifest.dataset}" for one in several[1:]]
        self.said = f"{' and '.join(counted)}, {first.num_joints} joints by name"
        """What the first one's clips are joined by."""

    def reader(self) -> ResidentReader:
        return ResidentReader(self.joints, self.clips, self.starts)


def same_joints(clips: ResidentClips, first: ResidentClips) -> list[int]:
    """Where in `clips` each joint of `first` is.

    Raises TsgcError: not all are there, or of other coordinates, or at another frame rate.
    """
    ours, theirs = first.manifest, clips.manifest
    places = {name: place for place, name in enumerate(common_names(theirs.body.joints))}
    wanted = common_names(ours.body.joints)
    missing = [name for name in wanted if name not in places]
    if missing or (ours.channels, ours.fps) != (theirs.channels, theirs.fps):
        lacks = f" without {', '.join(missing)}" if missing else ""
        raise TsgcError(
            f"pretrain: clips of {theirs.benchmark} are {theirs.channels} at {theirs.fps:g} frames/s{lacks},"
            f" expected {ours.channels} at {ours.fps:g} frames/s of all joints of {ours.skeleton}"
        )
    return [places[name] for name in wanted]


def joined(several: Sequence[Clips]) -> Clips:
    """The columns of several, one after another."""
    columns = {
        field.name: np.concatenate([getattr(clips, field.name) for clips in several])
        for field in fields(Clips)
        if field.name != "names"
    }
    return Clips(names=tuple(name for clips in several for name in clips.names), **columns)


def pretraining_config(config: TrainConfig, clips: int, count: int) -> TrainConfig:
    """A training's settings for about `clips` visits to `count` clips: AdamW, a cosine, nothing mixed."""
    if config.arithmetic == "float16":  # whose gradients would need a scale
        raise TsgcError("pretrain: precision is float16, expected auto, bf16, tf32 or float32")
    epochs = max(1, round(clips / (count * config.repeats)))
    return dataclasses.replace(
        config, epochs=epochs, warmup_epochs=round(WARM_UP * epochs), mixup_prob=0.0, cutmix_span=0.0,
        cutmix_part=0.0, optimiser="adamw", schedule="cosine", lr_steps=(), teachers=(),
    )  # fmt: skip


class Pretrainer:
    """Trains a network's trunk in place, a step at a time; optimiser and decoder are its own.

    `chosen`: the clips that train. `cuda_graphs`: steps are captured, as those of the training are.
    """

    def __init__(
        self,
        model: nn.Module,
        settings: Pretraining,
        config: TrainConfig,
        pipeline: InputPipeline,
        train: tuple[ResidentClips, np.ndarray],
        others: Sequence[ResidentClips],
        cuda_graphs: bool,
    ) -> None:
        (own, chosen), device = train, train[0].joints.device
        clips: ResidentClips | JoinedClips = own
        self.said = ""
        """The further clips, and how they were matched."""
        if others:
            clips = JoinedClips([own, *others])
            chosen = np.concatenate([chosen, np.arange(len(own.clips), len(clips.clips))])
            self.said = clips.said
            if (most := int(clips.clips.bodies.max())) > pipeline.bodies:
                raise TsgcError(f"pretrain: clips of {most} bodies, the network takes {pipeline.bodies}")
        self.chosen, self.device = chosen, device
        self.config = pretraining_config(config, settings.clips, len(chosen))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.masked = Masked(model, settings.target)
        self.masked.to(device)
        self.loader = ResidentLoader(clips, chosen, self.config)
        pipeline = dataclasses.replace(pipeline, config=self.config)
        self.feed = MaskedFeed(self.loader, pipeline, model, device)  # type: ignore[arg-type]
        self.feed.mask, self.feed.token = settings.mask, self.masked.token
        self.optimizer = build_optimizer(self.masked, self.config, device)
        self.error = torch.zeros((), device=device, dtype=torch.float64)
        """Summed mean squared error of the steps since the last mark."""
        self.errors: list[float] = []
        """The mean squared error of what is hidden, after each of MARKS."""
        self.done = 0
        """Clips visited."""
        self._graphs = StepGraphs(device) if cuda_graphs else None

    def steps(self) -> Iterator[MaskedFeed]:
        """Train, with a pause after each step. Raises TsgcError for an error that is not finite."""
        per_epoch, epochs = self.loader.steps_per_epoch, self.config.epochs
        due = sorted({max(1, round(mark * epochs)) for mark in MARKS})
        position = since = 0
        self.masked.train()
        try:
            with self.masked:
                for epoch in range(epochs):
                    for ready in self.feed.epoch(epoch):
                        set_learning_rate(self.optimizer, learning_rate(position, per_epoch, self.config))
                        self._step(ready.parts, ready.step.size)
                        self.done += ready.step.size
                        position, since = position + 1, since + 1
                        yield self.feed
                    if epoch + 1 in due:
                        self._mark(epoch, since)
                        since = 0
        finally:
            self.feed.close()
            if self._graphs is not None:
                self._graphs.clear()

    def _step(self, parts: Sequence[MicroBatch], size: int) -> None:
        if self._graphs is None:
            self._run(parts)
        else:
            self._graphs(parts, size, self._run)

    def _run(self, parts: Sequence[MicroBatch]) -> None:
        (batch,) = parts
        with arithmetic(self.config.arithmetic, self.device):
            loss = self.masked.loss(batch)
        loss.backward()
        self.error += loss.detach()
        if self.config.clip_grad is not None:
            nn.utils.clip_grad_norm_(self.masked.parameters(), self.config.clip_grad)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def _mark(self, epoch: int, steps: int) -> None:
        error = self.error.item() / steps
        if not np.isfinite(error):
            raise TsgcError(f"the error is {error} after epoch {epoch + 1} of pretraining: it has diverged")
        self.errors.append(round(error, 6))
        self.error.zero_()
