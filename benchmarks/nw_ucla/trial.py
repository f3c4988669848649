"""One training on resident clips: what `tsgc train` does, a step at a time, so that many take turns."""

import string
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nw_ucla.data import ResidentClips, ResidentLoader
from nw_ucla.ideas.describe import DescribedFeed, DescribedTwinFeed, Describer, Describing, make_describing
from nw_ucla.ideas.pretrain import Pretrainer
from nw_ucla.ideas.settings import Pretraining
from nw_ucla.ideas.twins import TwinFeed, TwinLoader, disagreement
from nw_ucla.plan import Spec
from nw_ucla.weights import check_unseen
from pipelines.errors import TsgcError
from shards.options import LoaderOptions
from tsgc.checkpoint import describe_weights, save_weights
from tsgc.distributed.process import Process
from tsgc.evaluation.scores import accuracy
from tsgc.fine_tuning.fine_tune import fine_tune
from tsgc.fusion.calibrate import cross_entropy
from tsgc.input.pipeline import input_pipeline
from tsgc.input.tta import PLAIN, VIEWS, View
from tsgc.network.precision import arithmetic
from tsgc.step.optimizer import learning_rate
from tsgc.step.train_step import FurtherLoss
from tsgc.training.feed import Feed
from tsgc.training.run import make_train_step
from tsgc.training.settle_precision import settle_precision

Seen = tuple[torch.Tensor, torch.Tensor | None]
"""The network's input (N, C, T, V, M) and its presence (N, T, M), as `InputPipeline.test` gives them."""
FEEDS: dict[tuple[bool, bool], type[Feed]] = {
    (False, False): Feed,
    (True, False): TwinFeed,
    (False, True): DescribedFeed,
    (True, True): DescribedTwinFeed,
}
"""Whether clips have twins, whether they are described -> what makes their steps ready."""
CLASSES = string.digits + string.ascii_lowercase
MARKS = (0.25, 0.5, 0.75, 0.9, 1.0)  # parts of a training after which it is judged


@dataclass(eq=False)
class Trial:
    """A training, on the stream that is current, and what it has shown so far."""

    spec: Spec
    train: tuple[ResidentClips, np.ndarray]
    judge: tuple[ResidentClips, np.ndarray]
    device: torch.device
    others: Sequence[ResidentClips] = ()
    """Clips of further data sets that it may learn from without labels (`Pretraining.others`)."""
    marks: list[dict[str, Any]] = field(default_factory=list)
    done: int = 0
    """Clips visited."""
    pretrained: int = 0
    """Clips visited before, without labels."""
    said: dict[str, Any] = field(default_factory=dict)
    """What its line says of `twins` and `pretrain`."""
    started_from: str = ""
    """What was loaded of the weights that it starts from."""
    started: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        device = self.device
        process = Process(0, 1, device)
        config = self.config = settle_precision(self.spec.config, process)
        clips, chosen = self.train[0].relabelled(config), self.train[1]
        self.judge = (self.judge[0].relabelled(config), self.judge[1])
        manifest = clips.manifest
        pipeline = input_pipeline(config, manifest)
        self.model, self.step = make_train_step(config, manifest, pipeline.bodies, process, LoaderOptions())
        if self.spec.init is not None:
            check_unseen(self.spec.init, self.spec.fold)
            self.started_from = fine_tune(self.model, manifest, self.spec.init, modality=config.modality)
            self.step.ema.set(self.model)
        for teacher in config.teachers:
            check_unseen(Path(teacher), self.spec.fold)
        self.loader = self.make_loader(clips, chosen)
        make_feed = FEEDS[self.spec.twins is not None, self.spec.describe is not None]
        self.feed = make_feed(self.loader, pipeline, self.model, device, self.step.others)  # type: ignore[arg-type]
        self.describing: Describing | None = None
        if isinstance(self.feed, DescribedFeed):
            self.feed.describer = Describer(pipeline, clips, chosen)
            self.describing = make_describing(self.model, self.step.optimizer, config)
            self.step.sums.append(self.describing.error)
        self.step.further_loss = self.further_loss()
        self.pipeline = pipeline
        self.labels = self.judge[0].clips.labels[self.judge[1]]
        self.plain = self.seen(PLAIN)

    def make_loader(self, clips: ResidentClips, chosen: np.ndarray) -> ResidentLoader:
        """The batches of the clips that train; of pairs, whose answers the step then compares, for twins."""
        twins = self.spec.twins
        if twins is None:
            return ResidentLoader(clips, chosen, self.config)
        loader = TwinLoader(clips, chosen, self.config, twins.kind)
        self.said["twins"] = f"{twins}, {loader.told}"
        return loader

    def further_loss(self) -> FurtherLoss | None:
        """The loss that the trial's ideas add to the labels', summed over clips."""
        twins, describe, describing = self.spec.twins, self.spec.describe, self.describing
        further: list[FurtherLoss] = []
        if twins is not None:
            further.append(lambda logits, batch: disagreement(logits, twins.weight))
        if describe is not None and describing is not None:
            further.append(lambda logits, batch: describe.weight * describing.loss(batch))
        return (lambda logits, batch: sum(one(logits, batch) for one in further)) if further else None

    @property
    def worked(self) -> float:
        """Visits to clips so far, each counted as what it costs (`Spec.work`)."""
        return self.done * self.spec.cost + self.pretrained

    def seen(self, view: View) -> Seen:
        """The clips that judge, as the network sees them: made once, as tests are not augmented."""
        clips, which = self.judge
        return self.pipeline.test(clips.batch(which), self.device, view)

    def steps(self) -> Iterator[Feed]:
        """Train, with a pause after each step. Raises TsgcError for a loss that is not finite."""
        config, per_epoch = self.config, self.loader.steps_per_epoch
        due = sorted({max(1, round(mark * config.epochs)) for mark in MARKS})
        since = 0
        if self.spec.pretrain is not None:
            yield from self.pretrain(self.spec.pretrain)
        self.model.train()
        for epoch in range(config.epochs):
            for ready in self.feed.epoch(epoch):
                position = epoch * per_epoch + ready.step.step
                lr = learning_rate(position, per_epoch, config)
                self.step(ready.parts, lr=lr, size=ready.step.size, position=position)
                self.done += ready.step.size
                since += ready.step.size
                yield self.feed
            if epoch + 1 in due:
                loss = self.step.loss_sum.item() / since
                if not np.isfinite(loss):
                    raise TsgcError(f"the loss is {loss} after epoch {epoch + 1}: training has diverged")
                figures = self.look()
                if self.describing is not None:
                    figures["description_error"] = round(self.describing.take_error(since), 4)
                self.marks.append({"epoch": epoch + 1, "loss": round(loss, 4), **figures})
                self.step.clear()
                since = 0
                yield self.feed

    def pretrain(self, settings: Pretraining) -> Iterator[Feed]:
        """Let the network's trunk learn without labels; the training's average then starts from it."""
        captures = self.step.graph_pool is not None
        before = Pretrainer(
            self.model, settings, self.config, self.pipeline, self.train, self.others, captures
        )
        for feed in before.steps():
            self.pretrained = before.done
            yield feed
        self.said |= {"pretrain_clips": before.done, "pretrain_error": before.errors}
        if before.said:
            self.said["pretrain_with"] = before.said
        self.step.ema.set(self.model)

    def look(self) -> dict[str, float]:
        """Accuracies of raw and averaged weights on the clips that judge."""
        figures = {}
        for suffix, logits in self.logits(self.plain).items():
            found = accuracy(logits, self.labels)
            figures[f"top1{suffix}"] = round(found.top1, 3)
            figures[f"mean_class{suffix}"] = round(found.mean_class, 3)
            figures[f"nll{suffix}"] = round(cross_entropy(logits, self.labels), 4)
        return figures

    def last_look(self) -> dict[str, Any]:
        """The averaged weights' class of each validation clip, a character each, and top-1 by views."""
        answers = self.logits(self.plain)["_ema"].argmax(1)
        figures: dict[str, Any] = {"answers": "".join(CLASSES[answer] for answer in answers), "tta": {}}
        for name, several in VIEWS.items():
            if len(several) > 1:
                mean = np.mean([self.logits(self.seen(view))["_ema"] for view in several], axis=0)
                figures["tta"][name] = round(accuracy(mean, self.labels).top1, 3)
        return figures

    @torch.inference_mode()
    def logits(self, seen: Seen) -> dict[str, np.ndarray]:
        """Logits (N, K) of raw and averaged weights."""
        size = self.config.eval_batch
        x, presence = seen
        batches = x.split(size)
        there = [None] * len(batches) if presence is None else presence.split(size)
        found = {}
        for suffix, model in {"": self.model, "_ema": self.step.ema.module}.items():
            model.eval()
            with arithmetic(self.config.arithmetic, self.device):
                parts = [model(part, presence=mask).float() for part, mask in zip(batches, there)]
            found[suffix] = torch.cat(parts).cpu().numpy()
        self.model.train()
        return found

    def save(self) -> None:
        """Save the averaged weights where the plan says so; their benchmark names their fold."""
        if self.spec.save is None:
            return
        config, manifest, bodies = self.config, self.train[0].manifest, self.pipeline.bodies
        fold = f"{self.spec.dataset}/{self.spec.fold}"
        said = describe_weights(
            config, manifest, bodies, fold,
            epoch=config.epochs, ema=True, selected_on="none",
        )  # fmt: skip
        save_weights(self.spec.save, self.step.ema.module.state_dict(), said)

    def close(self) -> None:
        """Stop the thread and free the CUDA graphs."""
        self.feed.close()
        self.step.reset()
