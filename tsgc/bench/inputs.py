"""Made input of a given shape, for timing and comparing without a data set."""

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from pipelines.skeleton import SKELETONS
from tsgc.config import TrainConfig
from tsgc.distributed.process import Process
from tsgc.modalities import num_channels
from tsgc.network.build import Network, build_network
from tsgc.network.model import drop_path_factors
from tsgc.network.timm_parts import ModelEmaV3
from tsgc.networks import OURS, WITH_VARIANTS, network_title
from tsgc.step.micro_batch import MicroBatch
from tsgc.step.optimizer import build_optimizer
from tsgc.step.train_step import TrainStep
from tsgc.training.run import wrap_network


@dataclass(frozen=True)
class Shape:
    """The size of a network and of its input."""

    variant: str = "252"
    skeleton: str = "ntu-25"
    frames: int = 256
    bodies: int = 2
    classes: int = 120
    batch: int = 128
    network: str = OURS
    """The network, as `--network` names it."""
    network_settings: dict[str, Any] = field(default_factory=dict)
    modality: str = "joint"

    @property
    def title(self) -> str:
        """The network in a table's title: "252", "CTR-GCN", "TSGCNeXt2 252"."""
        if self.network == OURS:
            return self.variant
        variant = f" {self.variant}" if self.network in WITH_VARIANTS else ""
        return network_title(self.network) + variant

    @property
    def of_ours(self) -> "Shape":
        """The same input for TSGCNeXt."""
        return replace(self, network=OURS, network_settings={}, modality="joint")


NTU = Shape()
NW_UCLA = Shape(skeleton="nw-ucla-20", frames=64, bodies=1, classes=10)


def make_model(shape: Shape, device: torch.device, seed: int = 0) -> Network:
    """The network of a shape, of the published recipe."""
    config = TrainConfig(
        network=shape.network,
        network_settings=shape.network_settings,
        variant=shape.variant,
        frames=shape.frames,
        modality=shape.modality,
    )
    torch.manual_seed(seed)
    skeleton, channels = SKELETONS[shape.skeleton], num_channels(shape.modality, "xyz")
    return build_network(config, skeleton, shape.classes, bodies=shape.bodies, channels=channels).to(device)


def make_batch(
    shape: Shape, model: Network, device: torch.device, seed: int, presence: bool = False
) -> MicroBatch:
    """A micro-batch of noise, in the layout that the input pipeline gives, mixed in groups of 32."""
    random = torch.Generator().manual_seed(seed)
    joints = SKELETONS[shape.skeleton].num_joints
    channels = model.input_shape[0]
    x = torch.randn(shape.batch, shape.bodies, shape.frames, joints, channels, generator=random)
    uniform = torch.rand(len(model.drop_path_rates), shape.batch * shape.bodies, generator=random)
    here = torch.rand(shape.batch, shape.frames, shape.bodies, generator=random) < 0.8
    groups = torch.arange(shape.batch).split(32)
    batch = MicroBatch(
        x=x.to(device).permute(0, 4, 2, 3, 1),  # (N, M, T, V, C) -> (N, C, T, V, M)
        labels=torch.randint(shape.classes, (shape.batch,), generator=random).to(device),
        partner=torch.cat([group.flip(0) for group in groups]).to(device),
        lam=torch.rand(shape.batch, generator=random).to(device),
        survival=uniform,
        presence=here.float().to(device) if presence else None,
    )
    return with_drop_path(batch, model, uniform)


def with_drop_path(batch: MicroBatch, model: Network, uniform: Tensor) -> MicroBatch:
    """The same clips with rows dropped by `uniform` (blocks, rows), numbers in [0, 1) on the host."""
    rates = model.drop_path_rates
    alive = uniform >= rates.cpu()[:, None]
    survival = drop_path_factors(rates, uniform.to(batch.x.device))
    return replace(batch, survival=survival, alive=alive.numpy())


def redrawn(batch: MicroBatch, model: Network, times: int) -> list[MicroBatch]:
    """The batch `times` over: the same clips, with other rows dropped in each after the first."""
    random = torch.Generator().manual_seed(1)
    others = (torch.rand(batch.survival.shape, generator=random) for _ in range(times - 1))
    return [batch, *(with_drop_path(batch, model, uniform) for uniform in others)]


def make_step(
    shape: Shape,
    config: TrainConfig,
    device: torch.device,
    *,
    cuda_graphs: bool,
    seed: int = 0,
    process: Process | None = None,
) -> TrainStep:
    """The training step of a fresh network: on this device alone, or on all of a process group's."""
    model = make_model(shape, device, seed).train()
    ema = ModelEmaV3(model, decay=config.ema_decay, use_warmup=config.ema_warmup)
    optimizer = build_optimizer(model, config, device)
    process = process or Process(0, 1, device)
    network = wrap_network(model, config, process, cuda_graphs)
    return TrainStep(
        model, optimizer, ema, config, shape.classes, process, network=network, cuda_graphs=cuda_graphs
    )
