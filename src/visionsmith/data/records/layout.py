"""How a record store lies on disk.

    STORE/
      data.mdb     an LMDB environment (file format of liblmdb 0.9) with three named databases
                     records   number, 8 bytes big-endian -> record
                     keys      the key in UTF-8 (a long one: its SHA-256) -> number
                     about     "format" -> version of this layout
      store.json   the finished mark: count, SHA-256 of data.mdb, attributes; written last

While it is written, the folder is called .STORE.partial and has no mark.

A record is five parts, one after the other:

    32 bytes   SHA-256 of its number and of the parts that follow, for `verify`
     4 bytes   CRC-32 of its number and of the parts that follow, little-endian, for every read
     4 bytes   length of the head, little-endian
    head       JSON: key, caption, meta
    picture    the encoded file as it came
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from visionsmith.data.sample import Sample
from visionsmith.errors import DataError

__all__ = [
    "ABOUT",
    "DATA",
    "DIGEST_BYTES",
    "FORMAT",
    "KEYS",
    "MARK",
    "RECORDS",
    "Check",
    "Mark",
    "decode_mark",
    "decode_record",
    "encode_mark",
    "encode_record",
    "file_digest",
    "image_length",
    "is_store",
    "key_bytes",
    "number_bytes",
    "partial_path",
    "read_mark",
]

FORMAT = 1
"""Version of this layout."""
DATA = "data.mdb"
MARK = "store.json"
RECORDS, KEYS, ABOUT = b"records", b"keys", b"about"
DIGEST_BYTES = 32
_NUMBERS = struct.Struct("<II")
_HEAD_AT = DIGEST_BYTES + _NUMBERS.size
Check = Literal["none", "crc", "sha256"]
MAX_RECORD_BYTES = 2**31
"""LMDB takes values below 4 GiB; a picture of more than half of that is a mistake."""

# LMDB's keys end at 511 bytes. A longer key is found by its digest; the zero byte keeps the two kinds apart.
_LONGEST_KEY = 480
_DIGEST_PREFIX = b"\0sha256:"


@dataclass(frozen=True, kw_only=True)
class Mark:
    """What `store.json` says of a finished store."""

    format: int
    count: int
    """Records."""
    bytes: int
    """Size of data.mdb."""
    sha256: str
    """Of data.mdb."""
    image_bytes: int
    """All pictures together."""
    created: str
    """ISO 8601, UTC."""
    skipped: int = 0
    """Samples of the source that were left out when it was packed."""
    skipped_first: list[list[str]] = field(default_factory=list)
    """The first of them: [key, reason]."""
    attributes: dict[str, Any] = field(default_factory=dict)
    """Whatever the one who packed it wanted to say, e.g. source and licence."""


def is_store(path: Path) -> bool:
    """Whether `path` is a finished record store (sound or damaged)."""
    return (Path(path) / MARK).is_file()


def partial_path(path: Path) -> Path:
    """Where a store lies while it is written."""
    return path.with_name(f".{path.name}.partial")


def number_bytes(number: int) -> bytes:
    """The key of a record in the database `records`; its order is the order of the numbers."""
    return number.to_bytes(8, "big")


def key_bytes(key: str) -> bytes:
    """The key of a record in the database `keys`."""
    content = key.encode()
    if len(content) > _LONGEST_KEY or content.startswith(b"\0"):
        return _DIGEST_PREFIX + hashlib.sha256(content).digest()
    return content


def encode_record(number: int, sample: Sample) -> bytes:
    """A sample as it is stored.

    Raises:
        ValueError: its key is empty, its texts are not Unicode, its metadata is not JSON, or it is too large.
    """
    if not sample.key:
        raise ValueError("its key is empty")
    head = {"key": sample.key, "caption": sample.caption, "meta": dict(sample.meta)}
    try:
        encoded = json.dumps(head, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except UnicodeEncodeError as error:
        raise ValueError("its key, caption or metadata is not Unicode text") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"its metadata is not JSON ({error})") from error
    size = _HEAD_AT + len(encoded) + len(sample.image)
    if size > MAX_RECORD_BYTES:
        raise ValueError(f"it takes {size:,} bytes, above the limit of {MAX_RECORD_BYTES:,}")
    body = b"".join((len(encoded).to_bytes(4, "little"), encoded, sample.image))
    body = _crc(number, body).to_bytes(4, "little") + body
    return _digest(number, body) + body


def decode_record(number: int, record: bytes | memoryview, check: Check) -> Sample:
    """The sample of a stored record.

    Args:
        number: its place in the store.
        record: as `encode_record` made it.
        check: what to compare first. A CRC finds every change of up to 32 neighbouring bits, and all but one
            in four billion of the others, in a third of the time of SHA-256.

    Raises:
        ValueError: it is damaged.
    """
    if len(record) < _HEAD_AT:
        raise ValueError("it is cut short")
    crc, head_length = _NUMBERS.unpack_from(record, DIGEST_BYTES)
    if check == "crc":
        changed = _crc(number, record[_HEAD_AT - 4 :]) != crc
    else:
        changed = check == "sha256" and _digest(number, record[DIGEST_BYTES:]) != record[:DIGEST_BYTES]
    if changed:
        raise ValueError("its content has changed since it was written")
    end = _HEAD_AT + head_length
    try:
        head = json.loads(bytes(record[_HEAD_AT:end]))
        return Sample(head["key"], bytes(record[end:]), head["caption"], head["meta"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError("its head cannot be read") from error


def image_length(record: bytes) -> int:
    """Size of the picture in a stored record."""
    return len(record) - _HEAD_AT - int(_NUMBERS.unpack_from(record, DIGEST_BYTES)[1])


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def encode_mark(mark: Mark) -> bytes:
    """Content of `store.json`: the mark and its own SHA-256."""
    content = asdict(mark)
    digest = hashlib.sha256(_json(content).encode()).hexdigest()
    return (
        _json({"visionsmith": "record store", **content, "mark_sha256": digest}, indent=1) + "\n"
    ).encode()


def decode_mark(content: bytes) -> Mark:
    """The mark that `store.json` holds.

    Raises:
        ValueError: it is damaged, or of another version of the layout.
    """
    values = json.loads(content)
    if not isinstance(values, Mapping) or not isinstance(values.get("format"), int):
        raise ValueError("no format is named")
    if values["format"] > FORMAT:
        raise ValueError(f"format {values['format']} is newer than this program, which reads {FORMAT}")
    names = Mark.__dataclass_fields__
    try:
        mark = Mark(**{name: value for name, value in values.items() if name in names})
    except TypeError as error:
        raise ValueError("an entry is missing") from error
    if encode_mark(mark) != content:
        raise ValueError("it has changed since it was written")
    return mark


def read_mark(path: Path) -> Mark:
    """The mark of a finished store.

    Raises:
        DataError: there is no finished store at `path`, or its mark is damaged.
    """
    try:
        return decode_mark((path / MARK).read_bytes())
    except ValueError as error:
        raise DataError(
            f"is damaged: {MARK}: {error}", where=path, do="pack it again from its source"
        ) from error
    except FileNotFoundError:
        raise _not_a_store(path) from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(
            f"cannot be read ({reason})", where=path, do="give the folder of a record store"
        ) from error


def _not_a_store(path: Path) -> DataError:
    if not path.exists():
        if partial_path(path).is_dir():
            return DataError(
                "is an unfinished record store",
                where=path,
                do="run the command that packs it again; it goes on",
            )
        return DataError("no such record store", where=path, do="make it with `visionsmith data pack`")
    return DataError(
        f"is not a record store (it has no {MARK})",
        where=path,
        do=f"make one with `visionsmith data pack {path} STORE`",
    )


def _digest(number: int, body: bytes | memoryview) -> bytes:
    digest = hashlib.sha256(number_bytes(number))
    digest.update(body)
    return digest.digest()


def _crc(number: int, body: bytes | memoryview) -> int:
    return zlib.crc32(body, number & 0xFFFFFFFF)


def _json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)
