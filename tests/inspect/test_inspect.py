"""`tsgc inspect`: raw clips, the differences between the presets, and prepared files with their report."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from made.clips import ntu_text, nw_ucla_clip, write_folder
from made.command import fails, tsgc
from made.people import any_clip, person

from pipelines.datasets.table import DATASETS
from pipelines.prepared.histogram import bars, named_bars, spread
from pipelines.prepared.report import WORST, Report, read_report
from pipelines.reading.track import Track
from pipelines.spec import Prepared
from tsgc.inspect.preset_differences import READERS, Stretch, differences, trace_tracks

NAME = "S001C002P003R001A005"


def compared(frames, dataset="ntu60"):
    """The differences that a clip of these frames shows."""
    text = ntu_text(frames)
    spec = DATASETS[dataset]
    prepared = {preset: read("clip", text) for preset, read in spec.presets.items()}
    return differences(READERS[dataset]("clip", text), spec, prepared), prepared


def frames_of(*tracks, count):
    """Frames of bodies "1", "2", ...: each track is (frame numbers, joints)."""
    frames = [{} for _ in range(count)]
    for number, (at, joints) in enumerate(tracks, 1):
        for frame, body in zip(at, joints):
            frames[frame][str(number)] = body
    return frames


# Differences ----------------------------------------------------------------------------------------------


def test_a_clip_that_both_presets_prepare_alike_has_no_difference():
    assert compared(frames_of((range(20), person(20)), count=20))[0] == []


def test_a_copied_second_body_is_a_difference_of_ntu120():
    lines, _ = compared(frames_of((range(20), person(20)), count=20), "ntu120")
    assert lines == ["second body: reference a copy of the first, corrected absent"]


def test_a_gap_shows_as_frames_and_as_the_track_s_own_timing():
    body = person(20)
    lines, _ = compared(frames_of(([*range(8), *range(12, 24)], body), count=24))
    assert [lines[0], lines[1], lines[3]] == [
        "frames: reference 20, corrected 24",
        "track 1: reference body 1 frames 0-7, body 1 frames 12-23 as 8-19; corrected body 1 frames 0-7,"
        " body 1 frames 12-23",
        "rule: frames without an actor between others kept, marked absent: reference 0, corrected 4",
    ]
    assert re.match(r"track 1: joints up to 0\.\d{3} m apart \(head, frame \d+\), in 8 of 16 ", lines[2])


def test_an_overwritten_frame_shows_as_a_body_that_lost_it():
    one, two = person(20, move=0.3), person(20, at=3)
    lines, _ = compared(frames_of((range(20), one), (range(19, 39), two), count=39))
    assert "body 1: of 20 body-frames the reference keeps 19, corrected 20" in lines
    assert any(line.startswith("track 2: reference nobody; corrected body 2 frames 19-38") for line in lines)


def test_another_order_of_the_actors_shows_as_tracks_and_origin(shared):
    (path,) = (shared / "data/nturgbd_raw").rglob("S001C003P008R002A058.skeleton")
    said = tsgc("inspect", path, "--compare")
    assert "track 1: reference body 2 frames 0-69; corrected body 1 frames 0-69" in said
    assert "origin: 1.288 m apart" in said


def test_rules_of_the_same_reason_are_no_difference():
    lines, _ = compared(frames_of((range(20), person(20)), (range(5), person(5, at=2)), count=20))
    assert lines == []


def test_a_clip_that_only_one_preset_can_use_says_so():
    points = np.ones((12, 25, 3), np.float32)
    lines, _ = compared(frames_of((range(12), points), count=12))
    assert lines == ["usable: reference yes, corrected no"]


@given(any_clip())
def test_no_difference_is_said_exactly_where_the_numbers_are_the_same(frames):
    lines, prepared = compared(frames)
    one, other = prepared["reference"], prepared["corrected"]
    pairs = [(getattr(one, name), getattr(other, name)) for name in ("joints", "present", "origin")]
    assert (not lines) == all(np.array_equal(*pair) for pair in pairs)


def test_tracing_finds_every_body_frame_again():
    body = person(10)
    tracks = [Track("a", np.arange(10), body), Track("b", np.arange(4), person(4, at=2))]
    placed = np.zeros((8, 2, 25, 3), np.float32)
    placed[:4, 0], placed[4:7, 0] = body[3:7], body[7:10]
    placed[2:6, 1] = tracks[1].joints
    assert trace_tracks(placed, tracks) == [[Stretch(1, 0, 3, 7)], [Stretch(2, 2, 0, 4)]]


def test_of_equal_body_frames_the_one_that_goes_on_is_taken():
    frozen = np.repeat(person(1), 6, axis=0)
    assert trace_tracks(frozen[:, None], [Track("a", np.arange(6), frozen)]) == [[Stretch(1, 0, 0, 6)]]


# Raw clips ------------------------------------------------------------------------------------------------


def test_a_raw_clip_is_shown_body_by_body_and_preset_by_preset(tmp_path):
    one, short = person(30), person(4, at=2)
    data = ntu_text(frames_of(([*range(10), *range(12, 32)], one), (range(4), short), count=32))
    folder = write_folder(tmp_path, {f"{NAME}.skeleton": data})
    lines = tsgc("inspect", folder / f"{NAME}.skeleton").splitlines()
    assert lines[0].endswith("ntu60, drop (class 4), setup 1, camera 2, performer 3, replication 1")
    assert lines[1] == "file: 32 frames, 2 bodies, 34 body-frames, frames without a body: 10-11"
    assert lines[2].startswith("body 1 (1): 30 frames, 0-9, 12-31; x -")
    assert lines[4].startswith("reference: 30 frames, 1 body; of 34 body-frames 30 in track 1; origin ")
    assert lines[5] == "  bodies of 11 frames or fewer dropped: 1"
    assert lines[6].startswith("corrected: 32 frames, 1 body; of 34 body-frames 30 in track 1; origin ")


def test_nw_ucla_clips_are_shown_too(tmp_path):
    folder = write_folder(tmp_path, {"a01_s02_e00_v03.json": nw_ucla_clip(1, frames=7)})
    said = tsgc("inspect", folder / "a01_s02_e00_v03.json")
    assert "nw-ucla, pick up with one hand (class 0), performer 2, episode 0, view 3" in said
    assert "file: 7 frames, 1 body, 7 body-frames" in said
    compared = tsgc("inspect", folder / "a01_s02_e00_v03.json", "--compare")
    assert compared.endswith("no difference: both presets give the same numbers\n")


def test_a_clip_without_bodies_is_shown_as_dropped(tmp_path):
    folder = write_folder(tmp_path, {f"{NAME}.skeleton": b"2\r\n0\r\n0\r\n"})
    said = tsgc("inspect", folder / f"{NAME}.skeleton")
    assert "file: 2 frames, 0 bodies, 0 body-frames, frames without a body: 0-1" in said
    assert said.count("nothing usable, the clip is dropped") == 2
    assert "no difference" in tsgc("inspect", folder / f"{NAME}.skeleton", "--compare")


def test_a_clip_of_any_name_is_read_by_the_data_set_that_is_given(tmp_path):
    folder = write_folder(tmp_path, {"mine.skeleton": ntu_text([{"1": person(1)[0]}])})
    said = fails("inspect", folder / "mine.skeleton", code=2)
    assert said.endswith("its name tells no data set; give --dataset ntu60 or ntu120\n")
    assert "ntu120\n" in tsgc("inspect", folder / "mine.skeleton", "--dataset", "ntu120")
    assert "nw-ucla clips end in .json" in fails(
        "inspect", folder / "mine.skeleton", "--dataset", "nw-ucla", code=2
    )
    assert "raw clips of custom, ntu60, ntu120, nw-ucla, kinetics can be" in fails(
        "inspect", folder / "mine.skeleton", "--dataset", "x", code=2
    )


def test_what_cannot_be_looked_at_is_an_error_that_lists_what_can(tmp_path):
    folder = write_folder(tmp_path, {f"{NAME}.skeleton": b"hi", "notes.txt": b"hi"})
    assert "no such file; give a raw clip" in fails("inspect", tmp_path / "nothing")
    assert "nothing that can be looked at; give a raw clip" in fails("inspect", folder / "notes.txt")
    assert "line 1: 'hi', expected the number of frames" in fails("inspect", folder / f"{NAME}.skeleton")


# Prepared files and their report --------------------------------------------------------------------------


@pytest.fixture
def prepared(tmp_path):
    """A prepared file of three clips, one of which lost a body."""
    clips = {}
    for performer in (1, 2, 3):
        tracks = [(range(20 + performer), person(20 + performer))]
        tracks += [(range(5), person(5, at=2))] if performer == 2 else []
        clips[f"S001C001P00{performer}R001A007.skeleton"] = ntu_text(frames_of(*tracks, count=20 + performer))
    raw = write_folder(tmp_path / "raw", clips)
    out = tmp_path / "made.h5"
    tsgc("prepare", "ntu60", "--raw", raw, "--preset", "corrected", "--out", out, "--jobs", 1)
    return out


def test_a_prepared_file_is_shown_with_its_report_and_counts(prepared):
    said = tsgc("inspect", prepared)
    for line in (
        "ntu60, corrected preset\n",
        "3 clips, 66 frames, 66 body-frames",
        "  bodies of 11 frames or fewer, after joining, dropped: 1 (5 body-frames), in 1 clip\n",
        "  5 of 71 body-frames lost\n",
        "  0 of 66 stored body-frames are absent bodies\n",
        "  S001C001P002R001A007: 5 of 27 body-frames lost (bodies of 11 frames or fewer, after joining,",
        "split xsub:\n  train 2 " + "#" * 40 + "\n   test 1 " + "#" * 20 + "\n",
        "performers:\n  1 1 " + "#" * 40,
        "classes:\n  6 throw 3 " + "#" * 40 + "\n  without a clip: 59 classes",
    ):
        assert line in said


def test_a_report_that_is_missing_damaged_or_another_s_is_told(prepared):
    beside = prepared.with_name("made.report.json")
    content = json.loads(beside.read_text())
    beside.write_text(json.dumps(content | {"preset": "reference"}))
    assert f"report: {beside} is of another preparation" in tsgc("inspect", prepared)
    beside.write_text("{}")
    assert "not a report of `tsgc prepare`" in tsgc("inspect", prepared)
    beside.unlink()
    assert "report: none" in tsgc("inspect", prepared)


def test_a_prepared_file_has_no_presets_to_compare(prepared):
    assert "--compare and --dataset are for raw clips" in fails("inspect", prepared, "--compare", code=2)


def test_a_cut_prepared_file_is_an_error(prepared):
    prepared.write_bytes(prepared.read_bytes()[:3000])
    assert "not a whole HDF5 file" in fails("inspect", prepared)


def clip_of(frames, lost, rule="bodies dropped"):
    present = np.ones((frames, 1), bool)
    return Prepared(np.ones((frames, 1, 25, 3)), present, np.zeros(3), {rule: 1}, frames + lost, {rule: lost})


def made_report():
    report = Report("ntu60", "corrected", [], "x.h5", None)
    for number in range(14):
        report.count(f"clip {number:02}", clip_of(10 + number, lost=number % 12))
    return report


def test_the_ten_clips_that_lost_most_are_named_and_why():
    worst = made_report().worst
    assert [loss.lost for loss in worst] == list(range(11, 1, -1)) and len(worst) == WORST
    assert worst[0].line() == "clip 11: 11 of 32 body-frames lost (bodies dropped: 1)"


def test_lines_count_each_rule_s_bodies_body_frames_and_clips():
    lines = made_report().lines()
    assert "cleaned: bodies dropped: 14 (67 body-frames), in 14 clips" in lines
    assert (
        "lost: 67 of 298 body-frames; most in clip 11: 11 of 32 body-frames lost (bodies dropped: 1)" in lines
    )
    assert "frames a clip: 10 to 23, median 16" in lines
    assert "bodies a clip: 1 in 14 clips" in lines


def test_a_report_reads_back_as_it_was_written(tmp_path):
    report = replace(made_report(), official=(5, 4))
    report.to_json(tmp_path / "a.json")
    assert read_report(tmp_path / "a.json") == report


def test_bars_put_many_values_into_a_dozen_ranges():
    lines = bars({value: value for value in range(1, 25)})
    assert len(lines) == 12
    assert lines[0].split() == ["1-2", "3", "###"] and lines[-1].split() == ["23-24", "47", "#" * 40]
    assert bars({7: 3}) == ["  7 3 " + "#" * 40] and bars({}) == ["  none"]


def test_every_count_above_zero_has_a_bar():
    assert named_bars({"many": 1000, "one": 1, "none": 0}) == [
        "  many 1,000 " + "#" * 40, "   one     1 #", "  none     0",
    ]  # fmt: skip


@given(any_clip().map(lambda frames: [len(frame) for frame in frames]))
def test_the_spread_is_the_median_s(values):
    counts = {value: values.count(value) for value in set(values)}
    if values:
        lower = sorted(values)[(len(values) - 1) // 2]
        assert spread(counts) == f"{min(values)} to {max(values)}, median {lower}"
    else:
        assert spread(counts) == "none"
