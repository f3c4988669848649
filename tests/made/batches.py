"""Packed batches of made clips, and the pipeline that they go through."""

import dataclasses

import numpy as np
import torch

from pipelines.skeleton import SKELETONS
from shards.batch import PackedBatch
from tsgc.config import TrainConfig
from tsgc.input.pipeline import InputPipeline
from tsgc.input.random_numbers import Draws, draw
from tsgc.input.resize import present_rows

NTU, UCLA = SKELETONS["ntu-25"], SKELETONS["nw-ucla-20"]


CPU = torch.device("cpu")


def pack(clips):
    """Clips (T, M, V, C) as one packed batch."""
    frames = torch.tensor([len(clip) for clip in clips])
    bodies = torch.tensor([clip.shape[1] for clip in clips])
    rows = frames * bodies
    count = torch.arange(len(clips))
    joints = torch.cat([torch.as_tensor(clip).flatten(0, 1) for clip in clips])
    return PackedBatch(
        joints=joints, frames=frames, bodies=bodies, offsets=rows.cumsum(0) - rows, labels=count * 0,
        indices=count, positions=count, partner=count.flip(0),
    )  # fmt: skip


def made_clips(seed=0, bodies=(1, 2, 1), frames=(7, 100, 1), joints=25):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((t, m, joints, 3)).astype(np.float32) for t, m in zip(frames, bodies)]


def pipeline(skeleton=NTU, bodies=2, absent="zeros", **changes):
    return InputPipeline(dataclasses.replace(TrainConfig(), **changes), skeleton, bodies, absent)


ALL_ON = {
    "frames": 64, "rotation": "vertical", "rotation_max": 90.0, "rotation_tilt": 15.0, "face_camera": True,
    "mirror": 0.5, "limbs": 0.2, "scale": 0.2, "scale_axes": 0.1, "joint_offset": 0.02, "noise": 0.01,
    "occlusion": 0.05, "drop_joints": 0.5, "drop_axis": 0.3, "time_jitter": 1.0, "speed": 0.3,
    "mixup_prob": 1.0, "cutmix_span": 0.4, "cutmix_part": 0.3, "mix_group": 8,
}  # fmt: skip


def drawn(count=4000, epoch=0, step=0, **changes) -> Draws:
    config = dataclasses.replace(TrainConfig(), **{**ALL_ON, **changes})
    return draw(config, epoch, step, count, 1, 9, UCLA)


PLAIN = {"frames": 32, "crop_min": 1.0, "rotation": "none"}  # the whole clip, resized


def still_draws(pipe, count, **changes):
    """A step's numbers, with some in place of those drawn."""
    return Draws.named({**pipe.draw(0, 0, count, 3).arrays, **changes})


def placed_rows(pipe, batch, numbers=None, present=None):
    """Packed rows as the network is to see them, before frames are sampled."""
    arrays = pipe.host_arrays(batch, pipe.test_positions(batch), numbers or {}).send(CPU)
    present = present_rows(batch.joints) if present is None else present
    return pipe.place_rows(batch.joints, present, arrays, len(batch))


def train_input(clips, skeleton=UCLA, bodies=1, given=None, **changes):
    """The training input of clips as (N, M, T, V, C) arrays, and its draws."""
    pipe = pipeline(skeleton, bodies, **{**PLAIN, **changes})
    draws = still_draws(pipe, len(clips), **(given or {}))
    x, _ = pipe.train(pack(clips), draws, CPU)
    return x.permute(0, 4, 2, 3, 1).numpy(), draws


def bodies_of(frames=(9, 40, 1), seed=0):
    """NW-UCLA-like clips, upright and facing the camera: the right side at positive x."""
    clips = made_clips(seed, bodies=(1,) * len(frames), frames=frames, joints=20)
    place = np.zeros((20, 3), np.float32)
    for left, right in UCLA.left_right:
        place[left, 0], place[right, 0] = -3, 3
    place[:, 1] = np.linspace(3, -3, 20)
    return [0.1 * clip + place for clip in clips]
