"""Do NW-UCLA's training clips carry the class that the other camera shows? No network, no test clip.

    python benchmarks/audit_nw_ucla.py data/shards/nw-ucla/xview --results benchmarks/nw_ucla/results/*.jsonl

Both training cameras filmed the same performances. What does not depend on where a camera stands (distances
between joints, heights above the clip's mean) is compared by dynamic time warping, a clip of one view inside
those of the same performer in the other view, as the views are cut to different lengths. By itself that is
weak evidence. With results of the search, what trainings that never saw that view take a clip for is a second
witness; then the groups (performer, action, view) are printed that most clips and most trainings take for
another action, without results those that most clips do. `exchanged`: the group of that action is taken for
this one in turn. Also: how much higher the head ends in clips of sitting down and standing up; and how many
clips are wrong in nearly all trainings.
"""

import argparse
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numba
import numpy as np
import torch
from nw_ucla.data import ResidentClips
from nw_ucla.folds import fold_clips, folds_of
from nw_ucla.search import read_results

from pipelines.datasets.nw_ucla import identify
from shards.load_manifest import load_manifest
from tsgc.console import Talker

HEAD, HANDS, ELBOWS, WRISTS, KNEES, ANKLES, HIPS = 3, (7, 11), (5, 9), (6, 10), (13, 17), (14, 18), 0
PAIRS = [
    *((hand, place) for hand in HANDS for place in (HEAD, HIPS)),
    HANDS, WRISTS, ELBOWS, KNEES, ANKLES, (7, 17), (11, 13),
    *((place, ankle) for place in (HEAD, HIPS) for ankle in ANKLES),
]  # fmt: skip
HEIGHTS = [HEAD, HIPS, *HANDS]
NEAREST = 3  # clips of the other view that vote
UP_AND_DOWN = ("sit down", "stand up")


def clip_features(joints: np.ndarray) -> np.ndarray:
    """(T, V, 3) metres -> (T, F): distances and heights, the same from wherever they are seen."""
    distances = [np.linalg.norm(joints[:, a] - joints[:, b], axis=1) for a, b in PAIRS]
    heights = joints[:, HEIGHTS, 1]
    return np.concatenate([np.stack(distances, 1), heights - heights.mean(0)], 1).astype(np.float64)


@numba.njit
def warped(inner: np.ndarray, outer: np.ndarray) -> float:
    """Mean distance of a frame of `inner` (n, F) on its best path through a part of `outer` (m, F)."""
    n, m = len(inner), len(outer)
    cost = np.full((n + 1, m + 1), np.inf)
    cost[0] = 0.0
    for i in range(1, n + 1):
        for j in range(1, m + 1):
            step = np.sqrt(((inner[i - 1] - outer[j - 1]) ** 2).sum())
            cost[i, j] = step + min(cost[i - 1, j - 1], cost[i - 1, j], cost[i, j - 1])
    return cost[n].min() / n


def nearest(clips: Mapping[str, np.ndarray], view: int, other: int) -> dict[str, list[str]]:
    """Each clip of `view` -> clips of its performer in the `other` view, nearest first."""
    who = {name: identify(name).fields for name in clips}
    found = {}
    for name in (name for name in clips if who[name]["views"] == view):
        same = [
            candidate
            for candidate in clips
            if who[candidate]["views"] == other and who[candidate]["performers"] == who[name]["performers"]
        ]
        found[name] = sorted(same, key=lambda candidate: warped(clips[name], clips[candidate]))
    return found


def taken_for(results: Sequence[Path], train: ResidentClips) -> dict[str, Counter[int]]:
    """Clip -> what joint streams trained on the other view took it for, by their last averaged weights."""
    answers: dict[str, Counter[int]] = defaultdict(Counter)
    for path in results:
        for line in read_results(path):
            judged = line["status"] == "ok" and line["fold"] in folds_of("views") and "answers" in line
            if not judged or line["modality"] != "joint":
                continue
            for clip, answer in zip(fold_clips(train.fields, line["fold"])[1], line["answers"], strict=True):
                answers[train.clips.names[clip]][int(answer)] += 1
    return dict(answers)


def most(votes: Counter[int]) -> int:
    return votes.most_common(1)[0][0]


def suspects(
    near: Mapping[str, Sequence[str]], answers: Mapping[str, Counter[int]]
) -> dict[tuple[str, int], tuple[int, str, str]]:
    """(Performer, class) whose clips are taken for another -> that class, by how many clips, by trainings."""
    groups: dict[tuple[str, int], list[str]] = defaultdict(list)
    for name in near:
        known = identify(name)
        groups[name[4:7], known.label].append(name)
    found = {}
    for group, names in groups.items():
        votes = [most(Counter(identify(clip).label for clip in near[name][:NEAREST])) for name in names]
        said = [most(answers[name]) for name in names if name in answers]
        other = most(Counter(votes))
        clips, trainings = votes.count(other), said.count(other)
        if other != group[1] and 2 * clips > len(votes) and (not said or 2 * trainings > len(said)):
            told = f"{trainings} of {len(said)}" if said else "-"
            found[group] = (other, f"{clips} of {len(votes)}", told)
    return found


def rise(joints: np.ndarray) -> float:
    """Metres that the head ends higher than it began: median of the last sixth less that of the first."""
    height = joints[:, HEAD, 1]
    part = max(1, len(height) // 6)
    return float(np.median(height[-part:]) - np.median(height[:part]))


def rises(clips: Mapping[str, np.ndarray], classes: Sequence[str]) -> list[tuple[str, ...]]:
    """A row for each view and action of UP_AND_DOWN: all performers' median, and the range of performer 4."""
    rows = []
    for view in (1, 2):
        for action in UP_AND_DOWN:
            found = {
                name: rise(joints)
                for name, joints in clips.items()
                if identify(name).fields["views"] == view and classes[identify(name).label] == action
            }
            fourth = [value for name, value in found.items() if identify(name).fields["performers"] == 4]
            spread = f"{min(fourth):.2f} to {max(fourth):.2f}"
            rows.append((str(view), action, f"{np.median(list(found.values())):.2f}", spread))
    return rows


def stubborn(answers: Mapping[str, Counter[int]], view: int) -> str:
    """How alike the trainings' errors on a view are, by the published classes."""
    asked = {name: votes for name, votes in answers.items() if identify(name).fields["views"] == view}
    trainings = max(votes.total() for votes in asked.values())
    right = {name: votes[identify(name).label] / votes.total() for name, votes in asked.items()}
    majority = np.mean([most(votes) == identify(name).label for name, votes in asked.items()])
    wrong = np.mean([share < 0.1 for share in right.values()])
    return (
        f"view {view}, judged by {trainings} trainings: right on {100 * np.mean(list(right.values())):.1f} %,"
        f" their majority on {100 * majority:.1f} %; {100 * wrong:.1f} % are wrong in over nine of ten"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shards", type=Path)
    parser.add_argument("--results", type=Path, nargs="*", default=[], help="of the search")
    options = parser.parse_args()
    manifest = load_manifest(options.shards)
    train = ResidentClips(manifest, "train", torch.device("cpu"))
    joints = train.joints.numpy()
    raw = {
        name: joints[start : start + frames]
        for name, start, frames in zip(train.clips.names, train.offsets, train.frames, strict=True)
    }
    clips = {name: clip_features(joints) for name, joints in raw.items()}
    answers = taken_for(options.results, train)
    classes = manifest.class_names
    rows = []
    for view, other in ((2, 1), (1, 2)):
        found = suspects(nearest(clips, view, other), answers)
        for (performer, label), (instead, near, trainings) in sorted(found.items()):
            back = found.get((performer, instead))
            exchanged = "yes" if back is not None and back[0] == label else "no"
            rows.append((str(view), performer, classes[label], classes[instead], near, trainings, exchanged))
    talker = Talker()
    talker.table(
        "Groups of clips that are taken for another action",
        ("view", "performer", "published as", "taken for", "nearest", "trainings", "exchanged"),
        rows,
    )
    talker.table(
        "Metres that the head ends higher",
        ("view", "published as", "median", "performer 4"),
        rises(raw, classes),
    )
    if answers:
        for view in (1, 2):
            talker.line(stubborn(answers, view))


if __name__ == "__main__":
    main()
