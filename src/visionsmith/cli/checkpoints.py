"""`visionsmith convert`: weights made elsewhere become checkpoints of this project, or safetensors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["app"]

app = typer.Typer(help="Convert published weights.", no_args_is_help=True)


@app.command("official")
def official(
    paper: Annotated[str, typer.Argument(help="The system, e.g. clip.")],
    file: Annotated[
        Path, typer.Argument(help="Published weights: .pt, .safetensors or a transformers folder.")
    ],
    output: Annotated[Path, typer.Argument(help="Folder of the checkpoint to make.")],
    tokenizer: Annotated[
        Path | None,
        typer.Option(
            help="Published tokenizer: file or folder. Without one the checkpoint can not read text."
        ),
    ] = None,
) -> None:
    """Make a checkpoint of published weights. A pickle is read in a child process that runs none of it."""
    from visionsmith import checkpoint
    from visionsmith.config import encode
    from visionsmith.errors import ConfigError
    from visionsmith.papers.paper import get_paper
    from visionsmith.vet import read_foreign

    system = get_paper(paper)
    if not system.works("official"):
        raise ConfigError(
            f"'{paper}' takes no published weights yet", do="`visionsmith list` shows what works"
        )
    ways_in = system.module("official")
    # Only a paper whose library keeps weights in folders has `load_any`, and only one with a tokenizer has
    # companions.
    if file.is_dir() and hasattr(ways_in, "load_any"):
        model = ways_in.load_any(file)
    else:
        model = ways_in.from_official(read_foreign(file), None)
    files = ways_in.companion_files(model, file, tokenizer) if hasattr(ways_in, "companion_files") else {}
    checkpoint.write(
        output, paper=paper, config=encode(model.config), tensors=model.state_dict(), files=files
    )
    count = sum(parameter.numel() for parameter in model.parameters())
    typer.echo(f"{output}: {count:,} parameters of {paper}" + (f", with {', '.join(files)}" if files else ""))


@app.command("pickle")
def pickle(
    file: Annotated[Path, typer.Argument(help="A file of torch.save, or a TorchScript archive.")],
    output: Annotated[Path, typer.Argument(help="The .safetensors file to make.")],
) -> None:
    """Write the tensors of a pickle as safetensors, in a child process that runs none of it."""
    from visionsmith.vet import convert_pickle

    conversion = convert_pickle(file, output)
    for note in conversion.notes:
        typer.echo(note)
    typer.echo(f"{output}: {conversion.tensors} tensors")
