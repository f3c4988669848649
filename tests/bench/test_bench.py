"""`tsgc bench`: it measures what it says, in words and JSON; wrong options are told in one line."""

import json
import os
import platform
import subprocess
import sys
import warnings
from types import SimpleNamespace

import pytest
import torch
from made.command import fails, tsgc
from torch.autograd import DeviceType

from tsgc.bench import clock, contenders, joint_mixing, machine
from tsgc.bench.clock import cost_a_call
from tsgc.bench.inputs import NTU, Shape, make_batch, make_model, redrawn
from tsgc.bench.options import check_shape
from tsgc.bench.trace import covered, idle_share, kernel_intervals, profiled
from tsgc.bench.training import forward_flops
from tsgc.network import precision

CPU = torch.device("cpu")
TINY = ["--device", "cpu", "--variant", "tiny", "--frames", "16", "--batch", "2", "--steps", "1"]


def test_bench_train_tells_training_recognition_and_latency(here):
    said = tsgc("bench", "train", *TINY, "--precision", "bf16", "--out", here / "bench.json")
    assert "ours bf16" in said and "one clip, ours float32" in said
    result = json.loads((here / "bench.json").read_text())
    for rows in (result["training"], result["inference"], result["latency"]):
        assert [row["name"] for row in rows] == ["plain float32", "ours float32", "ours bf16"]
        for row in rows:  # over the published network in float32
            assert row["times_first"] == pytest.approx(rows[0]["ms"] / row["ms"])
    for row in result["training"] + result["inference"]:
        assert row["clips_per_second"] == pytest.approx(2 / (row["ms"] / 1e3))
        flops = row["clips_per_second"] * result["forward_gflop_a_clip"] * 1e9
        assert row["utilisation"] > 0 and flops > 0 and row["memory_gb"] is None
    assert result["machine"]["cpu_flags"] == machine.cpu_flags()


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="memory is kept with glibc")
def test_the_twin_is_timed_before_memory_is_kept():
    """In a process of its own, as it cannot be undone; one clip's latency is before it, too."""
    code = """if True:
        import sys
        from tsgc.bench import training
        from tsgc.network.cpu_memory import is_kept
        from cli import app
        latency = training.latency
        def asked(*words):
            print("kept:", is_kept(), file=sys.stderr)
            return latency(*words)
        training.latency = asked
        app(sys.argv[1:])
    """
    words = [sys.executable, "-c", code, "bench", "train", *TINY, "--json"]
    done = subprocess.run(
        words, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=900
    )
    assert done.returncode == 0 and "kept: False" in done.stderr, done.stderr
    result = json.loads(done.stdout)
    for what in ("training", "inference"):
        kept = [row["memory_kept"] for row in result[what]]
        assert kept == [False, *[True] * (len(kept) - 1)] and len(kept) in (2, 3)  # with bf16, or without


def test_bench_times_what_is_fastest_here_and_tells_what_is_emulated(monkeypatch):
    """In `auto` nothing is emulated; an explicit bfloat16 is timed where it is, and said to cost."""
    shape = check_shape("tiny", "ntu-25", 16, 2, 5, 2, None, 1, "cpu")
    assert shape[2] == precision.fastest(CPU) and not precision.emulates(shape[2], CPU)
    named = {
        name: [one.name for one in contenders.contenders(name, CPU, plain=False, compare=False)]
        for name in ("float32", "bf16")
    }
    assert named["float32"] == ["plain float32", "ours float32"] == named["bf16"][:2]
    monkeypatch.setattr(precision, "fastest", lambda device, ours=True: "float32")
    said = tsgc("bench", "train", *TINY, "--precision", "bf16", "--plain")
    assert said.count("precision is bf16, which this CPU has no instructions for") == 1
    assert said.count("; --precision auto takes float32 here") == 1
    said = tsgc("bench", "graph", *TINY, "--precision", "bf16")
    assert said.count("; --precision auto takes float32 here") == 1


def test_bench_train_as_json_and_nothing_else():
    result = json.loads(tsgc("bench", "train", *TINY, "--plain", "--precision", "float32", "--json"))
    assert [row["name"] for row in result["training"]] == ["plain float32"]
    assert result["shape"]["classes"] == 120


def test_bench_train_on_real_batches(here, made):
    words = ["--data", made / "shards/ntu60/xsub", "--precision", "float32", *TINY]
    said = tsgc("bench", "train", *words, "--set", "crop_min_frames=2", "--out", here / "bench.json")
    result = json.loads((here / "bench.json").read_text())
    data = result["data"]
    assert (data["shape"]["skeleton"], data["shape"]["frames"], data["shape"]["batch"]) == ("ntu-25", 16, 2)
    assert data["shape"]["classes"] == 60 and "shape" not in result
    assert data["slower"] == pytest.approx(1 - data["real"] / data["made"])
    assert data["cores_real"] > 0
    assert f"; {data['cores_real']:.1f} CPU cores used ({data['cores_made']:.1f} on one batch)" in said
    assert f"{data['clips']} clips, T 16, batch 2" in said and not list(here.glob("runs*"))


@pytest.mark.slow
def test_bench_train_on_two_ranks(here):
    words = ["bench", "train", *TINY, "--precision", "float32", "--gpus", "2", "--out", here / "bench.json"]
    done = subprocess.run(
        [sys.executable, "-m", "tsgc", *map(str, words)],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0 and "2 devices, 2 clips each" in done.stdout, done.stdout + done.stderr
    result = json.loads((here / "bench.json").read_text())
    alone, together = result["training"][-1], result["devices"]
    assert together["clips_per_second"] == pytest.approx(4 / (together["ms"] / 1e3))
    assert together["times_one"] == pytest.approx(together["clips_per_second"] / alone["clips_per_second"])


def test_bench_graph_tells_each_product_of_each_stage():
    rows = json.loads(tsgc("bench", "graph", *TINY, "--json"))["rows"]
    assert {row["stage"] for row in rows} == {1, 2, 3}
    assert {"naive", "paper", "ours", "block"} <= {row["name"] for row in rows}
    assert all(row["forward_times"] == 1 for row in rows if row["name"] == "naive")
    assert "paper" in tsgc("bench", "graph", *TINY)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_idle_time_is_of_a_gpu():
    assert "how long a GPU is idle, and there is none" in fails("bench", "train", "--trace", code=2)


def test_wrong_options_are_told():
    for words, told in {
        ("train", "--variant", "253"): "expected one of 252, 432, tiny",
        ("train", "--precision", "fp8"): "expected one of bf16, tf32, float32",
        ("train", "--precision", "tf32", "--device", "cpu"): "an arithmetic of GPUs",
        ("train", "--frames", "4"): "the network takes 16 or more",
        ("train", "--batch", "0"): "see `tsgc bench train --help`",
        ("train", "--set", "lr=1"): "--set lr: without --data expected one of graphs",
        ("train", "--data", "nowhere", "--plain"): "--plain: with --data our own training alone is timed",
        ("train", "--data", "nowhere", "--long"): "--long: with --data our own training alone is timed",
        ("graph", "--skeleton", "octopus"): "expected one of ntu-25",
    }.items():
        assert told in fails("bench", *words, code=2)
    refused = tsgc("bench", "train", *TINY, "--set", "graphs=true", expect=1)
    assert "graphs is true, and the device is cpu" in refused


def test_made_steps_drop_other_rows_each_time():
    """As many as in training: the share that drop path's rate says."""
    shape = Shape(variant="tiny", skeleton="nw-ucla-20", frames=16, bodies=2, classes=4, batch=64)
    model = make_model(shape, CPU)
    batches = redrawn(make_batch(shape, model, CPU, seed=0), model, 16)
    assert all(batch.kept == tuple((batch.survival > 0).sum(1).tolist()) for batch in batches)
    assert len({batch.kept for batch in batches}) > 8 and len({batch.x.data_ptr() for batch in batches}) == 1
    share = torch.tensor([batch.kept for batch in batches]).double().mean(0) / 128
    torch.testing.assert_close(share, 1 - model.drop_path_rates.double(), rtol=0, atol=0.04)


def test_three_products_are_one():
    """Values and gradients of the naive product, the paper's and ours."""
    stage = joint_mixing.Stage(rows=3, frames=4, joints=5, width=6)
    results = []
    for product, channels_last in joint_mixing.PRODUCTS.values():
        a, h = joint_mixing.made_input(stage, channels_last, torch.float64, CPU)
        out = product(a, h)
        out.square().sum().backward()
        axes = (0, 1, 2, 4, 3) if channels_last else (0, 1, 2, 3, 4)
        results.append([out.permute(axes), a.grad, h.grad.permute(axes)])
    for other in results[1:]:
        for one, theirs in zip(results[0], other, strict=True):
            torch.testing.assert_close(theirs, one)


def test_the_plain_step_trains_as_ours_does():
    """Both steps of the comparison do the same work: the same weights after three steps."""
    shape = Shape(variant="tiny", skeleton="nw-ucla-20", frames=16, bodies=1, classes=4, batch=3)
    kept = {}
    for kind in ("plain", "ours"):
        contender = contenders.Contender(kind, "float32")
        seen = []
        make, twin = contenders.make_step, contenders.plain_twin

        def spy(function, seen=seen):
            def call(*words, **more):
                seen.append(function(*words, **more))
                return seen[-1]

            return call

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(contenders, "make_step", spy(make))
            patch.setattr(contenders, "plain_twin", spy(twin))
            work, free = contenders.training_work(contender, shape, CPU)
        for _ in range(3):
            work()
        free()
        kept[kind] = seen[-1] if kind == "plain" else twin(seen[-1].model)
    for (name, one), other in zip(kept["plain"].named_parameters(), kept["ours"].parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=3e-5, msg=name)


def test_idle_is_what_no_kernel_covers():
    assert covered([(0, 2), (1, 3), (5, 6), (5, 5.5)]) == 4
    assert idle_share([(10, 12), (11, 14), (18, 20)]) == pytest.approx(0.4)
    assert idle_share([(0, 1), (1, 2)]) == 0

    def event(device, start, end, **more):
        return SimpleNamespace(device_type=device, time_range=SimpleNamespace(start=start, end=end), **more)

    events = [
        event(DeviceType.CUDA, 0, 2),
        event(DeviceType.CPU, 0, 9),
        event(DeviceType.CUDA, 0, 9, is_user_annotation=True),
        event(DeviceType.CUDA, 3, 4, is_user_annotation=False),
    ]
    assert kernel_intervals(events, DeviceType.CUDA) == [(0, 2), (3, 4)]


def test_profiling_tells_what_ran_and_nobody_is_warned():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        events = profiled(lambda: torch.ones(3) * 2, CPU, 5, torch.profiler.ProfilerActivity.CPU)
    assert [event.name for event in events].count("aten::mul") == 5


def test_cores_are_cpu_time_over_wall_clock(monkeypatch):
    wall, cpu = [100.0], [7.0]
    monkeypatch.setattr(
        clock, "time", SimpleNamespace(perf_counter=lambda: wall[0], process_time=lambda: cpu[0])
    )

    def work():
        wall[0] += 0.05
        cpu[0] += 0.08

    assert cost_a_call(work, CPU, 4) == (pytest.approx(0.05), pytest.approx(1.6))


def test_flops_are_counted_with_the_graph_products():
    """5.11 GMAC a clip with the graph products, of 252 at T 256 with 25 joints and 2 bodies."""
    assert forward_flops(NTU) / 2e9 == pytest.approx(5.11, abs=0.01)


def test_cpu_flags_are_read(tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text("model name\t: A CPU\nflags\t\t: fpu avx2 avx512f amx_bf16\n\nmodel name\t: B\n")
    assert machine.cpu_name(info) == "A CPU" and machine.cpu_flags(info) == ["avx2", "avx512f", "amx_bf16"]
    assert machine.cpu_flags(tmp_path / "none") == []


def test_a_products_rate_is_its_operations_over_its_time(monkeypatch):
    def timed(work, *_, **__):
        assert work().shape == (64, 64)
        return 0.5

    monkeypatch.setattr(machine, "seconds_a_call", timed)
    assert machine.product_flops("float32", CPU, size=64) == 2 * 64**3 / 0.5


@pytest.mark.parametrize("rate, sizes", [(1e12, [512, 2048]), (1e9, [512, 512])])
def test_a_peak_is_measured_with_less_where_products_are_slow(monkeypatch, rate, sizes):
    """A CPU without instructions for bfloat16 would take minutes."""
    multiplied = []
    monkeypatch.setattr(
        machine, "product_flops", lambda precision, device, size: multiplied.append(size) or rate
    )
    assert machine.peak_flops.__wrapped__("bf16", CPU) == rate and multiplied == sizes


def test_bench_predict_times_each_way_in_turns_and_the_command_itself(here):
    pytest.importorskip("onnxruntime")
    words = ["--variant", "tiny", "--frames", "16", "--calls", "3", "--starts", "1"]
    said = tsgc("bench", "predict", *words, "--out", here / "bench.json")
    result = json.loads((here / "bench.json").read_text())
    there = [
        "PyTorch float32",
        *["PyTorch bf16"] * (precision.fastest(CPU) == "bf16"),
        "ONNX Runtime float32",
    ]
    assert [row["name"] for row in result["one_clip"]] == there
    assert ("bf16, which this CPU has no instructions for" in said) == (len(there) == 2)
    assert all(0 < row["least_ms"] <= row["ms"] for row in result["one_clip"])
    *_, torch_alone, command = result["cold_start"]
    assert command["name"] == "tsgc predict CLIP" and torch_alone["cpu_s"] > 0 and command["cpu_s"] > 0
    assert "from the shell to the answer, 1 starts" in said


def test_bench_predict_leaves_out_what_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    said = tsgc(
        "bench", "predict", "--variant", "tiny", "--frames", "16", "--calls", "1", "--starts", "0", "--json"
    )
    result = json.loads(said)
    assert "ONNX Runtime: ONNX needs the package onnxruntime" in result["left_out"]
    assert not result["cold_start"] and "ONNX" not in str(result["one_clip"])
