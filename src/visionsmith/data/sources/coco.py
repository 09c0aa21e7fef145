"""COCO: a JSON file of annotations, and a folder of pictures.

    instances_X.json   boxes, areas, outlines:   sample.meta["objects"] = [{"category": "cat", "bbox": [...]}, ...]
    captions_X.json    captions:                 the first is the sample's, all are in sample.meta["captions"]

Files of one X lie beside each other and are read together. A box is [x, y, width, height], pixels, as in
the file; what else an annotation says is kept. A picture is one sample, in the order of "images".
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from visionsmith.data.sample import Sample
from visionsmith.data.sources.problems import OnProblem, picture_bytes
from visionsmith.data.sources.tables import path_key, unique
from visionsmith.errors import DataError

__all__ = ["CAPTIONS", "LIST_NAME", "OBJECTS", "files", "in_folder", "read"]

LIST_NAME = "annotations.json"
"""The annotations in a folder that `data convert` wrote."""
CAPTIONS, OBJECTS = "captions", "objects"
"""Entries of a sample's metadata."""
_KINDS = ("instances", "captions")
_GIVE = "give an annotations file of COCO, with images and annotations"

Entry = Mapping[str, Any]


def in_folder(folder: Path) -> Path | None:
    """The annotations of a folder, when it is laid out as COCO's are.

    Raises:
        DataError: there are several sets, so that one has to be named.
    """
    if (folder / LIST_NAME).is_file():
        return folder / LIST_NAME
    found = sorted(
        file for kind in _KINDS for file in folder.glob(f"annotations/{kind}_*.json") if file.is_file()
    )
    sets = {_set_name(file) for file in found}
    if len(sets) > 1:
        raise DataError(
            f"holds {len(sets)} sets of COCO ({', '.join(sorted(sets))})",
            where=folder,
            do=f"give the annotations of one, e.g. {found[0]}",
        )
    return found[0] if found else None


def read(annotations: Path, on_problem: OnProblem) -> Iterator[Sample]:
    """Samples of a COCO file, and of the one beside it. The files are read whole into memory.

    Raises:
        DataError: it is not COCO, or its pictures are not found.
    """
    contents = [_load(file) for file in _together(annotations)]
    images = {image["id"]: image for content in contents for image in content["images"]}
    if not images:
        raise DataError("names no pictures", where=annotations, do=_GIVE)
    captions, objects = _by_image(contents)
    folder = _picture_folder(annotations, next(iter(images.values())))
    keys: set[int] = set()
    for number, image in images.items():
        name = image.get("file_name")
        if not isinstance(name, str) or not name:
            on_problem(f"image {number}", "it has no file_name")
            continue
        key = image.get("key")
        if not isinstance(key, str) or not key:
            key = unique(path_key(name, folder), keys)
        picture = picture_bytes(folder / name, name, key, on_problem)
        if picture is not None:
            said = captions.get(number, [])
            meta = _meta(image, said, objects.get(number, []))
            yield Sample(key, picture, said[0] if said else "", meta)


def files(annotations: Path) -> Iterator[Path]:
    """The annotations and the pictures that they name, in order."""
    together = _together(annotations)
    yield from together
    images = [image for file in together for image in _load(file)["images"]]
    folder = _picture_folder(annotations, images[0]) if images else annotations.parent
    names = dict.fromkeys(image["file_name"] for image in images if isinstance(image.get("file_name"), str))
    for name in names:
        yield folder / name


def _together(annotations: Path) -> list[Path]:
    """The files of one set: instances_X.json, captions_X.json."""
    kind = annotations.stem.partition("_")[0]
    if kind not in _KINDS:
        return [annotations]
    beside = [annotations.with_name(f"{kind}_{_set_name(annotations)}.json") for kind in _KINDS]
    return [file for file in beside if file.is_file()]


def _set_name(file: Path) -> str:
    return file.stem.partition("_")[2]


def _load(file: Path) -> dict[str, list[dict[str, Any]]]:
    try:
        content = json.loads(file.read_bytes())
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(f"cannot be read ({reason})", where=file, do=_GIVE) from error
    except ValueError as error:
        raise DataError(f"is not JSON ({error})", where=file, do=_GIVE) from error
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        has = ", ".join(list(content)[:8]) if isinstance(content, dict) else type(content).__name__
        raise DataError(f"is not COCO: it has no list of images (it has {has})", where=file, do=_GIVE)
    parts = {name: content.get(name) or [] for name in ("images", "annotations", "categories")}
    for name, entries in parts.items():
        needed = "image_id" if name == "annotations" else "id"
        if not isinstance(entries, list) or not all(
            isinstance(entry, dict) and isinstance(entry.get(needed), int | str) for entry in entries
        ):
            raise DataError(f"is not COCO: an entry of {name} has no {needed}", where=file, do=_GIVE)
    return parts


def _by_image(contents: list[dict[str, list[dict[str, Any]]]]) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """Captions and objects by the id of their picture, in the order of the file."""
    captions: dict[Any, list[str]] = {}
    objects: dict[Any, list[dict[str, Any]]] = {}
    for content in contents:
        names = {entry["id"]: entry.get("name", str(entry["id"])) for entry in content["categories"]}
        for entry in content["annotations"]:
            if isinstance(entry.get("caption"), str):
                captions.setdefault(entry["image_id"], []).append(entry["caption"])
            elif "category_id" in entry:
                kept = {k: v for k, v in entry.items() if k not in ("id", "image_id", "category_id")}
                category = names.get(entry["category_id"], str(entry["category_id"]))
                objects.setdefault(entry["image_id"], []).append({"category": category, **kept})
    return captions, objects


def _meta(image: Entry, captions: list[str], objects: list[dict[str, Any]]) -> dict[str, Any]:
    if isinstance(image.get("meta"), dict):
        # Written by `data convert`: "meta" is all that COCO has no place for.
        meta = dict(image["meta"])
    else:
        meta = {"image_id": image["id"]}
        meta |= {k: v for k, v in image.items() if k not in ("id", "file_name", "width", "height", "key")}
    if len(captions) > 1:
        meta[CAPTIONS] = captions
    if objects:
        meta[OBJECTS] = objects
    return meta


def _picture_folder(annotations: Path, first: Entry) -> Path:
    """Where the pictures of an annotations file lie: the first usual place that has the first of them."""
    here, above, name = annotations.parent, annotations.parent.parent, _set_name(annotations)
    places = [here, here / "images", above / name, above / "images" / name, above / "images", above]
    file = first.get("file_name")
    if isinstance(file, str):
        for place in places:
            if (place / file).is_file():
                return place
    raise DataError(
        f"its first picture '{file}' is not found in {', '.join(str(place) for place in dict.fromkeys(places))}",
        where=annotations,
        do="put the pictures into one of these folders",
    )
