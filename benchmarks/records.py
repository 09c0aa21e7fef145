"""Random reads and decoding through the record store, beside a folder of files and WebDataset shards.

About 2,000 photo-like JPEGs of 256 px (crops of scikit-image's photographs, resized, with noise) are read in
random order by a DataLoader with 0, 2 and 4 workers, decoded by the same decoder and stacked to batches, in
images a second. The files were just written, so all three come from the page cache: what differs is the way to
the bytes. The store compares a checksum on every read. WebDataset reads its shards one after the other and
shuffles in a buffer of 1,000. "bytes_only" is the same random order without decoding or loader.

    python benchmarks/records.py [--images 2000] [--repeats 5]
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
import torch
import webdataset
from skimage import data as photographs
from torch.utils.data import DataLoader, Dataset

from _common import alternate, report
from visionsmith.data.records import RecordStore, pack
from visionsmith.data.sample import Sample
from visionsmith.image.io import decode, encode_jpeg

SIDE = 256
BATCH = 64
SHARDS = 8
WORKERS = (0, 2, 4)


class FromStore(Dataset[np.ndarray]):
    """Pictures of a record store."""

    def __init__(self, path: Path) -> None:
        self.store = RecordStore(path)

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, index: int) -> np.ndarray:
        return decode(self.store[index].image)


class FromFolder(Dataset[np.ndarray]):
    """Pictures of a folder."""

    def __init__(self, folder: Path) -> None:
        self.paths = sorted(str(path) for path in folder.iterdir())

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> np.ndarray:
        return decode(self.read(index))

    def read(self, index: int) -> bytes:
        """Content of one file."""
        with open(self.paths[index], "rb") as stream:
            return stream.read()


def decode_member(sample: dict[str, Any]) -> np.ndarray:
    return decode(sample["jpg"])


def stack(images: Sequence[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(images))


def make_pictures(count: int) -> list[bytes]:
    """Photo-like JPEGs, `SIDE` x `SIDE` px."""
    sources = [photographs.astronaut(), photographs.chelsea(), photographs.coffee(), photographs.rocket()]
    rng = np.random.default_rng(0)
    made = []
    for number in range(count):
        source = sources[number % len(sources)]
        side = int(rng.integers(128, min(source.shape[:2])))
        top, left = (int(rng.integers(0, limit - side + 1)) for limit in source.shape[:2])
        crop = cv2.resize(
            source[top : top + side, left : left + side], (SIDE, SIDE), interpolation=cv2.INTER_AREA
        )
        noisy = crop + rng.normal(0, 4, crop.shape)
        made.append(encode_jpeg(np.clip(noisy, 0, 255).astype(np.uint8), quality=85))
    return made


def write_all(images: Sequence[bytes], folder: Path) -> None:
    """The same pictures as a store, a folder and shards."""
    pack(
        (Sample(f"{number:06d}", image) for number, image in enumerate(images)), folder / "store", check=False
    )
    (folder / "files").mkdir()
    for number, image in enumerate(images):
        (folder / "files" / f"{number:06d}.jpg").write_bytes(image)
    for shard in range(SHARDS):
        with webdataset.TarWriter(str(folder / f"{shard:03d}.tar")) as sink:
            for number in range(shard, len(images), SHARDS):
                sink.write({"__key__": f"{number:06d}", "jpg": images[number]})


def make_loaders(folder: Path, workers: int) -> dict[str, DataLoader[Any]]:
    """One loader a way of storing, each with workers that stay alive between the rounds."""
    shards = [str(folder / f"{shard:03d}.tar") for shard in range(SHARDS)]
    stream = (
        webdataset.WebDataset(shards, shardshuffle=SHARDS, empty_check=False).shuffle(1000).map(decode_member)
    )
    common: dict[str, Any] = {
        "batch_size": BATCH,
        "num_workers": workers,
        "collate_fn": stack,
        "persistent_workers": workers > 0,
    }
    return {
        "records": DataLoader(FromStore(folder / "store"), shuffle=True, **common),
        "folder": DataLoader(FromFolder(folder / "files"), shuffle=True, **common),
        "webdataset": DataLoader(stream, **common),
    }


def rate(batches: Iterable[torch.Tensor], expected: int) -> float:
    """Images a second over one pass."""
    start = time.perf_counter()
    count = sum(len(batch) for batch in batches)
    elapsed = time.perf_counter() - start
    assert count == expected, f"{count} of {expected} pictures came"
    return count / elapsed


def bytes_rate(read: Callable[[int], bytes], order: Sequence[int]) -> float:
    """Reads a second without decoding."""
    start = time.perf_counter()
    for index in order:
        read(index)
    return len(order) / (time.perf_counter() - start)


def paired_ratio(ours: Sequence[float], peer: Sequence[float]) -> float:
    """Median over the rounds of the ratio within a round, which other work on the machine disturbs least."""
    return median(one / other for one, other in zip(ours, peer, strict=True))


def main() -> None:
    """Measure, write the result file, print the ratios."""
    parser = argparse.ArgumentParser(description="Record store against a folder and WebDataset.")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    # With more workers than cores torch warns that they will not help, which is what is measured here.
    warnings.filterwarnings("ignore", message="This DataLoader will create")
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    ratios: dict[str, float] = {}
    figures: dict[str, Any] = {"images": options.images, "images_per_second": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = make_pictures(options.images)
        figures["mean_bytes"] = round(sum(map(len, images)) / len(images))
        write_all(images, folder)
        for workers in WORKERS:
            loaders = make_loaders(folder, workers)
            measures = {name: lambda it=loader: rate(it, len(images)) for name, loader in loaders.items()}
            rates = alternate(measures, options.repeats)
            figures["images_per_second"][f"workers_{workers}"] = rates
            medians = (f"{name} {median(values):,.0f}" for name, values in rates.items())
            print(f"{workers} workers:", *medians, "images/s")
            for peer in ("folder", "webdataset"):
                ratios[f"records_vs_{peer}_w{workers}"] = paired_ratio(rates["records"], rates[peer])
        store, files = RecordStore(folder / "store"), FromFolder(folder / "files")
        order = np.random.default_rng(1).permutation(len(images)).tolist()
        reads = alternate(
            {
                "records": lambda: bytes_rate(lambda index: store[index].image, order),
                "folder": lambda: bytes_rate(files.read, order),
            },
            options.repeats,
        )
        figures["reads_per_second"] = reads
        print("bytes only:", *(f"{name} {median(values):,.0f}" for name, values in reads.items()), "reads/s")
        ratios["records_vs_folder_bytes_only"] = paired_ratio(reads["records"], reads["folder"])
    report("records", figures, {name: (value, 1.0) for name, value in ratios.items()})


if __name__ == "__main__":
    main()
