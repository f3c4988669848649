"""YAML as people write it: what the library reads, and no key twice."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import TsgcError
from pipelines.reading.yaml_text import load_yaml
from tsgc.config import read_yaml

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8
)


@given(VALUES)
def test_what_was_written_is_read(value):
    text = yaml.safe_dump(value, allow_unicode=True)
    assert load_yaml(text) == yaml.safe_load(text)


@pytest.mark.parametrize("text", ["a: 1\nb: 2\na: 3", "x: {a: 1, a: 1}", "x:\n- a: 1\n  a: 2"])
def test_a_key_that_is_there_twice_is_refused(text):
    with pytest.raises(yaml.YAMLError, match="a is there twice"):
        load_yaml(text)


def test_merged_keys_and_keys_of_other_types_are_not_twice():
    assert load_yaml("base: &b {a: 1}\nx: {<<: *b, a: 2}")["x"] == {"a": 2}
    assert load_yaml("1: x\n'1': y") == {1: "x", "1": "y"}


def test_a_configuration_says_which_key_and_where(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("epochs: 3\nlr: 0.1\nepochs: 4\n")
    with pytest.raises(TsgcError, match=r"own.yaml: not YAML \(epochs is there twice.*line 3"):
        read_yaml(path)
