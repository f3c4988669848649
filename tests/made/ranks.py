"""The command on several ranks."""

import json
import os
import random
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from safetensors.numpy import load_file

SETTINGS = [
    "variant=tiny", "frames=16", "crop_min_frames=4", "batch=12", "mix_group=12", "last_batch=spread",
    "epochs=3", "warmup_epochs=1", "precision=float32", "lr=1e-3", "eval_batch=7", "eval_every=1",
    "log_every=1",
]  # fmt: skip


def tsgc(*words, expect=0):
    """Run the command as a user would, one thread a process; returns its output."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", *words], capture_output=True, text=True, env=environment, timeout=900
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout + done.stderr


def free_port() -> int:
    """A port of this machine that nobody listens on, one of those that no system gives out by itself."""
    while True:
        port = random.SystemRandom().randrange(10_000, 32_000)
        with socket.socket() as found, suppress(OSError):
            found.bind(("localhost", port))
            return port


def is_listened_on(port: int) -> bool:
    """Whether somebody listens on the port."""
    with socket.socket() as asked:
        return asked.connect_ex(("localhost", port)) == 0


def train_words(shards: Path, run: Path, *more: str):
    words = ["tsgc", "train", "--shards", str(shards), "--run-dir", str(run), "--device", "cpu"]
    return [*words, *(word for setting in SETTINGS for word in ("--set", setting)), *more]


def keep_passes(rank: int, world: int, batches, workers: int, folder: Path) -> None:
    """What a started rank does: writes the clips of two passes over its share, to `{rank}.json`."""
    from torch.utils.data import DataLoader

    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world))
    loader = DataLoader(batches, batch_size=None, num_workers=workers)
    assert len(loader) == len(batches)
    passes = [[batch.indices.tolist() for batch in loader] for _ in range(2)]
    (folder / f"{rank}.json").write_text(json.dumps(passes))


def lines(path: Path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def weights(run: Path, name: str = "last"):
    return load_file(run / f"checkpoints/{name}.safetensors")
