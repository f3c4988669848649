"""The whole chain on a small made data set, in about a minute on a CPU."""

import time
from pathlib import Path

from pipelines.errors import TsgcError
from pipelines.prepare import prepare_dataset
from pipelines.synthetic import raw_files
from tsgc.config import TrainConfig, build_config
from tsgc.console import Talker
from tsgc.distributed.preemption import PreemptedError
from tsgc.distributed.process import join_ranks, pick_device
from tsgc.evaluation.scores import Scores, all_and_clean
from tsgc.fusion.ensemble import fuse
from tsgc.training.loop import RunRequest, train_stream
from tsgc.workspace.runs import run_folder
from tsgc.workspace.shard_all import describe_shards, shard_all

BENCHMARKS = ("ntu60/xsub", "nw-ucla/xview")
# Made clips of different classes differ in their motion alone: streams of motion learn them soonest.
STREAMS = ("joint_motion", "bone_motion")
PERFORMERS = (1, 2, 4, 5, 8, 9, 3, 6)  # the last two are in NTU-60's xsub test split
EPISODES = (0, 1)
# Few and short clips, a small network, hardly any augmentation: every clip is seen 20 times.
SETTINGS = {
    "variant": "tiny",
    "epochs": 10,
    "repeats": 2,
    "batch": 16,
    "last_batch": "spread",
    "frames": 32,
    "bodies": None,
    "crop_min": 0.9,
    "crop_min_frames": 16,
    "align": "facing",
    "rotation_max": 0.1,
    "mixup": 0.0,
    "label_smoothing": 0.0,
    "drop_path": 0.0,
    "lr": 8e-3,
    "warmup_epochs": 1,
    "ema_decay": 0.99,
    "ema_warmup": True,
    "eval_every": 0,
}


def settings(modality: str, seed: int) -> TrainConfig:
    """The demo's training settings."""
    return build_config({**SETTINGS, "modality": modality, "seed": seed}, "the demo")


def run_demo(
    out: Path, talker: Talker, *, seed: int, jobs: int | None, device: str | None, overwrite: bool
) -> dict[str, Scores]:
    """Make, prepare, shard, train, evaluate and fuse below `out`; returns the fused scores by benchmark."""
    start = time.monotonic()
    data = out / "data"
    if data.exists() and not overwrite:
        raise TsgcError(f"{out}: holds a demo already; give --overwrite to run it again, or another --out")

    pick_device(device)  # a wrong one is refused before anything is made

    talker.line("making raw clips: NTU text, NW-UCLA JSON")
    ntu = raw_files.write_ntu(data / "nturgbd_raw", performers=PERFORMERS, replications=(1,), seed=seed)
    ucla = raw_files.write_nw_ucla(data / "NW-UCLA", episodes=EPISODES, seed=seed)
    talker.line(f"{len(ntu)} NTU and {len(ucla)} NW-UCLA clips in {data}")

    for name in ("ntu60", "nw-ucla"):
        path = data / "prepared" / f"{name}.h5"
        with talker.counting(f"preparing {name}", "clips") as progress:
            report = prepare_dataset(
                name, None, path, data_root=data, jobs=jobs, overwrite=overwrite, progress=progress
            )
        for line in report.lines():
            talker.line(line)
    with talker.counting("sharding", "clips") as progress:
        sets = shard_all([], data_root=data, jobs=jobs, overwrite=overwrite, progress=progress)
    for manifest in sets:
        talker.line(describe_shards(manifest))

    rows, fused = [], {}
    with join_ranks(device) as process:
        for benchmark in BENCHMARKS:
            streams = []
            for modality in STREAMS:
                config = settings(modality, seed)
                folder = run_folder(out / "runs", benchmark, config)
                shards = data / "shards" / benchmark
                try:
                    request = RunRequest(config, benchmark, shards, folder, overwrite=overwrite)
                    scores = train_stream(request, process, talker)
                except PreemptedError:
                    raise PreemptedError(
                        f"asked to stop while training {modality}; tsgc demo --overwrite starts again"
                    ) from None
                streams.append(scores["last"])
                rows.append([f"{benchmark} {modality}", *figures(scores["last"])])
            fused[benchmark] = fuse(streams)
            rows.append([f"{benchmark} fused", *figures(fused[benchmark])])
    columns = ("stream", "test clips", "top-1 %", "mean class %")
    talker.table("Accuracy on performers or views that training never saw", columns, rows)
    talker.line(f"Raw clips, prepared HDF5 and shards: {data}")
    talker.line(f"Runs, with checkpoints, curves and scores: {out / 'runs'}")
    talker.line(f"Go on with them: tsgc ensemble --runs {out / 'runs'}")
    talker.line(f"{time.monotonic() - start:.0f} s in all")
    return fused


def figures(scores: Scores) -> list[str]:
    every = all_and_clean(scores)["all"]
    return [str(every.clips), f"{every.top1:.1f}", f"{every.mean_class:.1f}"]
