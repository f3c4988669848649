"""Exported files give PyTorch's logits, or do not exist; the counts of `tsgc info` are the published ones."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from made.command import fails, tsgc
from made.exported import onnx, pt2
from made.runs import BENCHMARK
from made.slowly import slowly
from torch.utils.flop_counter import FlopCounterMode

from pipelines.skeleton import SKELETONS
from tsgc import kernels, load_run
from tsgc.evaluation.scores import read_scores
from tsgc.export import export
from tsgc.export.joints_input import dense_min_max, dense_recentre
from tsgc.export.modules import traced_crop_positions, traced_even_positions
from tsgc.inference.windows import recentre
from tsgc.input.crop import centre_crop, even_frames
from tsgc.input.crop import crop_positions as packed_crop_positions
from tsgc.input.geometry import min_max as packed_min_max
from tsgc.network.cost import count_parts, totals
from tsgc.network.layers import TemporalDepthwise
from tsgc.network.model import TSGCNeXt

STREAMS = {
    "ntu60": (BENCHMARK, "joint"),
    "nw-ucla": ("nw-ucla/xview", "joint"),
    "corrected": ("ntu60-corrected/xsub", "joint_motion"),
}


@pytest.fixture(params=STREAMS)
def run(request, trained, here):
    """A copy of a tiny run, and the data root it came from."""
    benchmark, modality = STREAMS[request.param]
    shutil.copytree(trained / "runs" / benchmark / "tiny" / modality / "seed0", here / request.param)
    return here / request.param, trained / "data"


@pytest.mark.parametrize("run", ["corrected", *slowly("ntu60", "nw-ucla")], indirect=True)
def test_both_formats_give_the_logits_of_the_network(run):
    folder, data = run
    said = tsgc("export", folder, "--data-root", data)
    assert said.count("largest difference from PyTorch") == 2 and "the test clips of" in said
    (stream,) = load_run(folder, device="cpu").streams
    session, from_onnx = onnx(folder / "export/last.onnx")
    from_pt2 = pt2(folder / "export/last.pt2")
    assert json.loads(session.get_modelmeta().custom_metadata_map["classes"])[0] in said + "".join(
        stream.description.class_names
    )
    C, V, M = stream.model.input_shape
    presence = stream.pipeline.present_only
    rng = np.random.default_rng(0)
    for clips, frames in ((1, 40), (5, 40), *(() if presence else ((2, 32), (1, 33), (3, 47), (2, 128)))):
        x = rng.normal(size=(clips, C, frames, V, M)).astype(np.float32)
        inputs = [x, (rng.random((clips, frames, M)) < 0.7).astype(np.float32)] if presence else [x]
        with torch.no_grad():
            told = torch.from_numpy(inputs[1]) if presence else None
            expected = stream.model(torch.from_numpy(x), presence=told).numpy()
        assert np.abs(from_onnx(*inputs) - expected).max() < 1e-4
        assert np.abs(from_pt2(*inputs) - expected).max() < 1e-4


@pytest.mark.parametrize("run", ["ntu60", *slowly("nw-ucla")], indirect=True)
def test_files_that_take_joints_give_the_logits_of_predict(run):
    folder, data = run
    tsgc("export", folder, "--raw-input", "--data-root", data)
    from_onnx = onnx(folder / "export/last-joints.onnx")[1]
    from_pt2 = pt2(folder / "export/last-joints.pt2")
    recogniser = load_run(folder, device="cpu")
    V, C, M = *recogniser.joint_shape, recogniser.streams[0].pipeline.bodies
    rng = np.random.default_rng(1)
    for frames in (1, 2, 39, 40, 41, 150, 301):
        joints = rng.normal(0, 0.3, (frames, M, V, C)).astype(np.float32).cumsum(0) + np.float32(3)
        if M > 1 and frames > 2:
            joints[: frames // 3, 0] = 0
            joints[-1, 1] = 0
        (expected,) = recogniser.predict(joints)
        for run_file in (from_onnx, from_pt2):
            assert np.abs(run_file(np.stack([joints, joints]))[1] - expected.logits).max() < 1e-4


@pytest.mark.parametrize("run", ["corrected", *slowly("ntu60", "nw-ucla")], indirect=True)
def test_a_wrong_file_is_not_left_behind(run, monkeypatch):
    folder, data = run
    write, open_file = export.FORMATS["pt2"]
    monkeypatch.setitem(
        export.FORMATS, "pt2", (write, lambda path: lambda inputs: open_file(path)(inputs) + 1)
    )
    said = tsgc("export", folder, "--format", "pt2", "--data-root", data, expect=1)
    assert "differ from PyTorch's by up to 1.0e+00, expected 1e-04 at most; not written" in said
    assert not list((folder / "export").iterdir())
    monkeypatch.setitem(
        export.FORMATS, "pt2", (write, lambda path: lambda inputs: open_file(path)(inputs) * np.nan)
    )
    tsgc("export", folder, "--format", "pt2", "--data-root", data, expect=1)
    assert not list((folder / "export").iterdir())


@pytest.mark.parametrize("run", ["ntu60"], indirect=True)
def test_the_card_says_what_it_is_and_how_good(run):
    folder, data = run
    said = json.loads(tsgc("export", folder, "--ema", "--format", "pt2", "--data-root", data, "--json"))
    assert said["differences"]["pt2"] <= 1e-4
    card = (folder / "export/last-ema.md").read_text()
    scores = read_scores(folder / "scores/last-ema.npz")
    hits = (scores.logits.argmax(1) == scores.labels).mean()
    assert f"| all | {len(scores.labels)} | {100 * hits:.2f} |" in card
    for words in (
        "ntu60/xsub",
        "reference preset",
        "averaged (EMA)",
        "CC BY-NC 4.0",
        "commit",
        "drink water",
    ):
        assert words in card, words
    assert "--overwrite" in fails("export", folder, "--ema", "--format", "pt2", "--data-root", data)


@pytest.mark.parametrize("run", ["corrected"], indirect=True)
def test_what_cannot_be_exported_is_told(run, here, monkeypatch):
    folder, _ = run
    assert "without --raw-input" in fails("export", folder, "--raw-input")
    assert "not a run" in fails("export", here)
    tsgc("export", folder, "--format", "tflite", expect=2)
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    assert "install the extra" in tsgc("export", folder, "--format", "onnx", expect=1).splitlines()[-1]
    assert "made clips" in tsgc("export", folder, "--format", "pt2", "--data-root", here)


def test_positions_in_the_graph_are_those_of_the_pipeline():
    for frames in (*range(1, 90), 299, 300):
        length = np.array([frames])
        for count in (1, 16, 64, 256):
            expected = packed_crop_positions(*centre_crop(length), count)[0]
            assert np.array_equal(traced_crop_positions(frames, count).numpy(), expected)
            assert np.array_equal(traced_even_positions(frames, count).numpy(), even_frames(length, count)[0])


def test_centring_and_min_max_in_the_graph_are_those_of_the_pipeline():
    joints = np.random.default_rng(0).normal(2, 1, (3, 9, 2, 25, 3)).astype(np.float32)
    joints[0, :4, 0] = 0  # the first body comes later
    joints[1, :, 1] = 0  # there is no second body
    centred = dense_recentre(torch.from_numpy(joints), 1).numpy()
    assert np.array_equal(centred, np.stack([recentre(clip, 1) for clip in joints]))
    for clip, bodies in zip(centred, (2, 1, 2)):
        rows = torch.from_numpy(clip[:, :bodies].reshape(-1, 25, 3))
        expected = packed_min_max(rows, torch.zeros(len(rows), dtype=torch.int64), 1).reshape(
            9, bodies, 25, 3
        )
        there = torch.from_numpy((clip[None] != 0).any((3, 4), keepdims=True))
        found = dense_min_max(torch.from_numpy(clip[None]), there)[0]
        assert torch.equal(found[:, :bodies], expected) and not found[:, bodies:].any()


# Of the published network (T = 256, 25 joints, 2 bodies), without and with the graph products.
@pytest.mark.parametrize(
    ("variant", "classes", "macs", "with_graphs"), [("252", 120, 4.91, 5.11), ("432", 60, 4.44, 4.64)]
)
def test_info_has_the_published_counts(variant, classes, macs, with_graphs):
    said = tsgc("info", "--variant", variant, "--classes", classes)
    assert re.search(r"stage 3 block 2 .* 1,?\d", said)  # a row of the table is one line of 80 columns
    assert f"{macs} GMAC without the graph products, {with_graphs} with" in said
    found = json.loads(tsgc("info", "--variant", variant, "--classes", classes, "--json"))
    assert found["totals"]["macs"] / 1e9 == pytest.approx(macs, abs=0.005)
    assert sum(part["parameters"] for part in found["parts"]) == found["totals"]["parameters"]


@pytest.mark.parametrize("variant", ["252", "432", "tiny"])
@pytest.mark.parametrize("skeleton", ["ntu-25", "nw-ucla-20"])
def test_counts_are_those_of_a_forward_pass(variant, skeleton):
    bodies, frames = 2, 75
    model = TSGCNeXt(SKELETONS[skeleton], 10, variant=variant, bodies=bodies).eval()
    whole = totals(count_parts(model, frames))
    assert whole["parameters"] == sum(tensor.numel() for tensor in model.parameters())
    outputs = 0

    def count(module, inputs, output):
        nonlocal outputs
        outputs += output.numel()

    for module in model.modules():
        if isinstance(module, torch.nn.Linear | TemporalDepthwise):
            module.register_forward_hook(count)
    V = SKELETONS[skeleton].num_joints
    with kernels.plain(), FlopCounterMode(display=False) as counter:  # the plain one's, layer by layer
        model(torch.zeros(1, 3, frames, V, bodies))
    depthwise = graphs_out = 0
    for part in count_parts(model, frames):
        if part.graph_macs:
            T, _, width = map(int, part.output.split(" x "))
            depthwise += 3 * T * V * width * bodies  # additions and products of whole tensors: not counted
            graphs_out += 3 * T * V * width * bodies
    assert whole["macs"] + whole["graph_macs"] - depthwise == counter.get_total_flops() / 2
    assert whole["activations"] == outputs + graphs_out


def test_info_of_a_run_and_of_nonsense(trained, here):
    folder = trained / "runs" / BENCHMARK / "tiny/bone/seed0"
    found = json.loads(tsgc("info", folder, "--json"))
    assert (found["modality"], found["variant"], found["frames"]) == ("bone", "tiny", 40)
    assert "16 or more" in fails("info", "--frames", "15", code=2)
    assert "expected one of 252" in fails("info", "--variant", "999", code=2)
    assert "expected one of ntu-25" in fails("info", "--skeleton", "octopus", code=2)
    assert "not a run" in fails("info", here)
