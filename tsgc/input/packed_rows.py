"""The packed rows of a batch on the host and on the device, and one copy of all that goes there.

Giving a GPU an operation takes the host 5 to 10 microseconds, which is more than a small batch's operation
takes the GPU. So whatever depends on a clip's numbers alone, and not on its joints, is computed on the host
in NumPy, and all of a clip's factors and displacements are dealt to its rows by one gather.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from pipelines.channels import coordinates
from pipelines.skeleton import Skeleton
from shards.batch import PackedBatch
from tsgc.config import TrainConfig


@dataclass(frozen=True)
class HostRows:
    """The rows of a batch on the host, where its index columns lie; its joints need not."""

    batch: PackedBatch
    clip: np.ndarray
    """Each row's clip (rows,) int64."""
    config: TrainConfig
    skeleton: Skeleton
    channels: str
    """`xyz`, `xyzs`, or `xys`: pictures; s is a detector's score, which is no coordinate."""

    @property
    def axes(self) -> int:
        """Coordinates of a joint, 2 or 3."""
        return coordinates(self.channels)


@dataclass(frozen=True)
class Rows:
    """The rows of a batch on the device, besides their joints, which each augmentation is given apart."""

    clip: Tensor
    """Each row's clip (rows,) int64."""
    clips: int
    there: Tensor
    """Rows (rows,) bool that hold a body."""
    count_absent: bool
    """True where rows without a body count in `min-max`, as they do in the field."""
    config: TrainConfig
    skeleton: Skeleton
    channels: str


@dataclass(frozen=True)
class Values:
    """Arrays that one augmentation needs on the device, by names of its own."""

    sent: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Arrays of clips (N, ...) or of rows (rows, ...), which stay as they are."""
    dealt: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Arrays of clips (N, ...) float32; on the device each row has its clip's: (rows, ...)."""


@dataclass(frozen=True)
class HostArrays:
    """Arrays that the device needs of a batch besides its joints."""

    frames: Sequence[np.ndarray]
    """Arrays that say which rows the input's frames are interpolated from, as the resizing takes them."""
    clip: np.ndarray
    """Each row's clip (rows,) int64."""
    values: Mapping[str, Values]
    """Arrays that each augmentation needs, by its name."""
    times: np.ndarray | None = None
    """When each of the input's frames is in its clip (N, T) float64, in seconds, for streams that need it."""

    def send(self, device: torch.device) -> "DeviceArrays":
        """These arrays on the device, in one copy."""
        pairs = [(name, kind) for name, kind in self.values.items()]
        sent = {(name, key): array for name, kind in pairs for key, array in kind.sent.items()}
        dealt = {(name, key): array for name, kind in pairs for key, array in kind.dealt.items()}
        columns = [array.reshape(len(array), -1) for array in dealt.values()]
        beside = [np.concatenate(columns, axis=1)] if columns else []
        timed = [] if self.times is None else [self.times]
        arrays = to_device([*self.frames, self.clip, *timed, *sent.values(), *beside], device)
        frames, (clip, *others) = arrays[: len(self.frames)], arrays[len(self.frames) :]
        times = others.pop(0) if timed else None
        found: dict[str, dict[str, Tensor]] = {name: {} for name in self.values}
        for (name, key), tensor in zip(sent, others):
            found[name][key] = tensor
        if columns:
            parts = others[-1].index_select(0, clip).split_with_sizes([part.shape[1] for part in columns], 1)
            for ((name, key), array), part in zip(dealt.items(), parts):
                found[name][key] = part.view(-1, *array.shape[1:])
        return DeviceArrays(frames, clip, found, times)


@dataclass(frozen=True)
class DeviceArrays:
    """`HostArrays` on the device, dealt to rows."""

    frames: list[Tensor]
    clip: Tensor
    values: Mapping[str, Mapping[str, Tensor]]
    times: Tensor | None


def row_clips(batch: PackedBatch) -> np.ndarray:
    """The clip of each row of a batch, (rows,) int64."""
    counts = batch.frames.numpy() * batch.bodies.numpy()
    return np.repeat(np.arange(len(counts)), counts)


_TYPES: dict[np.dtype, torch.dtype] = {
    np.dtype(np.float64): torch.float64,
    np.dtype(np.int64): torch.int64,
    np.dtype(np.float32): torch.float32,
    np.dtype(np.int32): torch.int32,
    np.dtype(np.bool_): torch.bool,
}  # wide ones first: in that order each begins where its type may, without gaps


def to_device(arrays: Sequence[np.ndarray], device: torch.device) -> list[Tensor]:
    """Arrays on the device, in one copy, which from page-locked memory does not hold up the host.

    Arrays of one type lie side by side and are cut apart by one operation: views cost the host time too.
    On a CPU the tensors are the arrays themselves.
    """
    if device.type == "cpu":
        return [torch.from_numpy(array) for array in arrays]
    groups: dict[np.dtype, list[int]] = {dtype: [] for dtype in _TYPES}
    for index, array in enumerate(arrays):
        groups[array.dtype].append(index)
    size = sum(array.nbytes for array in arrays)
    memory = torch.empty(size, dtype=torch.uint8, pin_memory=device.type == "cuda")
    host, start, spans = memory.numpy(), 0, []
    for dtype, members in groups.items():
        if members:
            flat = [arrays[index].reshape(-1) for index in members]
            sizes = [array.size for array in flat]
            stop = start + dtype.itemsize * sum(sizes)
            np.concatenate(flat, out=host[start:stop].view(dtype))
            spans.append((dtype, members, sizes, start, stop))
            start = stop
    there = memory.to(device, non_blocking=True)
    sent: list[Tensor] = [there] * len(arrays)
    for dtype, members, sizes, start, stop in spans:
        parts = torch.split_with_sizes(there[start:stop].view(_TYPES[dtype]), sizes)
        for index, part in zip(members, parts):
            shape = arrays[index].shape
            sent[index] = part if len(shape) == 1 else part.view(shape)
    return sent
