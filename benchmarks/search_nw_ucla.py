"""Search for a recipe on NW-UCLA, and its final runs: benchmarks/nw_ucla/README.md.

    python benchmarks/search_nw_ucla.py search --plan benchmarks/nw_ucla/stage1.yaml --out results.jsonl
    python benchmarks/search_nw_ucla.py final --modality joint --seed 0 --seed 1 --out final.jsonl

`search` reads the training clips alone: it trains on one of the two training views and validates on the
other. `final` trains on both and scores the test split, once, after the last epoch; each such look is a line
of its output. Several processes share a search by --share 0/2 and 1/2, each on its own --device.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
from nw_ucla.data import ResidentClips
from nw_ucla.final import check_places, final_scorer, make_specs
from nw_ucla.plan import FOLDS, Spec, read_plan, startable
from nw_ucla.search import Search, fold_clips, read_results, to_do
from nw_ucla.trial import Trial

from pipelines.errors import TsgcError
from shards.load_manifest import load_manifest

SHARDS = Path("data/shards/nw-ucla/xview")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    search = commands.add_parser("search", help="try a plan's configurations on the training views")
    search.add_argument("--plan", type=Path, required=True, help="YAML: benchmarks/nw_ucla/plan.py")
    search.add_argument("--save", type=Path, help="folder for weights that trials keep (default: OUT's name)")
    search.add_argument("--only", action="append", help="trials by name (default: all)")
    final = commands.add_parser("final", help="train on both views, score the test split")
    final.add_argument("--config", type=Path, help="recipe (default: configs/nw-ucla.yaml)")
    final.add_argument("--set", action="append", default=[], help="key=value, as tsgc train takes it")
    final.add_argument("--init", type=Path, help="weights or a run's folder to start from")
    final.add_argument("--save", type=Path, help="folder for the averaged weights (default: not kept)")
    final.add_argument("--modality", action="append", default=[], help="streams (default: joint)")
    final.add_argument("--seed", type=int, action="append", default=[], help="seeds (default: 0)")
    final.add_argument("--scores", type=Path, default=Path("runs-final"), help="folder for score files")
    final.add_argument(
        "--tta", default="none", help="views whose mean is scored as well: tsgc evaluate --help"
    )
    final.add_argument("--why", default="", help="words for the log of looks at the test split")
    for command in (search, final):
        command.add_argument("--out", type=Path, required=True, help="JSONL that results are added to")
        command.add_argument("--shards", type=Path, default=SHARDS, help=f"default: {SHARDS}")
        command.add_argument("--seconds", type=float, default=540, help="stop after (default: 540)")
        command.add_argument("--concurrent", type=int, default=4, help="trainings at a time (default: 4)")
        command.add_argument("--device", default="cuda:0" if torch.cuda.is_available() else "cpu")
        command.add_argument("--retry", action="store_true", help="do again what failed")
        command.add_argument("--share", default="0/1", help="I/N: this process's part of the trainings")
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
    manifest = load_manifest(options.shards)
    train = ResidentClips(manifest, "train", device)
    done = read_results(options.out)
    if options.command == "search":
        counts = {fold: len(fold_clips(train.views, fold)[0]) for fold in FOLDS}
        specs = read_plan(options.plan, counts, options.save or options.out.with_suffix(""))
        if options.only:
            specs = [spec for spec in specs if spec.name in options.only]

        def make(spec: Spec) -> Trial:
            trains, validates = fold_clips(train.views, spec.fold)
            return Trial(spec, (train, trains), (train, validates), device)

        ending = None
    else:
        test = ResidentClips(manifest, "test", device)
        everything = np.arange(len(train.views))
        specs = make_specs(options, len(everything))

        def make(spec: Spec) -> Trial:
            judge = (test, np.arange(len(test.views)))
            return Trial(spec, (train, everything), judge, device, watch=False)

        ending = final_scorer(options.scores, options.why, options.tta)
    specs, waiting = startable(specs)
    for line in waiting:
        print(line)
    left = to_do(specs, done, (index, of), options.retry)
    if options.command == "final":
        check_places(left)
    print(f"{len(specs)} trainings, {len(left)} of them for this process, {options.concurrent} at a time")
    start = time.perf_counter()
    shared = of > 1 and not getattr(options, "only", None)  # others may be training what is waited for
    searching = Search(make, device, options.concurrent, lambda line: print(line, flush=True), shared)
    undone = searching.run(left, options.out, options.seconds, ending, specs)
    print(f"{len(left) - undone} done, {undone} left, {time.perf_counter() - start:.0f} s -> {options.out}")


if __name__ == "__main__":
    main()
