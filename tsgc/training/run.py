"""A training and its parts, put together as before the first step."""

import dataclasses
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from shards.load_manifest import load_manifest
from shards.loader import EvalLoader, TrainLoader
from shards.manifest import Manifest
from shards.options import LoaderOptions
from shards.resident import ResidentClips
from tsgc import kernels
from tsgc.config import TrainConfig, settle_window
from tsgc.distributed.process import Process
from tsgc.input.pipeline import InputPipeline, input_pipeline, interpolates_presence
from tsgc.modalities import num_channels
from tsgc.network.build import Network, build_network
from tsgc.network.cost import count_words
from tsgc.network.layers import block_widths
from tsgc.network.own.wrapped import Wrapped, try_out
from tsgc.network.precision import AUTO, agreed, arithmetic, for_recognition
from tsgc.network.timm_parts import ModelEmaV3
from tsgc.networks import OURS
from tsgc.step.cuda_graphs import captures_steps, worth_capturing
from tsgc.step.distil import open_teachers
from tsgc.step.forward_graphs import ForwardGraphs
from tsgc.step.optimizer import build_optimizer
from tsgc.step.other_networks import share_weights
from tsgc.step.train_step import TrainStep
from tsgc.tracking.metrics_log import Recorder
from tsgc.tracking.trackers import Trackers
from tsgc.training.feed import Feed
from tsgc.training.settle_precision import settle_precision
from tsgc.workspace.relabel import count_moved, relabelled


@dataclass
class Training:
    """One run: its parts, and how far it is."""

    config: TrainConfig
    benchmark: str
    """The name of the shards' folder, such as `ntu60/xsub`."""
    manifest: Manifest
    process: Process
    folder: Path
    pipeline: InputPipeline
    loader: TrainLoader
    validation: EvalLoader
    """The clips that `best` is chosen by: held-out training clips, or the test split."""
    model: Network
    ema: ModelEmaV3
    optimizer: torch.optim.Optimizer
    feed: Feed
    """The training steps' input, ready on the device."""
    train_step: TrainStep
    """Trains the model, step by step."""
    forward: ForwardGraphs
    """Recognises the validation clips; what it captures shares the training step's memory."""
    loader_options: LoaderOptions
    again: str = "the same command with --resume"
    """The command that goes on with the run, as people are told."""
    init: str = ""
    """The line that says what was loaded of the weights that it started from (`--init`)."""
    recipe_epochs: int | None = None
    """Epochs of the recipe that it is of; None: of the benchmark's own (in `configs`)."""
    moved: int = 0
    """Training clips that `config.relabel` gave another class."""
    epoch: int = 0
    """Epochs that are over."""
    step: int = 0
    """Steps of the current epoch that are over; more than 0 only where a run was asked to stop."""
    loss_sum: float = 0.0
    """Summed loss of those steps' clips, over all ranks."""
    missing: int = 0
    """Damaged clips that those steps have left out, over all ranks."""
    figures: dict[str, float] = dataclasses.field(default_factory=dict)
    """What is recorded of the current epoch, where all its steps are over and its validation is not."""
    best: dict[str, float] = dataclasses.field(default_factory=dict)
    """Best top-1 so far of raw (``) and averaged (`-ema`) weights."""
    trackers: Trackers = dataclasses.field(default_factory=Trackers)
    """Rank 0's, while it trains and is scored."""
    recorder: Recorder | None = None
    """On rank 0, while it trains."""

    @property
    def position(self) -> int:
        """Steps of the whole run that are over."""
        return self.epoch * self.loader.steps_per_epoch + self.step

    @property
    def selected_on(self) -> str:
        """The clips that `best` is chosen by: `holdout` or `test`."""
        return "holdout" if self.config.holdout else "test"

    @property
    def weights(self) -> dict[str, nn.Module]:
        """Raw and averaged weights, by the suffix of their files."""
        return {"": self.model, "-ema": self.ema.module}


def build_training(
    config: TrainConfig,
    benchmark: str,
    shards: Path | str,
    folder: Path,
    process: Process,
    loader_options: LoaderOptions | None = None,
    resident: Mapping[str, ResidentClips] | None = None,
) -> Training:
    """A training with its loaders, network, averaged weights and optimiser, as before the first step.

    `resident`: split -> its clips on the device, for runs that share them; without, the shards are read.
    """
    published = load_manifest(shards)
    manifest = relabelled(published, config.relabel)
    loader_options = loader_options or LoaderOptions()
    config = settle_precision(settle_window(config, remote=bool(manifest.url)), process)
    device = process.device
    pipeline = input_pipeline(config, manifest)
    loader = TrainLoader(
        manifest,
        batch=config.batch,
        seed=config.seed,
        rank=process.rank,
        world=process.world,
        accumulation=math.ceil(config.batch / (config.micro_batch * process.world)),
        mix_group=config.mix_group,
        last_batch=config.last_batch,
        repeats=config.repeats,
        holdout=config.holdout,
        window=config.shuffle_window or 0,
        pin=device.type == "cuda",
        options=loader_options,
        resident=(resident or {}).get("train"),
    )
    validated = "holdout" if config.holdout else "test"
    validation = EvalLoader(
        manifest,
        validated,
        batch=config.eval_batch,
        rank=process.rank,
        world=process.world,
        pin=device.type == "cuda",
        options=loader_options,
        resident=(resident or {}).get("test" if validated == "test" else "train"),
    )
    model, train_step = make_train_step(config, manifest, pipeline.bodies, process, loader_options)
    # As the run is scored later.
    recognition = agreed(for_recognition(config.precision, device, config.network == OURS), process)
    feed = Feed(loader, pipeline, model, device, train_step.others)
    return Training(
        config,
        benchmark,
        manifest,
        process,
        folder,
        pipeline,
        loader,
        validation,
        model,
        train_step.ema,
        train_step.optimizer,
        feed,
        train_step,
        ForwardGraphs(recognition, device, (config.eval_batch,), train_step.graph_pool),
        loader_options,
        moved=count_moved(published, manifest, config.holdout),
    )


def make_train_step(
    config: TrainConfig, manifest: Manifest, bodies: int, process: Process, loader_options: LoaderOptions
) -> tuple[Network, TrainStep]:
    """The network as `config.seed` initialises it, and its step, with average, optimiser and teachers."""
    teachers = open_teachers(config, manifest, bodies, process.device)
    torch.manual_seed(config.seed)
    model = build_network(
        config,
        manifest.body,
        len(manifest.class_names),
        bodies=bodies,
        channels=num_channels(config.modality, manifest.channels),
    ).to(process.device)
    if isinstance(model, Wrapped):
        precise = partial(arithmetic, config.arithmetic, process.device)
        present = interpolates_presence(manifest.preset)
        try_out(model, process.device, process.world > 1, precise, presence=present)
        share_weights(model, process)
    ema = ModelEmaV3(model, decay=config.ema_decay, use_warmup=config.ema_warmup)
    optimizer = build_optimizer(model, config, process.device)
    worth = worth_capturing(config, manifest.body.num_joints, bodies, process.world)
    cuda_graphs = captures_steps(config, process, loader_options, worth)
    train_step = TrainStep(
        model,
        optimizer,
        ema,
        config,
        len(manifest.class_names),
        process,
        network=wrap_network(model, config, process, cuda_graphs),
        cuda_graphs=cuda_graphs,
        teachers=teachers,
    )
    return model, train_step


def wrap_network(model: nn.Module, config: TrainConfig, process: Process, cuda_graphs: bool) -> nn.Module:
    """The model as it is called in training: compiled, and wrapped where several ranks train.

    Captured steps sum the gradients themselves: DDP's exchange in the midst of the backward pass saves less
    than launching kernels one by one costs.
    """
    network: nn.Module = torch.compile(model) if config.compile else model  # type: ignore[assignment]
    if process.world == 1 or cuda_graphs:
        return network
    # InputNorm makes its statistics equal on all ranks itself: there is no buffer to broadcast.
    # Newer torch calls the option forward_sync_buffers, which torch 2.10 does not know yet.
    warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
    devices = [process.device] if process.device.type == "cuda" else None
    return DistributedDataParallel(
        network, device_ids=devices, broadcast_buffers=False, gradient_as_bucket_view=True
    )


def settle_kernels(run: Training) -> str:
    """Chooses the kernels of TSGCNeXt's blocks; says what those of training are cut for."""
    widths, joints = block_widths(run.model), run.manifest.body.num_joints
    with arithmetic(run.config.arithmetic, run.process.device):
        for training in (False, True):
            said = kernels.settle(run.process.device, widths, joints, training)
    return said


def summary(run: Training) -> str:
    """The line that a training starts with: data, stream, network, size and place."""
    config, process = run.config, run.process
    parameters = sum(p.numel() for p in run.model.parameters())
    teachers = run.train_step.teachers
    taught = f", taught by {teachers} (share {config.distil:g})" if teachers else ""
    precision = config.arithmetic + (" (auto)" if config.precision == AUTO else "")
    moved = f" ({run.moved} of corrected class)" if run.moved else ""
    return (
        f"{run.benchmark} ({run.manifest.preset} preset), {config.modality},"
        f" {config.network_title} ({count_words(parameters)}), "
        f"{len(run.loader.clips):,} clips{moved} x {config.repeats} an epoch,"
        f" {run.loader.steps_per_epoch} steps of {config.batch}, {process.world} x {process.device.type},"
        f" {precision}{taught} -> {run.folder}"
    )
