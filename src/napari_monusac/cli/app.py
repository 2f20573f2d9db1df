"""The typer application: registers the commands, turns errors into one line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from napari_monusac.cli import compare, demo, doctor, evaluate, export, masks, predict, recipes, review, study, train
from napari_monusac.cli.class_names import with_class_names
from napari_monusac.cli.shell import STOPPED, answer, fail, one_line, plain_where_narrow
from napari_monusac.core.errors import Cancelled, MonusacError

app = typer.Typer(
    name="napari-monusac",
    help="Nucleus segmentation on H&E slides: check, mask, train, predict, score, review. Research use, not diagnosis.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 failed (one line says what, where and how to mend), 2 wrong use, 130 stopped.",
)
app.add_typer(recipes.app, name="recipes")
app.command("doctor")(with_class_names(doctor.doctor))
app.command("masks")(with_class_names(masks.masks))
app.command("train")(with_class_names(train.train))
app.command("predict")(predict.predict)
app.command("evaluate")(with_class_names(evaluate.evaluate))
app.command("compare")(with_class_names(compare.compare))
app.command("export")(with_class_names(export.export))
app.command("study")(with_class_names(study.study))
app.command("demo")(demo.demo)
app.command("review")(with_class_names(review.review))


def _version(value: bool) -> None:
    if value:
        from napari_monusac import __version__

        answer(f"napari-monusac {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and end.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    del version


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong use, 130 stopped.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; by default those of the process.

    Raises
    ------
    SystemExit
        Always.
    """
    # Our dependency would look for a newer version of itself on the network at import.
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    plain_where_narrow()
    arguments = sys.argv[1:] if argv is None else list(argv)
    if "" in arguments:
        # An empty path would be the current folder: "$DATA" that nobody has set must not predict what lies there.
        where = arguments.index("") + 1
        sys.stderr.write(f"error: argument {where} is empty: give a value (is a variable of the shell not set?)\n")
        sys.exit(2)
    try:
        app(args=arguments, prog_name="napari-monusac")
    except (Cancelled, KeyboardInterrupt) as stop:
        sys.stderr.write(f"stopped: {one_line(stop)}\n" if str(stop) else "stopped\n")
        code = STOPPED
    except BrokenPipeError:
        # The reader of our stdout (head, less) has gone: that is its right, and no failure to report.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except (MonusacError, OSError) as error:
        fail(error)
        code = 1
    except ImportError as error:
        if (error.name or "").partition(".")[0] == "napari_monusac":
            raise  # a fault of ours
        fail(MonusacError(f"{error.name or 'a library'} cannot be imported ({error})", "install napari-monusac again"))
        code = 1
    else:
        code = 0
    sys.exit(code)
