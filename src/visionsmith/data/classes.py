"""How the classes of a data set are balanced, where its metadata or its folders name any."""

from __future__ import annotations

from collections import Counter
from typing import Any

from visionsmith.data.sample import Sample

__all__ = ["FIELDS", "FOLDER", "ClassFigures"]

FIELDS = ("label", "class", "category", "cls", "group", "subject", "gender", "hair", "skin", "objects")
"""Entries of the metadata that may name a class: the usual names, OpenMoji's factors, and the objects of COCO."""
FOLDER = "folder"
"""The field that stands for the first part of keys with a slash; used when no other is there."""
_NONE = "(none)"


class ClassFigures:
    """Counts of class names by field, taken in record by record."""

    def __init__(self) -> None:
        self._fields: dict[str, Counter[str]] = {}
        self._folders: Counter[str] = Counter()

    def add(self, sample: Sample) -> None:
        """Take in a record. A list of names counts for each of them, an empty name as "(none)"."""
        for field in FIELDS:
            if field in sample.meta:
                self._fields.setdefault(field, Counter()).update(_names(sample.meta[field]))
        self._folders[sample.key.rpartition("/")[0] or _NONE] += 1

    @property
    def fields(self) -> dict[str, Counter[str]]:
        """By field, how many records each class has; empty when nothing names a class."""
        if self._fields or len(self._folders) < 2:
            return self._fields
        return {FOLDER: self._folders}


def _names(value: Any) -> list[str]:
    if isinstance(value, list):
        # A picture with three cats shows the class once.
        return sorted({name for item in value for name in _names(item)}) or [_NONE]
    if isinstance(value, dict):
        return _names(value.get("category", ""))
    return [str(value) if value not in ("", None) else _NONE]
