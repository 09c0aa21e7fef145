"""A folder of JPEG photographs made half as large, by `visionsmith.image` beside OpenCV and Pillow.

    python benchmarks/image_resize.py [--images 240] [--repeats 5] [--workers N]

Each contender reads every photograph, halves it with area averaging and writes it as a JPEG of quality 90:

- visionsmith: the runner behind `visionsmith image resize`, on as many threads as there are processors. It checks
  headers, notices damage, keeps full colour resolution (4:4:4), and each file appears whole or not at all;
- cv2: the loop that users write (imread, resize, imwrite), one file after another, colours at half resolution
  (4:2:0), which is what imwrite does; and once more with 4:4:4;
- pillow: the same loop with open, resize by BOX, save (4:2:0).

The photographs are mosaics of seeded crops and flips, at their own resolution, of photographs that scikit-image
and scikit-learn carry: 1.1 to 1.9 megapixels. Contenders alternate; a ratio is the median over the rounds of peer's
time over ours. The results are compared too: same sizes, at least 35 dB between ours and cv2's with 4:4:4, and how far
each is from the half that was not encoded again.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import cv2
import numpy as np
from PIL import Image
from skimage import data
from sklearn.datasets import load_sample_image

from _common import alternate, report
from visionsmith.image import encode_jpeg, read_image, resize, write_image
from visionsmith.image.batch import Job, default_workers, plan, run_jobs

CELL = (300, 400)
"""Height and width of a piece of the mosaic, pixels."""
QUALITY = 90
LEAST_PSNR = 35.0
TARGETS = {"cv2": 1.5, "cv2_444": 1.5, "pillow": 1.5}
FULL_COLOUR = [
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
]


def make_photographs(folder: Path, count: int) -> None:
    """Write the photographs."""
    sources = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket(), data.hubble_deep_field()]
    sources += [load_sample_image("china.jpg"), load_sample_image("flower.jpg")]
    rng = np.random.default_rng(0)
    folder.mkdir()

    def piece() -> np.ndarray:
        source = sources[rng.integers(len(sources))]
        top = rng.integers(source.shape[0] - CELL[0] + 1)
        left = rng.integers(source.shape[1] - CELL[1] + 1)
        crop = source[top : top + CELL[0], left : left + CELL[1]]
        return crop[:: rng.choice([-1, 1]), :: rng.choice([-1, 1])]

    for number in range(count):
        rows, columns = rng.integers(3, 5, size=2)
        mosaic = np.vstack([np.hstack([piece() for _ in range(columns)]) for _ in range(rows)])
        (folder / f"{number:04d}.jpg").write_bytes(encode_jpeg(mosaic, QUALITY))


def by_visionsmith(source: Path, target: Path, workers: int) -> None:
    def work(job: Job) -> None:
        image = resize(read_image(job.source), factor=0.5, interpolation="area")
        write_image(job.target, image, quality=QUALITY)

    outcome = run_jobs(plan([source], target), work, workers=workers)
    assert not outcome.failed, outcome.failed[0]


def by_cv2(source: Path, target: Path, sampling: list[int]) -> None:
    for path in sorted(source.iterdir()):
        image = cv2.imread(str(path))
        image = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(target / path.name), image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY, *sampling])


def by_pillow(source: Path, target: Path) -> None:
    for path in sorted(source.iterdir()):
        with Image.open(path) as image:
            half = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
        half.save(target / path.name, quality=QUALITY)


def seconds(work: Callable[[Path, Path], None], source: Path, target: Path, processor: list[float]) -> float:
    """Time of one pass into an empty folder; that of all processors, which load hides less, goes to `processor`."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    start, start_processor = time.perf_counter(), time.process_time()
    work(source, target)
    processor.append(time.process_time() - start_processor)
    return time.perf_counter() - start


def compare(source: Path, folder: Path, other: Callable[[Path], np.ndarray]) -> dict[str, float]:
    """Least and median agreement, dB, of a folder of results with other pictures of the same sizes."""
    agreement = []
    for path in sorted(source.iterdir()):
        ours, theirs = cv2.imread(str(folder / path.name)), other(path)
        assert ours.shape == theirs.shape, f"{path.name}: {ours.shape} and {theirs.shape}"
        agreement.append(cv2.PSNR(ours, theirs))
    return {"least": min(agreement), "median": median(agreement)}


def unencoded(path: Path) -> np.ndarray:
    """A photograph, halved by OpenCV and not encoded again."""
    return np.asarray(cv2.resize(cv2.imread(str(path)), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))


def main() -> None:
    """Measure, write the result file, print the ratios."""
    parser = argparse.ArgumentParser(description="Photographs made half as large.")
    parser.add_argument("--images", type=int, default=240)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--workers", type=int, default=default_workers())
    options = parser.parse_args()
    contenders: dict[str, Callable[[Path, Path], None]] = {
        "visionsmith": partial(by_visionsmith, workers=options.workers),
        "cv2": partial(by_cv2, sampling=[]),
        "cv2_444": partial(by_cv2, sampling=FULL_COLOUR),
        "pillow": by_pillow,
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "photographs"
        make_photographs(source, options.images)
        processor: dict[str, list[float]] = {key: [] for key in contenders}
        measures = {
            key: partial(seconds, work, source, folder / key, processor[key])
            for key, work in contenders.items()
        }
        times = alternate(measures, options.repeats)
        agreement = compare(
            source, folder / "visionsmith", lambda path: cv2.imread(str(folder / "cv2_444" / path.name))
        )
        assert agreement["least"] > LEAST_PSNR, f"ours and cv2's agree to {agreement} dB only"
        fidelity = {key: compare(source, folder / key, unencoded) for key in contenders}
        sizes = {key: mean_bytes(folder / key) for key in contenders} | {"photographs": mean_bytes(source)}
    ratios = {
        peer: median(other / one for one, other in zip(times["visionsmith"], times[peer], strict=True))
        for peer in TARGETS
    }
    for key, values in times.items():
        busy = median(processor[key][1:]) / options.images * 1000
        print(
            f"{key}: {options.images / median(values):.0f} photographs a second, {busy:.1f} ms of processors"
        )
        print(f"  {sizes[key]:,} bytes each")
        print(f"  {fidelity[key]['median']:.1f} dB from the unencoded half (median)")
    print(f"visionsmith and cv2_444 agree to {agreement['least']:.1f} dB at least")
    figures = {
        "images": options.images,
        "workers": options.workers,
        "seconds": times,
        "processor_seconds": {key: values[1:] for key, values in processor.items()},
        "mean_bytes": sizes,
        "psnr_with_cv2_444": agreement,
        "psnr_with_unencoded": fidelity,
    }
    report(
        "image_resize",
        figures,
        {f"image_resize_vs_{peer}": (ratio, TARGETS[peer]) for peer, ratio in ratios.items()},
    )


def mean_bytes(folder: Path) -> int:
    """Mean size of the files of a folder."""
    sizes = [path.stat().st_size for path in folder.iterdir()]
    return round(sum(sizes) / len(sizes))


if __name__ == "__main__":
    main()
