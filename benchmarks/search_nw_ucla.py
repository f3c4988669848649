"""Search for recipes and networks on NW-UCLA and MSR-Action3D: benchmarks/nw_ucla/README.md.

    python benchmarks/search_nw_ucla.py --plan benchmarks/nw_ucla/stage1.yaml --out results.jsonl
    python benchmarks/search_nw_ucla.py --plan benchmarks/nw_ucla/v2_stage1.yaml --out v2.jsonl --list

Training clips alone are read: some of them train, the others judge (benchmarks/nw_ucla/folds.py). Several
processes share a search by --share 0/2 and 1/2, each on its own --device. What is chosen is trained on all of
them, and scored on the test split, by `tsgc train`.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import torch
from nw_ucla.data import ResidentClips
from nw_ucla.folds import MSR, NW_UCLA, fold_clips, training_counts
from nw_ucla.plan import Spec, read_plan, startable
from nw_ucla.search import Make, Search, read_results, share_lines, to_do
from nw_ucla.tables import cost_table
from nw_ucla.trial import Trial

from pipelines.errors import TsgcError
from shards.load_manifest import load_manifest

DATA = Path(os.environ.get("TSGC_DATA", "data"))  # as for the commands
SHARDS = {NW_UCLA: DATA / "shards/nw-ucla/xview", MSR: DATA / "shards/msr-action3d/xsub"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plan", type=Path, required=True, help="YAML: benchmarks/nw_ucla/plan.py")
    parser.add_argument("--out", type=Path, required=True, help="JSONL that results are added to")
    parser.add_argument("--save", type=Path, help="folder for weights that trials keep (default: OUT's name)")
    parser.add_argument("--only", action="append", help="trials by name (default: all)")
    parser.add_argument(
        "--shards", type=Path, action="append", help=f"default: {' and '.join(map(str, SHARDS.values()))}"
    )
    parser.add_argument("--list", action="store_true", help="say what it costs, and train nothing")
    parser.add_argument("--seconds", type=float, default=540, help="stop after (default: 540)")
    parser.add_argument("--concurrent", type=int, default=4, help="trainings at a time (default: 4)")
    parser.add_argument("--device", default="cuda:0" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--retry", action="store_true", help="do again what failed")
    parser.add_argument("--share", default="0/1", help="I/N: this process's part of the trainings")
    options = parser.parse_args()
    try:
        run_trainings(options)
    except TsgcError as error:
        sys.exit(f"error: {error}")


def run_trainings(options: argparse.Namespace) -> None:
    index, of = map(int, options.share.split("/"))
    device = torch.device(options.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    done = read_results(options.out)
    specs, make = planned(options, device)
    specs, waiting = startable(specs)
    for line in waiting:
        print(line)
    left = to_do(specs, done, (index, of), options.retry)
    if options.list:
        print(cost_table(specs, left))
        return
    print(f"{len(specs)} trainings, {len(left)} of them for this process, {options.concurrent} at a time")
    start = time.perf_counter()
    shared = of > 1 and not options.only  # others may be training what is waited for
    searching = Search(make, device, options.concurrent, lambda line: print(line, flush=True), shared)
    undone = searching.run(left, options.out, options.seconds, specs)
    if index == 0:
        share_lines(specs, options.out)
    print(f"{len(left) - undone} done, {undone} left, {time.perf_counter() - start:.0f} s -> {options.out}")


def planned(options: argparse.Namespace, device: torch.device) -> tuple[list[Spec], Make]:
    """The plan's trainings, and how one is made: training clips of its data set train and judge."""
    folders = options.shards or [folder for folder in SHARDS.values() if folder.is_dir()]
    manifests = {manifest.dataset: manifest for manifest in map(load_manifest, folders)}
    counts: dict[str, int] = {}
    for dataset, manifest in manifests.items():
        counts |= training_counts(dataset, manifest.clips["train"].names)
    specs = read_plan(options.plan, counts, options.save or options.out.with_suffix(""))
    if options.only:
        specs = [spec for spec in specs if spec.name in options.only]

    datasets = [] if options.list else {dataset for spec in specs for dataset in spec.datasets}
    clips = {dataset: ResidentClips(manifests[dataset], "train", device) for dataset in datasets}

    def make(spec: Spec) -> Trial:
        train = clips[spec.dataset]
        trains, judges = fold_clips(train.fields, spec.fold)
        others = [clips[dataset] for dataset in spec.datasets if dataset != spec.dataset]
        return Trial(spec, (train, trains), (train, judges), device, others)

    return specs, make


if __name__ == "__main__":
    main()
