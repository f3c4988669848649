"""What is done to each packed row of a batch, made ready on the host and sent to the device in one copy.

Giving a GPU an operation takes the host 5 to 10 microseconds, which is more than a small batch's operation
takes the GPU. So whatever hangs on a clip's numbers alone, and not on its joints, is computed here in NumPy,
and all of a clip's factors and displacements are dealt to its rows by one gather.
"""

import math
from collections.abc import Mapping
from functools import cache

import numpy as np
import torch
from torch import Tensor

from pipelines.skeleton import Skeleton
from shards.batch import PackedBatch
from tsgc.input.noise import hash32, row_hashes
from tsgc.input.occlusion import row_times
from tsgc.input.to_device import to_device


def row_values(
    batch: PackedBatch,
    augmentations: Mapping[str, np.ndarray],
    skeleton: Skeleton,
    axes: int,
    device: torch.device,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Each row's clip (rows,) int64, and what it is given, by name, of `augmentations` (N, ...).

    `axes`: coordinates of a joint, 2 or 3. On the device: `mirror` (rows,) bool; `signs` (rows, 1, axes), -1
    where an axis is mirrored; `limbs` (rows, V, 1), 1 at roots; `scale` (rows, 1, axes); `joint_offset`
    (rows, V, axes); `noise` (rows,) int64, hashed keys (`noise.normal_hashed`); `occlusion` (rows, 2,
    COSINES, V, 3), and with it `times` and `beside` (`occlusion.row_times`); and `angles` as they are, a
    clip's. The batch's index columns lie on the host.
    """
    arrays, shapes = row_arrays(batch, augmentations, skeleton, axes)
    given = dict(zip(arrays, to_device(list(arrays.values()), device)))
    row_clip = given.pop("clip")
    if shapes:
        dealt = given.pop("columns").index_select(0, row_clip)
        parts = torch.split_with_sizes(dealt, [math.prod(shape) for shape in shapes.values()], 1)
        for (name, shape), part in zip(shapes.items(), parts):
            given[name] = part.view(-1, *shape)
    return row_clip, given


def row_arrays(
    batch: PackedBatch, augmentations: Mapping[str, np.ndarray], skeleton: Skeleton, axes: int
) -> tuple[dict[str, np.ndarray], dict[str, tuple[int, ...]]]:
    """What `row_values` sends: arrays by name; and what its `columns` (N, sum of all) hold side by side,
    each of that shape in a row."""
    counts = batch.frames.numpy() * batch.bodies.numpy()
    clip = np.repeat(np.arange(len(counts)), counts)
    arrays = {"clip": clip}
    if "angles" in augmentations:
        arrays["angles"] = augmentations["angles"]
    if "mirror" in augmentations:
        arrays["mirror"] = augmentations["mirror"][clip]
    if "noise" in augmentations:
        place = np.arange(len(clip)) - batch.offsets.numpy()[clip]
        arrays["noise"] = hash32(hash32(augmentations["noise"])[clip] ^ row_hashes(place))
    if "occlusion" in augmentations:
        arrays["times"], arrays["beside"] = row_times(batch, clip)
    columns = _columns(augmentations, skeleton, axes)
    if columns:
        flat = [column.reshape(len(counts), -1) for column in columns.values()]
        arrays["columns"] = np.concatenate(flat, axis=1)
    return arrays, {name: column.shape[1:] for name, column in columns.items()}


def _columns(augmentations: Mapping[str, np.ndarray], skeleton: Skeleton, axes: int) -> dict[str, np.ndarray]:
    """What clips are multiplied by and displaced by, float32, shaped as a row takes it."""
    columns: dict[str, np.ndarray] = {}
    if "mirror" in augmentations:
        columns["signs"] = np.ones((len(augmentations["mirror"]), 1, axes), np.float32)
        columns["signs"][augmentations["mirror"], :, 0] = -1
    if "limbs" in augmentations:
        columns["limbs"] = np.where(_roots(skeleton), np.float32(1), augmentations["limbs"])[:, :, None]
    if "scale" in augmentations:
        columns["scale"] = augmentations["scale"][:, None, :axes]
    if "joint_offset" in augmentations:
        columns["joint_offset"] = augmentations["joint_offset"][..., :axes]
    if "occlusion" in augmentations:
        columns["occlusion"] = augmentations["occlusion"]
    return columns


@cache
def _roots(skeleton: Skeleton) -> np.ndarray:
    """Joints that are their own parents, bool (V,)."""
    return np.arange(skeleton.num_joints) == np.array(skeleton.parents)
