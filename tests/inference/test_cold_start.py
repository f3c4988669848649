"""`tsgc predict` loads torch and what recognition needs; anything else takes longer than its answer."""

import subprocess
import sys
from pathlib import Path

from made.runs import BENCHMARK

import cli

ROOT = Path(cli.__file__).parent
NOT_NEEDED = (
    "torchvision", "timm", "torch._dynamo", "torch._inductor", "torch.distributed.fsdp", "sympy", "triton",
    "h5py", "joblib", "webdataset", "numba", "fsspec", "jinja2", "tensorboard", "onnx", "dask",
)  # fmt: skip
CODE = f"""
import sys, cli
try:
    cli.app(sys.argv[1:])
except SystemExit as done:
    print("loaded:", *(name for name in {NOT_NEEDED} if name in sys.modules), "code:", done.code)
"""


def test_predict_loads_neither_torchvision_nor_what_trains(trained):
    run = trained / "runs" / BENCHMARK / "tiny/joint/seed0"
    clip = next((trained / "data/nturgbd_raw").rglob("*.skeleton"))
    words = ["predict", clip, "--run", run, "--device", "cpu", "--format", "csv"]
    done = subprocess.run(
        [sys.executable, "-c", CODE, *map(str, words)], capture_output=True, text=True, cwd=ROOT, timeout=300
    )
    *answers, said = done.stdout.splitlines()
    assert len(answers) == 6 and said == "loaded: code: 0", done.stdout + done.stderr


def test_the_networks_modules_load_no_torchvision():
    code = (
        "import sys; import tsgc.network.model, tsgc.network.released, tsgc.network.cost, tsgc.checkpoint\n"
        "print(sorted({'torchvision', 'timm', 'torch._dynamo'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.stdout == "[]\n", done.stdout + done.stderr
