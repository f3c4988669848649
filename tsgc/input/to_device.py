"""Arrays from the host to the device, many in one copy."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

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
    """
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
