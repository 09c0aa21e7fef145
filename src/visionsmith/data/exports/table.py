"""A table and a folder of pictures: metadata.csv, .tsv or .jsonl with file_name, key, caption and meta.

In CSV and TSV the metadata are one cell of JSON, so that numbers stay numbers.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from visionsmith.data.exports.pictures import write_picture
from visionsmith.data.sample import Sample
from visionsmith.data.sources.problems import OnProblem
from visionsmith.data.sources.tables import LONGEST_CELL

__all__ = ["CANNOT_HOLD", "write_csv", "write_jsonl"]

CANNOT_HOLD = f"a record without a picture or caption, or with a text above {LONGEST_CELL:,} characters"
_COLUMNS = ("file_name", "key", "caption", "meta")


def write_csv(delimiter: str, samples: Iterable[Sample], folder: Path, cannot_hold: OnProblem) -> None:
    """Write samples as CSV ("," as delimiter) or TSV (a tab) into an empty folder."""
    name = "metadata.tsv" if delimiter == "\t" else "metadata.csv"
    with (folder / name).open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, delimiter=delimiter)
        table.writerow(_COLUMNS)
        for sample in samples:
            meta = json.dumps(dict(sample.meta), ensure_ascii=False) if sample.meta else ""
            reason = _reason(sample, meta)
            if reason is None:
                table.writerow((write_picture(sample, folder), sample.key, sample.caption, meta))
            else:
                cannot_hold(sample.key, reason)


def write_jsonl(samples: Iterable[Sample], folder: Path, cannot_hold: OnProblem) -> None:
    """Write samples as JSONL into an empty folder; there is a place for every sample."""
    with (folder / "metadata.jsonl").open("w", encoding="utf-8") as stream:
        for sample in samples:
            picture = write_picture(sample, folder) if sample.image else None
            row: dict[str, Any] = {"file_name": picture, "key": sample.key}
            if sample.caption:
                row["caption"] = sample.caption
            stream.write(json.dumps({**row, "meta": dict(sample.meta)}, ensure_ascii=False) + "\n")


def _reason(sample: Sample, meta: str) -> str | None:
    if not sample.image:
        return "it has no picture, which a table of this kind must name"
    if not sample.caption:
        return "it has no caption, which a table of this kind must have"
    longest = max(len(sample.key), len(sample.caption), len(meta))
    if longest > LONGEST_CELL:
        return f"it has a text of {longest:,} characters, more than readers of such tables take"
    return None
