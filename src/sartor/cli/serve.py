"""``sartor serve`` and ``sartor keys``: one process that answers for all models, and who may ask it."""

from pathlib import Path

import click

from sartor.cli import console
from sartor.errors import UserError


@click.command()
@click.option(
    "--model", "models", multiple=True, metavar="MODEL", help="Serve only this, as NAME@champion; may repeat."
)
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen at; others than this need keys."
)
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free one.")
@click.option(
    "--journal",
    type=click.Choice(["safe", "fast", "off"]),
    default="safe",
    show_default=True,
    help="Whether answers wait for the disk; 'off' keeps nothing.",
)
@click.option("--memory", type=click.IntRange(1), default=2000, show_default=True, metavar="MB", help="For models.")
@click.option("--tls-cert", type=click.Path(path_type=Path), metavar="FILE", help="Certificate, PEM.")
@click.option("--tls-key", type=click.Path(path_type=Path), metavar="FILE", help="Its private key, PEM.")
@click.option("--log-requests", is_flag=True, help="One line a request on stderr, without its text.")
@console.common
def serve(
    models: tuple[str, ...],
    host: str,
    port: int,
    journal: str,
    memory: int,
    tls_cert: Path | None,
    tls_key: Path | None,
    log_requests: bool,
    seed: int,
    as_json: bool,
) -> None:
    """Answer over HTTP for every alias of the store."""
    try:
        from sartor.serve import run
    except ImportError as error:
        raise UserError(f"Serving needs more packages ({error.name}): pip install 'sartor[serve]'.") from error
    from sartor import settings

    mode = "safe" if journal == "safe" else "fast" if journal == "fast" else "off"
    options = run.Options(host, port, models, mode, memory * 1_000_000, tls_cert, tls_key, request_log=log_requests)

    def told(url: str) -> None:
        if as_json:
            console.print_json({"url": url})
        else:
            console.say(f"Serving at {url} (Ctrl-C stops it).")
            if mode != "safe":
                console.say("Answers do not wait for the journal: the last of them may be lost with the machine.")

    run.serve(settings.current().home, options, told=told)


@click.group()
def keys() -> None:
    """Say who may ask the server."""


@keys.command()
@click.option(
    "--scope", "scopes", multiple=True, type=click.Choice(["predict", "control"]), help="What it is for; may repeat."
)
@click.option("--note", default="", help="Whose it is.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), metavar="N", help="Requests a minute.")
@console.common
def add(scopes: tuple[str, ...], note: str, rate: float | None, seed: int, as_json: bool) -> None:
    """Make a key; it is shown once."""
    from sartor import settings
    from sartor.serve import keys as ring

    text, made = ring.add(settings.current().home, scopes or ("predict",), note=note, rate=rate)
    if as_json:
        console.print_json({"key": text, "id": made.id, "scopes": list(made.scopes), "rate": made.rate})
        return
    console.say(text)
    console.say_error(f"Key {made.id} for {', '.join(made.scopes)}. It is shown this once; only its hash is kept.")


@keys.command("list")
@console.common
def list_(seed: int, as_json: bool) -> None:
    """List the keys, without what is secret of them."""
    from sartor import settings
    from sartor.serve import keys as ring

    found = ring.read(settings.current().home)
    if as_json:
        told = [
            {
                "id": key.id,
                "scopes": list(key.scopes),
                "note": key.note,
                "rate": key.rate,
                "created": key.created,
                "revoked": key.revoked,
            }
            for key in found
        ]
        console.print_json({"keys": told})
        return
    if not found:
        console.say("No keys: the server answers this machine alone.")
        console.next_step("sartor keys add")
        return
    rows = [(key.id, ", ".join(key.scopes), key.note, key.created, key.revoked or "") for key in found]
    console.print_table(("id", "scopes", "note", "created", "revoked"), rows)


@keys.command()
@click.argument("key_id")
@console.common
def revoke(key_id: str, seed: int, as_json: bool) -> None:
    """Revoke a key: a running server refuses it within a second."""
    from sartor import settings
    from sartor.serve import keys as ring

    gone = ring.revoke(settings.current().home, key_id)
    if as_json:
        console.print_json({"id": gone.id, "revoked": gone.revoked})
        return
    console.say(f"Key {gone.id} is revoked.")
