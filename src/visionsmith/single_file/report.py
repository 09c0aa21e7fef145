"""What a conversion found and did, as sentences and as plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from visionsmith.errors import CheckpointError
from visionsmith.single_file.recognise import Recognised

__all__ = ["Report", "require_complete"]


@dataclass(frozen=True)
class Report:
    """What was recognised, and where every tensor belongs."""

    recognised: Recognised
    parts: dict[str, int]
    """Tensors of the single file by part."""
    rest: tuple[str, ...]
    """Known tensors that a folder has no place for; kept in a file of their own."""
    unknown: tuple[str, ...]
    """Tensors that no part has a name for."""
    missing: tuple[str, ...]
    """Tensors that a part needs and the file has not."""
    assumed: tuple[str, ...]
    """What shapes do not show, and what was taken for it."""
    notes: tuple[str, ...]

    def lines(self) -> list[str]:
        """The report in sentences."""
        seen = self.recognised
        lines = [f"{seen.family} for {seen.task}, to be run by {seen.pipeline}:"]
        lines += [f"  {reason}" for reason in seen.why]
        lines += [f"{part}: {count:,} tensors{_dtypes(seen, part)}" for part, count in self.parts.items()]
        lines += [f"it has no {part}" for part in seen.absent_parts]
        rest = "no part of a folder has a place for these; a folder keeps them in a file of their own"
        # Of what is right the first few do; of what is wrong every name counts.
        for title, names, most in (
            (rest, self.rest, 20),
            ("unknown", self.unknown, len(self.unknown)),
            ("missing", self.missing, len(self.missing)),
        ):
            if names:
                lines += [f"{title} ({len(names):,}):", *(f"  {name}" for name in _grouped(names, most))]
        lines += [f"assumed: {text}" for text in self.assumed]
        return lines + [f"note: {text}" for text in self.notes]

    def plain(self) -> dict[str, Any]:
        """The report as JSON can hold it; every name is listed."""
        values = asdict(self)
        values["recognised"]["pipeline"] = self.recognised.pipeline
        return values


def require_complete(
    where: object, missing: tuple[str, ...], unknown: tuple[str, ...], *, keep: bool
) -> None:
    """Refuse what does not fit whole.

    Args:
        where: the file or folder.
        missing: names that are needed and not there.
        unknown: names that are there and have no place.
        keep: whether unknown names are allowed.

    Raises:
        CheckpointError: says the first name and how many there are.
    """
    if missing:
        raise CheckpointError(
            f"{_tensors(missing)} missing, the first is {missing[0]}",
            where=str(where),
            do="use it as it was published; `visionsmith convert what` lists all",
        )
    if unknown and not keep:
        raise CheckpointError(
            f"{_tensors(unknown)} without a place, the first is {unknown[0]}",
            where=str(where),
            do="check that it is what you mean; --keep-unknown puts those of a file into the rest",
        )


def _tensors(names: tuple[str, ...]) -> str:
    return "1 tensor is" if len(names) == 1 else f"{len(names):,} tensors are"


def _dtypes(seen: Recognised, part: str) -> str:
    counts = seen.dtypes.get(part, {})
    if len(counts) == 1:
        return f", {next(iter(counts))}"
    return "".join(f", {count:,} {dtype}" for dtype, count in sorted(counts.items()))


def _grouped(names: tuple[str, ...], most: int) -> list[str]:
    return [*names[:most], f"and {len(names) - most:,} more"] if len(names) > most else list(names)
