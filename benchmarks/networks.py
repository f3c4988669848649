"""Networks by recipes: a table in Markdown of runs of several streams and seeds.

    python benchmarks/networks.py "CTR-GCN, its own"=runs/nw-ucla/xview/ctrgcn ours=runs/nw-ucla/xview/small

Each folder has a run a stream and seed below it, as `tsgc train --modality ... --seeds ...` leaves them.
Top-1 % of the last epoch, all clips and, in brackets, the clean ones: mean and deviation over seeds. The
streams that are there are fused with equal weights.
"""

import argparse
import sys
from pathlib import Path

from tsgc.checkpoint import load_model
from tsgc.network.cost import count_parts, totals
from tsgc.network.own.code import admit
from tsgc.side_by_side.plan import Member
from tsgc.side_by_side.results import BySeed, fused_by_seed, scores_by_stream, spread
from tsgc.workspace.runs import Run, find_runs

STREAMS = ("joint", "bone", "joint_motion", "bone_motion")


def row(title: str, runs: list[Run]) -> list[str]:
    """Cells of a network by a recipe: its size, each stream, the fusion of those that are there."""
    streams = scores_by_stream([Member(run.config, run.folder) for run in runs], "last")
    there = [stream for stream in STREAMS if stream in streams]
    fused = fused_by_seed(streams, there, None) if there else {}
    shown = [cell(streams.get(stream, {})) for stream in STREAMS]
    return [title, *size(runs[0]), *shown, cell(fused), str(len(fused))]


def cell(by_seed: BySeed) -> str:
    """All clips, and the clean ones in brackets."""
    clean = spread(by_seed, "clean")
    return spread(by_seed, "all") + (f" ({clean})" if clean else "")


def size(run: Run) -> list[str]:
    """Millions of parameters, and GFLOPs of a clip, two for a multiply-add; empty without a checkpoint."""
    path = run.checkpoints / "last.safetensors"
    if not path.is_file():
        return ["", ""]
    counted = totals(count_parts(load_model(path)[0], run.config.frames))
    return [
        f"{counted['parameters'] / 1e6:.2f}",
        f"{2 * (counted['macs'] + counted['graph_macs']) / 1e9:.2f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", nargs="+", metavar="TITLE=FOLDER", help="runs of one network by one recipe")
    parser.add_argument("--network", action="append", help="code of one's own network, FILE.py:NAME")
    options = parser.parse_args()
    admit(options.network)
    titles = ["", "M parameters", "GFLOPs", *STREAMS, "fused", "seeds"]
    print("| " + " | ".join(titles) + " |\n|" + "---|" * len(titles))
    for word in options.rows:
        title, _, folder = word.rpartition("=")
        runs = find_runs(Path(folder))
        if not runs:
            sys.exit(f"{folder}: no runs below it; `tsgc train` makes some")
        print("| " + " | ".join(row(title or runs[0].config.network_title, runs)) + " |")


if __name__ == "__main__":
    main()
