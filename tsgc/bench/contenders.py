"""What a comparison is between: our network and training step, and the plain twin in a plain loop."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle

import torch
import torch.nn.functional as F
from torch import nn

from pipelines.skeleton import SKELETONS
from shards.options import LoaderOptions
from tsgc.bench.inputs import Shape, make_batch, make_model, make_step, redrawn
from tsgc.bench.reference import plain_twin
from tsgc.config import TrainConfig, resolve_config
from tsgc.distributed.process import Process
from tsgc.network.build import Network
from tsgc.network.model import TSGCNeXt
from tsgc.network.precision import arithmetic
from tsgc.network.timm_parts import ModelEmaV3, param_groups_weight_decay
from tsgc.step.cuda_graphs import captures_steps, worth_capturing
from tsgc.step.forward_graphs import ForwardGraphs
from tsgc.step.micro_batch import MicroBatch

Work = Callable[[], object]
DRAWS = 16  # of drop path, used in turn: a step's cost depends on how many rows are dropped


@dataclass(frozen=True)
class Contender:
    """A way to train and to recognise."""

    kind: str
    """`ours`, or `plain`: the plain twin."""
    precision: str
    compile: bool = False
    settings: tuple[str, ...] = ()
    """Settings of the recipe, as key=value."""
    network: str = ""
    """The network's title, where several networks are timed."""

    @property
    def name(self) -> str:
        kind = self.kind if self.kind == "plain" or not self.network else ""
        words = [self.network, kind, self.precision, "compiled" if self.compile else ""]
        return " ".join(filter(None, words))


def contender_config(contender: Contender, shape: Shape, world: int = 1) -> TrainConfig:
    """The published recipe with the contender's precision and settings."""
    options = {
        "network": shape.network,
        "network_settings": shape.network_settings,
        "variant": shape.variant,
        "frames": shape.frames,
        "bodies": shape.bodies,
        "batch": shape.batch * world,
        "micro_batch": shape.batch,
        "precision": contender.precision,
        "compile": contender.compile,
    }
    return resolve_config("made clips", recipe="reference", settings=contender.settings, options=options)


def training_work(
    contender: Contender, shape: Shape, device: torch.device, process: Process | None = None
) -> tuple[Work, Callable[[], None]]:
    """A training step on one made batch, to be called repeatedly, and a function that frees its memory.

    Drop path is drawn anew, as in training. With the `process` of a process group (only for ours) every rank
    has a batch of this shape.
    """
    process = process or Process(0, 1, device)
    config = contender_config(contender, shape, process.world)
    model = make_model(shape, device)
    batches = redrawn(make_batch(shape, model, device, seed=0), model, DRAWS)
    if contender.kind == "plain":
        return plain_step(contender, config, shape, batches, device), lambda: None
    joints = SKELETONS[shape.skeleton].num_joints
    worth = worth_capturing(config, joints, shape.bodies, process.world)
    cuda_graphs = captures_steps(config, process, LoaderOptions(), worth)
    step = make_step(shape, config, device, cuda_graphs=cuda_graphs, process=process)
    size = shape.batch * process.world
    turns = cycle(batches)

    def work() -> None:
        step([next(turns)], lr=1e-4, size=size, position=1000)

    return work, step.reset


def plain_step(
    contender: Contender,
    config: TrainConfig,
    shape: Shape,
    batches: Sequence[MicroBatch],
    device: torch.device,
) -> Work:
    """A step of the published training, on the plain twin."""
    twin = plain_network(make_model(shape, device)).train()
    network: nn.Module = torch.compile(twin) if contender.compile else twin  # type: ignore[assignment]
    optimizer = torch.optim.AdamW(param_groups_weight_decay(twin, config.weight_decay), lr=1e-4)
    ema = ModelEmaV3(twin, decay=config.ema_decay)
    turns = cycle(batches)

    def work() -> None:
        batch = next(turns)
        lam = batch.lam.view(-1, 1, 1, 1, 1)
        x = batch.x * lam + batch.x[batch.partner] * (1 - lam)
        targets = F.one_hot(batch.labels, shape.classes) * (1 - config.label_smoothing)
        targets = targets + config.label_smoothing / shape.classes
        targets = batch.lam[:, None] * targets + (1 - batch.lam[:, None]) * targets[batch.partner]
        with arithmetic(config.precision, device):
            logits = network(x, batch.survival)
        targets = targets.view(len(x), *(1,) * (logits.dim() - 2), -1)  # the same for each of several heads
        loss = -(targets * F.log_softmax(logits.float(), dim=-1)).sum(-1).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        ema.update(twin)

    return work


def plain_network(model: Network) -> nn.Module:
    """The plain twin of TSGCNeXt; any other network is its own."""
    return plain_twin(model) if isinstance(model, TSGCNeXt) else model


def inference_work(contender: Contender, shape: Shape, device: torch.device) -> Work:
    """A forward pass on one made batch, to be called repeatedly; ours as the commands do it, captured."""
    model = make_model(shape, device).eval()
    network: nn.Module = plain_network(model) if contender.kind == "plain" else model
    if contender.compile:
        network = torch.compile(network)  # type: ignore[assignment]
    x = make_batch(shape, model, device, seed=0).x
    if contender.kind == "ours":
        forward = ForwardGraphs(contender.precision, device, (shape.batch,))
        return partial(forward, model, x)

    def work() -> torch.Tensor:
        with torch.inference_mode(), arithmetic(contender.precision, device):
            result: torch.Tensor = network(x)
            return result

    return work


def contenders(
    precision: str,
    device: torch.device,
    *,
    plain: bool,
    compare: bool,
    settings: tuple[str, ...] = (),
    network: str = "",
) -> list[Contender]:
    """The contenders of `tsgc bench train`: the plain twin alone, all in turn, or ours; plain ones first.

    On a CPU ours always stand beside float32, the plain twin's and ours. Plain is, of a `network` other than
    TSGCNeXt (its title), the network itself in a plain loop.
    """
    twin = Contender("plain", precision, settings=settings, network=network)
    ours = replace(twin, kind="ours")
    if plain:
        return [twin]
    if compare:
        full = [replace(twin, precision="float32")] if precision != "float32" else []
        return [*full, twin, replace(twin, compile=True), ours]
    if device.type == "cpu":
        full = [replace(one, precision="float32") for one in (twin, ours)]
        return full if precision == "float32" else [*full, ours]
    return [ours]
