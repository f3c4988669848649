"""The modules that are exported: the network, or the whole way from joints to logits."""

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from pipelines.channels import in_space
from shards.batch import PackedBatch
from tsgc.export.joints_input import dense_normalise, dense_recentre
from tsgc.inference.trained_stream import TrainedStream
from tsgc.input.crop import TEST_CROP_MARGIN
from tsgc.input.resize import resample
from tsgc.modalities import derive_modality
from tsgc.network.build import Network
from tsgc.network.layers import TemporalPatch
from tsgc.network.own.wrapped import Wrapped


class StridedConv(nn.Module):
    """`TemporalPatch` as the convolution that it is: (R, T, V, C) -> (R, T // stride, V, width).

    A program traced with T cut to a multiple of the stride would take only lengths of the same remainder.
    """

    def __init__(self, patch: TemporalPatch) -> None:
        super().__init__()
        kernel = patch.weight.detach().unflatten(1, (patch.stride, -1))  # (width, stride, C)
        self.weight = nn.Parameter(kernel.transpose(1, 2)[..., None].contiguous(), requires_grad=False)
        self.bias = nn.Parameter(patch.bias.detach(), requires_grad=False)
        self.stride = patch.stride

    def forward(self, x: Tensor) -> Tensor:
        x = conv2d(x.permute(0, 3, 1, 2), self.weight, self.bias, stride=(self.stride, 1))
        return x.permute(0, 2, 3, 1)


def for_any_length(model: Network) -> Network:
    """A copy of the network; of TSGCNeXt, one that can be traced for any number of frames."""
    model = deepcopy(model)
    if isinstance(model, Wrapped):
        return model  # it takes the frames that it was made for
    for parent in (model.stem, *model.downs):
        for name, child in parent.named_children():
            if isinstance(child, TemporalPatch):
                setattr(parent, name, StridedConv(child))
    return model


def least_frames(stream: TrainedStream) -> int:
    """Fewest frames of a program for any number: with fewer the last stage has one step, a special case."""
    return 2 * stream.model.min_frames


def any_length(stream: TrainedStream) -> bool:
    """Whether the network's file takes any number of frames: not with presence, nor if trained on few."""
    return not stream.pipeline.present_only and stream.pipeline.config.frames >= least_frames(stream)


class FromInput(nn.Module):
    """The network alone: x (N, C, T, V, M), for some runs also presence (N, T, M) -> logits (N, K)."""

    def __init__(self, stream: TrainedStream) -> None:
        super().__init__()
        self.model = for_any_length(stream.model)

    def forward(self, x: Tensor, presence: Tensor | None = None) -> Tensor:
        return self.model(x, presence=presence)


class FromJoints(nn.Module):
    """Joints of clips of equal length (N, T, M, V, C), raw or centred -> logits (N, K).

    The test input of `InputPipeline` as fixed operations. T is known only when the program runs, so the
    positions of frames are computed from it as tensors, in float64 as there.
    """

    def __init__(self, stream: TrainedStream) -> None:
        super().__init__()
        self.model: Network = stream.model
        self.pipeline = stream.pipeline

    def forward(self, joints: Tensor) -> Tensor:
        pipeline = self.pipeline
        N, T, M, V, C = joints.shape
        if in_space(pipeline.channels):
            joints = dense_recentre(joints, pipeline.skeleton.centre)
        joints = dense_normalise(joints, pipeline)
        positions = POSITIONS[pipeline.config.sampling](T, pipeline.config.frames)
        ones = torch.ones(N, dtype=torch.int64)
        clips = torch.arange(N)
        batch = PackedBatch(
            joints=joints.reshape(N * T * M, V, C),
            frames=ones * T,
            bodies=ones * M,
            offsets=clips * (T * M),
            labels=clips,
            indices=clips,
            positions=clips,
            partner=clips,
        )
        x = resample(batch.joints, batch, positions.expand(N, -1), M, "zeros")
        times = positions[None] / pipeline.fps
        x = derive_modality(pipeline.config.modality, x, pipeline.skeleton, pipeline.channels, times)
        return self.model(x.permute(0, 4, 2, 3, 1))  # (N, M, T, V, C) -> (N, C, T, V, M)


def traced_crop_positions(frames: int, count: int) -> Tensor:
    """`tsgc.input.crop.crop_positions` of the test crop: (count,) float64."""
    length = torch.ones(frames, dtype=torch.float64).sum()
    start = (length / TEST_CROP_MARGIN).floor()
    length = length - 2 * start
    places = (torch.arange(count, dtype=torch.float64) + 0.5) * (length / count) - 0.5
    return start + places.clamp(min=0).minimum(length - 1)


def traced_even_positions(frames: int, count: int) -> Tensor:
    """`tsgc.input.crop.even_frames`: (count,) float64."""
    last = torch.ones(frames, dtype=torch.float64).sum() - 1
    places = torch.arange(count, dtype=torch.float64)
    ends = places == max(count - 1, 1)  # the last one exactly, whatever the division rounds to
    return torch.where(ends, last, places * (last / max(count - 1, 1))).floor()


POSITIONS = {"crop": traced_crop_positions, "frames": traced_even_positions}
