"""A diffusers folder becomes a single-file checkpoint in the published layout."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from visionsmith.errors import CheckpointError, OutputError
from visionsmith.single_file.folder import find_family, read_json, read_pairs, read_part
from visionsmith.single_file.forward import RECORD, REST
from visionsmith.single_file.header import Entry, read_header
from visionsmith.single_file.layouts import PARTS, Kind, Part, folder_name
from visionsmith.single_file.names_unet import ema_name
from visionsmith.single_file.pairs import How, Planned, same, to_folder, to_single
from visionsmith.single_file.recognise import Recognised
from visionsmith.single_file.report import Report, require_complete
from visionsmith.single_file.writer import write_tensors

__all__ = ["examine_folder", "write_single"]


@dataclass
class _Gathered:
    """What the parts give to the single file."""

    tensors: list[Planned] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    dtypes: dict[str, dict[str, int]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Plan:
    """All of the single file."""

    report: Report
    tensors: list[Planned]
    metadata: dict[str, str]


def examine_folder(folder: Path, *, variant: str | None = None) -> Report:
    """What a diffusers folder is and which tensors a single file of it would lack; nothing is written.

    Args:
        folder: of a pipeline.
        variant: of the weights, e.g. "fp16" for "model.fp16.safetensors".

    Raises:
        CheckpointError: the folder is of no known model, or a part cannot be read.
    """
    return _plan(Path(folder), variant).report


def write_single(folder: Path, output: Path, *, variant: str | None = None) -> Report:
    """Write a diffusers folder as one safetensors file, which appears whole or not at all.

    What the folder's `single_file.json` says (it was made of a single file) decides about prefixes and the
    rest; without it the published ones are used.

    Args:
        folder: as `save_pretrained` of a pipeline, or `write_diffusers`, writes.
        output: the .safetensors file to make.
        variant: of the weights, e.g. "fp16" for "model.fp16.safetensors".

    Raises:
        CheckpointError: the folder is of no known model, or not whole.
        OutputError: the output exists or cannot be written.
    """
    folder, output = Path(folder), Path(output)
    if output.exists():
        raise OutputError("exists already", where=output, do="choose another name")
    if output.suffix != ".safetensors":
        raise OutputError("is not named .safetensors", where=output, do="choose a name that ends so")
    plan = _plan(folder, variant)
    require_complete(folder, plan.report.missing, plan.report.unknown, keep=False)
    _publish(output, plan.tensors, plan.metadata)
    return plan.report


def _plan(folder: Path, variant: str | None) -> _Plan:
    family, task, why = find_family(folder)
    record = read_json(folder / RECORD) if (folder / RECORD).is_file() else {}
    prefixes = _prefixes(folder, PARTS[family], record)
    gathered = _Gathered()
    for part in PARTS[family]:
        if part.folder in prefixes:
            _gather(folder, part, prefixes[part.folder], gathered, record, variant)
    rest = _rest(folder, gathered.tensors)
    metadata = {key: str(value) for key, value in _table(record, "metadata").items()}
    notes = (
        []
        if record
        else [
            f"no {RECORD}: tensors that a published file has and no part needs (noise schedule, CLIP's "
            "temperature, SD 2's last text layer) are not in the file"
        ]
    )
    report = Report(
        Recognised(family, task, tuple(why), prefixes, bool(record.get("ema")), gathered.dtypes, ()),
        parts=gathered.counts,
        rest=tuple(one.name for one in rest),
        unknown=tuple(gathered.unknown),
        missing=tuple(gathered.missing),
        assumed=(),
        notes=tuple(notes),
    )
    return _Plan(report, [*gathered.tensors, *rest], metadata or {"format": "pt"})


def _gather(
    folder: Path,
    part: Part,
    prefix: str,
    gathered: _Gathered,
    record: Mapping[str, Any],
    variant: str | None,
) -> None:
    """Add one part's tensors, and what of its names is missing or unknown."""
    config, entries = read_part(folder / part.folder, part.kind, variant)
    named = {folder_name(part.kind, name): (name, entry) for name, entry in entries.items()}
    left = dict(named)
    count = 0
    ema = bool(record.get("ema")) and part.kind is Kind.UNET
    as_stored = bool(record.get("linear_vae_attention"))
    for published in read_pairs(folder / part.folder, part.kind, config):
        stored = as_stored and published.how is How.SQUEEZE
        pair = replace(published, how=How.SAME) if stored else published
        lacking = [name for name in pair.folder if name not in named]
        if lacking:
            gathered.missing += [] if pair.optional else [f"{part.folder}/{name}" for name in lacking]
            continue
        pieces: list[Entry] = [left.pop(name)[1] for name in pair.folder]
        planned = to_single(pair, pieces)
        name = ema_name(prefix + planned.name) if ema else prefix + planned.name
        gathered.tensors.append(replace(planned, name=name))
        count += 1
    gathered.counts[part.folder] = count
    gathered.dtypes[part.folder] = dict(Counter(entry.dtype for entry in entries.values()))
    gathered.unknown += [f"{part.folder}/{name}" for name, _ in left.values()]


def _prefixes(folder: Path, parts: tuple[Part, ...], record: Mapping[str, Any]) -> dict[str, str]:
    """Prefix of each part that is there: as recorded, else the published one."""
    present = [part for part in parts if (folder / part.folder / "config.json").is_file()]
    recorded = _table(record, "prefixes")
    prefixes = {}
    for part in present:
        # A Flux transformer has its prefix only where other parts are in the same file.
        published = part.prefixes[-1] if part.kind is Kind.FLUX and len(present) > 1 else part.prefixes[0]
        prefix = recorded.get(part.folder, published)
        prefixes[part.folder] = prefix if prefix in part.prefixes else published
    return prefixes


def _table(record: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A table of the record; a folder may come from anywhere, so that it may hold anything."""
    value = record.get(name)
    return value if isinstance(value, dict) else {}


def _rest(folder: Path, tensors: list[Planned]) -> list[Planned]:
    """Tensors that the folder keeps for the way back.

    Raises:
        CheckpointError: a part gives one of them too.
    """
    if not (folder / REST).is_file():
        return []
    entries = read_header(folder / REST).entries
    if twice := entries.keys() & {one.name for one in tensors}:
        raise CheckpointError(
            f"holds {min(twice)}, which a part gives too",
            where=folder / REST,
            do="remove the file to leave it out",
        )
    return [one for name, entry in entries.items() for one in to_folder(same(name), entry)]


def _publish(output: Path, tensors: list[Planned], metadata: Mapping[str, str]) -> None:
    """Write under a temporary name and rename."""
    temporary = None
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{output.name[:64]}.", dir=output.parent)
        os.close(handle)
        temporary = Path(name)
        write_tensors(temporary, tensors, metadata)
        temporary.chmod(0o644)
        temporary.replace(output)
    except OSError as error:
        raise OutputError(
            f"cannot be written ({error.strerror or error})",
            where=output,
            do="free some space or choose another",
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
