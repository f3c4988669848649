"""Short commands answer without torch: it takes seconds to import, and they compute nothing with it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from made.clips import ntu_clip, write_folder
from made.raw_sets import kinetics_clip
from made.scores import make_run
from made.shard_sets import make_store

import cli

ROOT = Path(cli.__file__).parent
HEAVY = ("torch", "timm", "torchvision", "webdataset", "onnx", "dask")
CODE = f"""
import sys, cli
try:
    cli.app(sys.argv[1:])
except SystemExit as done:
    print("heavy:", *(name for name in {HEAVY} if name in sys.modules), "code:", done.code)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory, made):
    """A folder with a prepared file, a shard set, raw clips and scored runs."""
    root = tmp_path_factory.mktemp("quick")
    (root / "data").symlink_to(made)
    make_store(root / "a.h5", clips=8)
    write_folder(root, {"S001C002P003R001A005.skeleton": ntu_clip()})
    write_folder(root, {"kinetics.json": json.dumps(kinetics_clip("a", 0)).encode()})
    for modality in ("joint", "bone"):
        make_run(root / "runs", modality)
    return root


@pytest.mark.parametrize(
    "line",
    [
        "--help",
        "train --help",
        "verify a.h5",
        "verify data/shards/ntu60/xsub",
        "inspect a.h5",
        "inspect data/shards/ntu60/xsub",
        "inspect S001C002P003R001A005.skeleton --compare",
        "inspect S001C002P003R001A005.skeleton --out a.png",
        "inspect kinetics.json --out b.gif",
        "ensemble",
        "train ntu60/xsub --print-config",
        "prepare ntu61",
    ],
)
def test_a_short_command_imports_nothing_heavy(place, line):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", CODE, *line.split()],
        capture_output=True,
        text=True,
        cwd=place,
        env=environment,
    )
    code = 2 if "ntu61" in line else 0
    assert done.stdout.splitlines()[-1] == f"heavy: code: {code}", done.stdout + done.stderr
