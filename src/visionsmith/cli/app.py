"""The tree of commands: verbs over papers, and the bench tools."""

from __future__ import annotations

from typing import Annotated

import typer

import visionsmith.cli.advise as advise
import visionsmith.cli.balance as balance
import visionsmith.cli.checkpoints as checkpoints
import visionsmith.cli.data as data
import visionsmith.cli.demo as demo
import visionsmith.cli.doctor as doctor
import visionsmith.cli.image as image
import visionsmith.cli.listing as listing
import visionsmith.cli.single_file as single_file
import visionsmith.cli.verbs as verbs

__all__ = ["app"]

app = typer.Typer(
    name="visionsmith",
    help="Executable paper reviews: train, evaluate, run and check published vision systems.",
    epilog="Add --debug to any command for the traceback of an error.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(show: bool) -> None:
    if show:
        from visionsmith._version import __version__

        typer.echo(f"visionsmith {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Executable paper reviews."""


app.command("demo")(demo.demo)
app.command("doctor")(doctor.doctor)
app.command("list")(listing.list_papers)
app.command("train", context_settings={"allow_interspersed_args": True})(verbs.train)
app.command("evaluate")(verbs.evaluate)
app.add_typer(verbs.run_app, name="run")
app.command("claims")(verbs.claims)
data.app.command("advise")(advise.advise)
data.app.command("balance")(balance.balance)
app.add_typer(data.app, name="data")
app.add_typer(image.app, name="image")
checkpoints.app.command("what")(single_file.what)
checkpoints.app.command("to-folder")(single_file.to_folder)
checkpoints.app.command("to-file")(single_file.to_file)
app.add_typer(checkpoints.app, name="convert")
