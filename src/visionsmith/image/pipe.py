"""Operations in a row: `step(resize, factor=0.5) >> step(gaussian, sigma=2)`, or the same from YAML.

    - resize: {factor: 0.5}
    - gaussian: {sigma: 2}
    - to_gray

A pipe is called with a picture and gives a picture. What its operations are given is checked when it is made.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

from visionsmith.errors import ConfigError, VisionsmithError, nearest
from visionsmith.image.channels import to_gray
from visionsmith.image.draw import circle, ellipse, half_ellipse, line, rectangle, text
from visionsmith.image.filters import bilateral, box, filter_kernel, gaussian, identity, median, sharpen
from visionsmith.image.geometry import crop, resize, rotate, translate, warp
from visionsmith.image.levels import threshold

__all__ = ["OPERATIONS", "Operation", "Pipe", "Step", "read_pipe", "step"]

Operation = Callable[..., np.ndarray]
"""A function whose first argument is a picture and that gives a picture."""

_GEOMETRY: tuple[Operation, ...] = (resize, crop, rotate, translate, warp)
_VALUES: tuple[Operation, ...] = (to_gray, threshold)
_FILTERS: tuple[Operation, ...] = (identity, box, gaussian, median, sharpen, bilateral, filter_kernel)
_DRAWING: tuple[Operation, ...] = (line, circle, rectangle, ellipse, half_ellipse, text)

OPERATIONS: dict[str, Operation] = {
    operation.__name__: operation for operation in (*_GEOMETRY, *_VALUES, *_FILTERS, *_DRAWING)
}
"""What a YAML file may name."""


@dataclass(frozen=True)
class Step:
    """An operation and what it is given beside the picture."""

    operation: Operation
    arguments: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Of the operation."""
        return self.operation.__name__


@dataclass(frozen=True)
class Pipe:
    """Steps, one after the other."""

    steps: tuple[Step, ...]

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """The picture that the last step gives.

        Raises:
            VisionsmithError: a step cannot work on the picture; the error names its number.
        """
        for number, one in enumerate(self.steps, 1):
            try:
                image = one.operation(image, **one.arguments)
            except VisionsmithError as error:
                raise type(error)(error.what, where=_place(number, one.name), do=error.do) from error
        return image

    def __rshift__(self, other: Pipe) -> Pipe:
        """This pipe, then the other."""
        return Pipe(self.steps + other.steps)

    def to_yaml(self) -> str:
        """The text from which `from_yaml` makes the same pipe.

        Raises:
            ConfigError: an operation is not of `OPERATIONS`, or is given what YAML cannot hold, as an array.
        """
        plain = []
        for number, one in enumerate(self.steps, 1):
            if OPERATIONS.get(one.name) is not one.operation:
                raise ConfigError(
                    f"'{one.name}' has no name in YAML",
                    where=_place(number, one.name),
                    do="keep it in Python",
                )
            arguments = {name: _plain(value) for name, value in one.arguments.items()}
            plain.append({one.name: arguments} if arguments else one.name)
        return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, default_flow_style=None)

    @classmethod
    def from_yaml(cls, content: str, *, where: str | Path | None = None) -> Pipe:
        """A pipe from a YAML list.

        Args:
            content: the text.
            where: what to name in an error.

        Raises:
            ConfigError: it is no such list; or a step names an unknown operation or argument, misses one, or gives
                a wrong type.
        """
        try:
            entries = yaml.safe_load(content)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = f"line {mark.line + 1}" if mark else "its text"
            raise ConfigError(f"is not YAML ({line})", where=where, do="mend that line") from error
        if not isinstance(entries, list) or not entries:
            raise ConfigError(
                "holds no list of steps", where=where, do="write one a line, as `- resize: {factor: 0.5}`"
            )
        return cls(tuple(_step_of(entry, number, where) for number, entry in enumerate(entries, 1)))


def step(operation: Operation, /, **arguments: Any) -> Pipe:
    """A pipe of one step.

    Args:
        operation: one of this package, or any function whose first argument is a picture.
        arguments: what it is given beside the picture; checked against its signature and types.

    Raises:
        ConfigError: an argument is unknown, missing or of the wrong type.
    """
    return Pipe((Step(operation, _checked(operation, arguments, operation.__name__)),))


def read_pipe(path: str | Path) -> Pipe:
    """A pipe from a YAML file. Raises ConfigError as `Pipe.from_yaml` does, and when it cannot be read."""
    try:
        content = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(f"cannot be read ({reason})", where=path, do="give a YAML file of steps") from error
    except UnicodeDecodeError as error:
        raise ConfigError("is not text in UTF-8", where=path, do="give a YAML file of steps") from error
    return Pipe.from_yaml(content, where=path)


def _place(number: int, name: str, where: str | Path | None = None) -> str:
    return (f"{where}: " if where is not None else "") + f"step {number} ({name})"


def _step_of(entry: Any, number: int, where: str | Path | None) -> Step:
    if isinstance(entry, str):
        entry = {entry: None}
    if not isinstance(entry, dict) or len(entry) != 1:
        found = f"{len(entry)} names" if isinstance(entry, dict) else repr(entry)
        raise ConfigError(
            f"step {number} is {found}, not one operation",
            where=where,
            do="write it as `- resize: {factor: 0.5}`",
        )
    ((name, arguments),) = entry.items()
    operation = OPERATIONS.get(name)
    if operation is None:
        close = nearest(str(name), OPERATIONS)
        advice = f"did you mean '{close}'" if close else f"known here: {', '.join(OPERATIONS)}"
        raise ConfigError(f"step {number}: there is no operation '{name}'", where=where, do=advice)
    if not isinstance(arguments, dict | None):
        first = next(iter(_parameters(operation)), "name")
        raise ConfigError(
            f"{arguments!r} has no name",
            where=_place(number, name, where),
            do=f"write it as `- {name}: {{{first}: {arguments}}}`",
        )
    return Step(operation, _checked(operation, arguments or {}, _place(number, name, where)))


def _parameters(operation: Operation) -> dict[str, inspect.Parameter]:
    """What an operation takes beside the picture."""
    return dict(list(inspect.signature(operation).parameters.items())[1:])


def _checked(operation: Operation, arguments: Mapping[Any, Any], where: str) -> dict[str, Any]:
    parameters = _parameters(operation)
    open_ended = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())
    types = typing.get_type_hints(operation)
    checked = {}
    for name, value in arguments.items():
        if name not in parameters and not open_ended:
            close = nearest(str(name), parameters)
            advice = f"did you mean '{close}'" if close else f"it takes {', '.join(parameters) or 'none'}"
            raise ConfigError(f"there is no argument '{name}'", where=where, do=advice)
        checked[name] = _typed(value, types.get(name, Any), name, where)
    for name, parameter in parameters.items():
        needed = parameter.default is inspect.Parameter.empty
        if needed and name not in arguments and parameter.kind not in _OPTIONAL_KINDS:
            raise ConfigError(f"the argument '{name}' is missing", where=where)
    return checked


_OPTIONAL_KINDS = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)


def _typed(value: Any, wanted: Any, name: str, where: str) -> Any:
    """The value as its annotation wants it: a list of YAML becomes a tuple, text a path."""
    if isinstance(value, bool) and wanted is not bool and wanted is not Any:
        raise ConfigError(f"{name} = {value}: it is not a switch", where=where, do="give a value")
    try:
        return _adapter(wanted).validate_python(value)
    except ValidationError as error:
        detail = error.errors()[0]["msg"]
        raise ConfigError(f"{name} = {value!r}: {detail[:1].lower()}{detail[1:]}", where=where) from error


def _adapter(wanted: Any) -> TypeAdapter[Any]:
    # np.ndarray is no type of pydantic's own, which then asks for an instance of it.
    try:
        return TypeAdapter(wanted, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticUserError:  # a dataclass brings its own configuration
        return TypeAdapter(wanted)


def _plain(value: Any) -> Any:
    """What YAML holds for a value."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple | list):
        return [_plain(part) for part in value]
    return value
