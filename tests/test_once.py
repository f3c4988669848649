"""What tests share: made once, made again after a failure, and only read."""

import pytest
from made.once import once, only_read


def test_what_is_shared_is_made_once_and_again_after_a_failure(tmp_path_factory):
    made = []

    def make(folder):
        made.append(sorted(folder.iterdir()))
        (folder / "half").touch()
        if len(made) == 1:
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        once(tmp_path_factory, "test-once", make)
    folders = {once(tmp_path_factory, "test-once", make) for _ in range(3)}
    assert made == [[], []] and len(folders) == 1  # each time from nothing
    assert (folders.pop() / "half").is_file()


@pytest.mark.parametrize("change", ["write", "add", "remove"])
def test_a_change_of_what_is_shared_is_told(tmp_path, change):
    (tmp_path / "a").write_text("a")
    reading = only_read(tmp_path)
    assert next(reading) == tmp_path
    if change == "write":
        (tmp_path / "a").write_text("another")
    elif change == "add":
        (tmp_path / "b").touch()
    else:
        (tmp_path / "a").unlink()
    with pytest.raises(AssertionError, match=f"tests write in {tmp_path}, which they share: [ab]; copy it"):
        next(reading)


def test_what_is_only_read_passes(tmp_path):
    (tmp_path / "a").write_text("a")
    assert list(only_read(tmp_path)) == [tmp_path]
