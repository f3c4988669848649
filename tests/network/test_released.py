"""Files that are given as a released checkpoint and are none: one line that says what they are."""

from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from pipelines.errors import TsgcError
from tsgc.network.released import load_released


def refusal(path: Path) -> str:
    with pytest.raises(TsgcError) as caught:
        load_released(path, ema=False)
    said = str(caught.value)
    assert "\n" not in said and "\x1b" not in said and "weights_only" not in said
    assert said.startswith(f"{path}: ")
    return said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", "a web page, not the file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 3\n", "a pointer of Git LFS"),
        (b"", "an empty file"),
        (b"one two three", "no whole file of torch.save (Unsupported operand"),
        (b"PK\x03\x04 and no more", "no whole file of torch.save ("),
    ],
)
def test_what_is_no_checkpoint_is_told_in_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "best.pth"
    path.write_bytes(content)
    assert said in refusal(path)


def test_a_whole_module_is_told_and_what_to_save_instead(tmp_path: Path) -> None:
    path = tmp_path / "module.pt"
    for content in (torch.nn.Linear(2, 2), {"model": torch.nn.Linear(2, 2)}):
        torch.save(content, path)
        said = refusal(path)
        assert "holds torch.nn.modules.linear.Linear" in said and "save `module.state_dict()`" in said


def test_a_state_dict_of_another_network_is_told(tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    torch.save({"model": OrderedDict(torch.nn.Linear(2, 2).state_dict())}, path)
    assert "not those of the published network" in refusal(path)
