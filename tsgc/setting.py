"""Ranges of settings, and the line that a wrong one gets: pydantic's finding in our words."""

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic.fields import FieldInfo

from pipelines.errors import TsgcError
from tsgc.modalities import MODALITIES, STACK, mistake
from tsgc.networks import VARIANTS, mistaken_network

AtLeastOne = Annotated[int, Field(ge=1)]
AtLeastZero = Annotated[int, Field(ge=0)]
NotNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
UnderOne = Annotated[float, Field(ge=0, lt=1)]


def _number_as_name(value: Any) -> Any:
    return str(value) if isinstance(value, int) else value  # YAML reads 252 as a number


def _check_variant(name: str) -> str:
    if name not in VARIANTS:
        raise ValueError(f"one of {', '.join(VARIANTS)}")
    return name


def _check_modality(name: str) -> str:
    if wrong := mistake(name):
        raise ValueError(f"one of {', '.join(MODALITIES)}, or several joined by {STACK}: {wrong}")
    return name


def _one_as_several(value: Any) -> Any:
    return (value,) if isinstance(value, int) else value


def _check_network(name: str) -> str:
    if expected := mistaken_network(name):
        raise ValueError(expected)
    return name


Epochs = Annotated[tuple[AtLeastOne, ...], BeforeValidator(_one_as_several)]
VariantName = Annotated[str, BeforeValidator(_number_as_name), AfterValidator(_check_variant)]
ModalityName = Annotated[str, AfterValidator(_check_modality)]
NetworkName = Annotated[str, AfterValidator(_check_network)]

UNKNOWN = "unexpected_keyword_argument"
OUT_OF_RANGE = ("greater_than", "greater_than_equal", "less_than", "less_than_equal", "finite_number")


class SettingError(TsgcError):
    """A wrong setting; `settings` are the names of those that the error is about."""

    def __init__(self, message: str, *settings: str) -> None:
        super().__init__(message)
        self.settings = settings


def setting_error(error: ValidationError, fields: Mapping[str, FieldInfo]) -> SettingError:
    """The first finding of a validation of `fields`; a key that no field has comes before wrong values."""
    first = min(error.errors(), key=lambda found: found["type"] != UNKNOWN)
    name, kind, value = str(first["loc"][0]), first["type"], first["input"]
    if kind == UNKNOWN:
        near = difflib.get_close_matches(name, fields, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(fields)}"
        return SettingError(f"unknown key {name!r}; {hint}", name)
    if kind == "value_error":  # of the functions above, which say what they expect
        return SettingError(f"{name} is {value}, expected {first['ctx']['error']}", name)
    if kind in OUT_OF_RANGE and (expected := range_words(fields[name])):
        shown = float(value) if float in _types(fields[name]) else value
        return SettingError(f"{name} is {shown}, expected {expected}", name)
    expected = first["msg"].replace("Input should be", "expected")
    return SettingError(f"{name} is {value!r}, {expected}", name)


def range_words(field: FieldInfo) -> str:
    """The range in a field's annotation, such as `0 or more, under 1`; empty where there is none."""
    forms = {"ge": "{} or more", "gt": "over {}", "le": "at most {}", "lt": "under {}"}
    bounds = {
        kind: getattr(found, kind) for found in field.metadata for kind in forms if hasattr(found, kind)
    }
    if not bounds:
        return ""
    words = ", ".join(form.format(bounds[kind]) for kind, form in forms.items() if kind in bounds)
    if {"ge", "le"} <= set(bounds):
        words = f"between {bounds['ge']} and {bounds['le']}"
    return f"{words}, or null" if type(None) in _types(field) else words


def _types(field: FieldInfo) -> tuple[Any, ...]:
    """The types that a field takes: one, or those of a union."""
    return get_args(field.annotation) or (field.annotation,)
