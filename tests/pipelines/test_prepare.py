"""From raw folders and zips to the HDF5 and its report, and every kind of bad input."""

import json
import subprocess
import sys
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest
from made.clips import ntu_clip, ntu_text, nw_ucla_clip, standing, write_folder, write_zip

from pipelines import prepare as prepare_module
from pipelines.datasets.table import find_dataset
from pipelines.errors import TsgcError
from pipelines.exclude import read_exclusion
from pipelines.prepare import prepare_dataset
from pipelines.prepared.report import Report
from pipelines.prepared.store import open_store
from pipelines.reading.sources import RawFile
from pipelines.workers import run_tasks

ROOT = Path(__file__).parents[2]


def ntu_name(performer: int = 1, action: int = 1, setup: int = 1, camera: int = 1) -> str:
    return f"S{setup:03}C{camera:03}P{performer:03}R001A{action:03}"


def ntu_files(number: int = 6) -> dict[str, bytes]:
    """Clips of one and two bodies, by file name."""
    return {
        f"{ntu_name(performer, camera=1 + performer % 3)}.skeleton": ntu_clip(
            performer, 14, 1 + performer % 2
        )
        for performer in range(1, 1 + number)
    }


def nw_ucla_files() -> dict[str, bytes]:
    return {
        f"a{action:02}_s01_e00_v{view:02}.json": nw_ucla_clip(label, seed=10 * view + action)
        for label, action in ((1, 1), (7, 8))
        for view in (1, 2, 3)
    }


def run(tmp_path: Path, raw: Path | list[Path] | None, dataset: str = "ntu60", **options) -> Report:
    options = {"data_root": tmp_path / "data", "jobs": 1} | options
    raw = [raw] if isinstance(raw, Path) else raw
    return prepare_dataset(dataset, raw, options.pop("out", tmp_path / "out" / "made.h5"), **options)


def fails(tmp_path: Path, raw: Path | list[Path] | None, dataset: str = "ntu60", **options) -> str:
    """The error's text; nothing may be left where the output would be."""
    with pytest.raises(TsgcError) as error:
        run(tmp_path, raw, dataset, **options)
    assert not list((tmp_path / "out").glob("*"))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_folder_and_zip_give_the_same_bytes(tmp_path):
    files = ntu_files()
    folder = write_folder(tmp_path / "folder", {f"nturgb+d_skeletons/{name}": files[name] for name in files})
    archive = write_zip(
        tmp_path / "raw.zip", {f"deep/er/{name}": data for name, data in reversed(files.items())}
    )
    run(tmp_path, folder, out=tmp_path / "folder.h5")
    run(tmp_path, archive, out=tmp_path / "zip.h5")
    assert (tmp_path / "folder.h5").read_bytes() == (tmp_path / "zip.h5").read_bytes()


def test_any_number_of_jobs_gives_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare_module, "TASK_CLIPS", 2)
    monkeypatch.setattr(run_tasks, "WORTH_TASKS", 1)
    monkeypatch.setattr(run_tasks, "WAVE_TASKS", 1)
    raw = write_folder(tmp_path / "raw", ntu_files(7))
    reports = [run(tmp_path, raw, out=tmp_path / f"{jobs}.h5", jobs=jobs) for jobs in (1, 2)]
    assert (tmp_path / "1.h5").read_bytes() == (tmp_path / "2.h5").read_bytes()
    assert reports[0].kept == reports[1].kept == 7


def test_other_raw_bytes_give_another_digest(tmp_path):
    files = ntu_files(2)
    digests = [
        run(tmp_path, write_folder(tmp_path / str(n), changed), out=tmp_path / f"{n}.h5").source_digest
        for n, changed in enumerate([files, files, {name: data + b"\r\n" for name, data in files.items()}])
    ]
    assert digests[0] == digests[1] != digests[2]


def test_clips_come_in_name_order_with_labels_fields_and_splits(tmp_path):
    raw = write_folder(
        tmp_path / "raw", {f"{ntu_name(p, a)}.skeleton": ntu_clip() for p, a in ((3, 7), (1, 60))}
    )
    progress = []
    run(tmp_path, raw, progress=lambda done, total: progress.append((done, total)))
    with open_store(tmp_path / "out/made.h5", "ntu60") as store:
        assert store.names == [ntu_name(1, 60), ntu_name(3, 7)]
        assert store.labels.tolist() == [59, 6]
        assert store.fields["performers"].tolist() == [1, 3]
        assert list(store.splits) == ["xsub", "xview"]
        assert store.splits["xsub"].tolist() == [0, 1]
        assert (store.info.preset, store.info.skeleton, store.info.absent_body) == (
            "reference",
            "ntu-25",
            "zeros",
        )
    assert progress == [(1, 2), (2, 2)]


def test_ntu120_says_that_an_absent_body_is_a_copy(tmp_path):
    raw = write_folder(tmp_path / "raw", {f"{ntu_name(8, 120, setup=32)}.skeleton": ntu_clip()})
    run(tmp_path, raw, "ntu120")
    with open_store(tmp_path / "out/made.h5") as store:
        assert store.info.absent_body == "copy"
        assert store.splits["xset"].tolist() == [0]


@pytest.mark.parametrize(
    ("dataset", "place", "files"),
    [
        ("ntu60", "nturgbd_raw/nturgb+d_skeletons", ntu_files()),
        ("ntu120", "nturgbd_raw/nturgb+d_skeletons120", ntu_files()),
        ("nw-ucla", "NW-UCLA/all_sqe", nw_ucla_files()),
    ],
)
def test_raw_clips_are_found_where_users_have_them(tmp_path, dataset, place, files):
    write_folder(tmp_path / "data" / place, files)
    assert run(tmp_path, None, dataset).kept == 6


@pytest.mark.parametrize(
    ("dataset", "place", "files"),
    [
        ("ntu60", "nturgbd_raw/nturgbd_skeletons_s001_to_s017.zip", ntu_files()),
        ("nw-ucla", "NW-UCLA/all_sqe.zip", nw_ucla_files()),
    ],
)
def test_zips_are_found_where_users_have_them(tmp_path, dataset, place, files):
    write_zip(tmp_path / "data" / place, {f"inner/{name}": data for name, data in files.items()})
    assert run(tmp_path, None, dataset).kept == 6


def test_linked_folders_are_followed_and_loops_are_not(tmp_path):
    raw = write_folder(tmp_path / "elsewhere", ntu_files(2))
    (tmp_path / "data").mkdir()
    (tmp_path / "data/link").symlink_to(raw)
    (raw / "loop").symlink_to(tmp_path / "data")
    assert run(tmp_path, tmp_path / "data").kept == 2


def test_hidden_twins_of_macos_are_not_clips(tmp_path):
    files = ntu_files(2)
    archive = write_zip(tmp_path / "raw.zip", files | {f"__MACOSX/._{name}": b"\0" for name in files})
    assert run(tmp_path, archive).found == 2


def test_clips_of_ntu120_are_ignored_and_counted_for_ntu60(tmp_path):
    others = {f"{ntu_name(1, setup=18)}.skeleton": b"", f"{ntu_name(1, action=61)}.skeleton": b""}
    report = run(tmp_path, write_folder(tmp_path / "raw", ntu_files(2) | others))
    assert (report.found, report.other, report.kept) == (4, 2, 2)
    assert "ignored: 2 clips of another data set" in report.lines()


def test_clips_without_bodies_are_dropped_and_counted(tmp_path):
    files = ntu_files(2) | {f"{ntu_name(9)}.skeleton": b"0\r\n"}
    report = run(tmp_path, write_folder(tmp_path / "raw", files))
    assert report.dropped == {"no bodies": {ntu_name(9): ""}}
    assert "dropped: 1 clip, no bodies" in report.lines()


def test_listed_clips_are_excluded(tmp_path):
    names = tmp_path / "missing.txt"
    names.write_text(f"# official\n{ntu_name(2, camera=3)}\n\n{ntu_name(40)}.skeleton\n")
    report = run(tmp_path, write_folder(tmp_path / "raw", ntu_files(3)), exclude=names)
    assert report.dropped == {"excluded by the list": {ntu_name(2, camera=3): ""}}
    assert report.kept == 2


def test_the_official_lists_are_read(shared):
    for count, name in ((302, "ntu60"), (535, "ntu120")):
        path = shared / f"data/NTU_RGBD{name[3:]}_samples_with_missing_skeletons.txt"
        first = next(word for word in path.read_text().split() if word.startswith("S0"))
        said = read_exclusion(path, find_dataset(name), {first: [RawFile(Path(f"raw/{first}.skeleton"))]}, [])
        assert said.clips == {first} and said.line.startswith(f"{count} names read from {path}, 1 fit")


def test_bodies_dropped_are_counted_by_rule_and_clip(tmp_path):
    wild, calm, short = (standing(frames, seed) for frames, seed in ((14, 1), (14, 2), (5, 3)))
    frames = [{"1": wild[t], "2": calm[t]} | ({"3": short[t]} if t < 5 else {}) for t in range(14)]
    report = run(tmp_path, write_folder(tmp_path / "raw", {f"{ntu_name()}.skeleton": ntu_text(frames)}))
    assert dict(report.rules) == dict(report.rule_clips) == {"bodies of 11 frames or fewer dropped": 1}
    assert "cleaned: bodies of 11 frames or fewer dropped: 1, in 1 clip" in report.lines()


def test_the_report_lies_beside_the_output(tmp_path):
    report = run(tmp_path, write_folder(tmp_path / "raw", ntu_files(2)))
    content = json.loads((tmp_path / "out/made.report.json").read_text())
    assert content["kept"] == 2
    assert content["source_digest"] == report.source_digest
    missing = "56,878 of its 56,880 raw files are not here"
    assert content["against_official"] == f"2 clips kept of the official 56,578: {missing}"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["made.h5", "made.report.json"]


@pytest.mark.parametrize(
    ("found", "kept", "line"),
    [
        (56_880, 56_578, "56,578 clips kept, the official number"),
        (
            56_880,
            56_600,
            "56,600 clips kept, 22 more than the official 56,578; --exclude takes the official list",
        ),
        (56_880, 56_570, "56,570 clips kept, 8 fewer than the official 56,578"),
        (100, 90, "90 clips kept of the official 56,578: 56,780 of its 56,880 raw files are not here"),
    ],
)
def test_the_count_is_compared_honestly_with_the_official_one(found, kept, line):
    report = Report("ntu60", "reference", [], "x.h5", (56_880, 56_578), found=found, kept=kept)
    assert report.against_official().startswith(line)


def many(bad: dict[str, bytes]) -> dict[str, bytes]:
    """100 clips, some of them bad."""
    good = {f"{ntu_name(p)}.skeleton": ntu_clip(frames=2) for p in range(1, 101)}
    return dict(list(good.items())[len(bad) :]) | bad


@pytest.mark.parametrize(
    ("name", "data", "what"),
    [
        (ntu_name(1), b"2\r\n1\r\n", "line 3: the file ends before this line"),
        (ntu_name(1), ntu_clip(frames=2)[:-700], "line 50: 3 fields, expected 12 (a joint); it is cut"),
        (ntu_name(1), b"\x7fELF\0\xff", "not a text file"),
        (ntu_name(1), b"", "empty"),
        (
            ntu_name(1),
            ntu_clip(frames=2).replace(b"\r\n25\r\n", b"\r\n20\r\n"),
            "line 4: 20 joints, expected 25",
        ),
        (ntu_name(1, 121), ntu_clip(), "unknown action 121"),
        ("notes", b"hello", "unknown name 'notes', expected SsssCcccPpppRrrrAaaa"),
    ],
)
def test_one_bad_clip_of_a_hundred_is_skipped_and_two_are_too_many(tmp_path, name, data, what):
    raw = write_folder(tmp_path / "raw", many({f"{name}.skeleton": data}))
    report = run(tmp_path, raw)
    assert report.kept == 99
    assert report.warnings[0].startswith(f"1 clip bad and skipped: {raw}/{name}.skeleton: ")
    assert what in report.warnings[0]

    two = many({f"{name}.skeleton": data, f"{ntu_name(2)}.skeleton": b"?"})
    error = fails(tmp_path / "2", write_folder(tmp_path / "2/raw", two))
    assert error.startswith("bad clips: 2 of 100, over 1%: ") and what in error


def test_a_bad_nw_ucla_clip_is_told(tmp_path):
    files = nw_ucla_files() | {"a01_s02_e00_v01.json": b'{"skeletons": '}
    error = fails(tmp_path, write_folder(tmp_path / "raw", files), "nw-ucla")
    assert error.startswith(
        f"bad clips: 1 of 7, over 1%: {tmp_path}/raw/a01_s02_e00_v01.json: line 1: not JSON"
    )


def test_all_bad_clips_are_listed_by_any_number_of_workers(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare_module, "TASK_CLIPS", 2)
    monkeypatch.setattr(run_tasks, "WORTH_TASKS", 1)
    files = ntu_files() | {f"{ntu_name(p)}.skeleton": b"?" for p in range(20, 25)} | {"notes.skeleton": b""}
    raw = write_folder(tmp_path / "raw", files)
    for jobs in (1, 2):
        with pytest.raises(TsgcError) as error:
            run(tmp_path, raw, jobs=jobs)
        first, *lines = str(error.value).splitlines()
        assert first.startswith("bad clips: 6 of 12, over 1%; mend them, or leave them out with --exclude")
        assert sorted(line.strip().partition(": ")[0] for line in lines) == sorted(
            [f"{raw}/{ntu_name(p)}.skeleton" for p in range(20, 25)] + [f"{raw}/notes.skeleton"]
        )
    assert not list((tmp_path / "out").glob("*"))


def test_a_long_list_of_bad_clips_ends_with_their_number(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare_module, "LISTED", 4)
    raw = write_folder(tmp_path / "raw", {f"{ntu_name(p)}.skeleton": b"?" for p in range(1, 8)})
    with pytest.raises(TsgcError) as error:
        run(tmp_path, raw)
    assert str(error.value).splitlines()[-1] == "  and 3 more" and str(error.value).count("\n") == 5


def test_a_copy_with_a_bad_name_can_be_excluded_as_the_error_calls_it(tmp_path):
    bad = f"{ntu_name(1)} (1).skeleton"
    raw = write_folder(tmp_path / "raw", ntu_files(2) | {f"sub folder/{bad}": ntu_clip()})
    error = fails(tmp_path, raw)
    called = error.split("over 1%: ")[1].partition(": unknown name")[0]
    for line in (called, f"sub folder/{bad}", bad, bad.removesuffix(".skeleton"), f"./sub folder/{bad}"):
        names = tmp_path / "list.txt"
        names.write_text(f"{line}\n")
        report = run(tmp_path, raw, exclude=names, overwrite=True)
        assert (report.kept, len(report.dropped["excluded by the list"])) == (2, 1), line
        assert f"exclude: 1 names read from {names}, 1 fit a clip here" in report.lines()


def test_a_list_of_which_no_name_fits_is_refused(tmp_path):
    names = tmp_path / "list.txt"
    names.write_text(f"{ntu_name(77)}\n{ntu_name(78)}\n")
    error = fails(tmp_path, write_folder(tmp_path / "raw", ntu_files(2)), exclude=names)
    assert error.startswith(f"{names}: none of its 2 names is a clip here")


def test_no_usable_clip_is_an_error(tmp_path):
    raw = write_folder(tmp_path / "raw", {name: b"0\r\n" for name in ntu_files(3)})
    assert fails(tmp_path, raw) == f"{raw}: no usable ntu60 clip among 3"


def test_only_clips_of_another_data_set_is_an_error(tmp_path):
    raw = write_folder(tmp_path / "raw", {f"{ntu_name(setup=20)}.skeleton": b""})
    assert fails(tmp_path, raw) == f"{raw}: no ntu60 clip to read among 1 found"


def test_a_missing_folder_is_an_error(tmp_path):
    missing = tmp_path / "missing"
    assert fails(tmp_path, missing) == f"{missing}: no such folder or zip; expected raw ntu60 clips there"


def test_no_raw_data_at_all_says_where_it_is_expected(tmp_path):
    data = tmp_path / "data/NW-UCLA/all_sqe"
    assert fails(tmp_path, None, "nw-ucla") == (
        f"no raw nw-ucla clips: expected {data} or {data}.zip; put them there or pass --raw"
    )


@pytest.mark.parametrize("files", [{}, {"readme.txt": b"hello"}])
def test_an_empty_folder_is_an_error(tmp_path, files):
    raw = write_folder(tmp_path / "raw", files)
    raw.mkdir(exist_ok=True)
    assert fails(tmp_path, raw) == f"{raw}: no *.skeleton files; expected a folder of raw clips, or their zip"


def test_a_file_that_is_neither_folder_nor_zip_is_an_error(tmp_path):
    raw = write_folder(tmp_path / "raw", {"a.tar": b"hello"}) / "a.tar"
    assert fails(tmp_path, raw) == f"{raw}: no *.skeleton files; expected a folder of raw clips, or their zip"


def test_a_cut_zip_is_an_error(tmp_path):
    archive = write_zip(tmp_path / "raw.zip", ntu_files(3))
    archive.write_bytes(archive.read_bytes()[:-200])
    assert (
        fails(tmp_path, archive) == f"{archive}: not a whole zip (File is not a zip file); download it again"
    )


def test_a_damaged_member_of_a_zip_is_a_bad_clip(tmp_path):
    archive = tmp_path / "raw.zip"
    with ZipFile(archive, "w", ZIP_DEFLATED) as writer:
        for name, data in ntu_files(2).items():
            writer.writestr(name, data)
    data = bytearray(archive.read_bytes())
    data[200:220] = bytes(20)
    archive.write_bytes(data)
    error = fails(tmp_path, archive)
    assert error.startswith("bad clips: 1 of 2")
    assert f"{archive}/{ntu_name(1, camera=2)}.skeleton: cannot be read (" in error


def test_a_clip_in_two_places_counts_once(tmp_path):
    files = ntu_files(3)
    raw = write_folder(tmp_path / "raw", files)
    write_zip(raw / "same.zip", files)
    report = run(tmp_path, raw)
    assert (report.found, report.read, report.kept, report.duplicates) == (3, 3, 3, 3)
    assert report.warnings == ["3 copies of clips found in a second place; each clip read once"]


def test_a_clip_in_two_places_with_different_content_is_an_error(tmp_path):
    name = next(iter(ntu_files(1)))
    raw = write_folder(tmp_path / "raw", {f"a/{name}": ntu_clip(1), f"b/{name}": ntu_clip(2)})
    assert fails(tmp_path, raw) == (
        f"{raw}/a/{name} and {raw}/b/{name}: the same clip with different content; remove the wrong one"
    )


def test_a_folder_given_twice_is_read_once(tmp_path):
    raw = write_folder(tmp_path / "raw", {f"inner/{name}": data for name, data in ntu_files(2).items()})
    for given in ([raw, raw], [raw / "inner", raw], [raw, raw / "inner"]):
        report = run(tmp_path, given, overwrite=True)
        assert (report.kept, report.duplicates) == (2, 0)


def test_an_output_that_exists_is_kept_unless_told_otherwise(tmp_path):
    raw = write_folder(tmp_path / "raw", ntu_files(2))
    out = write_folder(tmp_path / "out", {"made.h5": b"precious"}) / "made.h5"
    with pytest.raises(TsgcError, match=r"made\.h5: exists already; pass --overwrite to replace it"):
        run(tmp_path, raw)
    assert out.read_bytes() == b"precious"
    run(tmp_path, raw, overwrite=True)
    assert open_store(out).names


def test_a_failed_run_keeps_the_output_that_was_there(tmp_path):
    out = write_folder(tmp_path / "out", {"made.h5": b"precious"}) / "made.h5"
    with pytest.raises(TsgcError):
        run(tmp_path, write_folder(tmp_path / "raw", {f"{ntu_name()}.skeleton": b"?"}), overwrite=True)
    assert out.read_bytes() == b"precious"
    assert len(list(out.parent.iterdir())) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("S001\n", "line 1: unknown name 'S001'"),
        ("\n\n{}", "line 3: unknown name '{}'"),
        (None, "No such file"),
    ],
)
def test_a_list_of_anything_but_names_is_an_error(tmp_path, text, message):
    names = tmp_path / "list.txt"
    if text is not None:
        names.write_text(text)
    error = fails(tmp_path, write_folder(tmp_path / "raw", ntu_files(1)), exclude=names)
    assert error.startswith(f"{names}: ") and message in error


def test_an_unknown_data_set_or_preset_says_which_exist(tmp_path):
    assert "did you mean ntu60? There are ntu60, ntu120, nw-ucla" in fails(tmp_path, None, "ntu")
    assert fails(tmp_path, None, preset="best") == (
        "preset 'best' does not exist for ntu60; it has reference, corrected"
    )


def test_the_package_never_imports_torch_nor_what_comes_after_it():
    check = (
        "import sys, pipelines.prepare, pipelines.prepared.store\n"
        "assert not {'torch', 'shards', 'tsgc', 'cli'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=True)


def test_real_clips_are_prepared_as_published(shared, tmp_path):
    report = run(tmp_path, shared / "data/nturgbd_raw", "ntu120")
    assert (report.found, report.kept) == (5, 5)
    golden = np.load(shared / "golden/ntu_reference_centred.npz")
    with open_store(tmp_path / "out/made.h5", "ntu120") as store:
        for name in golden:
            joints = store.clip(store.names.index(name)).joints
            np.testing.assert_allclose(joints.reshape(golden[name].shape), golden[name], rtol=0, atol=1e-5)


def test_the_real_nw_ucla_zip_is_prepared_whole(shared, tmp_path):
    report = run(tmp_path, shared / "data/nw-ucla/all_sqe.zip", "nw-ucla")
    assert report.against_official() == "1,484 clips kept, the official number"
    with open_store(tmp_path / "out/made.h5") as store:
        assert np.bincount(store.splits["xview"]).tolist() == [1020, 464]
        assert (store.num_bodies == 1).all()
