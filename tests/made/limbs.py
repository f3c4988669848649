"""Made bodies of whose four limbs two swing: a class is which swings outwards, another swings forwards."""

import numpy as np
import torch
from torch.nn import functional

from made.batches import CPU, UCLA, pack, pipeline
from pipelines.synthetic.bodies import (
    L_HIP,
    L_SHOULDER,
    R_HIP,
    R_SHOULDER,
    Motion,
    Swing,
    film,
    make_body,
    perform,
)
from tsgc.network.model import TSGCNeXt

LIMBS = (range(4, 8), range(8, 12), range(12, 16), range(16, 20))
"""Joints of the left arm, right arm, left leg and right leg, in the order of the classes."""
# As far outwards as forwards: how far a limb swings says nothing.
SIZES = {L_SHOULDER: 0.6, R_SHOULDER: 0.6, L_HIP: 0.45, R_HIP: 0.45}
STEPS, BATCH, RATE = 250, 32, 8e-3


def limb_clips(count, seed):
    """Centred clips (T, 1, 20, 3), and their classes."""
    rng = np.random.default_rng(seed)
    body = make_body(UCLA, np.random.default_rng(0))
    labels = np.arange(count) % len(LIMBS)
    return [_clip(label, body, rng) for label in labels], labels


def _clip(label, body, rng):
    (joint, size), other = list(SIZES.items())[label], rng.choice(np.delete(np.arange(len(LIMBS)), label))
    decoy, far = list(SIZES.items())[other]
    outwards = Swing(joint, z=-size if joint in (L_SHOULDER, L_HIP) else size, lag=rng.random())
    motion = Motion((outwards, Swing(decoy, x=far, lag=rng.random())))
    (joints,) = film([perform(body, motion, 40, rng.random(), rng)], rng.uniform(-0.2, 0.2), 0.05, 3.0, rng)
    return (joints - joints[0, UCLA.centre])[:, None].astype(np.float32)


def limb_network(clips=256, modality="joint_motion"):
    """A tiny network that tells these clips apart, and the pipeline of its input."""
    torch.manual_seed(0)
    pipe = pipeline(UCLA, 1, variant="tiny", frames=16, modality=modality)
    model = TSGCNeXt(UCLA, len(LIMBS), variant="tiny", bodies=1, drop_path=0.0)
    made, labels = limb_clips(clips, seed=1)
    x, target = pipe.test(pack(made), CPU)[0], torch.from_numpy(labels)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS)
    rng = np.random.default_rng(0)
    for _ in range(STEPS):
        picked = torch.from_numpy(rng.choice(clips, BATCH, replace=False))
        loss = functional.cross_entropy(model(x[picked]), target[picked])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval(), pipe
