"""Velocities: of every way to the network's input against plain twins, and what playing slower changes."""

import dataclasses
from pathlib import Path

import numpy as np
import orjson
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made.batches import ALL_ON, CPU, NTU, UCLA, bodies_of, made_clips, pack, pipeline
from made.command import quick, tsgc
from made.raw import raw_in_order
from made.teachers import save_teacher

from pipelines.skeleton import SKELETONS
from tsgc import load_run
from tsgc.checkpoint import save_weights
from tsgc.config import TrainConfig
from tsgc.evaluation.scores import read_scores
from tsgc.export.check import fill_bodies
from tsgc.export.modules import FromJoints
from tsgc.inference.live import recognise_live
from tsgc.inference.raw_clips import read_recordings
from tsgc.inference.recogniser import Recogniser
from tsgc.inference.trained_stream import load_stream
from tsgc.inference.windows import recentre
from tsgc.input.pipeline import InputPipeline, input_pipeline
from tsgc.input.tta import PLAIN, VIEWS, View
from tsgc.modalities import derive_modality, velocity

WHOLE = View(span=(1.0, 0.0))
VELOCITIES = ("joint_velocity", "bone_velocity")
UNEVEN = {**ALL_ON, "frames": 32, "drop_joints": 0.0, "drop_axis": 0.0}


def sees(pipe, modality):
    """The same pipeline for another stream."""
    return dataclasses.replace(pipe, config=dataclasses.replace(pipe.config, modality=modality))


def plain_input(clip, positions, skeleton, fps, of_bones):
    """The velocity of one clip (T, M, V, C) at `positions`, number by number: (M, len(positions), V, C)."""
    frames, bodies, joints, axes = clip.shape
    result = np.zeros((bodies, len(positions), joints, axes))
    for m, v, c in np.ndindex(bodies, joints, axes):
        curve = clip[:, m, v, c].astype(np.float64)
        if of_bones:
            curve = curve - clip[:, m, skeleton.parents[v], c]
        for t in range(len(positions) - 1):
            here, there = np.interp(positions[t : t + 2], np.arange(frames), curve)
            seconds = (positions[t + 1] - positions[t]) / fps
            result[m, t, v, c] = (there - here) / seconds / 60 if seconds else 0
    return result


def plain_velocity(x, positions, fps, presence=None):
    """The velocity of joints or bones (C, T, V, M) in the network's frames, frame by frame."""
    result = np.zeros_like(x)
    for t, m in np.ndindex(x.shape[1] - 1, x.shape[3]):
        seconds = (positions[t + 1] - positions[t]) / fps
        if seconds and (presence is None or presence[t : t + 2, m].all()):
            result[:, t, :, m] = (x[:, t + 1, :, m] - x[:, t, :, m]) / (60 * seconds)
    return result


@pytest.mark.parametrize("fps", [30, 12.5])
@pytest.mark.parametrize("sampling", ["crop", "frames"])
@pytest.mark.parametrize("name", VELOCITIES)
def test_a_tests_input_is_the_plain_one_in_a_batch_and_alone(name, sampling, fps):
    clips = made_clips(bodies=(1, 2, 1), frames=(7, 50, 1), joints=20)
    pipe = pipeline(UCLA, 2, frames=24, sampling=sampling, modality=name)
    pipe = dataclasses.replace(pipe, fps=fps)
    for view in (PLAIN, *VIEWS["spans"]):
        together, _ = pipe.test(pack(clips), CPU, view)
        for n, clip in enumerate(clips):
            (positions,) = pipe.test_positions(pack([clip]), view)
            expected = plain_input(clip, positions, UCLA, fps, name == "bone_velocity")
            alone, _ = pipe.test(pack([clip]), CPU, view)
            again, _ = pipe.test(pack([clip]), CPU, view)  # by arrays that were kept
            assert torch.equal(alone[0], together[n]) and torch.equal(alone, again)
            found = alone[0].permute(3, 1, 2, 0).numpy()
            np.testing.assert_allclose(found[: clip.shape[1]], expected, atol=1e-5)
            assert not found[clip.shape[1] :].any()


@pytest.mark.parametrize("present_only", [False, True])
@pytest.mark.parametrize("sampling", ["crop", "frames"])
def test_training_sees_the_velocity_of_what_it_sees_of_joints(sampling, present_only):
    """Jittered, at changing speeds, turned, mirrored, noisy; bodies that come and go; for teachers, too."""
    uneven = UNEVEN if sampling == "crop" else {**UNEVEN, "time_jitter": 0.0, "speed": 0.0}
    config = TrainConfig(**uneven, sampling=sampling, variant="tiny", normalise="spine")
    pipe = InputPipeline(config, NTU, 2, "zeros", present_only, fps=15)
    clips = made_clips(bodies=(1, 2, 2, 1), frames=(9, 60, 45, 1))
    clips[1][10:40, 1] = 0
    clips[2][20:24, 0] = 0
    names = ["joint", "bone", *VELOCITIES, "bone_velocity+joint+joint_velocity"]
    draws = pipe.draw(1, 2, 4, 3)
    (joint, bone, *found, stack), presence = pipe.train_streams(pack(clips), draws, CPU, names)
    positions = pipe.train_positions(pack(clips), draws)
    for n, x in enumerate(clips):
        there = None if presence is None else presence[n].numpy()
        for whole, moved in zip((joint, bone), found):
            expected = plain_velocity(whole[n].numpy(), positions[n], 15, there)
            np.testing.assert_allclose(moved[n].numpy(), expected, rtol=1e-3, atol=1e-4)
        assert len(x) == 1 or found[0][n].any()
    assert torch.equal(stack, torch.cat([found[1], joint, found[0]], 1))
    for name, one in zip(VELOCITIES, found):  # as each stream's own training
        assert torch.equal(sees(pipe, name).train(pack(clips), draws, CPU)[0], one)
    if present_only:
        absent = ~presence.bool()
        assert absent.any() and not found[0].permute(0, 2, 4, 1, 3)[absent].any()


def test_a_mirrored_and_a_turned_view_have_the_velocity_of_the_changed_clip():
    clips = bodies_of()
    pipe = pipeline(UCLA, 1, frames=16, rotation="none", normalise="unit")
    for view in VIEWS["mirror-turns"]:
        joint, _ = pipe.test(pack(clips), CPU, view)
        found, _ = sees(pipe, "joint_velocity").test(pack(clips), CPU, view)
        for n, positions in enumerate(pipe.test_positions(pack(clips), view)):
            expected = plain_velocity(joint[n].numpy(), positions, 30)
            np.testing.assert_allclose(found[n].numpy(), expected, rtol=1e-3, atol=1e-5)


@given(
    frames=st.integers(2, 60),
    slower=st.integers(2, 4),
    counts=st.lists(st.integers(16, 90), min_size=2, max_size=2),
    fps=st.floats(5, 120),
    seed=st.integers(0, 2**32),
)
def test_straight_on_the_velocity_is_that_of_the_joints_for_any_length_and_rate(
    frames, slower, counts, fps, seed
):
    """Joints in straight lines, and the same more slowly, which `joint_motion` does not tell apart."""
    slopes = np.random.default_rng(seed).uniform(-1, 1, (20, 3))
    clips = [
        (np.arange(rate * frames)[:, None, None, None] * slopes / rate).astype(np.float32)
        for rate in (1, slower)
    ]
    for count in counts:
        pipe = dataclasses.replace(pipeline(UCLA, 1, frames=count), fps=fps)
        found, _ = sees(pipe, "joint_velocity").test(pack(clips), CPU, WHOLE)
        positions = pipe.test_positions(pack(clips), WHOLE)
        for x, places, rate in zip(found.numpy(), positions, (1, slower)):
            moves = np.diff(places, append=places[-1]) > 0
            expected = moves[None, :, None] * slopes.T[:, None] * (fps / 60 / rate)  # (C, T, V)
            np.testing.assert_allclose(x[..., 0], expected, rtol=1e-2, atol=1e-3)
        whole, slow = sees(pipe, "joint_motion").test(pack(clips), CPU, WHOLE)[0].numpy()
        within = (positions[0] > 0) & (positions[0] < frames - 1)
        between = np.flatnonzero(within[:-1] & within[1:])  # the ends are held a frame long, of any rate
        np.testing.assert_allclose(whole[:, between], slow[:, between], atol=1e-4)


def test_at_half_the_rate_by_interpolation_any_smooth_clip_has_half_the_velocity_and_the_same_motion():
    rng = np.random.default_rng(0)
    periods, phases = rng.uniform(30, 60, (2, 20, 3)), rng.uniform(0, 6, (2, 20, 3))
    clip = np.sin(2 * np.pi * np.arange(80)[:, None, None, None] / periods[0] + phases[0])
    places = (np.arange(160) + 0.5) / 2 - 0.5
    slow = np.apply_along_axis(lambda curve: np.interp(places, np.arange(80), curve), 0, clip)
    clips = [clip.astype(np.float32), slow.astype(np.float32)]
    for name, part in (("joint_motion", 1), ("joint_velocity", 2)):
        x, _ = pipeline(UCLA, 1, frames=64, modality=name).test(pack(clips), CPU)
        fast, half = x[:, :, 1:-2].numpy()
        error = np.abs(fast - part * half).max(), np.abs(fast).max()
        assert error[0] < 0.1 * error[1], name


@given(
    frames=st.integers(1, 30),
    more=st.lists(st.integers(0, 60), min_size=1, max_size=3),
    fps=st.sampled_from([10, 30, 1000]),
    seed=st.integers(0, 2**32),
)
def test_over_time_any_velocity_adds_up_to_the_way_from_the_first_frame_to_the_last(frames, more, fps, seed):
    """Of any clip, for any T that reaches both ends."""
    (clip,) = made_clips(seed, bodies=(1,), frames=(frames,), joints=20)
    for count in more:
        pipe = pipeline(UCLA, 1, frames=max(16, frames) + count, modality="joint_velocity")
        pipe = dataclasses.replace(pipe, fps=fps)
        found, _ = pipe.test(pack([clip]), CPU, WHOLE)
        (positions,) = pipe.test_positions(pack([clip]), WHOLE)
        seconds = np.diff(positions, append=positions[-1]) / fps
        way = np.einsum("ctv,t->vc", found[0, ..., 0].numpy().astype(np.float64), 60 * seconds)
        np.testing.assert_allclose(way, clip[-1, 0] - clip[0, 0], atol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU to compare the CPU with")
@pytest.mark.parametrize("present_only", [False, True])
def test_a_gpu_sees_the_velocity_that_a_cpu_sees(present_only):
    config = TrainConfig(**{**UNEVEN, "noise": 0.0}, variant="tiny", modality="bone_velocity+joint_velocity")
    pipe = InputPipeline(config, NTU, 2, "zeros", present_only, fps=15)
    batch, draws = pack(made_clips()), pipe.draw(0, 1, 3, 3)
    for sees_it in (pipe.test, lambda batch, device: pipe.train(batch, draws, device)):
        (expected, _), (found, _) = (sees_it(batch, torch.device(name)) for name in ("cpu", "cuda"))
        assert expected.any()
        torch.testing.assert_close(found.cpu(), expected, atol=1e-3, rtol=1e-3)


def test_frames_at_one_time_or_nearly_so_do_not_move():
    x = torch.arange(6.0).view(1, 1, 6, 1, 1)
    times = torch.tensor([[0, 0, 1 / 30, 1 / 30 + 1e-9, 1 / 20, 0]], dtype=torch.float64)
    assert velocity(x, times).flatten().tolist() == pytest.approx([0, 0.5, 0, 1, -1 / 3, 0], abs=1e-5)


@pytest.mark.parametrize("name", VELOCITIES)
def test_a_score_is_not_a_speed(name):
    coco = SKELETONS["coco-17"]
    x = torch.rand(2, 1, 9, 17, 3)
    times = torch.rand(2, 9, dtype=torch.float64).cumsum(1)
    found = derive_modality(name, x, coco, "xys", times)
    motion = derive_modality(name.replace("velocity", "motion"), x, coco, "xys")
    assert torch.equal(found[..., 2], motion[..., 2])
    rates = (1 / 60 / times.diff(dim=1)).float()[:, None, :, None, None]
    torch.testing.assert_close(found[:, :, :-1, :, :2], motion[:, :, :-1, :, :2] * rates)


@pytest.fixture
def taught(ucla, tmp_path):
    """A stream that sees velocities, as a data set of 12 frames a second would save it; its last model."""
    run = ucla(modality="joint_velocity+bone")
    run.manifest = dataclasses.replace(run.manifest, fps=12)
    return load_stream(Path(save_teacher(run, tmp_path / "taught.safetensors")), CPU), run.manifest


def plain_logits(stream, joints):
    """Logits (K,) of joints (T, 1, V, 3), by the plain twin of a velocity."""
    alone = sees(stream.pipeline, "joint")
    joint, _ = alone.test(pack([recentre(joints, UCLA.centre)]), CPU)
    bone, _ = sees(alone, "bone").test(pack([recentre(joints, UCLA.centre)]), CPU)
    (positions,) = alone.test_positions(pack([joints]))
    moved = torch.from_numpy(plain_velocity(joint[0].numpy(), positions, 12))
    with torch.inference_mode():
        return stream.model(torch.cat([moved[None], bone], 1))[0].numpy()


def test_predictions_windows_live_answers_and_exports_know_the_frame_rate(taught):
    stream, manifest = taught
    assert stream.pipeline == input_pipeline(stream.pipeline.config, manifest) and stream.pipeline.fps == 12
    recogniser = Recogniser([stream], [1.0], CPU)
    joints = bodies_of((50,))[0] + np.float32([0, 0, 3])
    for one in recogniser.predict(joints, window=20, stride=15):
        expected = plain_logits(stream, joints[slice(*one.frames)])
        np.testing.assert_allclose(one.logits, expected, atol=1e-4)
    lines = [orjson.dumps({"bodies": frame.tolist()}) for frame in joints]
    for answer in recognise_live(recogniser, lines, window=25, stride=10, top=1):
        expected = torch.from_numpy(plain_logits(stream, joints[slice(*answer.frames)])).softmax(0)
        assert answer.top[0]["probability"] == pytest.approx(expected.max().item(), abs=1e-4)
    for frames in (1, 16, 50):
        filled = fill_bodies(joints[:frames], stream.pipeline.bodies, "zeros")
        with torch.inference_mode():
            found = FromJoints(stream)(torch.from_numpy(filled[None]))
        np.testing.assert_allclose(found[0].numpy(), plain_logits(stream, joints[:frames]), atol=1e-4)


@pytest.mark.slow
def test_a_stream_of_velocities_is_trained_and_used_as_any_stream(trained, here):
    """Train, evaluate, predict from raw files, export: as a user would."""
    places = ("--data-root", trained / "data")
    words = ("nw-ucla/xview", "--modality", "joint_velocity", *places, "--run-dir", here / "run")
    settings = ("epochs=1", "warmup_epochs=0", "frames=40", "last_batch=spread", "time_jitter=1", "speed=1")
    tsgc("train", *words, *quick(*settings))
    scores = read_scores(here / "run/scores/last.npz")
    assert scores.source.modality == "joint_velocity"
    tsgc("evaluate", here / "run", *places)
    assert np.array_equal(read_scores(here / "run/scores/last.npz").logits, scores.logits)
    recogniser = load_run(here / "run", device="cpu")
    files, _ = raw_in_order(trained, here / "run", recogniser)
    answers = recogniser.answers(read_recordings(files, recogniser.format), batch=1)
    assert np.abs(np.stack([answer.logits for answer in answers]) - scores.logits).max() < 1e-5
    said = tsgc("export", here / "run", "--raw-input", *places)
    assert said.count("largest difference from PyTorch") == 2 and "the test clips of" in said
    assert "any number of frames, 30 a second" in (here / "run/export/last-joints.md").read_text()


def test_checkpoints_that_tell_no_rate_are_of_their_data_sets(taught, tmp_path):
    stream, _ = taught
    old = dataclasses.replace(stream.description, fps=0)
    save_weights(tmp_path / "old.safetensors", stream.model.state_dict(), old)
    assert load_stream(tmp_path / "old.safetensors", CPU).pipeline.fps == 30
