"""How fast every rung of the fused kernels is (`tsgc.kernels.ladder`), as on a GPU that need not be here."""

from typing import Any

import torch

from pipelines.skeleton import SKELETONS
from tsgc import kernels
from tsgc.bench.contenders import Contender
from tsgc.bench.inputs import Shape
from tsgc.bench.training import measure_contenders
from tsgc.kernels.cards import Card, limited
from tsgc.network.precision import DTYPES, arithmetic
from tsgc.networks import VARIANTS


def say_kernels(shape: Shape, precision: str, device: torch.device) -> str:
    """What the kernels of a network of this shape are cut for in training."""
    with arithmetic(precision, device):
        joints = SKELETONS[shape.skeleton].num_joints
        return kernels.settle(device, VARIANTS[shape.variant].widths, joints)


def time_rungs(
    contender: Contender, shape: Shape, device: torch.device, steps: int, card: Card
) -> list[dict[str, Any]]:
    """Clips a second of training and recognition on each rung that has room, and last of plain blocks.

    A rung that has no room at some width leaves it to the others; one that has none anywhere is left out.
    """
    from tsgc.kernels.ladder import preferring
    from tsgc.kernels.tunings import NARROW_RUNGS, WIDE_RUNGS

    names = [rung.name for rung in (NARROW_RUNGS if contender.precision in DTYPES else WIDE_RUNGS)]
    rows = []
    with limited(card):
        for name in names:
            with preferring(name):
                said = say_kernels(shape, contender.precision, device)
                if f"{name} at" in said:
                    rows.append(_row(name, said, contender, shape, device, steps))
        with kernels.plain():
            rows.append(_row("plain", "none", contender, shape, device, steps))
    return rows


def _row(
    name: str, said: str, contender: Contender, shape: Shape, device: torch.device, steps: int
) -> dict[str, Any]:
    (training,), (inference,) = (
        measure_contenders([contender], shape, device, steps, what) for what in ("training", "inference")
    )
    return {
        "rung": name,
        "kernels": said,
        "training": training.clips_per_second,
        "inference": inference.clips_per_second,
        "memory_gb": training.memory_gb,
    }
