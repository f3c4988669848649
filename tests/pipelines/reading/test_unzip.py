"""Members of zips: read alike by ISA-L and by the standard library, whatever is wrong with them."""

import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made.clips import ntu_clip

from pipelines.reading import unzip
from pipelines.reading.sources import BAD_MEMBER, RawFile
from pipelines.reading.unzip import read_member

CLIP = ntu_clip(frames=20)
PACKINGS = {
    "stored": zipfile.ZIP_STORED,
    "deflated": zipfile.ZIP_DEFLATED,
    "bzip2": zipfile.ZIP_BZIP2,
    "lzma": zipfile.ZIP_LZMA,
}


def pack(path: Path, data: bytes, packing: int = zipfile.ZIP_DEFLATED, before: bytes = b"") -> Path:
    with path.open("wb") as file:
        file.write(before)
        with zipfile.ZipFile(file, "w", packing) as archive:
            archive.writestr("other", b"x" * 100)
            archive.writestr("a/clip", data)
    return path


@pytest.mark.parametrize("packing", PACKINGS.values(), ids=PACKINGS)
@pytest.mark.parametrize("data", [b"", b"x", CLIP], ids=["empty", "byte", "clip"])
@pytest.mark.parametrize("before", [b"", b"#!/bin/sh\n"], ids=["plain", "self-extracting"])
def test_a_member_of_any_packing_comes_back(tmp_path, packing, data, before):
    with zipfile.ZipFile(pack(tmp_path / "a.zip", data, packing, before)) as archive:
        assert read_member(archive, "a/clip") == archive.read("a/clip") == data
        assert read_member(archive, "other") == b"x" * 100


def test_without_isal_the_standard_library_reads(tmp_path, monkeypatch):
    monkeypatch.setattr(unzip, "isal_zlib", None)
    with zipfile.ZipFile(pack(tmp_path / "a.zip", CLIP)) as archive:
        assert read_member(archive, "a/clip") == CLIP


def outcome(read, path: Path) -> bytes | None:
    """What a reader makes of the member; None: one of the errors that a clip's reader expects."""
    try:
        with zipfile.ZipFile(path) as archive:
            return read(archive)
    except (*BAD_MEMBER, OSError):
        return None


@given(st.data())
def test_a_damaged_member_is_refused_or_whole(tmp_path_factory, data):
    path = pack(tmp_path_factory.mktemp("zip") / "a.zip", CLIP)
    bytes_ = bytearray(path.read_bytes())
    member = zipfile.ZipFile(path).getinfo("a/clip")
    end = member.header_offset + 30 + len("a/clip") + member.compress_size
    at = data.draw(st.integers(member.header_offset, end - 1))
    bytes_[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(bytes_)
    assert outcome(lambda archive: read_member(archive, "a/clip"), path) in (None, CLIP)


def test_a_member_larger_than_it_says_is_refused(tmp_path):
    path = pack(tmp_path / "a.zip", CLIP)
    with zipfile.ZipFile(path) as archive:
        archive.getinfo("a/clip").file_size = 10
        with pytest.raises(zipfile.BadZipFile, match="Bad CRC-32 for file 'a/clip'"):
            read_member(archive, "a/clip")


def test_a_cut_file_is_refused(tmp_path):
    path = pack(tmp_path / "a.zip", CLIP)
    with zipfile.ZipFile(path) as archive:
        path.write_bytes(b"PK")
        with pytest.raises(EOFError):
            read_member(archive, "a/clip")


def test_a_raw_file_in_a_zip_is_read_whole(tmp_path):
    assert RawFile(pack(tmp_path / "a.zip", CLIP), "a/clip").read() == CLIP
