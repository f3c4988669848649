"""Arrays from the host to the device, many in one copy."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

_TYPES = {
    "float64": torch.float64,
    "int64": torch.int64,
    "float32": torch.float32,
    "int32": torch.int32,
    "bool": torch.bool,
}  # wide ones first: in that order each begins where its type may, without gaps


def to_device(arrays: Sequence[np.ndarray], device: torch.device) -> list[Tensor]:
    """Arrays on the device, in one copy, which from page-locked memory does not hold up the host.

    Arrays of one type lie side by side and are cut apart by one operation: views cost the host time too.
    """
    groups: dict[str, list[int]] = {name: [] for name in _TYPES}
    for index, array in enumerate(arrays):
        groups[array.dtype.name].append(index)
    size = sum(array.nbytes for array in arrays)
    memory = torch.empty(size, dtype=torch.uint8, pin_memory=device.type == "cuda")
    host = memory.numpy()
    start, spans = 0, []
    for name, members in groups.items():
        if members:
            flat = [arrays[index].reshape(-1) for index in members]
            stop = start + sum(array.nbytes for array in flat)
            np.concatenate(flat, out=host[start:stop].view(name))
            spans.append((name, members, start, stop))
            start = stop
    there = memory.to(device, non_blocking=True)
    sent: list[Tensor] = [there] * len(arrays)
    for name, members, start, stop in spans:
        whole = there[start:stop].view(_TYPES[name])
        for index, part in zip(members, whole.split([arrays[index].size for index in members])):
            shape = arrays[index].shape
            sent[index] = part if len(shape) == 1 else part.view(shape)
    return sent
