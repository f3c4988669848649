"""The input of exported graphs is that of evaluation, for every way to place a clip."""

import dataclasses

import numpy as np
import onnxruntime
import pytest
import torch
from made.batches import NTU, UCLA, bodies_of, made_clips, pack, placed_rows
from made.slowly import slowly

from pipelines.skeleton import SKELETONS
from tsgc.config import TrainConfig
from tsgc.export.joints_input import dense_normalise, dense_recentre
from tsgc.inference.windows import recentre
from tsgc.input.pipeline import InputPipeline

WAYS = [
    {"normalise": normalise, "centre": middle, "align": align}
    for normalise in ("none", "min-max", "unit", "spine")
    for middle in ("prepared", "middle")
    for align in ("none", "facing")
]


def clips_of(bodies, count=3, frames=20):
    """Clips of equal length; two bodies: the last clip lacks the second, the first clip one frame."""
    if bodies == 1:
        return np.stack(bodies_of((frames,) * count))
    clips = np.stack(made_clips(bodies=(2,) * count, frames=(frames,) * count))
    clips[-1, :, 1] = 0
    clips[0, 5, 0] = 0
    return clips


@pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(way.values()))
@pytest.mark.parametrize(("skeleton", "bodies"), [(UCLA, 1), (NTU, 2)])
def test_placing_is_the_pipelines(way, skeleton, bodies):
    clips = clips_of(bodies)
    pipe = InputPipeline(dataclasses.replace(TrainConfig(), **way), skeleton, bodies, "zeros")
    # Packed clips hold the bodies that they have.
    ragged = [clip[:, :1] if not clip[:, 1:].any() else clip for clip in clips]
    batch = pack(ragged)
    expected = placed_rows(pipe, batch)
    ours = dense_normalise(torch.from_numpy(clips), pipe)
    for n, (clip, start) in enumerate(zip(ragged, batch.offsets.tolist())):
        rows = expected[start : start + len(clip) * clip.shape[1]].view(len(clip), clip.shape[1], -1, 3)
        torch.testing.assert_close(ours[n, :, : clip.shape[1]], rows, atol=1e-5, rtol=1e-4)
        assert (ours[n, :, clip.shape[1] :] == 0).all()


def test_pictures_keep_their_scores():
    clips = np.random.default_rng(0).random((2, 9, 1, 17, 3)).astype(np.float32)
    for normalise in ("min-max", "unit", "spine"):
        config = dataclasses.replace(TrainConfig(), normalise=normalise)
        pipe = InputPipeline(config, SKELETONS["coco-17"], 1, "zeros", channels="xys")
        batch = pack(list(clips))
        expected = placed_rows(pipe, batch).view(clips.shape)
        torch.testing.assert_close(
            dense_normalise(torch.from_numpy(clips), pipe), expected, atol=1e-5, rtol=1e-4
        )


def test_centring_is_that_of_windows():
    clips = clips_of(1) + np.float32([0, 0, 3])
    ours = dense_recentre(torch.from_numpy(clips), 1)
    for clip, got in zip(clips, ours.numpy()):
        np.testing.assert_allclose(got, recentre(clip, 1), atol=1e-6)


@pytest.mark.parametrize(
    "way", [WAYS[-8], WAYS[-1], *slowly(*WAYS[-7:-1])], ids=lambda way: "-".join(way.values())
)
def test_every_way_goes_through_onnx(way, tmp_path):
    pipe = InputPipeline(dataclasses.replace(TrainConfig(), **way), UCLA, 1, "zeros")

    class Placed(torch.nn.Module):
        def forward(self, joints):
            return dense_normalise(joints, pipe)

    clips = torch.from_numpy(clips_of(1))
    program = torch.onnx.export(Placed().eval(), (clips,), dynamo=True, verbose=False)
    program.save(str(tmp_path / "placed.onnx"))
    session = onnxruntime.InferenceSession(str(tmp_path / "placed.onnx"), providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {session.get_inputs()[0].name: clips.numpy()})
    np.testing.assert_allclose(got, Placed()(clips).numpy(), atol=1e-5)
