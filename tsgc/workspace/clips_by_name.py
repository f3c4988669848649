"""Single clips out of a shard set, by name."""

from collections.abc import Sequence

import numpy as np

from shards.manifest import Manifest
from shards.reader import ShardReader


def clips_by_name(manifest: Manifest, split: str, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The named clips of a split that are in it: name -> joints (T, M, V, C) float32.

    Raises TsgcError where a shard is missing or damaged.
    """
    clips = manifest.clips[split]
    place = {name: index for index, name in enumerate(clips.names)}
    indices = np.array([place[name] for name in names if name in place], np.int64)
    if not len(indices):
        return {}
    wanted = np.zeros(len(clips), bool)
    wanted[indices] = True
    chosen = clips.select(wanted)
    reader = ShardReader(manifest, split, chosen)
    try:
        batch = reader.read(np.arange(len(chosen)))
    finally:
        reader.close()
    joints, found = batch.joints.numpy(), {}
    for name, start, T, M in zip(
        chosen.names, batch.offsets.tolist(), batch.frames.tolist(), batch.bodies.tolist()
    ):
        found[name] = joints[start : start + T * M].reshape(T, M, *joints.shape[1:])
    return {name: found[name] for name in names if name in found}
