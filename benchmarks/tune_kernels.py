"""Check the fused kernels on this GPU, and time ways of cutting them.

    python benchmarks/tune_kernels.py                                  # widths of variant 252, NTU's input
    python benchmarks/tune_kernels.py --input nw-ucla --widths 32 48 64 128 256 --minutes 4 --out cuts.jsonl
    python benchmarks/tune_kernels.py --kinds backward outer --rows 128 512

The table in tsgc/kernels/tunings.py comes from here. Candidates (`kernel_cuts.py`) are compiled by several
processes first; one that does not fit the GPU is reported. Then a block of each width is checked in bfloat16
against float64, values and gradients, and timed on every rung of the ladder and plain, in training and in
recognition. Then each kernel is timed for every candidate, at each size that its width has in that input
(`kernel_cuts.INPUTS`), with the rows dropped that drop path drops there. The best candidate is that whose
times, over the least of each size, have the lowest mean. At the end blocks are checked and timed again, and
what was found is printed as the table has it.

`--minutes` ends the timing of candidates; what was found by then is still checked and printed. `--out` gets a
line of JSON for each line of text, at once. `--device cpu` runs the same in Triton's interpreter, to try this
program out: its times mean nothing.
"""

import argparse
import dataclasses
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

if "cpu" in sys.argv:  # before Triton is loaded
    os.environ.setdefault("TRITON_INTERPRET", "1")

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from kernel_cuts import CANDIDATES, INPUTS, WAVES, Candidate
from kernel_work import (
    KernelInputs,
    Log,
    Size,
    block_runs,
    milliseconds,
    relative_errors,
    set_tuning,
    sizes,
)

from tsgc.kernels import tunings
from tsgc.kernels.cards import TUNED_FOR


class Cut(NamedTuple):
    """A candidate for a kernel of one width."""

    width: int
    kind: str
    candidate: Candidate
    programs: int
    """Programs of the backward pass for each chunk; 0: as the table has it."""

    def __str__(self) -> str:
        return f"{self.kind} {self.candidate}" + (f" {self.programs} programs" if self.programs else "")


def cuts(width: int, kinds: Sequence[str], few: int | None) -> Iterator[Cut]:
    """All candidates of a width; `few`: the first so many of each kind."""
    for kind in kinds:
        found = []
        for candidate in CANDIDATES[kind].get(width, []):
            counts = [0]
            if kind == "backward":
                assert candidate is not None
                chunks = 3 * width // candidate[1]
                counts = [-(-TUNED_FOR.multiprocessors * wave // chunks) for wave in WAVES]
            found += [Cut(width, kind, candidate, programs) for programs in counts]
        yield from found[:few]


class Told(NamedTuple):
    """What another process has to say."""

    lines: list[tuple[str, dict[str, object]]]
    """Lines for the log, each with its facts."""
    good: Sequence[Cut] = ()
    """What compiles and launches."""
    broken: bool = False
    """Whether the GPU refuses that process from now on."""


def compile_cuts(alike: list[Cut], of_width: list[Size], device: torch.device) -> Told:
    """Run cuts of one kernel once at each size, so that they lie compiled in Triton's cache."""
    lines: list[tuple[str, dict[str, object]]] = []
    good = []
    for cut in alike:
        try:
            set_tuning(*cut)
            for size in of_width:
                KernelInputs(size, device).work(cut.kind)()
            torch.cuda.synchronize()
            good.append(cut)
        except Exception as error:  # whatever Triton raises is reported, and the others go on
            said = " ".join(str(error).split())[:150]
            lines.append((f"  {cut.width} {cut}: {said}", {"cut": cut, "error": said}))
            if "CUDA error" in said:
                return Told(lines, good, broken=True)
    return Told(lines, good)


def compile_blocks(size: Size, training: bool, device: torch.device) -> Told:
    """The same of a block's rungs."""
    for name, run in block_runs(size, device, training):
        try:
            run()
        except Exception as error:
            return Told([(f"  block {size} {name}: {' '.join(str(error).split())[:150]}", {})])
    return Told([])


def check(size: Size, tuning: tunings.Tuning, device: torch.device) -> Told:
    """The largest error of a block that is cut so."""
    tunings.TUNINGS[size.width] = tuning
    at = f"  check {size.width} V={size.joints} T={size.frames}"
    try:
        found = relative_errors(size, device)
    except Exception as error:
        said = " ".join(str(error).split())[:300]
        return Told([(f"{at}: {said}   <-- WRONG", {"wrong": ["all"]})], broken="CUDA error" in said)
    wrong = [name for name, (error, plain) in found.items() if error >= max(2 * plain, 1e-2)]
    worst = max(found, key=lambda name: found[name][0])
    said = f"at most {found[worst][0]:.1e} ({worst}), where plain has {found[worst][1]:.1e}"
    mark = f"   <-- WRONG: {', '.join(wrong)}" if wrong else ""
    return Told([(f"{at}: {said}{mark}", {"check": size, "errors": found, "wrong": wrong})])


def checks(all_sizes: dict[int, list[Size]], device: torch.device) -> list[Callable[[], Told]]:
    """Checks of each width as it is cut now, at its first size and at an odd one."""
    return [
        partial(check, one, tunings.TUNINGS[width], device)
        for width, (size, *_) in all_sizes.items()
        for one in (size, size._replace(frames=7, joints=17))
    ]


def call(task: Callable[[], Told]) -> Told:
    return task()


def in_processes(tasks: list[Callable[[], Told]], processes: int, log: Log) -> list[Cut]:
    """What is found good by tasks, each of which some process runs; 0 processes: this one."""
    began, good = time.time(), []
    pool = multiprocessing.get_context("spawn").Pool(processes) if processes else None
    for told in pool.imap_unordered(call, tasks) if pool else map(call, tasks):
        for text, facts in told.lines:
            log(text, **facts)
        good += told.good
        if told.broken:
            log("   <-- that process gets errors from here on: leave this cut out and run again")
    if pool:
        pool.terminate()
    log(f"{len(tasks)} tasks took {time.time() - began:.0f} s")
    return good


def time_blocks(all_sizes: dict[int, list[Size]], device: torch.device, log: Log, when: str) -> None:
    """Print for each size the milliseconds of a block on each rung, and how many times as fast as plain."""
    for of_width in all_sizes.values():
        for size in of_width:
            for training in (True, False):
                found = {}
                for name, run in block_runs(size, device, training):
                    try:
                        found[name] = milliseconds(run, device)
                    except Exception as error:
                        log(f"  block {size} {name}: {' '.join(str(error).split())[:200]}")
                what = "training" if training else "recognition"
                said = ", ".join(
                    f"{name} {ms:.3f} ms ({found.get('plain', ms) / ms:.1f} x)" for name, ms in found.items()
                )
                log(f"  block {when} {size} {what}: {said}", block=size, what=what, when=when, ms=found)


def time_cuts(
    width: int, of_width: list[Size], good: list[Cut], device: torch.device, until: float, log: Log
) -> dict[Cut, list[float]]:
    """Milliseconds at each size of cuts of one kind; those that end before `until`."""
    found: dict[Cut, list[float]] = {}
    before = tunings.TUNINGS[width]
    inputs = [KernelInputs(size, device) for size in of_width]
    for cut in good:
        if time.time() > until:
            log(f"  {width} {cut}: not timed, no time is left")
            break
        set_tuning(*cut)
        try:
            found[cut] = [milliseconds(one.work(cut.kind), device) for one in inputs]
            said = "  ".join(f"{ms:8.4f}" for ms in found[cut])
            log(f"  {width} {cut!s:80s} {said} ms", cut=cut, ms=found[cut])
        except Exception as error:
            log(f"  {width} {cut}: {' '.join(str(error).split())[:200]}")
        tunings.TUNINGS[width] = before
    return found


def beside_the_best(found: dict[Cut, list[float]]) -> dict[Cut, float]:
    """Each cut's times over the least of each size, as their mean."""
    least = [min(times) for times in zip(*found.values(), strict=True)]
    return {
        cut: sum(ms / best for ms, best in zip(times, least, strict=True)) / len(least)
        for cut, times in found.items()
    }


def tune(
    width: int, of_width: list[Size], good: list[Cut], device: torch.device, until: float, log: Log
) -> None:
    """Set the table's cuts of a width to the best that are found."""
    best: dict[str, list[float]] = {}
    for kind in dict.fromkeys(cut.kind for cut in good):
        found = time_cuts(width, of_width, [cut for cut in good if cut.kind == kind], device, until, log)
        if found:
            score = beside_the_best(found)
            cut = min(found, key=lambda cut: score[cut])
            best[kind] = found[cut]
            slower = kind == "gather" and sum(found[cut]) > sum(best.get("backward", [float("inf")]))
            set_tuning(width, kind, None if slower else cut.candidate, cut.programs)
    if best.keys() >= {"forward", "expand", "contract"}:
        fused = sum(best["forward"]) <= sum(best["expand"]) + sum(best["contract"])
        tunings.TUNINGS[width] = dataclasses.replace(tunings.TUNINGS[width], fused=fused)
    tuning = tunings.TUNINGS[width]
    log(f"  {width}: {tuning},", width=width, tuning=dataclasses.asdict(tuning))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--widths", type=int, nargs="+", default=[96, 192, 384], choices=tunings.TUNINGS)
    parser.add_argument("--input", default="ntu", choices=INPUTS, help="whose frames and joints blocks have")
    parser.add_argument("--rows", type=int, nargs="+", default=[], help="clips x bodies x views")
    parser.add_argument("--frames", type=int, help="in place of the input's")
    parser.add_argument("--joints", type=int, help="in place of the input's")
    parser.add_argument("--processes", type=int, default=12)
    parser.add_argument("--kinds", nargs="+", default=list(CANDIDATES), choices=list(CANDIDATES))
    parser.add_argument("--few", type=int, help="the first so many candidates of each kind alone")
    parser.add_argument("--minutes", type=float, default=60, help="after which candidates are not timed")
    parser.add_argument("--compile-only", action="store_true", help="leave candidates in Triton's cache")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    options = parser.parse_args()
    until, device, log = time.time() + 60 * options.minutes, torch.device(options.device), Log(options.out)
    chosen = {
        width: [
            size._replace(frames=options.frames or size.frames, joints=options.joints or size.joints)
            for size in of_width
        ]
        for width, of_width in sizes(options.input, options.widths, options.rows).items()
    }
    cuts_of = {width: list(cuts(width, options.kinds, options.few)) for width in chosen}
    processes = options.processes if device.type == "cuda" else 0
    tasks: list[Callable[[], Told]] = checks(chosen, device)
    if processes:
        every_size = [size for of_width in chosen.values() for size in of_width]
        tasks += [
            partial(compile_blocks, size, mode, device) for size in every_size for mode in (True, False)
        ]
        for width, of_width in chosen.items():
            alike: dict[tuple[str, Candidate], list[Cut]] = {}
            for cut in cuts_of[width]:
                alike.setdefault((cut.kind, cut.candidate), []).append(cut)
            tasks += [partial(compile_cuts, group, of_width, device) for group in alike.values()]
    good = set(in_processes(tasks, processes, log))
    if options.compile_only:
        return
    time_blocks(chosen, device, log, "before")
    for width, of_width in chosen.items():
        log(f"width {width}: {', '.join(map(str, of_width))}")
        usable = [cut for cut in cuts_of[width] if cut in good or not processes]
        tune(width, of_width, usable, device, until, log)
    time_blocks(chosen, device, log, "after")
    in_processes(checks(chosen, device), processes, log)


if __name__ == "__main__":
    main()
