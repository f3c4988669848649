"""What the parts of a body do in a clip, as numbers: which limb, which way, how far, how near, when.

They are what people would tell actions apart by: a throw is an arm that goes up and ahead, sitting down a
trunk that sinks, walking one that is elsewhere at the end, picking up a hand near the floor.

Lengths are in spines, so that size does not matter, and along the body's own right, up and ahead, which
shoulders and hips tell anew in each frame: a turn about the vertical, a shift or a scale changes no number.
In a mirror left and right trade places, and what goes to the right goes to the left. All are made of means of
a few frames: a joint that jumps in one of them, as sensors' do, moves little.
"""

from functools import cache

import torch
from torch import Tensor

from pipelines.errors import TsgcError
from pipelines.skeleton import Skeleton
from pipelines.skeletons.joint_names import common_names
from tsgc.input.geometry import constant

MOMENTS = 16  # of a clip, or up to twice as many: with 64 frames they are means of 4
SIDES = ("left", "right")
PAIRS = ("shoulder", "wrist", "hand", "hip", "ankle", "foot")
JOINTS = (*(f"{side} {joint}" for joint in PAIRS for side in SIDES), "head")
"""The joints that are described, in this order; elbows and knees show in how near a limb's end comes."""
LIMBS = ("left arm", "right arm", "left leg", "right leg")
OUTWARD = ((-1.0, 1.0, 1.0), (1.0, 1.0, 1.0)) * 2  # signs of right, up and ahead for each of LIMBS
OF_A_LIMB = (
    "path",  # of the hand or foot, seen from the shoulder or hip, as all of these: whether the limb moves
    "outward", "up", "ahead",  # where it was when it was farthest from its beginning: out and back counts
    "highest", "lowest",  # of a limb that stays where it is, too, as in carrying
    "shortest",  # how far the elbow or knee bends
    "when",  # it moves, in the mean, from -1 at the clip's beginning to 1 at its end
)  # fmt: skip
OF_THE_TRUNK = (
    "path", "to the right", "ahead",  # of the hips, over the floor: walking, and where they end
    "rises", "sinks",  # seen from their beginning: standing up, sitting down
    "leans ahead", "leans to the right",  # the shoulders over the hips, at most: bending down
    "turns",  # to the right in all, in radians
    "when",
)  # fmt: skip
TOGETHER = (
    "left hand to head", "right hand to head", "left hand to hip", "right hand to hip",  # at the nearest
    "left hand to floor", "right hand to floor",  # over the lower foot, at the lowest
    "hands, nearest", "hands, farthest",  # what is done with both
    "feet, farthest",  # a step, a kick
)  # fmt: skip
NAMES = (
    *(f"{limb}: {what}" for limb in LIMBS for what in OF_A_LIMB),
    *(f"trunk: {what}" for what in OF_THE_TRUNK),
    *TOGETHER,
)
"""Names of a clip's numbers, D of them."""
TINY = 1e-6  # lengths of the spine; what moves less does not move


@cache
def places(skeleton: Skeleton) -> tuple[int, ...]:
    """Where in a skeleton JOINTS are. Raises TsgcError where it lacks one."""
    names = common_names(skeleton.joints)
    if missing := [name for name in JOINTS if name not in names]:
        raise TsgcError(
            f"describe: skeleton {skeleton.name} is without {', '.join(missing)}, expected a Kinect's joints"
        )
    return tuple(map(names.index, JOINTS))


def describe(joints: Tensor, seen: Tensor) -> Tensor:
    """The numbers NAMES of clips (N, D), none of which is NaN.

    `joints` (N, T, J, 3): those of JOINTS, as a Kinect has them: y up, x to the right of somebody who looks
    against z. `seen` (N, T) bool: frames that the body is in; others are as the last one before them.
    """
    joints = in_spines(moments(joints, seen))
    pairs, head = joints[:, :, :-1].unflatten(2, (-1, 2)), joints[:, :, -1:]  # (N, K, 6, 2, 3), (N, K, 1, 3)
    shoulders, wrists, hands, hips, ankles, feet = pairs.unbind(2)
    side = shoulders[:, :, 1] - shoulders[:, :, 0] + hips[:, :, 1] - hips[:, :, 0]
    side = side[..., ::2]  # over the floor
    right = side / side.norm(dim=-1, keepdim=True).clamp(min=TINY)
    ends = torch.cat([wrists + hands, ankles + feet], 2) / 2  # (N, K, 4, 3): two of each, as they jitter
    limbs = of_limbs(own_axes(ends - torch.cat([shoulders, hips], 2), right))
    trunk = of_trunk(hips.mean(2), shoulders.mean(2), right)
    return torch.cat([limbs, trunk, of_all(ends, head, hips)], 1)


def moments(joints: Tensor, seen: Tensor) -> Tensor:
    """Means of a few frames each, in which a body is seen: (N, T, J, 3) -> (N, K, J, 3).

    Where it is in none of them, they are as those before, or else as the first ones.
    """
    T = joints.shape[1]
    each = max(1, T // MOMENTS)
    count = T // each
    there = seen[:, : count * each].unflatten(1, (count, each)).to(joints.dtype)[..., None, None]
    shares = there.sum(2)
    means = (joints[:, : count * each].unflatten(1, (count, each)) * there).sum(2) / shares.clamp(min=1)
    known = shares.flatten(1) > 0
    moment = torch.arange(count, device=joints.device)
    last = torch.where(known, moment, -1).cummax(1).values
    first = torch.where(known, moment, count - 1).amin(1, keepdim=True)
    kept = torch.where(last < 0, first, last)
    return means.gather(1, kept[..., None, None].expand_as(means))


def in_spines(joints: Tensor) -> Tensor:
    """Bodies (N, K, J, 3) in lengths of their spine, the clip's mean; 0 where they have none."""
    pairs = joints[:, :, :-1].unflatten(2, (-1, 2)).mean(3)
    spine = (pairs[:, :, PAIRS.index("shoulder")] - pairs[:, :, PAIRS.index("hip")]).norm(dim=-1).mean(1)
    return joints * torch.where(spine > 0, 1 / spine, 0.0)[:, None, None, None]


def own_axes(vectors: Tensor, right: Tensor) -> Tensor:
    """Vectors (N, K, P, 3) along the body's right, up and ahead; `right` (N, K, 2) is its x and z."""
    x, y, z = vectors.unbind(-1)
    right_x, right_z = right[:, :, None].unbind(-1)
    return torch.stack([x * right_x + z * right_z, y, x * right_z - z * right_x], -1)


def of_limbs(ends: Tensor) -> Tensor:
    """OF_A_LIMB of each of LIMBS, (N, 4 * 8); `ends` (N, K, 4, 3): hands and feet, in the body's axes."""
    ends = ends * constant(OUTWARD, ends.dtype, ends.device)
    gone = ends - ends[:, :1]
    farthest = gone.norm(dim=-1).argmax(1)
    gone = gone.gather(1, farthest[:, None, :, None].expand(-1, 1, -1, 3))[:, 0]  # (N, 4, 3)
    steps, height = lengths(ends), ends[..., 1]
    numbers = [
        steps.sum(1), *gone.unbind(-1), height.amax(1), height.amin(1),
        ends.norm(dim=-1).amin(1), when(steps),
    ]  # fmt: skip
    return torch.stack(numbers, -1).flatten(1)


def of_trunk(hips: Tensor, shoulders: Tensor, right: Tensor) -> Tensor:
    """OF_THE_TRUNK, (N, 9), of the middles of hips and shoulders (N, K, 3); `right` (N, K, 2)."""
    gone = own_axes((hips[:, -1:] - hips[:, :1])[:, :, None], right[:, :1])[:, 0, 0]
    rise = hips[..., 1] - hips[:, :1, 1]
    lean = own_axes((shoulders - hips)[:, :, None], right)[:, :, 0]
    most = lean[..., 0].abs().argmax(1, keepdim=True)
    before, after = right[:, :-1], right[:, 1:]
    aside = after[..., 1] * before[..., 0] - after[..., 0] * before[..., 1]
    turns = torch.atan2(aside, (before * after).sum(-1))
    numbers = [
        lengths(hips[..., ::2]).sum(1), gone[:, 0], gone[:, 2], rise.amax(1), rise.amin(1),
        lean[..., 2].amax(1), lean[..., 0].gather(1, most)[:, 0],
        turns.sum(1), when(lengths(hips) + lengths(shoulders)),
    ]  # fmt: skip
    return torch.stack(numbers, -1)


def of_all(ends: Tensor, head: Tensor, hips: Tensor) -> Tensor:
    """TOGETHER, (N, 9), of hands and feet (N, K, 4, 3), the head (N, K, 1, 3), and hips (N, K, 2, 3)."""
    hands, feet = ends.chunk(2, 2)
    floor = feet[..., 1].amin(2, keepdim=True)
    apart, wide = ((pair[:, :, 0] - pair[:, :, 1]).norm(dim=-1) for pair in (hands, feet))
    numbers = [
        (hands - head).norm(dim=-1).amin(1), (hands - hips).norm(dim=-1).amin(1),
        (hands[..., 1] - floor).amin(1),
        apart.amin(1, keepdim=True), apart.amax(1, keepdim=True), wide.amax(1, keepdim=True),
    ]  # fmt: skip
    return torch.cat(numbers, 1)


def lengths(points: Tensor) -> Tensor:
    """Lengths of the steps from one moment to the next: (N, K, ..., C) -> (N, K - 1, ...)."""
    return points.diff(dim=1).norm(dim=-1)


def when(steps: Tensor) -> Tensor:
    """The mean time of what moves by `steps` (N, K - 1, ...), from -1 to 1; 0 where nothing does."""
    time = torch.linspace(-1, 1, steps.shape[1], dtype=steps.dtype, device=steps.device)
    return torch.einsum("k,nk...->n...", time, steps) / steps.sum(1).clamp(min=TINY)
