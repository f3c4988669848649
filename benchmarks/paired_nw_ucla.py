"""Do equal names mean the same performance, in NW-UCLA's two training views? No network, no test clip.

    python benchmarks/paired_nw_ucla.py [--rates 0.7 0.8 0.86 0.9 1.0]

Both training cameras filmed a performance at once, so clips of one action, performer and take (aAA_sSS_eEE)
in views 1 and 2 should show one movement from two places. Each clip of view 1 is laid over each take of its
action and performer in view 2: by one turn and shift of all joints of all frames (Kabsch), at the offset in
time that fits best, at which they share most of the shorter clip (SHARE). If names pair performances, the
take of the same number is the nearest far more often than by chance. `--rates`: frames of view 2 for one of
view 1; what two cameras filmed fits best at the cameras' own. Classes are the true ones (recipe: `relabel`).
"""

import argparse
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np
import torch
from nw_ucla.data import ResidentClips

from pipelines.datasets.nw_ucla import identify
from shards.load_manifest import load_manifest
from tsgc.config import resolve_config
from tsgc.console import Talker

SHARE = 0.7  # of the shorter clip's frames
RATES = (0.7, 0.8, 0.86, 0.9, 1.0)
LIMITS = (0.08, 0.12, 0.16, 0.2, 0.3, np.inf)  # metres

Takes = dict[int, np.ndarray]
"""The takes of one action and performer in one view, by their numbers: joints (T, V, 3) in metres."""


@dataclass(frozen=True)
class Group:
    """How far the takes of one action and performer are from each other across the views."""

    action: str
    numbers: tuple[tuple[int, ...], tuple[int, ...]]
    """The takes' numbers in view 1 and in view 2."""
    metres: np.ndarray
    """Residuals (takes of view 1, takes of view 2)."""
    strangers: np.ndarray
    """Residuals of the takes of view 1 and one each of another performer of the action in view 2."""

    @property
    def alike(self) -> bool:
        """Whether both views have the same numbers."""
        return self.numbers[0] == self.numbers[1]

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Places of the takes whose number both views have."""
        one, two = self.numbers
        return [(place, two.index(number)) for place, number in enumerate(one) if number in two]


def residual(one: np.ndarray, two: np.ndarray) -> float:
    """Root mean square distance of joints (n, V, 3) twice after the best turn and shift, in metres."""
    p, q = (joints.reshape(-1, 3) - joints.mean((0, 1)) for joints in (one, two))
    u, stretch, v = np.linalg.svd(p.T @ q)
    stretch[-1] *= np.sign(np.linalg.det(u @ v))  # a turn, not a mirroring
    return float(np.sqrt(max((p**2).sum() + (q**2).sum() - 2 * stretch.sum(), 0) / len(p)))


def nearest_residual(one: np.ndarray, two: np.ndarray) -> float:
    """The residual of two clips (T, V, 3) at the offset in time that fits best."""
    least = int(np.ceil(SHARE * min(len(one), len(two))))
    found = []
    for offset in range(least - len(two), len(one) - least + 1):
        a, b = one[max(0, offset) :], two[max(0, -offset) :]
        shared = min(len(a), len(b))
        if shared >= least:
            found.append(residual(a[:shared], b[:shared]))
    return min(found)


def at_rate(joints: np.ndarray, rate: float) -> np.ndarray:
    """A clip (T, V, 3) with `rate` frames for each of its own, interpolated."""
    at = np.linspace(0, len(joints) - 1, max(2, round(rate * len(joints))))
    first = np.minimum(at.astype(int), len(joints) - 2)
    part = (at - first)[:, None, None]
    return joints[first] * (1 - part) + joints[first + 1] * part


def takes_by_group(train: ResidentClips) -> dict[tuple[int, int], tuple[Takes, Takes]]:
    """(Class, performer) -> takes in view 1 and in view 2."""
    found: dict[tuple[int, int], tuple[Takes, Takes]] = defaultdict(lambda: ({}, {}))
    joints = train.joints.numpy().astype(np.float64)
    for index, name in enumerate(train.clips.names):
        told, start = identify(name).fields, train.offsets[index]
        group = found[int(train.clips.labels[index]), told["performers"]]
        group[told["views"] - 1][told["episodes"]] = joints[start : start + train.frames[index]]
    return {key: group for key, group in sorted(found.items()) if all(group)}


def compare(train: ResidentClips, rate: float) -> list[Group]:
    """All groups of the training clips, view 1 brought to `rate` frames for each of its own."""
    found, groups = [], takes_by_group(train)
    for (label, performer), (one, two) in groups.items():
        clips = [at_rate(one[number], rate) for number in sorted(one)]
        metres = [[nearest_residual(clip, two[number]) for number in sorted(two)] for clip in clips]
        same = [key for key in groups if key[0] == label]
        others = groups[same[(same.index((label, performer)) + 1) % len(same)]][1]  # the next performer's
        strangers = [nearest_residual(clip, other) for clip, other in zip(clips, cycle(others.values()))]
        numbers, action = (tuple(sorted(one)), tuple(sorted(two))), train.manifest.class_names[label]
        found.append(Group(action, numbers, np.array(metres), np.array(strangers)))
    return found


def agreement(name: str, groups: Sequence[Group]) -> tuple[str, ...]:
    """A row: how often the take of the same number is the nearest, and the nearest both ways."""
    found = [(group.metres, i, j) for group in groups for i, j in group.pairs]
    shares = (
        np.mean([metres[i].argmin() == j for metres, i, j in found]),
        np.mean([1 / metres.shape[1] for metres, _, _ in found]),
        np.mean([metres[i].argmin() == j and metres[:, j].argmin() == i for metres, i, j in found]),
    )
    own = np.median([metres[i, j] for metres, i, j in found])
    others = np.concatenate([np.delete(metres[i], j) for metres, i, j in found])
    median = f"{np.median(others):.3f}" if len(others) else "-"
    strangers = np.median(np.concatenate([group.strangers for group in groups]))
    said = (*(f"{100 * share:.0f} %" for share in shares), f"{own:.3f}", median, f"{strangers:.3f}")
    return (name, str(len(found)), *said)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shards", type=Path, default=Path("data/shards/nw-ucla/xview"))
    parser.add_argument("--rates", type=float, nargs="+", default=RATES)
    options = parser.parse_args()
    manifest = load_manifest(options.shards)
    config = resolve_config(manifest.benchmark)
    train = ResidentClips(manifest, "train", torch.device("cpu")).relabelled(config)
    by_rate = {rate: compare(train, rate) for rate in options.rates}
    head = ("", "pairs", "nearest", "by chance", "both ways", "metres", "other takes", "other performers")
    talker = Talker()
    rows = [agreement(f"{rate:g}", groups) for rate, groups in by_rate.items()]
    talker.table("The same number, by frames of view 2 for one of view 1", head, rows)
    groups = max(by_rate.values(), key=lambda groups: sum(ahead for _, ahead in nearest(groups)))
    parts = {"takes numbered alike in both views": [group for group in groups if group.alike]}
    parts["takes numbered otherwise"] = [group for group in groups if not group.alike]
    for action in manifest.class_names:
        parts[action] = [group for group in groups if group.action == action]
    rows = [agreement(name, part) for name, part in parts.items() if any(group.pairs for group in part)]
    talker.table("At the rate where most are nearest", head, rows)
    talker.table("By the pair's own distance", ("metres", "pairs", "nearest"), by_distance(groups))


def nearest(groups: Sequence[Group]) -> list[tuple[float, bool]]:
    """The residual of each pair of the same number, and whether no other take of view 2 is nearer."""
    return [(group.metres[i, j], group.metres[i].argmin() == j) for group in groups for i, j in group.pairs]


def by_distance(groups: Sequence[Group]) -> list[tuple[str, ...]]:
    """A row for each range of residuals: its pairs, and how many of them are nearest."""
    rows = []
    for low, high in zip((0, *LIMITS), LIMITS):
        here = [ahead for metres, ahead in nearest(groups) if low <= metres < high]
        if here:
            rows.append((f"{low:g} to {high:g}", str(len(here)), f"{100 * np.mean(here):.0f} %"))
    return rows


if __name__ == "__main__":
    main()
