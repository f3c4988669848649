"""The `.skeleton` readers: the compiled one gives what the plain one gives, on anything."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made.clips import V, ntu_clip, standing
from made.clips import ntu_text as write

from pipelines.errors import TsgcError
from pipelines.reading import ntu_scan, ntu_text
from pipelines.reading.json_file import parse_json
from pipelines.reading.ntu_text import Parsed, parse, parse_compiled, parse_plain

ROOT = Path(__file__).parents[3]
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


def same(a: Parsed, b: Parsed) -> bool:
    """To the bit: the sign of zero too."""
    return np.array_equal(a.file_frames, b.file_frames) and all(
        one.body == other.body
        and np.array_equal(one.frames, other.frames)
        and one.joints.dtype == other.joints.dtype == np.float32
        and one.joints.tobytes() == other.joints.tobytes()
        for one, other in zip(a.tracks, b.tracks, strict=True)
    )


@given(clips(), st.sampled_from(["\n", "\r\n"]))
def test_any_well_formed_clip_reads_back_and_equals_the_plain_reader(frames, line_end):
    text = write(frames, line_end)
    parsed = parse_compiled("clip", text)
    assert same(parsed, parse_plain("clip", text))
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
JOINT = " 336.5 192.8 1184.5 489.4 0 0 0 1 2"


def changed(line: int, text: str) -> bytes:
    """A one-body clip with line `line` (from 1) replaced."""
    lines = ntu_clip(frames=2).split(b"\r\n")
    lines[line - 1] = text.encode()
    return b"\r\n".join(lines)


DIGITS = st.text("0123456789", max_size=24)
NUMERALS = st.builds(
    "{}{}{}{}{}".format,
    st.sampled_from(["", "-", "+"]),
    DIGITS,
    st.sampled_from(["", "."]),
    DIGITS,
    st.one_of(
        st.just(""),
        st.builds("{}{}".format, st.sampled_from(["e", "E", "e-", "E+", "e-0"]), st.integers(0, 60)),
    ),
)
# As Kinect writes them: seven digits that count, many of them after the point.
SENSOR = st.floats(-100, 100, width=32).map("{:.7g}".format) | st.from_regex(
    r"-?[0-9]{1,6}\.[0-9]{1,11}", fullmatch=True
)
WORDS = st.sampled_from(
    ["nan", "inf", "Infinity", "1_0", "0x1p3", "1e", "e5", ".", "-.e1", "--1", "1..2", "1-2"]
)


def decided(numeral: str) -> float | None:
    """What float() and float32 make of it; None: nothing finite."""
    try:
        value = float(numeral) if "_" not in numeral else np.nan
    except ValueError:
        return None
    return value if abs(value) <= float(np.finfo(np.float32).max) else None


@settings(max_examples=1000)
@given(NUMERALS | WORDS | st.floats(width=64).map(repr) | SENSOR, st.sampled_from([5, 57]))
def test_any_numeral_is_read_to_the_float32_that_float_gives(numeral, line):
    """Read many bytes at a time, and digit by digit near the end of the file, where line 57 is the last."""
    text = changed(line, f"1 {numeral} 3{JOINT if line == 5 else ' 0' * 9}")
    expected = decided(numeral) if numeral else None
    if expected is None:
        with pytest.raises(TsgcError, match=f"^clip: line {line}: "):
            parse_compiled("clip", text)
    else:
        joints = parse_compiled("clip", text).tracks[0].joints
        value = joints[0, 0, 1] if line == 5 else joints[-1, -1, 1]
        assert value.tobytes() == np.float32(expected).tobytes()


def test_numbers_as_the_sensor_writes_them_never_need_the_slow_way():
    numerals = [
        "0.2058097",
        "-1.192093E-07",
        "3.810989",
        "-0",
        "12",
        "1.5e-05",
        "0.04232755",
        "9007199254740992",
    ]
    for numeral in numerals:
        text = changed(5, f"1 {numeral} 3{JOINT}")
        bodies, joints, places = ntu_scan.room_for(text)
        assert ntu_scan.scan(np.frombuffer(text, np.uint8), bodies, joints, places)[:3] == (2, 2, 1)
        assert joints[0, 0, 1].tobytes() == np.float32(float(numeral)).tobytes()


def parses_or_raises_one_error(text: bytes) -> None:
    outcomes = []
    for read in (parse_compiled, parse_plain):
        try:
            outcomes.append(read("clip", text))
        except TsgcError as error:
            assert str(error).startswith("clip: line ") and "\n" not in str(error)
            outcomes.append(str(error))
    fast, plain = outcomes
    assert fast == plain if isinstance(plain, str) else same(fast, plain)


@given(st.integers(0, len(CLIP)))
def test_a_cut_clip_never_raises_anything_but_the_one_error(size):
    parses_or_raises_one_error(CLIP[:size])


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


@given(st.binary(max_size=300))
def test_arbitrary_bytes_never_raise_anything_but_the_one_error(data):
    parses_or_raises_one_error(data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "clip: line 1: empty, expected NTU skeleton text"),
        (b"\x89PNG\r\n\x1a\n\0\0", "clip: line 1: not a text file, expected NTU skeleton text"),
        (b"1\r1\r\n1\n\xff", "clip: line 4: not a text file"),
        ("\ufeff2\r\n".encode(), "clip: line 2: the file ends before this line"),
        ("2\r\n".encode("utf-16"), "clip: text in UTF-16, expected UTF-8; save it again as UTF-8"),
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
        parse_compiled("clip", text)
    assert str(error.value).startswith(message)


def test_a_body_twice_in_every_frame_is_an_error():
    once = write([{"7": standing(1)[0]}]).decode().split("\r\n")
    twice = ["1", "2", *once[2:-1], *once[2:-1]]
    with pytest.raises(TsgcError, match="line 30: body 7 appears 2 times in 1 frames"):
        parse_compiled("clip", "\r\n".join(twice).encode())


def test_values_of_other_fields_are_not_read():
    text = ntu_clip(frames=2)
    np.testing.assert_array_equal(
        parse_compiled("clip", text.replace(b"1184.5", b"-1.#IND")).tracks[0].joints,
        parse_compiled("clip", text).tracks[0].joints,
    )


def test_frames_without_a_body_are_not_counted():
    body = standing(3)
    parsed = parse_compiled("clip", write([{}, {"1": body[0]}, {}, {"1": body[1], "2": body[2]}]))
    assert parsed.num_frames == 2
    assert [track.frames.tolist() for track in parsed.tracks] == [[0, 1], [1]]


@pytest.mark.parametrize("patience", [0, 10**9])
def test_the_reader_changes_after_so_many_bytes_and_the_clip_does_not(monkeypatch, patience):
    monkeypatch.setattr(ntu_text, "PATIENCE", patience)
    used = []
    for name in ("parse_plain", "parse_compiled"):
        monkeypatch.setattr(ntu_text, name, lambda source, data, name=name: used.append(name))
    parse("clip", CLIP)
    assert used == ["parse_plain" if patience else "parse_compiled"]


@pytest.mark.parametrize("separator", ["\t", "  ", "\x0b"])
@pytest.mark.parametrize("line", [1, 2, 3, 4, 5])
def test_unusual_blanks_are_read_as_the_plain_reader_reads_them(line, separator):
    usual = ntu_clip(frames=2).split(b"\r\n")[line - 1].decode()
    for text in (usual.replace(" ", separator), separator + usual, usual + separator):
        parses_or_raises_one_error(changed(line, text))
        assert same(parse_compiled("clip", changed(line, text)), parse_plain("clip", ntu_clip(frames=2)))


def test_a_new_body_in_every_frame_is_read_as_the_plain_reader_reads_it():
    for number in (249, 250, 251, 300):
        parses_or_raises_one_error(write([{str(body): standing(1)[0]} for body in range(number)]))


@pytest.mark.parametrize("end", [b"", b"\r\n\r\n", b"\r", b" \t\n", b"\x01", b"\n0"])
def test_the_end_of_a_file_is_judged_alike(end):
    parses_or_raises_one_error(CLIP.rstrip() + end)


def test_a_short_fuzz_run_finds_no_difference():
    command = [sys.executable, "benchmarks/fuzz_ntu.py", "--clips", "500"]
    ran = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"PYTHONPATH": "."}, capture_output=True, text=True
    )
    assert "500 mutated clips in" in ran.stdout, ran.stdout + ran.stderr
    assert "no crash, no hang, no difference" in ran.stdout


def test_real_clips_read_alike_by_both_readers(shared: Path):
    for path in (shared / "data/nturgbd_raw/nturgb+d_skeletons").iterdir():
        assert same(parse_compiled("clip", path.read_bytes()), parse_plain("clip", path.read_bytes()))


def test_a_byte_order_mark_before_the_text_is_passed_over():
    text = ntu_clip(frames=2)
    for read in (parse_plain, parse_compiled):
        assert same(read("clip", b"\xef\xbb\xbf" + text), parse_plain("clip", text))
        with pytest.raises(TsgcError, match="clip: text in UTF-16, expected UTF-8"):
            read("clip", text.decode().encode("utf-16"))
    assert parse_json("a.json", b'\xef\xbb\xbf{"a": 1}') == {"a": 1}
    with pytest.raises(TsgcError, match=r"not JSON \(text in UTF-16, expected UTF-8\); save it again"):
        parse_json("a.json", '{"a": 1}'.encode("utf-16"))
