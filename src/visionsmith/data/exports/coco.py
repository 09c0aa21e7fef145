"""COCO: annotations.json, and a folder of pictures.

Captions and objects (`sources.coco`) become annotations; whatever else the metadata hold goes into the
entry of the picture under "meta", where other readers pass over it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

from visionsmith.data.exports.pictures import write_picture
from visionsmith.data.sample import Sample
from visionsmith.data.sources.coco import CAPTIONS, LIST_NAME, OBJECTS
from visionsmith.data.sources.problems import OnProblem
from visionsmith.errors import DataError
from visionsmith.image.header import read_header

__all__ = ["CANNOT_HOLD", "write"]

CANNOT_HOLD = "a record without a picture of known size"
_LATER = ".annotations"

Entry = dict[str, Any]


def write(samples: Iterable[Sample], folder: Path, cannot_hold: OnProblem) -> None:
    """Write samples as COCO into an empty folder."""
    categories: dict[str, int] = {}
    # The annotations come after all pictures in the file, so they wait in a file of their own.
    with (
        (folder / LIST_NAME).open("w", encoding="utf-8") as stream,
        (folder / _LATER).open("w+", encoding="utf-8") as later,
    ):
        stream.write('{"images": [')
        images, annotations = _List(stream), _List(later)
        for sample in samples:
            try:
                header = read_header(sample.image)
            except DataError as error:
                what = f"its picture {error.what}" if sample.image else "it has no picture"
                cannot_hold(sample.key, f"{what}; COCO needs the size of a picture")
                continue
            number, (said, others) = images.count + 1, _annotations(sample)
            size = {"width": header.width, "height": header.height}
            name = write_picture(sample, folder)
            images.add({"id": number, "file_name": name, **size, "key": sample.key, "meta": others})
            for entry in said:
                if "category" in entry:
                    category = categories.setdefault(entry.pop("category"), len(categories) + 1)
                    entry = {"category_id": category, **entry}
                annotations.add({"id": annotations.count + 1, "image_id": number, **entry})
        stream.write('\n], "annotations": [')
        later.seek(0)
        shutil.copyfileobj(later, stream)
        listed = [{"id": number, "name": name} for name, number in categories.items()]
        stream.write(f'\n], "categories": {json.dumps(listed, ensure_ascii=False)}}}\n')
    (folder / _LATER).unlink()


class _List:
    """A JSON list that is written entry by entry."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.count = 0

    def add(self, entry: Entry) -> None:
        self._stream.write(f"{',' if self.count else ''}\n{json.dumps(entry, ensure_ascii=False)}")
        self.count += 1


def _annotations(sample: Sample) -> tuple[list[Entry], Entry]:
    """The annotations of a sample, and what else its metadata hold."""
    others = dict(sample.meta)
    captions = [sample.caption] if sample.caption else []
    several = others.get(CAPTIONS)
    if isinstance(several, list) and len(several) > 1 and _are_captions(several, sample.caption):
        captions = others.pop(CAPTIONS)
    objects = others.get(OBJECTS)
    if isinstance(objects, list) and objects and all(_is_object(entry) for entry in objects):
        del others[OBJECTS]
    else:
        objects = []
    return [{"caption": text} for text in captions] + [dict(entry) for entry in objects], others


def _are_captions(several: list[object], first: str) -> bool:
    return all(isinstance(text, str) for text in several) and several[0] == first


def _is_object(entry: object) -> bool:
    """Whether it is an object as `sources.coco` reads it."""
    taken = ("id", "image_id", "category_id", "caption")
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("category"), str)
        and not any(name in entry for name in taken)
    )
