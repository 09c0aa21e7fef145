"""What every verb of `visionsmith image` has in common: its files, their options, and the report at the end."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, Literal, ParamSpec, TypeVar

import typer

from visionsmith.report.console import list_first, show_json

if TYPE_CHECKING:
    import numpy as np

    from visionsmith.errors import VisionsmithError
    from visionsmith.image.batch import Job

__all__ = [
    "Files",
    "Json",
    "Quiet",
    "Workers",
    "named",
    "on_files",
    "refuse_if_failed",
    "refuse_to_replace",
    "run_with_bar",
    "size_of",
]

P = ParamSpec("P")
J = TypeVar("J")
R = TypeVar("R")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bar.")]
Workers = Annotated[int | None, typer.Option(help="Threads; without it, one a processor.", min=1, max=256)]


@dataclass(frozen=True, kw_only=True)
class Files:
    """The arguments and options that every verb has which reads pictures and writes pictures."""

    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT", help="Pictures, folders, or quoted patterns: '*.jpg'.")
    ]
    output: Annotated[
        str, typer.Argument(metavar="OUTPUT", help="File for one picture, else a folder; structure is kept.")
    ]
    channels: Annotated[
        Literal["unchanged", "rgb", "gray", "rgba"],
        typer.Option(help="How pictures are read; rgb and gray lay transparent parts on white."),
    ] = "unchanged"
    depth: Annotated[Literal["keep", "8"], typer.Option(help="Bits a channel; 8 rounds 16-bit pictures.")] = (
        "keep"
    )
    format: Annotated[
        Literal["png", "jpg", "webp", "bmp", "tif"] | None,
        typer.Option(help="Format of results in a folder; without it, that of each input."),
    ] = None
    quality: Annotated[
        int,
        typer.Option(help="Of JPEG; from 90 on colours keep full resolution (4:4:4).", min=1, max=100),
    ] = 90
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False
    workers: Workers = None
    as_json: Json = False
    quiet: Quiet = False

    @property
    def ending(self) -> str | None:
        """Of results in a folder."""
        return f".{self.format}" if self.format is not None else None

    def read(self, path: Path) -> np.ndarray:
        """A picture as these options ask."""
        from visionsmith.image.io import read_image

        return read_image(path, channels=self.channels, depth=8 if self.depth == "8" else "keep")

    def apply(self, operation: Callable[[np.ndarray], np.ndarray]) -> None:
        """Read every picture, change it, write the result, and say what was done.

        Raises:
            ConfigError: a setting of the operation is wrong whatever the picture.
            VisionsmithError: some picture could not be done; all others are.
        """
        from visionsmith.image.batch import plan
        from visionsmith.image.io import writable_format

        def work(job: Job) -> dict[str, Any]:
            writable_format(job.target)
            refuse_to_replace(job.target, self.overwrite)
            image = named(job.source, lambda: operation(self.read(job.source)))
            self.write(job.target, image)
            return {"width": image.shape[1], "height": image.shape[0]}

        self.run(plan(self.inputs, self.output, ending=self.ending), work, size_of)

    def run(
        self,
        jobs: Sequence[Job],
        work: Callable[[Job], dict[str, Any]],
        describe: Callable[[dict[str, Any]], str],
    ) -> None:
        """Do jobs and say what was done.

        Args:
            jobs: what to read and to write.
            work: does one and tells what is worth telling.
            describe: the same in words, for a single job.

        Raises:
            ConfigError: a setting is wrong whatever the picture.
            VisionsmithError: some job failed; all others are done.
        """
        show = not self.quiet and not self.as_json
        done, failed = run_with_bar(jobs, work, workers=self.workers, show=show)
        if self.as_json:
            entries = [{"input": str(job.source), "output": str(job.target), **found} for job, found in done]
            reasons = [{"input": str(job.source), "reason": str(error)} for job, error in failed]
            show_json({"done": entries, "failed": reasons})
        elif len(done) == 1:
            typer.echo(f"{done[0][0].target}: {describe(done[0][1])}")
        elif done:
            typer.echo(f"{self.output}: {len(done):,} pictures")
        refuse_if_failed([error for _, error in failed], len(jobs))

    def write(self, path: Path, image: np.ndarray) -> None:
        """Write a result."""
        from visionsmith.image.io import write_image

        named(path, lambda: write_image(path, image, quality=self.quality))


def on_files(verb: Callable[Concatenate[Files, P], None]) -> Callable[..., None]:
    """A command whose first parameter takes the arguments and options of `Files`, and which adds its own."""
    own = list(inspect.signature(verb, eval_str=True).parameters.values())[1:]
    hints = typing.get_type_hints(Files, include_extras=True)
    shared = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=getattr(Files, name, inspect.Parameter.empty),
            annotation=hint,
        )
        for name, hint in hints.items()
    ]
    # Typer takes arguments in the order of the parameters: a verb's own come before the files.
    own = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
    parameters = [*own, *shared]

    @functools.wraps(verb)
    def command(**values: Any) -> None:
        files = Files(**{name: values.pop(name) for name in hints})
        verb(files, **values)  # type: ignore[call-arg]

    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def run_with_bar(
    jobs: Sequence[J], work: Callable[[J], R], *, workers: int | None, show: bool
) -> tuple[list[tuple[J, R]], list[tuple[J, VisionsmithError]]]:
    """Do jobs in parallel with a bar; gives what was done and what failed, in order."""
    from visionsmith.data.progress import DelayedBar
    from visionsmith.image.batch import run_jobs

    with DelayedBar("pictures", len(jobs), show=show) as bar:
        outcome = run_jobs(jobs, work, workers=workers, on_done=bar.advance)
    return outcome.done, outcome.failed


def size_of(found: dict[str, Any]) -> str:
    """Width and height in words."""
    return f"{found['width']} x {found['height']} px"


def refuse_if_failed(failed: Sequence[VisionsmithError], total: int) -> None:
    """Name what failed on the error stream, the first few one by one, and end with exit code 2.

    Raises:
        VisionsmithError: something failed.
    """
    from visionsmith.errors import DataError

    if not failed:
        return
    if total == 1:
        raise failed[0]
    list_first(failed)
    rest = ", the others are done" if len(failed) < total else ""
    raise DataError(f"{len(failed):,} of {total:,} pictures failed{rest}", do="the reasons are above")


def refuse_to_replace(path: Path, overwrite: bool) -> None:
    """Raise OutputError when a file is there that was not to be replaced."""
    from visionsmith.errors import OutputError

    if path.exists() and not overwrite:
        raise OutputError("exists already", where=path, do="add --overwrite, or choose another place")


def named(path: Path, work: Callable[[], R]) -> R:
    """Do something to a file; an error that does not name it will. One of a setting stays as it is."""
    from visionsmith.errors import ConfigError, VisionsmithError

    try:
        return work()
    except ConfigError:
        raise
    except VisionsmithError as error:
        if error.where is not None and str(path) in str(error.where):
            raise
        where = f"{path}: {error.where}" if error.where is not None else path
        raise type(error)(error.what, where=where, do=error.do) from error
