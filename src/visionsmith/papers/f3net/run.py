"""F3-Net on a user's own pictures and videos: how sure, which verdict, and where."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from visionsmith.errors import ConfigError, DataError
from visionsmith.report.console import list_first, show_json, show_table

if TYPE_CHECKING:
    import numpy as np

    from visionsmith.papers.f3net.detector import Detector

__all__ = ["command", "load"]

MOST_SHOWN = 30
"""Pictures on the sheet, each beside its heat map."""
MOST_OF_A_VIDEO = 3
"""Frames of a video on the sheet: the most suspicious."""
NO_PROOF = "A score is no proof: it says how much a picture resembles the forgeries that the model has seen."


def load(source: str | Path | None = None, *, device: str = "cpu") -> Detector:
    """Open a detector, ready to use.

    Args:
        source: a checkpoint, or a file of weights as `official.from_official` takes them; None for the one that ships.
        device: where to place the model.

    Raises:
        CheckpointError: there is none, it is damaged, or does not fit.
    """
    from visionsmith.papers.f3net.detector import Detector
    from visionsmith.papers.f3net.official import load_any
    from visionsmith.papers.paper import shipped_checkpoint

    model = load_any(shipped_checkpoint("f3net") if source is None else source)
    return Detector(model.eval()).to(device)


def command(
    given: Annotated[
        list[Path] | None, typer.Argument(metavar="PICTURE|FOLDER|VIDEO...", help="What to look at.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Checkpoint, or weights; without it, the one that ships.")
    ] = None,
    frames: Annotated[
        int, typer.Option(help="Frames of a video that are looked at, evenly spread.", min=1)
    ] = 32,
    output: Annotated[Path | None, typer.Option(help="The sheet of heat maps, a PNG.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say how likely pictures and videos are forged, and draw where the evidence lies."""
    from visionsmith.data.pictures import free_name
    from visionsmith.image.io import write_image
    from visionsmith.report.sheet import contact_sheet

    if not given:
        raise ConfigError("no picture was given", do="name pictures, folders or videos")
    pictures, videos = _sort(given)
    sheet = free_name("f3net", output)
    detector = load(checkpoint)
    found, shown, broken = _pictures(detector, pictures)
    for path in videos:
        result, drawn = _video(detector, path, frames)
        found.append(result)
        shown += drawn
    write_image(sheet, contact_sheet(*_laid_out(shown), columns=6, title=_title(detector)))
    if as_json:
        show_json(
            {
                "found": found,
                "left_out": [str(error) for error in broken],
                "sheet": str(sheet),
                **_about(detector),
            }
        )
        return
    rows = [(one["path"], one["probability"], one["verdict"], one.get("frames", "")) for one in found]
    show_table(("picture or video", "probability", "verdict", "frames"), rows)
    if broken:
        typer.echo(f"left out {len(broken):,}:", err=True)
        list_first(broken)
    for line in _notes(detector):
        typer.echo(line)
    typer.echo(f"heat maps: {sheet}")
    for one in found:
        if "timeline" in one:
            typer.echo(f"timeline: {one['timeline']}")


Shown = list[tuple["np.ndarray", "np.ndarray", str]]
"""Picture, its heat map, and the caption."""


def _sort(given: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Pictures and videos among files and in folders."""
    from visionsmith.data.pictures import find_pictures
    from visionsmith.image.video import VIDEO_ENDINGS

    pictures: list[Path] = []
    videos: list[Path] = []
    for path in given:
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        of_path = [file for file in inside if file.suffix.lower() in VIDEO_ENDINGS]
        videos += of_path
        try:
            pictures += [file for file in find_pictures([path]) if file not in set(of_path)]
        except DataError:
            if not of_path or not path.exists():
                raise
    return pictures, videos


def _pictures(
    detector: Detector, paths: Sequence[Path]
) -> tuple[list[dict[str, Any]], Shown, list[DataError]]:
    from visionsmith.data.pictures import Pictures
    from visionsmith.papers.f3net.heat import draw_heat

    reader = Pictures(paths, shorter_side=None)
    findings = list(detector.look(iter(reader)))
    found: list[dict[str, Any]] = []
    shown: Shown = []
    for path, finding in zip(reader.names, findings, strict=True):
        found.append(_finding(detector, path, finding.probability))
        if len(shown) < MOST_SHOWN:
            picture = Pictures([path]).read(path)
            shown.append(
                (picture, draw_heat(picture, finding.evidence), f"{path.name} {finding.probability:.2f}")
            )
    return found, shown, reader.broken


def _video(detector: Detector, path: Path, count: int) -> tuple[dict[str, Any], Shown]:
    """The mean over a video's frames, its course in time, and the three most suspicious frames."""
    from visionsmith.data.pictures import free_name
    from visionsmith.data.progress import DelayedBar
    from visionsmith.durable import write_whole
    from visionsmith.image.video import VideoFrame, read_frames
    from visionsmith.papers.f3net.heat import draw_heat, timeline

    waiting: deque[VideoFrame] = deque()

    def images() -> Iterator[np.ndarray]:
        for frame in read_frames(path, count):
            waiting.append(frame)
            yield frame.image

    course: list[tuple[float, float]] = []
    most: list[tuple[float, float, np.ndarray, np.ndarray]] = []
    with DelayedBar(path.name, count, show=True) as bar:
        for finding in detector.look(images()):
            bar.advance()
            frame = waiting.popleft()
            course.append((frame.seconds, finding.probability))
            most.append((finding.probability, frame.seconds, frame.image, finding.evidence))
            most = sorted(most, key=lambda one: -one[0])[:MOST_OF_A_VIDEO]
    seconds, probabilities = [second for second, _ in course], [probability for _, probability in course]
    plot = free_name(f"{path.stem}-timeline", None)
    write_whole(plot, timeline(seconds, probabilities, detector.decision.threshold), synced=False)
    result = _finding(detector, path, sum(probabilities) / len(probabilities))
    result |= {
        "frames": len(course),
        "by_frame": [{"seconds": round(s, 3), "probability": round(p, 4)} for s, p in course],
        "timeline": str(plot),
    }
    shown = [
        (image, draw_heat(image, evidence), f"{path.name} {second:.1f} s {probability:.2f}")
        for probability, second, image, evidence in sorted(most, key=lambda one: one[1])
    ]
    return result, shown


def _finding(detector: Detector, path: Path, probability: float) -> dict[str, Any]:
    verdict = "forged" if probability >= detector.decision.threshold else "no sign"
    return {"path": str(path), "probability": round(probability, 4), "verdict": verdict}


def _laid_out(shown: Shown) -> tuple[list[np.ndarray], list[str]]:
    pictures = [image for picture, heat, _ in shown for image in (picture, heat)]
    return pictures, [text for _, _, caption in shown for text in (caption, "evidence")]


def _title(detector: Detector) -> str:
    return f"Forged from {detector.decision.threshold:.2f} on"


def _about(detector: Detector) -> dict[str, Any]:
    decision = detector.decision
    return {
        "threshold": decision.threshold,
        "false_alarms": decision.false_alarms,
        "misses": decision.misses,
        "trained_on": decision.trained_on,
        "note": NO_PROOF,
    }


def _notes(detector: Detector) -> list[str]:
    decision, size = detector.decision, detector.model.config.image_size
    lines = [f"Called forged from a probability of {decision.threshold:.3f} on."]
    if decision.false_alarms is not None and decision.misses is not None:
        lines[0] += (
            f" On {decision.pictures:,} test pictures that called {decision.false_alarms:.0%} of the real ones "
            f"forged, and missed {decision.misses:.0%} of the forged ones."
        )
    lines.append(
        f"Trained on: {decision.trained_on or 'not known'}. A picture is looked at as a whole, at {size} x {size} px."
    )
    return [*lines, NO_PROOF]
