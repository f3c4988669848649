"""The `.skeleton` reader, names and splits of NTU."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_clips import V, ntu_clip, ntu_text, standing

from pipelines import ntu
from pipelines.dataset import DATASETS
from pipelines.errors import TsgcError

NUMBERS = st.floats(-100, 100, width=32)


@st.composite
def clips(draw):
    """Frames of up to two bodies; joints differ in a few drawn numbers, which keeps drawing fast."""
    frames = []
    for _ in range(draw(st.integers(0, 4))):
        bodies = draw(st.lists(st.sampled_from(["7", "72057594037944738", "8"]), unique=True, max_size=2))
        frame = {}
        for body in bodies:
            joints = standing(1)[0]
            joints[draw(st.integers(0, V - 1))] = draw(st.tuples(NUMBERS, NUMBERS, NUMBERS))
            frame[body] = joints
        frames.append(frame)
    return frames


def same(a: ntu.Parsed, b: ntu.Parsed) -> bool:
    return np.array_equal(a.file_frames, b.file_frames) and all(
        one.body == other.body
        and np.array_equal(one.frames, other.frames)
        and np.array_equal(one.joints, other.joints)
        for one, other in zip(a.tracks, b.tracks, strict=True)
    )


@settings(max_examples=60, deadline=None)
@given(clips(), st.sampled_from(["\n", "\r\n"]))
def test_any_well_formed_clip_reads_back_and_equals_the_plain_reader(frames, line_end):
    text = ntu_text(frames, line_end)
    parsed = ntu.parse("clip", text)
    assert same(parsed, ntu.parse_plain("clip", text))
    valid = [frame for frame in frames if frame]
    assert parsed.num_frames == len(valid)
    assert parsed.file_frames.tolist() == [frame for frame, bodies in enumerate(frames) if bodies]
    for track in parsed.tracks:
        assert [track.body in frame for frame in valid] == [n in track.frames for n in range(len(valid))]
        np.testing.assert_array_equal(
            track.joints, [frame[track.body] for frame in valid if track.body in frame]
        )
    order = list(dict.fromkeys(body for frame in frames for body in frame))
    assert [track.body for track in parsed.tracks] == order


CLIP = ntu_clip(frames=2, bodies=2)


def parses_or_raises_one_error(text: bytes) -> None:
    outcomes = []
    for read in (ntu.parse, ntu.parse_plain):
        try:
            outcomes.append(read("clip", text))
        except TsgcError as error:
            assert str(error).startswith("clip: ") and "\n" not in str(error)
            outcomes.append(str(error))
    fast, plain = outcomes
    assert fast == plain if isinstance(plain, str) else same(fast, plain)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(CLIP)))
def test_a_cut_clip_never_raises_anything_but_the_one_error(size):
    parses_or_raises_one_error(CLIP[:size])


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, len(CLIP)),
    st.integers(0, 40),
    st.one_of(
        st.binary(max_size=6),
        st.sampled_from(
            [b"nan", b"1_0", b"1e39", b"3.4028235e38", b"-inf", b"\r\n", b" ", b"9" * 5000, b"+3", b"0x1"]
        ),
    ),
)
def test_a_changed_clip_never_raises_anything_but_the_one_error(start, size, change):
    parses_or_raises_one_error(CLIP[:start] + change + CLIP[start + size :])


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_arbitrary_bytes_never_raise_anything_but_the_one_error(data):
    parses_or_raises_one_error(data)


def changed(line: int, text: str) -> bytes:
    """A one-body clip with line `line` (from 1) replaced."""
    lines = ntu_clip(frames=2).split(b"\r\n")
    lines[line - 1] = text.encode()
    return b"\r\n".join(lines)


JOINT = " 336.5 192.8 1184.5 489.4 0 0 0 1 2"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "clip: empty, expected NTU skeleton text"),
        (b"\x89PNG\r\n\x1a\n\0\0", "clip: not a text file, expected NTU skeleton text"),
        ("\ufeff2\r\n".encode(), "clip: not a text file"),
        (changed(1, "two"), "clip: line 1: 'two', expected the number of frames"),
        (changed(2, "1.5"), "clip: line 2: '1.5', expected the number of bodies"),
        (changed(3, "7 0 1 1"), "clip: line 3: 4 fields, expected 10 (a body)"),
        (changed(4, "24"), "clip: line 4: 24 joints, expected 25"),
        (changed(5, "1 2 3"), "clip: line 5: 3 fields, expected 12 (a joint)"),
        (changed(5, "1 2 x" + JOINT), "clip: line 5: 'x', expected a number"),
        (changed(5, "1 2 1_0" + JOINT), "clip: line 5: '1_0', expected a number"),
        (changed(6, "1 NaN 3" + JOINT), "clip: line 6: 'NaN', expected a finite number"),
        (changed(6, "1 2 -inf" + JOINT), "clip: line 6: '-inf', expected a finite number"),
        (changed(6, "1 1e39 3" + JOINT), "clip: line 6: '1e39', expected a finite number"),
        (changed(1, "3"), "clip: line 58: the file ends before this line, expected the number of bodies"),
        (changed(1, "1"), "clip: line 30: '1' after the last frame, expected the end of the file"),
        (b"1\r\n2\r\n", "clip: line 3: the file ends before this line, expected a body; it is cut"),
    ],
)
def test_a_malformed_clip_is_told_by_line(text, message):
    with pytest.raises(TsgcError) as error:
        ntu.parse("clip", text)
    assert str(error.value).startswith(message)


def test_a_body_twice_in_every_frame_is_an_error():
    once = ntu_text([{"7": standing(1)[0]}]).decode().split("\r\n")
    twice = ["1", "2", *once[2:-1], *once[2:-1]]
    with pytest.raises(TsgcError, match="body 7 appears 2 times in 1 frames"):
        ntu.parse("clip", "\r\n".join(twice).encode())


def test_values_of_other_fields_are_not_read():
    text = ntu_clip(frames=2)
    np.testing.assert_array_equal(
        ntu.parse("clip", text.replace(b"1184.5", b"-1.#IND")).tracks[0].joints,
        ntu.parse("clip", text).tracks[0].joints,
    )


def test_frames_without_a_body_are_not_counted():
    body = standing(3)
    parsed = ntu.parse("clip", ntu_text([{}, {"1": body[0]}, {}, {"1": body[1], "2": body[2]}]))
    assert parsed.num_frames == 2
    assert [track.frames.tolist() for track in parsed.tracks] == [[0, 1], [1]]


@pytest.mark.parametrize("text", [b"0\r\n", ntu_text([{}, {}]), ntu_text([{"1": np.zeros((V, 3))}])])
def test_a_clip_without_bodies_comes_back_without_frames(text):
    prepared = ntu.read_reference("clip", text)
    assert prepared.joints.shape == (0, 1, V, 3)


def test_a_clip_of_two_bodies_has_two_actors_and_says_who_is_present():
    tracks = {"1": standing(20, 1), "2": standing(16, 2)}
    frames = [{body: joints[t] for body, joints in tracks.items() if t < len(joints)} for t in range(20)]
    prepared = ntu.read_reference("clip", ntu_text(frames))
    assert prepared.joints.shape == (20, 2, V, 3)
    assert prepared.present.sum(axis=0).tolist() in ([20, 16], [16, 20])
    assert prepared.origin.dtype == np.float32


def test_real_clips_equal_the_reference(shared: Path):
    golden = np.load(shared / "golden/ntu_reference_centred.npz")
    for name in golden:
        path = shared / f"data/nturgbd_raw/nturgb+d_skeletons/{name}.skeleton"
        joints = ntu.read_reference(str(path), path.read_bytes()).joints
        np.testing.assert_allclose(joints.reshape(golden[name].shape), golden[name], rtol=0, atol=1e-5)


def test_real_clips_read_alike_by_both_readers(shared: Path):
    for path in (shared / "data/nturgbd_raw/nturgb+d_skeletons").iterdir():
        assert same(ntu.parse("clip", path.read_bytes()), ntu.parse_plain("clip", path.read_bytes()))


def test_a_name_tells_label_and_fields():
    identity = DATASETS["ntu60"].identify("S001C002P003R002A060")
    assert identity.label == 59
    assert identity.fields == {"setups": 1, "cameras": 2, "performers": 3, "replications": 2}


@pytest.mark.parametrize("name", ["S018C001P008R001A001", "S001C001P001R001A061"])
def test_clips_of_ntu120_are_not_part_of_ntu60(name):
    assert DATASETS["ntu60"].identify(name) is None
    assert DATASETS["ntu120"].identify(name) is not None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("S001C001P001R001", "unknown name 'S001C001P001R001', expected SsssCcccPpppRrrrAaaa"),
        ("S001C001P001R001A121", "unknown action 121 in 'S001C001P001R001A121', expected 1 to 120"),
        ("S033C001P001R001A001", "unknown setup 33"),
        ("S001C004P001R001A001", "unknown camera 4"),
        ("S001C001P000R001A001", "unknown performer 0"),
    ],
)
@pytest.mark.parametrize("dataset", ["ntu60", "ntu120"])
def test_an_unknown_name_is_an_error(dataset, name, message):
    with pytest.raises(TsgcError, match=message):
        DATASETS[dataset].identify(name)


def test_splits_follow_the_published_protocols():
    fields = {
        "setups": np.array([1, 2, 3]),
        "cameras": np.array([1, 2, 3]),
        "performers": np.array([1, 3, 45]),
        "replications": np.array([1, 1, 1]),
    }
    splits60, splits120 = (DATASETS[name].splits(fields) for name in ("ntu60", "ntu120"))
    assert {name: split.tolist() for name, split in splits60.items()} == {
        "xsub": [0, 1, 1],
        "xview": [1, 0, 0],
    }
    assert {name: split.tolist() for name, split in splits120.items()} == {
        "xsub": [0, 1, 0],
        "xset": [1, 0, 1],
    }
    assert all(split.dtype == np.int8 for split in [*splits60.values(), *splits120.values()])
    assert next(iter(splits60)) == next(iter(splits120)) == "xsub"


def test_the_published_training_performers_are_all_there():
    assert len(ntu.XSUB60) == 20 and len(ntu.XSUB120) == 53
    assert len(set(ntu.NTU120_ACTIONS)) == 120


@pytest.mark.parametrize("train", [ntu.XSUB60, ntu.XSUB120, range(1, 107), range(1, 5), range(1, 3)])
def test_the_holdout_is_whole_performers_and_about_a_tenth(train):
    performers = np.repeat(sorted(train), 30)
    held = ntu.hold_out_performers({"performers": performers})
    assert not set(performers[held]) & set(performers[~held])
    smallest = 1 / len(train)
    assert held.mean() == pytest.approx(max(0.1, smallest), abs=smallest / 2)


def test_a_single_performer_is_not_held_out():
    assert not ntu.hold_out_performers({"performers": np.ones(5, int)}).any()
