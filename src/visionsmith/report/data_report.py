"""The report of a data set: what `data.survey` found, as plots, pictures and one page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from visionsmith.data.classes import FOLDER
from visionsmith.data.duplicates import MAX_DISTANCE
from visionsmith.data.oddities import ODDITIES
from visionsmith.data.sample import Sample
from visionsmith.data.survey import DUPLICATES, Survey
from visionsmith.image.io import decode, encode_png
from visionsmith.report.page import GalleryItem, Page
from visionsmith.report.plots import bars, curves
from visionsmith.report.tables import count, short

__all__ = ["shown_records", "write_data_report"]

SAMPLES = 24
"""Pictures of the sample grid."""
ODD_EACH = 4
"""Examples of each oddity."""
GROUPS, GROUP_SIZE = 6, 6
"""Groups of each kind of duplicates that are shown, and pictures of each."""
SIDE = 192
"""Longer side of a picture on the page, pixels."""
_LISTED = 200
_FIELDS, _CLASSES = 8, 15
_FEW = 12
_SHORT = 90

Entries = Sequence[tuple[str, str]]


def shown_records(survey: Survey, seed: int) -> set[int]:
    """The numbers of the records whose pictures `write_data_report` shows."""
    shown = set(_sample_grid(survey, seed))
    for first in survey.odd_first.values():
        shown.update(first[:ODD_EACH])
    for kind in DUPLICATES:
        for group in survey.groups(kind)[:GROUPS]:
            shown.update(group[:GROUP_SIZE])
    return shown


def write_data_report(
    page_path: Path,
    survey: Survey,
    samples: Mapping[int, Sample],
    *,
    title: str,
    seed: int = 0,
    about: Mapping[str, str] | None = None,
    unreadable: Entries = (),
) -> None:
    """Write one page about a data set.

    Args:
        page_path: the file to make.
        survey: the figures.
        samples: by their numbers, the `shown_records`.
        title: name of the data set.
        seed: of the sample grid, as it was for `shown_records`.
        about: more rows for the table at the top.
        unreadable: what the source could not read: key and reason.

    Raises:
        OutputError: the place cannot be written.
    """
    page = Page(f"Data set {title}", "`visionsmith data inspect`")
    page.table(["What", "Value"], [*(about or {}).items(), *_summary(survey, unreadable)])
    _samples_section(page, survey, samples, seed)
    _sizes_section(page, survey)
    _captions_section(page, survey)
    _classes_section(page, survey)
    _odd_section(page, survey, samples)
    _duplicates_section(page, survey, samples)
    _broken_section(page, "Broken pictures", "They cannot be decoded.", survey.broken)
    _broken_section(page, "Unreadable records", "The source has them and they cannot be read.", unreadable)
    page.write(page_path)


def _summary(survey: Survey, unreadable: Entries) -> list[tuple[str, str]]:
    rows = [
        ("Records", count(survey.count)),
        ("Formats", ", ".join(f"{name} {count(n)}" for name, n in survey.formats.most_common()) or "none"),
        ("Bytes of all sound pictures", count(sum(survey.picture_bytes))),
        ("Without a picture", count(survey.without_picture)),
        ("Without a caption", count(survey.without_caption)),
        ("Captions that came more than once", count(len(survey.captions.repeated))),
        ("Odd pictures, by kind", _pairs(survey.odd)),
    ]
    for kind, what in DUPLICATES.items():
        groups = survey.groups(kind)
        text = f"{count(len(groups))} groups of {count(sum(map(len, groups)))} records" if groups else "none"
        rows.append((what[:1].upper() + what[1:], text))
    return [*rows, ("Broken", count(len(survey.broken))), ("Unreadable", count(len(unreadable)))]


def _pairs(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count(number)}" for name, number in counts.items()) or "none"


def _sample_grid(survey: Survey, seed: int) -> list[int]:
    chosen = np.random.default_rng(seed).permutation(len(survey.sound))[:SAMPLES]
    return [survey.sound[place] for place in sorted(chosen.tolist())]


def _samples_section(page: Page, survey: Survey, samples: Mapping[int, Sample], seed: int) -> None:
    grid = _sample_grid(survey, seed)
    if grid:
        page.section(
            "Samples", f"{count(len(grid))} records, drawn with seed {seed}, in the order of the data."
        )
        page.gallery([_item(samples[index]) for index in grid])


def _sizes_section(page: Page, survey: Survey) -> None:
    if not survey.sound:
        return
    page.section("Sizes", "As the files declare them, before a rotation that EXIF asks for.")
    page.table(
        ["Sound pictures", "Smallest", "Median", "Largest"],
        [
            ["Width, px", *_three(survey.widths)],
            ["Height, px", *_three(survey.heights)],
            ["File, bytes", *_three(survey.picture_bytes)],
        ],
    )
    sides = {"width": survey.widths, "height": survey.heights}
    if len(set(survey.widths) | set(survey.heights)) > 1:
        png = curves(
            {name: _below(values) for name, values in sides.items()},
            x="side, px",
            y="share of the pictures with a side up to this",
            log_x=True,
        )
        page.figure(png, "Sides of the pictures, cumulative.", "Cumulative shares of widths and heights")
    png = curves(
        {"bytes": _below(survey.picture_bytes)},
        x="bytes",
        y="share of the files of up to this many bytes",
        log_x=True,
    )
    page.figure(png, "Sizes of the files, cumulative.", "Cumulative share of the sizes of the files")


def _captions_section(page: Page, survey: Survey) -> None:
    captions = survey.captions
    if not captions.characters:
        return
    page.section("Captions")
    page.table(
        ["Captions", "Shortest", "Median", "Longest"],
        [["Characters", *_three(captions.characters)], ["Words", *_three(captions.words)]],
    )
    lengths = Counter(captions.words)
    if 1 < len(lengths) <= _FEW:
        shares = {str(length): float(number) for length, number in sorted(lengths.items())}
        png = bars(shares, y="captions by number of words")
        page.figure(png, "Lengths of the captions.", f"Captions by words: {dict(sorted(lengths.items()))}")
    elif len(lengths) > 1:
        png = curves(
            {"words": _below(captions.words)}, x="words", y="share of the captions of up to this many words"
        )
        page.figure(png, "Lengths of the captions, cumulative.", "Cumulative share of the lengths")
    words = dict(captions.vocabulary.most_common(_CLASSES))
    if words:
        page.figure(
            bars({word: float(number) for word, number in words.items()}, y="occurrences"),
            f"The most frequent of {count(len(captions.vocabulary))} different words.",
            _pairs(words),
        )
    if captions.repeated:
        rows = [[_cut(text), number] for text, number in captions.repeated.most_common(_CLASSES)]
        page.table(["Caption", "Records"], rows, caption="The captions that came most often.")


def _classes_section(page: Page, survey: Survey) -> None:
    fields = {name: counts for name, counts in survey.classes.fields.items() if len(counts) > 1}
    if not fields:
        return
    named = "the folders of the keys" if list(fields) == [FOLDER] else "the metadata"
    page.section("Classes", f"As {named} name them. A class that is much rarer than others is learned worse.")
    rows = [
        [
            name,
            len(counts),
            max(counts.values()),
            min(counts.values()),
            max(counts.values()) / min(counts.values()),
        ]
        for name, counts in fields.items()
    ]
    page.table(["Field", "Classes", "Largest", "Smallest", "Largest / smallest"], rows)
    for name, counts in list(fields.items())[:_FIELDS]:
        largest = dict(counts.most_common(_CLASSES))
        rest = f", the largest {len(largest)} of {count(len(counts))}" if len(counts) > len(largest) else ""
        png = bars(
            {_cut(label, 30): float(number) for label, number in largest.items()}, y=f"records by {name}"
        )
        page.figure(png, f"Records by {name}{rest}.", _pairs(largest))


def _odd_section(page: Page, survey: Survey, samples: Mapping[int, Sample]) -> None:
    if not survey.odd:
        return
    page.section("Odd pictures", "None of this is an error; all of it is worth a look.")
    names = [name for name in ODDITIES if name in survey.odd]
    page.table(
        ["Oddity", "Meaning", "Pictures"], [[name, ODDITIES[name], survey.odd[name]] for name in names]
    )
    shown = [(name, samples[index]) for name in names for index in survey.odd_first[name][:ODD_EACH]]
    page.gallery([_item(sample, name) for name, sample in shown])


def _duplicates_section(page: Page, survey: Survey, samples: Mapping[int, Sample]) -> None:
    if not any(survey.groups(kind) for kind in DUPLICATES):
        return
    page.section(
        "Duplicates",
        f"Pictures look the same when at most {MAX_DISTANCE} of 64 bits of their perceptual hashes differ, and their "
        "colours little; a chain of such pairs is one group. A duplicate on both sides of a split flatters the result.",
    )
    for kind, what in DUPLICATES.items():
        groups = survey.groups(kind)
        if not groups or (kind == "same_pixels" and groups == survey.groups("same_file")):
            continue
        rows = [
            [place, len(group), ", ".join(survey.keys[index] for index in group[:GROUP_SIZE])]
            for place, group in enumerate(groups[:GROUPS], 1)
        ]
        page.table(
            ["Group", "Records", "First keys"],
            rows,
            caption=f"{what[:1].upper()}{what[1:]}: the largest of {count(len(groups))} groups.",
        )
        for place, group in enumerate(groups[:GROUPS], 1):
            mark = f"group {place}"
            page.gallery([_item(samples[index], mark) for index in group[:GROUP_SIZE]], columns=GROUP_SIZE)


def _broken_section(page: Page, heading: str, text: str, entries: Entries) -> None:
    if entries:
        page.section(heading, text)
        page.table(["Key", "Reason"], [list(entry) for entry in entries[:_LISTED]])
        if len(entries) > _LISTED:
            page.note(f"And {count(len(entries) - _LISTED)} more, which `--json` lists.")


def _item(sample: Sample, before: str = "") -> GalleryItem:
    words = [before, sample.key, sample.caption.strip()]
    return GalleryItem(png=_thumbnail(sample), caption=_cut(": ".join(word for word in words if word)))


def _thumbnail(sample: Sample) -> bytes:
    image = decode(sample.image)
    height, width = image.shape[:2]
    scale = SIDE / max(height, width)
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return encode_png(image)


def _below(values: Sequence[int]) -> tuple[list[float], list[float]]:
    """For a cumulative curve: values, and the share of all that are not above each."""
    found, counts = np.unique(np.asarray(values), return_counts=True)
    shares = np.cumsum(counts) / len(values)
    if len(found) > 500:
        places = np.unique(np.linspace(0, len(found) - 1, 500).astype(int))
        found, shares = found[places], shares[places]
    return found.tolist(), shares.tolist()


def _three(values: Sequence[int]) -> list[str]:
    return [short(float(value)) for value in (min(values), np.median(np.asarray(values)), max(values))]


def _cut(text: str, length: int = _SHORT) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"
