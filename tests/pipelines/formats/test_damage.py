"""Damaged recordings of every format: a clip or one line, never a traceback, never a long wait."""

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made.recordings import MADE, as_npy, in_the_world, walking

from pipelines.errors import TsgcError
from pipelines.formats.frame_files import frames_of
from pipelines.formats.recording import as_array
from pipelines.formats.table import FORMATS, sniff
from pipelines.skeleton import SKELETONS

NAMES = list(MADE)
OTHERS = st.sampled_from(
    [None, True, -1, 0, 3, 2.5, 1e300, 10**18, "", "x", "12", [], {}, [1], [[]], {"a": 1}, [None] * 3]
)


def whole(name: str) -> bytes:
    made = MADE[name]
    return made.write(made.joints(SKELETONS[made.skeleton].num_joints)[:3])


def a_clip_or_one_line(name: str, data: bytes, source: str | None = None) -> None:
    made, form = MADE[name], FORMATS[name]
    body = SKELETONS[made.skeleton]
    source = source or made.name
    try:
        found = as_array(source, form.read(source, data, body), body.num_joints, form.channels)
    except TsgcError as error:
        assert "\n" not in str(error) and len(str(error)) < 400
        assert str(error).startswith((source, "anna_")), error
    else:
        assert found.ndim == 4 and not np.isinf(found).any()
    sniff(source, data)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_cut_and_changed_bytes(name: str, data: st.DataObject) -> None:
    text = bytearray(whole(name))
    for _ in range(data.draw(st.integers(0, 4))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(text)))
    if name == "openpose":  # the frame around its files is ours, and whole
        frames = frames_of("a", whole(name))
        texts = [bytes(text[:cut]) if at == 1 else one for at, (_, one) in enumerate(frames)]
        text = bytearray(b"tsgc frames\n")
        for (file, _), one in zip(frames, texts):
            text += f"{file}\0{len(one)}\n".encode() + one
        cut = len(text)
    a_clip_or_one_line(name, bytes(text[:cut]))


@st.composite
def changed(draw: st.DrawFn, value: Any, depth: int = 0) -> Any:
    """JSON with some part of another type, gone, doubled, or of another length."""
    if draw(st.integers(0, 6)) == 0 or not isinstance(value, list | dict) or not value:
        return draw(OTHERS)
    if isinstance(value, dict):
        key = draw(st.sampled_from(sorted(value)))
        rest = {name: one for name, one in value.items() if name != key}
        return rest if draw(st.integers(0, 3)) == 0 else rest | {key: draw(changed(value[key], depth + 1))}
    at = draw(st.integers(0, len(value) - 1))
    match draw(st.integers(0, 4)):
        case 0:
            return value[:at] + value[at + 1 :]
        case 1:
            return [*value, value[at]]
        case _:
            return [*value[:at], draw(changed(value[at], depth + 1)), *value[at + 1 :]]


JSON_FORMATS = [name for name in NAMES if MADE[name].name.endswith(".json") and name != "openpose"]


@pytest.mark.parametrize("name", JSON_FORMATS)
@given(data=st.data())
def test_changed_json(name: str, data: st.DataObject) -> None:
    content = json.loads(whole(name))
    for _ in range(data.draw(st.integers(1, 3))):
        content = data.draw(changed(content))
    a_clip_or_one_line(name, json.dumps(content).encode())


@given(data=st.data())
def test_changed_frames_of_openpose(data: st.DataObject) -> None:
    (_, text), *_ = frames_of("a", whole("openpose"))
    content = data.draw(changed(json.loads(text)))
    a_clip_or_one_line("openpose", json.dumps(content).encode())


@given(shape=st.lists(st.integers(0, 34), max_size=5), kind=st.sampled_from(["f4", "i8", "U2", "?", "c8"]))
def test_arrays_of_any_shape_and_kind(shape: list[int], kind: str) -> None:
    if math.prod(shape) < 100_000:
        for name in ("mediapipe", "mediapipe-world"):
            a_clip_or_one_line(name, as_npy(np.zeros(shape, kind)), "a.npy")


CELLS = ["", "x", "nan", "inf", '"', "1e400"]


@given(data=st.data())
def test_changed_tables(data: st.DataObject) -> None:
    head = ",".join(f"{axis}{v}" for v in range(33) for axis in "xyz")
    world = in_the_world(walking(33, frames=2))
    rows = [head.split(","), *([repr(x) for x in frame.ravel().tolist()] for frame in world)]
    for _ in range(data.draw(st.integers(1, 4))):
        row = data.draw(st.sampled_from(rows))
        if row:
            at = data.draw(st.integers(0, len(row) - 1))
            row[at : at + 1] = data.draw(st.lists(st.sampled_from(CELLS), max_size=2))
    a_clip_or_one_line("mediapipe-world", "\n".join(map(",".join, rows)).encode(), "a.csv")


@pytest.mark.parametrize("name", NAMES)
@given(data=st.binary(max_size=300))
def test_any_bytes(name: str, data: bytes) -> None:
    a_clip_or_one_line(name, data.replace(b"tsgc", b""))


@pytest.mark.parametrize("name", ["alphapose", "mmpose", "azure-kinect", "kinetics-json", "coco"])
def test_a_frame_number_out_of_range_does_not_fill_the_memory(name: str) -> None:
    text = whole(name)
    for old in (b'"image_id": "2.jpg"', b'"frame_id": 2', b'"frame_index": 3', b'"image_id": 68'):
        text = text.replace(old, old.split(b":")[0] + b": 999999999999")
    if name == "alphapose":
        text = text.replace(b'"image_id": 999999999999', b'"image_id": "999999999999.jpg"')
    a_clip_or_one_line(name, text)
