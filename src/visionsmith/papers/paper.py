"""What a paper's folder holds, and how the rest of the project finds it.

A folder `papers/X/` is a system as soon as it holds a `paper.toml`. No other file lists the papers. The
verbs that work are named in `paper.toml`, and each is a function in a file of a fixed name:

| verb     | file          | function                                                                   |
|----------|---------------|----------------------------------------------------------------------------|
| train    | `recipes.py`  | `PRESET() -> Recipe`, one a preset: a frozen config                        |
|          | `train.py`    | `train(recipe, *, data, output, resume, progress) -> Path` (the checkpoint) |
| evaluate | `evaluate.py` | `evaluate(*, checkpoint, data, progress) -> Mapping` of plain values       |
| run      | `run.py`      | `command(...)`: a Typer command; `load(source, **options)`: for Python     |
| claims   | `claims.py`   | `claims(*, output, progress) -> Sequence[Claim]`                           |
| official | `official.py` | `from_official(state, config) -> model`                                    |

`train.py` may also define `check_data(path)`, which refuses data before a run folder is made; without it, data are what
`data.sources.find_source` knows.

A folder may also hold `demo.py` with `demo(page, *, folder, progress) -> Sequence[str]`: it adds its sections to the
page of `visionsmith demo` and returns commands to type next.

`data` and `checkpoint` are `Path | None`; None means the built-in data and the checkpoint that ships.
A verb's file imports nothing heavy at module level, so that `visionsmith run X --help` answers at once.
"""

from __future__ import annotations

import importlib
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from visionsmith.errors import ConfigError, nearest

__all__ = ["VERBS", "Paper", "all_papers", "get_paper", "shipped_checkpoint"]

VERBS = ("train", "evaluate", "run", "claims", "official")

FOLDER = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Paper:
    """The contents of one `paper.toml`."""

    name: str
    """Folder name, used on the command line."""
    title: str
    row: str
    """Row of the project's plan, e.g. "A1"; the order of every listing."""
    task: str
    """What it does, in a few words."""
    arxiv: str = ""
    """arXiv id, or empty."""
    venue: str = ""
    verbs: tuple[str, ...] = ()
    """The verbs that work today, a subset of `VERBS`."""
    presets: tuple[str, ...] = ()
    """Functions of `recipes.py`."""
    parameters: dict[str, int] = field(default_factory=dict)
    """Parameter count by published size."""
    code_licence: str = ""
    weights_licence: str = ""
    builds_on: tuple[str, ...] = ()
    """Other papers whose public names this one imports."""
    left_out: tuple[str, ...] = ()
    """What the paper has and this folder does not."""

    def __post_init__(self) -> None:
        if unknown := set(self.verbs) - set(VERBS):
            raise ConfigError(f"paper.toml of '{self.name}' names unknown verbs {sorted(unknown)}")

    def works(self, verb: str) -> bool:
        """Whether the verb is implemented."""
        return verb in self.verbs

    def has(self, file: str) -> bool:
        """Whether the folder holds FILE.py."""
        return (FOLDER / self.name / f"{file}.py").is_file()

    def module(self, file: str) -> ModuleType:
        """Import `papers/NAME/FILE.py`.

        Raises:
            ConfigError: the paper has no such file because the verb is not built yet.
        """
        qualified = f"{__package__}.{self.name}.{file}"
        try:
            return importlib.import_module(qualified)
        except ModuleNotFoundError as error:
            if error.name not in (qualified, qualified.rpartition(".")[0]):
                raise
            raise ConfigError(
                f"'{self.name}' has no '{file}' yet",
                do=f"`visionsmith list` shows what works; for '{self.name}': {', '.join(self.verbs) or 'nothing yet'}",
            ) from error

    def recipe(self, preset: str) -> Any:
        """The recipe of a preset.

        Raises:
            ConfigError: there is no such preset.
        """
        if preset not in self.presets:
            close = nearest(preset, self.presets)
            hint = f"did you mean '{close}'" if close else f"there are: {', '.join(self.presets) or 'none'}"
            raise ConfigError(f"'{self.name}' has no preset '{preset}'", do=hint)
        return getattr(self.module("recipes"), preset)()


def _read(file: Path) -> Paper:
    content = tomllib.loads(file.read_text(encoding="utf-8"))
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in content.items()
    }
    return Paper(name=file.parent.name, **values)


def _row_order(row: str) -> tuple[str, int]:
    return row[:1], int(row[1:]) if row[1:].isdigit() else 0


def all_papers() -> list[Paper]:
    """Every paper that has a folder, in the order of the plan."""
    return sorted(_find(), key=lambda paper: (*_row_order(paper.row), paper.name))


def _find() -> Iterator[Paper]:
    for file in FOLDER.glob("*/paper.toml"):
        yield _read(file)


def get_paper(name: str) -> Paper:
    """The paper of that name.

    Raises:
        ConfigError: there is none; names the nearest.
    """
    file = FOLDER / name / "paper.toml"
    if name.isidentifier() and file.is_file():
        return _read(file)
    known = [paper.name for paper in all_papers()]
    close = nearest(name, known)
    hint = f"did you mean '{close}'" if close else "`visionsmith list` shows them"
    raise ConfigError(f"there is no system '{name}'", do=hint)


def shipped_checkpoint(name: str) -> Path:
    """Folder of the checkpoint that ships with the project, in a checkout and in an installed wheel.

    Raises:
        ConfigError: the paper ships none.
    """
    package = FOLDER.parent
    for root in (package / "_weights", package.parent.parent / "weights"):
        if (root / name / "manifest.json").is_file():
            return root / name
    raise ConfigError(
        f"'{name}' ships no checkpoint", do=f"train one with `visionsmith train {name}` and pass --checkpoint"
    )
