"""WebDataset: tar shards part-00000.tar ..., each sample as NAME.jpg (png, ...), NAME.txt and NAME.json.

NAME is the key as a path without dots; the key itself is in the .json as "__key__". Members carry no time and no
owner, so that the same samples give the same bytes.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path

from visionsmith.data.records.pack import file_stem, picture_ending
from visionsmith.data.sample import Sample
from visionsmith.data.sources.folders import IMAGE_ENDINGS
from visionsmith.data.sources.problems import OnProblem
from visionsmith.data.sources.shards import KEY

__all__ = ["CANNOT_HOLD", "write"]

CANNOT_HOLD = "a record without a picture of known format"


def write(samples: Iterable[Sample], folder: Path, cannot_hold: OnProblem, shard_bytes: int) -> None:
    """Write samples as shards into an empty folder.

    Args:
        samples: what to write.
        folder: where to.
        cannot_hold: is told of each sample that a shard has no place for.
        shard_bytes: a shard ends before its pictures and texts exceed this, unless one sample alone does.
    """
    archive: tarfile.TarFile | None = None
    shards, size = 0, 0
    try:
        for sample in samples:
            members = _members(sample, cannot_hold)
            taken = sum(map(len, members.values()))
            if members and (archive is None or size + taken > shard_bytes):
                if archive is not None:
                    archive.close()
                archive = tarfile.open(folder / f"part-{shards:05d}.tar", "w")  # noqa: SIM115
                shards, size = shards + 1, 0
            for name, content in members.items():
                assert archive is not None, "a shard is open"
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
            size += taken
    finally:
        if archive is not None:
            archive.close()


def _members(sample: Sample, cannot_hold: OnProblem) -> dict[str, bytes]:
    """Names and contents; none for a sample that there is no place for."""
    ending = picture_ending(sample.image)
    if ending not in IMAGE_ENDINGS:
        what = "its picture is of no known format" if sample.image else "it has no picture"
        cannot_hold(sample.key, f"{what}, so that a reader of shards would not find it")
        return {}
    if KEY in sample.meta:
        cannot_hold(sample.key, f"its metadata have an entry {KEY}, which shards need for the key")
        return {}
    above, slash, last = file_stem(sample.key).rpartition("/")
    # A reader takes a name up to its first dot.
    name = above + slash + last.replace(".", "%2E")
    members = {f"{name}{ending}": sample.image}
    if sample.caption:
        members[f"{name}.txt"] = sample.caption.encode()
    meta = {KEY: sample.key, **sample.meta}
    return {**members, f"{name}.json": json.dumps(meta, ensure_ascii=False).encode()}
