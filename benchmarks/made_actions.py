"""Made actions of many classes on NW-UCLA's skeleton, to pretrain on (benchmarks/nw_ucla/README.md).

    python benchmarks/made_actions.py --out data/made --clips 8000
    tsgc prepare custom --raw data/made && tsgc shard made
    tsgc train made/people --config configs/nw-ucla.yaml --variant 252 --set normalise=none \
        --set mixup_prob=0 --set epochs=50 --set repeats=1

A class is up to three parts of the body that swing, each at its own place in the cycle, and how fast they
rise and fall; no class is another's mirror image, as training mirrors clips. Every clip has its own camera,
and one performer in ten is left for the test. No real clip is read. The same seed gives the same clips.
"""

import argparse
import sys
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import yaml

from pipelines.errors import TsgcError
from pipelines.skeleton import NW_UCLA_20
from pipelines.synthetic.bodies import (
    BOW,
    L_ELBOW,
    L_HIP,
    LEFT_ARM_OUT,
    LEFT_ARM_UP,
    LEFT_LEG_UP,
    NECK,
    R_ELBOW,
    R_HIP,
    RIGHT_ARM_OUT,
    RIGHT_ARM_UP,
    RIGHT_LEG_UP,
    SQUAT,
    TRUNK,
    Floats,
    Motion,
    Swing,
    film,
    make_body,
    perform,
)

PARTS = {
    "right-arm-up": RIGHT_ARM_UP,
    "left-arm-up": LEFT_ARM_UP,
    "right-arm-out": RIGHT_ARM_OUT,
    "left-arm-out": LEFT_ARM_OUT,
    "right-elbow": (Swing(R_ELBOW, x=0.6),),
    "left-elbow": (Swing(L_ELBOW, x=0.6),),
    "right-leg-up": RIGHT_LEG_UP,
    "left-leg-up": LEFT_LEG_UP,
    "right-leg-out": (Swing(R_HIP, z=0.35),),
    "left-leg-out": (Swing(L_HIP, z=-0.35),),
    "bow": BOW,
    "squat": SQUAT,
    "right-trunk-leant": (Swing(TRUNK, z=0.3),),
    "left-trunk-leant": (Swing(TRUNK, z=-0.3),),
    "right-trunk-turned": (Swing(TRUNK, y=0.5),),
    "left-trunk-turned": (Swing(TRUNK, y=-0.5),),
    "right-head-turned": (Swing(NECK, y=0.6),),
    "left-head-turned": (Swing(NECK, y=-0.6),),
}
TO_AND_FRO = (
    "left-trunk-leant",
    "left-trunk-turned",
    "left-head-turned",
)  # the right ones, half a cycle later
LAGS = (0, 1, 2, 3)  # quarters of a cycle
RISES = (0.3, 0.5, 0.7)  # share of the cycle on the way up
MOST_PARTS = 3
FRAMES = (20, 80)  # at 30 a second, as NW-UCLA's
YAW, PITCH, DISTANCE = 0.8, (-0.05, 0.25), 3.0  # radians either way, radians, metres
TEST_PERFORMERS = 10  # one in so many; each performs every class once

Action = tuple[tuple[tuple[str, int], ...], float]
"""Parts by name, each with its lag in quarters of a cycle, and the rise."""


def mirrored(parts: tuple[tuple[str, int], ...]) -> tuple[tuple[str, int], ...]:
    """The parts of the mirror image."""
    swap = {"right": "left", "left": "right"}
    sides = [(name.partition("-"), lag) for name, lag in parts]
    return tuple((f"{swap.get(side, side)}{dash}{rest}", lag) for (side, dash, rest), lag in sides)


def same_for_all(action: Action) -> Action:
    """One form of all that look alike: begun elsewhere in the cycle, seen in a mirror."""
    parts, rise = action
    forms = []
    for form in (parts, mirrored(parts)):
        if rise == 0.5:  # to and fro are alike
            form = tuple((f"right{n[4:]}", lag + 2) if n in TO_AND_FRO else (n, lag) for n, lag in form)
        forms += [tuple(sorted((n, (lag - start) % len(LAGS)) for n, lag in form)) for start in LAGS]
    return min(forms), rise


def all_actions() -> list[Action]:
    """Every action there is, once, in a fixed order: parts that share no joint, the first at 0."""
    found = dict[Action, None]()
    for count in range(1, MOST_PARTS + 1):
        for names in combinations(PARTS, count):
            joints = [swing.joint for name in names for swing in PARTS[name]]
            if len(set(joints)) < len(joints):
                continue
            for places in np.ndindex((len(LAGS),) * (count - 1)):
                for rise in RISES:
                    found[same_for_all((tuple(zip(names, (0, *places), strict=True)), rise))] = None
    return list(found)


def action_motion(action: Action) -> Motion:
    parts, rise = action
    swings = tuple(replace(swing, lag=lag / len(LAGS)) for name, lag in parts for swing in PARTS[name])
    return Motion(swings, rise=rise)


def class_name(action: Action) -> str:
    parts, rise = action
    return "_".join([f"rise{round(100 * rise)}", *(f"{name}+{lag}" for name, lag in parts)])


def made_clip(action: Action, number: int, performer: int, seed: int) -> Floats:
    """Joints (T, 20, 3) in metres, as a camera somewhere in front sees them."""
    rng = np.random.default_rng([seed, 20, number])
    body = make_body(NW_UCLA_20, np.random.default_rng([seed, 20, performer, 1]))
    person = perform(
        body, action_motion(action), int(rng.integers(FRAMES[0], FRAMES[1] + 1)), rng.random(), rng
    )
    (joints,) = film([person], rng.uniform(-YAW, YAW), rng.uniform(*PITCH), DISTANCE, rng)
    return joints


def write_data_set(folder: Path, clips: int, classes: int, seed: int) -> None:
    """A data set for `tsgc prepare custom`. Raises TsgcError: is there already, too few clips."""
    if folder.exists():
        raise TsgcError(f"{folder}: is there already; remove it, or give another --out")
    known = all_actions()
    if not 2 <= classes <= len(known):
        raise TsgcError(f"{classes} classes, expected 2 to {len(known)}")
    if clips < classes * TEST_PERFORMERS:
        raise TsgcError(f"{clips} clips, expected {TEST_PERFORMERS} or more of each of the {classes} classes")
    picked = np.random.default_rng([seed, 21]).choice(len(known), classes, replace=False)
    actions = [known[index] for index in sorted(picked)]
    for number in range(clips):
        performer, label = divmod(number, classes)
        action = actions[label]
        split = "test" if performer % TEST_PERFORMERS == 0 else "train"
        path = folder / "clips" / class_name(action) / f"{split}-{number:06}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, made_clip(action, number, performer, seed).astype(np.float32))
    (folder / "dataset.yaml").write_text(
        yaml.safe_dump(
            {
                "name": "made",
                "skeleton": NW_UCLA_20.name,
                "classes": [class_name(action) for action in actions],
                "splits": {"people": {"train": ["*/train-*"], "test": ["*/test-*"]}},
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--clips", type=int, default=8000, help="default: 8000")
    parser.add_argument("--classes", type=int, default=100, help="default: 100")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    options = parser.parse_args()
    try:
        write_data_set(options.out, options.clips, options.classes, options.seed)
    except TsgcError as error:
        sys.exit(f"error: {error}")
    print(f"{options.clips:,} clips of {options.classes} classes in {options.out}")


if __name__ == "__main__":
    main()
