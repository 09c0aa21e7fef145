"""Typed settings: frozen dataclasses, one codec for YAML, JSON and `key=value`.

A recipe is a Python function that returns a frozen dataclass; YAML files and command-line overrides go
through the same codec, which refuses unknown keys and names the nearest right one.

    @config
    class Optim:
        lr: float = 5e-4
        '''Peak learning rate.'''

    recipe = override(tiny(), ["optim.lr=1e-3"])        # or an unmistakable ending: "lr=1e-3"
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, dataclass_transform

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

from visionsmith.errors import ConfigError, nearest

__all__ = ["config", "decode", "encode", "override", "read_yaml", "to_yaml"]

T = TypeVar("T")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def config(cls: type[T]) -> type[T]:
    """Make `cls` a frozen, keyword-only dataclass whose codec refuses unknown keys."""
    # pydantic drops unknown keys of a standard dataclass in silence unless it is told not to.
    cls.__pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[attr-defined]
    return dataclasses.dataclass(frozen=True, kw_only=True)(cls)


def decode(cls: type[T], values: Mapping[str, Any], *, where: str | Path | None = None) -> T:
    """Build `cls` from plain values (as YAML and JSON give them).

    Raises:
        ConfigError: an unknown key, a missing one, or a value of the wrong type; names the key's path.
    """
    _refuse_unknown(cls, values, path="", where=where)
    try:
        return TypeAdapter(cls).validate_python(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "settings"
        detail = first["msg"][:1].lower() + first["msg"][1:]
        if detail.startswith("value error, "):
            detail = detail[len("value error, ") :]
        raise ConfigError(f"{place} = {first['input']!r}: {detail}", where=where) from error


def encode(value: Any) -> dict[str, Any]:
    """Plain values of a config, ready for YAML or JSON."""
    plain = TypeAdapter(type(value)).dump_python(value, mode="json")
    assert isinstance(plain, dict)
    return plain


def to_yaml(value: Any) -> str:
    """A config as YAML; floats are written so that YAML reads them back as floats."""
    return str(yaml.dump(encode(value), Dumper=_Dumper, sort_keys=False, allow_unicode=True))


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a mapping from a YAML file.

    Raises:
        ConfigError: the file is missing, is not YAML, or does not hold a mapping.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"cannot be read ({error.strerror})", where=path, do="give the path of a YAML file"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}" if mark else "its text"
        raise ConfigError(f"is not YAML ({line})", where=path, do="mend that line") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError("does not hold `key: value` settings", where=path, do="write one setting a line")
    return values


def override(base: T, settings: Iterable[str] | Mapping[str, Any], *, where: str | Path | None = None) -> T:
    """A copy of `base` with some leaves replaced.

    Args:
        base: a config.
        settings: `a.b=value` strings, where the key may be shortened to an ending that only one setting has
            (`lr=1e-3`); or a nested mapping as a YAML file gives it.
        where: what to name in an error, when the settings came from a file.

    Raises:
        ConfigError: a key that does not exist (names the nearest), an ambiguous one, or a value of the wrong type.
    """
    values = encode(base)
    if isinstance(settings, Mapping):
        _refuse_unknown(type(base), settings, path="", where=where)
        _merge(values, settings)
        return decode(type(base), values, where=where)
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"'{setting}' is not a setting", do="write it as key=value, e.g. lr=1e-3")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"'{setting}': the value is not YAML", do="quote it") from error
        *parents, leaf = _find_path(key.strip(), values)
        node: Any = values
        for parent in parents:
            node = node[parent]
        node[leaf] = value
    return decode(type(base), values)


def _paths(node: Any, prefix: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of everything that can be set below a node of plain values."""
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(node, dict):
        items = node.items()
    elif isinstance(node, list) and any(isinstance(value, dict) for value in node):
        items = enumerate(node)
    for key, value in items:
        yield (*prefix, key)
        yield from _paths(value, (*prefix, key))


def _find_path(key: str, values: dict[str, Any]) -> tuple[Any, ...]:
    """The path that a key names, in full or by its ending."""
    known = {".".join(map(str, path)): path for path in _paths(values)}
    if key in known:
        return known[key]
    matches = [name for name in known if name.endswith(f".{key}")]
    if len(matches) == 1:
        return known[matches[0]]
    if matches:
        raise ConfigError(f"'{key}' may mean {' or '.join(matches)}", do="write one of them in full")
    endings = {name: name for name in known}
    for name in known:
        endings |= {name.split(".", cut)[-1]: name for cut in range(1, name.count(".") + 1)}
    close = nearest(key, endings)
    advice = f"did you mean '{endings[close]}'" if close else f"known here: {', '.join(values)}"
    raise ConfigError(f"there is no setting '{key}'", do=advice)


def _unknown_key(key: str, known: Iterable[str], parent: str, where: str | Path | None) -> ConfigError:
    known = list(known)
    full = f"{parent}.{key}" if parent else key
    close = nearest(key, known)
    prefix = f"{parent}." if parent else ""
    advice = f"did you mean '{prefix}{close}'" if close else f"known here: {', '.join(known)}"
    return ConfigError(f"there is no setting '{full}'", where=where, do=advice)


def _refuse_unknown(cls: Any, values: Mapping[str, Any], *, path: str, where: str | Path | None) -> None:
    if not dataclasses.is_dataclass(cls):
        return
    hints = typing.get_type_hints(cls)
    for key, value in values.items():
        if key not in hints:
            raise _unknown_key(str(key), hints, path, where)
        if isinstance(value, Mapping):
            for inner in (hints[key], *typing.get_args(hints[key])):
                if dataclasses.is_dataclass(inner):
                    _refuse_unknown(inner, value, path=f"{path}.{key}" if path else str(key), where=where)
                    break


def _merge(into: dict[str, Any], values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


class _Dumper(yaml.SafeDumper):
    pass


def _represent_float(dumper: yaml.SafeDumper, value: float) -> yaml.ScalarNode:
    # PyYAML writes 1e-06, which its own reader takes for a string; a dot in the mantissa makes it a float.
    text = repr(value)
    if "e" in text and "." not in text:
        mantissa, _, exponent = text.partition("e")
        text = f"{mantissa}.0e{exponent}"
    if text in ("inf", "-inf", "nan"):
        text = "." + text if text != "-inf" else "-.inf"
    return dumper.represent_scalar("tag:yaml.org,2002:float", text)


_Dumper.add_representer(float, _represent_float)
