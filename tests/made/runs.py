"""Trained runs on tiny made clips, for tests of what comes after training."""

from pathlib import Path

from made.clips import ntu_clip, nw_ucla_clip, write_folder
from made.command import quick, tsgc

BENCHMARK = "ntu60/xsub"
NW_UCLA_ACTIONS = (1, 2, 3)


def write_raw(data: Path) -> None:
    """NTU clips of one and two bodies, and NW-UCLA clips, of several lengths, where raw data lies."""
    write_folder(data / "nturgbd_raw", {
        f"S001C001P00{performer}R00{replication}A00{action}.skeleton": ntu_clip(
            100 * performer + 10 * replication + action,
            frames=20 + 7 * performer + 3 * action,
            bodies=1 + action % 2,
        )
        for performer in (1, 2, 3, 4, 5) for replication in (1, 2) for action in (1, 2)
    })  # fmt: skip
    write_folder(data / "NW-UCLA/all_sqe", {
        f"a0{action}_s0{performer}_e00_v0{view}.json": nw_ucla_clip(
            action, frames=5 + 9 * view + performer, seed=100 * action + 10 * performer + view
        )
        for action in NW_UCLA_ACTIONS for performer in (1, 2, 3) for view in (1, 2, 3)
    })  # fmt: skip


def make_runs(root: Path) -> None:
    """Fills a folder with `data` and `runs`: NTU (joint, bone, corrected joint_motion), NW-UCLA (joint)."""
    data, runs = root / "data", root / "runs"
    write_raw(data)
    places = ("--data-root", data, "--jobs", 1)
    tsgc("prepare", "nw-ucla", *places)
    tsgc("prepare", "ntu60", "--preset", "corrected", *places)
    tsgc("prepare", "ntu60", *places)
    tsgc("shard", *places)
    streams = (
        ("nw-ucla/xview", "joint"),
        ("ntu60-corrected/xsub", "joint_motion"),
        (BENCHMARK, "joint"),
        (BENCHMARK, "bone"),
    )
    for benchmark, modality in streams:
        settings = quick("epochs=1", "warmup_epochs=0", "frames=40", "last_batch=spread")
        places = ("--data-root", data, "--runs", runs)
        tsgc("train", benchmark, "--modality", modality, *places, *settings)
