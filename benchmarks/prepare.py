"""Preparation measured: parser, whole command, zips, memory, growth, start-up, compression.

    python benchmarks/prepare.py [PART ...] [--raw FOLDER] [--clips 2000] [--rounds 3] [--jobs 2]

Clips (real ones below --raw, or made ones) are copied under as many names as asked, to a temporary folder
(--scratch) that is removed at the end; 2,000 real clips take 0.5 GB. What is compared runs in turns, so
that a busy machine disturbs all alike, and counts by its fastest round. Everything comes from the page
cache. A core's rates are over CPU time; a command's over wall clock, start-up included, with the CPU time of
all its processes beside it, which a busy machine disturbs less.
"""

import argparse
import itertools
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

import h5py
import numpy as np
import prepare_plain
from command_cost import ROOT, children_seconds, fastest, fastest_by, memory_of

from pipelines.prepared.store import open_store
from pipelines.prepared.writer import CHUNK_ROWS, COMPRESSION
from pipelines.reading import ntu_text
from pipelines.synthetic.raw_files import ntu_clip
from pipelines.synthetic.raw_files import ntu_text as write_text

GROWTH = (500, 1000, 2000, 5000, 10_000, 20_000)
LIBRARIES = ("numpy", "numba", "h5py", "joblib")


@dataclass(frozen=True)
class Bench:
    """What every part needs."""

    contents: list[bytes]
    scratch: Path
    clips: int
    rounds: int
    jobs: int

    def corpus(self, clips: int | None = None) -> Path:
        """A folder of so many clips, made once."""
        clips = clips or self.clips
        folder = self.scratch / f"raw-{clips}"
        if not folder.exists():
            folder.mkdir()
            for name, content in zip(itertools.islice(names(), clips), itertools.cycle(self.contents)):
                (folder / name).write_bytes(content)
        return folder


def names() -> Iterator[str]:
    """Names of NTU-120, each once."""
    for setup, performer, camera, replication, action in itertools.product(
        range(1, 33), range(1, 107), range(1, 4), (1, 2), range(1, 121)
    ):
        yield f"S{setup:03}C{camera:03}P{performer:03}R{replication:03}A{action:03}.skeleton"


def megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.iterdir()) / 1e6


def prepare_command(raw: Path, out: Path, jobs: int, *more: str) -> list[str]:
    """The command."""
    words = ["prepare", "ntu120", "--raw", raw, "--out", out, "--jobs", jobs, "--overwrite", *more]
    return [sys.executable, "-m", "tsgc", *map(str, words)]


def run_command(command: Sequence[str]) -> None:
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def parser(bench: Bench) -> None:
    """A core's rate: reading a file, the field's parser, our two."""
    folder = bench.scratch / "parser"
    folder.mkdir()
    paths = [folder / f"{number}.skeleton" for number in range(len(bench.contents))]
    for path, content in zip(paths, bench.contents):
        path.write_bytes(content)
    ntu_text.parse_compiled("first", bench.contents[0])  # loads it

    def over(read: Callable[[Path], object]) -> Callable[[], object]:
        return lambda: [read(path) for path in paths]

    seconds = fastest(
        {
            "plain file read": over(Path.read_bytes),
            "field's twin, line by line": over(prepare_plain.parse_by_line),
            "parse_plain": over(lambda path: ntu_text.parse_plain("", path.read_bytes())),
            "parse_compiled": over(lambda path: ntu_text.parse_compiled("", path.read_bytes())),
        },
        10 * bench.rounds,
        time.process_time,
    )
    size = megabytes(folder)
    twin = seconds["field's twin, line by line"]
    for name, took in seconds.items():
        print(f"{name:28} {size / took:8,.0f} MB/s a core  {twin / took:6.1f} x")


def whole_command(bench: Bench) -> None:
    """The command against the plain chain, both from a folder, raw to result, as commands."""
    raw, out, work = bench.corpus(), bench.scratch / "whole.h5", bench.scratch / "plain"
    work.mkdir()
    twin = "import pathlib, sys, prepare_plain as p; p.chain(*map(pathlib.Path, sys.argv[1:]))"
    commands = {"plain chain, 1 process": [sys.executable, "-c", twin, str(raw), str(work)]}
    commands |= {
        f"tsgc prepare --jobs {jobs}": prepare_command(raw, out, jobs) for jobs in sorted({1, bench.jobs})
    }
    os.environ["PYTHONPATH"] = f"{ROOT}:{ROOT / 'benchmarks'}"
    actions = {name: partial(run_command, command) for name, command in commands.items()}
    seconds = fastest_by(actions, bench.rounds, time.perf_counter, children_seconds)
    check_alike(out, work / "xsub.npz")
    size, (twin, twin_cpu) = megabytes(raw), next(iter(seconds.values()))
    for name, (took, cpu) in seconds.items():
        print(
            f"{name:24} {took:7.2f} s {size / took:5,.0f} MB/s {twin / took:6.1f} x"
            f"   CPU {cpu:6.2f} s {size / cpu:5,.0f} MB/s a core {twin_cpu / cpu:6.1f} x"
        )
    print(f"{size:,.0f} MB of text, {out.stat().st_size / 1e6:,.0f} MB of HDF5; the same joints from both")


def check_alike(prepared: Path, dense: Path) -> None:
    """Raises AssertionError where the two chains disagree."""
    with open_store(prepared) as store, np.load(dense) as plain:
        for part, split in (("train", 0), ("test", 1)):
            which = np.flatnonzero(store.splits["xsub"] == split)
            joints, labels = plain[f"x_{part}"], plain[f"y_{part}"]
            assert (store.labels[which] == labels.argmax(axis=1)).all()
            for index, padded in zip(which, joints, strict=True):
                clip = store.clip(index).joints
                flat = clip.reshape(len(clip), -1)
                np.testing.assert_allclose(padded[: len(flat), : flat.shape[1]], flat, rtol=0, atol=1e-6)


def zips(bench: Bench) -> None:
    """Preparation from a zip against from a folder."""
    raw, archive = bench.corpus(), bench.scratch / "raw.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as writer:
        for path in sorted(raw.iterdir()):
            writer.write(path, f"nturgb+d_skeletons/{path.name}")
    places = {"folder": raw, "zip": archive}
    actions = {
        name: partial(run_command, prepare_command(place, bench.scratch / f"{name}.h5", bench.jobs))
        for name, place in places.items()
    }
    seconds = fastest_by(actions, bench.rounds, time.perf_counter, children_seconds)
    outputs = [(bench.scratch / f"{name}.h5").read_bytes() for name in places]
    assert outputs[0] == outputs[1]
    wall, cpu = seconds["folder"]
    for name, (took, used) in seconds.items():
        print(f"{name:8} {took:7.2f} s, {took / wall:4.2f} x   CPU {used:6.2f} s, {used / cpu:4.2f} x")


MEASURED = """
import json, pathlib, resource, sys, time
began = time.perf_counter()
from pipelines.prepare import prepare_dataset
raw, out = map(pathlib.Path, sys.argv[1:3])
prepare_dataset("ntu120", [raw], out, data_root=out.parent, jobs=int(sys.argv[3]), overwrite=True)
usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
own, workers = (one.ru_utime + one.ru_stime for one in usage)
print(json.dumps([time.thread_time(), own - time.thread_time(), workers, time.perf_counter() - began]))
"""


def cores(bench: Bench) -> None:
    """CPU time at a start and for each clip: of the process that writes (its two threads) and of its workers.

    From two numbers of clips, so that what is per clip parts from what is not. The busier thread bounds how
    many workers are of use: so many as take together as long for a clip as it does.
    """
    sizes = (bench.clips // 4, bench.clips)
    measured: dict[tuple[int, int], np.ndarray] = {}
    for jobs, clips in itertools.product(sorted({1, bench.jobs}) * bench.rounds, sizes):
        words = [bench.corpus(clips), bench.scratch / "cores.h5", jobs]
        command = [sys.executable, "-c", MEASURED, *map(str, words)]
        ran = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
        took = np.array(json.loads(ran.stdout))
        measured[jobs, clips] = np.minimum(measured.get((jobs, clips), took), took)
    print("CPU seconds         main thread  writing  workers     all   wall clock")
    for jobs in sorted({1, bench.jobs}):
        few, many = (measured[jobs, clips] for clips in sizes)
        each = (many - few) / (sizes[1] - sizes[0])
        for what, took in (("start", many - each * sizes[1]), ("10,000 clips", each * 10_000)):
            main, writing, workers, wall = took
            print(
                f"{jobs} jobs, {what:12} {main:10.2f} {writing:8.2f} {workers:8.2f}"
                f" {main + writing + workers:7.2f} {wall:12.2f}"
            )
        if jobs > 1:
            print(f"workers that one writing process can serve: {each[2] / max(each[:2]):.1f}")


def growth(bench: Bench) -> None:
    """Time and memory as the number of clips grows."""
    print(
        f"{'clips':>7} {'text MB':>8} {'seconds':>8} {'MB/s':>6} {'HDF5 MB':>8}  peak MB: parent worker  all"
    )
    for clips in (number for number in GROWTH if number <= bench.clips):
        raw, out = bench.corpus(clips), bench.scratch / "growth.h5"
        runs = [memory_of(prepare_command(raw, out, bench.jobs)) for _ in range(bench.rounds)]
        seconds, size = min(took for _, took in runs), megabytes(raw)
        parent, worker, total = (
            max(getattr(m, part) for m, _ in runs) for part in ("parent", "worker", "total")
        )
        print(
            f"{clips:7,} {size:8,.0f} {seconds:8.2f} {size / seconds:6.0f} {out.stat().st_size / 1e6:8,.0f}"
            f" {parent:15.0f} {worker:6.0f} {total:4.0f}",
            flush=True,
        )
        shutil.rmtree(raw)
    print(f"allowed: {500 + 200 * bench.jobs} MB for {bench.jobs} jobs")


def start(bench: Bench) -> None:
    """Few clips: start-up is all there is; and what loading the compiled reader takes."""
    actions = {
        f"tsgc prepare, {n} clips": prepare_command(bench.corpus(n), bench.scratch / "start.h5", bench.jobs)
        for n in (5, 50, 200)
    }
    load = "from pipelines.reading import ntu_text as n; n.parse_compiled('', b'0')"
    actions |= {"import of the readers": [sys.executable, "-c", "import pipelines.reading.ntu_text"]}
    actions |= {"the same, compiled one loaded": [sys.executable, "-c", load]}
    seconds = fastest(
        {name: partial(run_command, command) for name, command in actions.items()},
        bench.rounds,
        time.perf_counter,
    )
    for name, took in seconds.items():
        print(f"{name:30} {took:6.2f} s")


def compression(bench: Bench) -> None:
    """Size of the joints, and a core's rates of writing, reading in order, and reading clips at random."""
    run_command(
        prepare_command(bench.corpus(min(bench.clips, 2000)), bench.scratch / "packed.h5", bench.jobs)
    )
    with h5py.File(bench.scratch / "packed.h5") as file:
        joints = file["joints"][:200_000]
    starts = np.random.default_rng(0).integers(0, max(1, len(joints) - 100), 500)
    for name, packing in ({"none": {}} | COMPRESSION).items():
        file = h5py.File(bench.scratch / f"{name}.h5", "w", rdcc_nbytes=0)  # no cache of unpacked chunks
        chunks = (CHUNK_ROWS, *joints.shape[1:])
        array = file.create_dataset("joints", joints.shape, "f4", chunks=chunks, **packing)
        actions = {
            "write": partial(array.__setitem__, slice(None), joints),
            "read": partial(read_rows, array, range(0, len(joints), CHUNK_ROWS), CHUNK_ROWS),
            "clips": partial(read_rows, array, starts, 100),
        }
        took = fastest(actions, bench.rounds, time.process_time)
        size = joints.nbytes / 1e6
        print(
            f"{name:6} {array.id.get_storage_size() / joints.nbytes:6.1%} of the size;"
            f" written {size / took['write']:6,.0f} MB/s, read {size / took['read']:6,.0f} MB/s,"
            f" at random {len(starts) / took['clips']:8,.0f} clips/s"
        )
        file.close()


def read_rows(array: h5py.Dataset, starts: Iterable[int], rows: int) -> None:
    for start in starts:
        array[start : start + rows]


PARTS: dict[str, Callable[[Bench], None]] = {
    "parser": parser,
    "whole": whole_command,
    "cores": cores,
    "zips": zips,
    "start": start,
    "compression": compression,
    "growth": growth,
}


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} [default: all]")
    words.add_argument("--raw", type=Path, help="folder of real clips [default: made ones]")
    words.add_argument("--clips", type=int, default=2000)
    words.add_argument("--rounds", type=int, default=3)
    words.add_argument("--jobs", type=int, default=os.cpu_count())
    words.add_argument("--scratch", type=Path, help="where the temporary folder goes")
    options = words.parse_args()
    unknown = set(options.parts) - PARTS.keys()
    if unknown:
        words.error(f"unknown parts: {', '.join(sorted(unknown))}")
    if options.raw:
        contents = [path.read_bytes() for path in sorted(options.raw.rglob("*.skeleton"))]
    else:
        numbers = itertools.product((1, 2), (1, 2, 3), (1, 2), (7, 10, 19, 50))
        contents = [
            write_text(ntu_clip(1, camera, performer, rep, action))
            for rep, performer, camera, action in numbers
        ]
    versions = [f"{name} {metadata.version(name)}" for name in LIBRARIES]
    print(f"Python {platform.python_version()}, {', '.join(versions)}")
    print(f"{os.cpu_count()} cores, {'real' if options.raw else 'made'} clips")
    with tempfile.TemporaryDirectory(prefix="tsgc-bench-", dir=options.scratch) as scratch:
        bench = Bench(contents, Path(scratch), options.clips, options.rounds, options.jobs)
        for part in options.parts or PARTS:
            print(f"\n{part}: {PARTS[part].__doc__}", flush=True)
            PARTS[part](bench)


if __name__ == "__main__":
    main()
