"""The record store: a data set in one folder, written once, read at random by any number of workers.

`layout` says how it lies on disk, `writer` makes it, `store` reads it, `verify` looks for damage, and `pack`
goes from samples to a store and back to files.
"""

from visionsmith.data.records.layout import is_store
from visionsmith.data.records.pack import PackReport, open_or_make, pack, unpack
from visionsmith.data.records.store import RecordStore
from visionsmith.data.records.verify import VerifyReport, verify
from visionsmith.data.records.writer import BusyError, OtherSourceError, RecordWriter, TakenError

__all__ = [
    "BusyError",
    "OtherSourceError",
    "PackReport",
    "RecordStore",
    "RecordWriter",
    "TakenError",
    "VerifyReport",
    "is_store",
    "open_or_make",
    "pack",
    "unpack",
    "verify",
]
