"""Names of any script, from the raw folder to the tars."""

import tarfile
import unicodedata
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import webdataset
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from pipelines.datasets.custom_clips import READERS
from pipelines.names import LONGEST, is_safe, safe_names
from pipelines.prepare import prepare_dataset
from pipelines.prepared.store import open_store
from shards.load_manifest import load_manifest
from shards.manifest import check_names
from shards.verify import verify_shards
from shards.writer import write_shards
from tsgc.checkpoint import describe_weights
from tsgc.config import TrainConfig
from tsgc.inference.raw_format import raw_format

FOLDERS = ("挥手", "跑步", "تلويح", "élan", "धनुष", "a b")


@given(names=st.sets(st.text(min_size=0, max_size=120) | st.text("aé手/ -_.", max_size=60), max_size=12))
@example(names={"手" * 40, "a" + "手" * 40})
@example(names={"a/b", "a-b", "a b"})
@example(names={"e\u0301", "\u00e9"})
@example(names={"", "\udcff"})
def test_every_name_becomes_one_that_fits_and_no_two_the_same(names: set[str]) -> None:
    safe = safe_names(names)
    assert safe.keys() == names and len(set(safe.values())) == len(names)
    assert check_names(list(safe.values())) is None
    for name, short in safe.items():
        assert is_safe(short)
        assert len(f"{short}.json".encode()) <= 100
        if is_safe(name) and unicodedata.is_normalized("NFC", name) and len(names) == 1:
            assert short == name


@given(name=st.text(st.characters(categories=["L", "Nd"]), min_size=1, max_size=20))
def test_letters_and_digits_of_any_script_stay(name: str) -> None:
    short = safe_names([name])[name]
    if len(unicodedata.normalize("NFC", name).encode()) <= LONGEST:
        assert short == unicodedata.normalize("NFC", name)


def write_gestures(folder: Path) -> Path:
    generator = np.random.default_rng(0)
    for name in FOLDERS:
        (folder / "clips" / name).mkdir(parents=True)
        for number in (1, 2):
            np.save(folder / f"clips/{name}/{number}.npy", generator.normal(size=(4, 3, 3)))
    description = {
        "joints": ["hip", "chest", "head"],
        "parents": [None, "hip", "chest"],
        "centre": "hip",
        "classes": list(FOLDERS),
        "splits": {"half": {"train": ["*/1"], "test": ["*/2"]}},
    }
    (folder / "dataset.yaml").write_text(yaml.safe_dump(description, allow_unicode=True), "utf-8")
    return folder


def test_names_of_any_script_pass_through_hdf5_tars_and_manifest(tmp_path: Path) -> None:
    folder = write_gestures(tmp_path / "手势")
    prepare_dataset("custom", [folder], tmp_path / "手势.h5", data_root=tmp_path, jobs=1)
    with open_store(tmp_path / "手势.h5") as store:
        names, dataset = store.names, store.info.dataset
    assert dataset == "手势"
    assert {"挥手-1", "跑步-2", "تلويح-1", "élan-1", "धनुष-2", "a-b-1"} < set(names)
    write_shards(tmp_path / "手势.h5", "half", tmp_path / "tars", jobs=1)
    assert verify_shards(tmp_path / "tars") == []
    manifest = load_manifest(tmp_path / "tars")
    kept = [name for split in ("train", "test") for name in manifest.clips[split].names]
    assert sorted(kept) == sorted(names)

    read = []
    for tar in sorted((tmp_path / "tars").glob("*.tar")):
        assert b"ustar\x0000" in tar.read_bytes()[:512]
        with tarfile.open(tar) as members:
            assert not members.pax_headers
            stems = {member.name.rpartition(".")[0] for member in members}
        samples = list(webdataset.WebDataset(str(tar), shardshuffle=False, empty_check=False).decode())
        assert {sample["__key__"] for sample in samples} == stems
        assert all(sample["json"]["name"] == sample["__key__"] for sample in samples)
        read += stems
    assert sorted(read) == sorted(names)


@pytest.mark.parametrize("between", ["/", "\\"])
def test_a_zip_from_windows_is_read_as_any_other(tmp_path: Path, between: str) -> None:
    folder = write_gestures(tmp_path / "gestures")
    with ZipFile(tmp_path / "clips.zip", "w") as archive:
        for file in sorted((folder / "clips").rglob("*.npy")):
            archive.writestr(between.join(file.relative_to(folder / "clips").parts), file.read_bytes())
            file.unlink()
    (tmp_path / "clips.zip").rename(folder / "clips/all.zip")
    prepare_dataset("custom", [folder], tmp_path / "out.h5", data_root=tmp_path, jobs=1)
    with open_store(tmp_path / "out.h5") as store:
        assert len(store) == 12 and "挥手-1" in store.names


def test_a_folder_called_as_another_data_set_is_read_by_its_own_reader(tmp_path: Path) -> None:
    folder = write_gestures(tmp_path / "kinetics")
    prepare_dataset("custom", [folder], tmp_path / "own.h5", data_root=tmp_path, jobs=1)
    with open_store(tmp_path / "own.h5") as store:
        assert (store.info.dataset, store.info.reader) == ("kinetics", "custom")
    manifest = write_shards(tmp_path / "own.h5", "half", tmp_path / "tars", jobs=1)
    assert load_manifest(tmp_path / "tars").reader == manifest.reader == "custom"
    config = TrainConfig(modality="joint")
    description = describe_weights(
        config, manifest, 2, manifest.benchmark, epoch=1, ema=False, selected_on="none"
    )
    assert raw_format(description).suffixes == tuple(READERS)
    prepared = raw_format(description).read("x.npy", (folder / "clips/挥手/1.npy").read_bytes())
    assert prepared.joints.shape == (4, 1, 3, 3)
    old = replace(description, reader="")
    assert raw_format(old).suffixes == (".json",)  # a file of before is read by its name, as it was
