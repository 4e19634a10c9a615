"""The command line: one file a command, each parses, calls one function and prints.

Exit codes: 0 done (warnings included), 2 bad input refused, 3 a gate said no, 130 interrupted, 1 a bug of ours.
Nothing heavy is imported before a command needs it, so that ``--help`` is instant.
"""

import sys
from collections.abc import Sequence

import click

from sartor.cli import console
from sartor.cli.audit import audit
from sartor.cli.collaborate import collaborate
from sartor.cli.compare import compare
from sartor.cli.compress import compress
from sartor.cli.controls import controls
from sartor.cli.data import data
from sartor.cli.doctor import doctor
from sartor.cli.evaluate import evaluate
from sartor.cli.explain import explain
from sartor.cli.export import export
from sartor.cli.families import families
from sartor.cli.finetune import finetune
from sartor.cli.generate import generate
from sartor.cli.init import init
from sartor.cli.models import models
from sartor.cli.monitor import monitor
from sartor.cli.predict import predict
from sartor.cli.promote import promote, rollback
from sartor.cli.regress import regress
from sartor.cli.review import review
from sartor.cli.serve import keys, serve
from sartor.cli.show import show
from sartor.cli.status import status
from sartor.errors import GateRefused, SartorError

_INTERRUPTED = 130


class _InOrder(click.Group):
    """A group that lists its commands in the order in which they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


_HELP = """Turn a task in plain words and a few examples into a small, private, proved model.

\b
sartor init "Route support mails to billing, bug or other" --examples mails.csv
sartor generate task.yaml
sartor predict NAME "I was charged twice"
"""


@click.group(
    cls=_InOrder,
    help=_HELP,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="sartor")
@click.pass_context
def cli(context: click.Context) -> None:
    """All commands."""
    if context.invoked_subcommand is None:
        console.say(context.get_help())


for _command in (
    *(init, data, generate, predict, evaluate, compare, explain, finetune, compress, export),
    *(models, show, promote, rollback, regress, serve, keys, status, monitor, review),
    *(collaborate, audit),
    *(families, controls, doctor),
):
    cli.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit the process."""
    sys.exit(run(sys.argv[1:] if arguments is None else list(arguments)))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code. Whoever can mend an error gets a sentence, not a traceback."""
    as_json = "--json" in arguments
    try:
        code = cli.main(arguments, prog_name="sartor", standalone_mode=False)
    except SartorError as error:
        # what a gate refuses was made and printed before
        console.failed(error, as_json=as_json and not isinstance(error, GateRefused))
        return error.exit_code
    except click.ClickException as error:
        console.failed(error, as_json=as_json)
        return 2
    except (KeyboardInterrupt, click.Abort):
        console.say_error("Interrupted; nothing was left half-written.")
        return _INTERRUPTED
    except (BrokenPipeError, SystemExit):  # the reader of our output has gone, as with `| head`: click exits then
        console.silence()
        return 0
    return code if isinstance(code, int) else 0
