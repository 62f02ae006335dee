"""The commands."""

import json
import math
import os
import signal
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Literal, NoReturn, get_args

import click

from sidecar import logs
from sidecar.core.errors import BadSetting, SidecarError
from sidecar.settings import Settings, defaults, load
from sidecar.signals import endings

_WRONG_SETTING = 2
_FAILED = 1
_Form = Literal["jsonl", "parquet"]


class _Seconds(click.FloatRange):
    """So many from 0 on."""

    def convert(self, value: float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds = float(super().convert(value, param, ctx))
        if not math.isfinite(seconds):
            self.fail(f"{value!r} is not a number of seconds.", param, ctx)
        return seconds


_PATH = click.Path(path_type=Path, dir_okay=False)
_option = click.option(
    "--config",
    type=_PATH,
    help="TOML file [default: ./aibridge.toml if there, else built-in defaults]; AIBRIDGE_* variables beat it.",
)


def _config(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command` the option --config and, as its first argument, the settings."""

    @_option
    @wraps(command)
    def configured(config: Path | None, **options: object) -> None:
        with_errors(lambda: command(_loaded(config), **options))

    return configured


def _loaded(config: Path | None) -> Settings:
    settings = load(config)
    logs.configure(settings.telemetry.log_format)
    return settings


def with_errors(run: Callable[[], None]) -> None:
    """Run, and turn what is wrong into a line and an exit status: 2 for a setting, 1 for anything else."""
    try:
        run()
    except SidecarError as error:
        _fail(str(error), _WRONG_SETTING if isinstance(error, BadSetting) else _FAILED)
    except BrokenPipeError:
        raise  # nobody reads on, and click ends in silence
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error))
    except UnicodeEncodeError:  # its text would quote what was to be shown
        _fail("what is shown, or was given, cannot be written in this encoding; PYTHONUTF8=1 is one that can")


def _ends_when_told() -> list[int]:
    """The signals that came, of those that tell us to end: each is heard once, and ends the process the second time."""
    told: list[int] = []

    def hear(number: int, _: object) -> None:
        told.append(number)
        signal.signal(number, signal.SIG_DFL)

    for order in endings():
        if signal.getsignal(order) is not signal.SIG_IGN:
            signal.signal(order, hear)
    return told


def _fail(reason: str, status: int = _FAILED) -> NoReturn:
    click.echo(f"aibridge-sidecar: {reason}", err=True)
    if sys.stdout is not None:  # somebody may have closed it
        try:
            sys.stdout.flush()
        except OSError:  # tried again at the end, it would make the status 120
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="aibridge-sidecar")
def main() -> None:
    """Record who asked which AI model what, for an Envoy that leaves every byte alone."""
    logs.configure()


@main.command()
@_config
def up(settings: Settings) -> None:
    """Run Envoy and the sidecar until SIGTERM or ctrl-C."""
    from sidecar import supervisor  # noqa: PLC0415 - slow to import, and for two commands alone

    supervisor.up(settings)


@main.command()
@_config
def serve(settings: Settings) -> None:
    """Run the sidecar's workers alone, for an Envoy that is there already."""
    from sidecar import supervisor  # noqa: PLC0415 - slow to import, and for two commands alone

    supervisor.serve(settings)


@main.command()
@_config
def recorder(settings: Settings) -> None:
    """Run the Recorder service: it takes the records of other sidecars, and needs a database."""
    from sidecar import premises, service  # noqa: PLC0415 - slow to import, and for one command alone

    premises.close_to_others()
    premises.free("service.listen", settings.service.listen)  # grpc would not say why it cannot listen there
    service.serve(settings)


@main.command("envoy-config")
@_option
@click.option("--defaults", "pure", is_flag=True, help="Ignore files and environment: the built-in defaults.")
def envoy_config(config: Path | None, *, pure: bool) -> None:
    """Print the Envoy bootstrap for these settings, as YAML."""
    from sidecar import bootstrap  # noqa: PLC0415 - slow to import

    with_errors(lambda: click.echo(bootstrap.render(defaults() if pure else load(config)), nl=False))


@main.command("istio-config")
@_config
@click.option("--at", "place", type=click.Choice(["sidecar", "gateway"]), required=True, help="Whose Envoy asks us.")
def istio_config(settings: Settings, *, place: Literal["sidecar", "gateway"]) -> None:
    """Print Istio's resources for these settings, as YAML: our filters in the egress path, and the way there."""
    from sidecar.bootstrap import istio  # noqa: PLC0415 - slow to import

    click.echo(istio.render(settings, place), nl=False)


@main.command()
@_config
@click.option("--timeout", type=_Seconds(0), default=600.0, show_default=True, help="Seconds at most.")
@click.option("--quiet", type=_Seconds(0), default=5.0, show_default=True, help="Seconds with no request.")
def drain(settings: Settings, *, timeout: float, quiet: float) -> None:
    """Turn new clients away from a running bridge, and wait until nobody is served: for a pod's preStop hook."""
    from sidecar.drain import drain as run  # noqa: PLC0415 - for one command alone

    if not run(settings, timeout, quiet):
        sys.exit(_FAILED)


@main.command()
@_config
@click.option("--json", "as_json", is_flag=True, help="JSON instead of tables.")
@click.option("--since", metavar="DATE", help="From this day on, UTC (YYYY-MM-DD).")
@click.option("--until", metavar="DATE", help="Up to and including this day, UTC.")
def report(settings: Settings, *, as_json: bool, since: str | None, until: str | None) -> None:
    """Usage by actor, model, client and day."""
    from rich.console import Console  # noqa: PLC0415 - slow to import

    from sidecar.report import table, totals  # noqa: PLC0415 - slow to import

    usage = totals(settings, since, until)
    if as_json:
        click.echo(json.dumps(usage, indent=2))
    else:
        Console().print(table(usage))


@main.command()
@_config
@click.option("--format", "form", type=click.Choice(get_args(_Form)), default="jsonl", show_default=True)
@click.option("--output", type=click.Path(path_type=Path), help="The file to write  [default: standard output]")
@click.option("--since", metavar="DATE", help="From this day on, UTC (YYYY-MM-DD).")
@click.option("--until", metavar="DATE", help="Up to and including this day, UTC.")
@click.option("--force", is_flag=True, help="Replace the file if it is there already.")
def export(settings: Settings, *, form: _Form, output: Path | None, force: bool, **days: str | None) -> None:
    """Every record, an object for each interception."""
    from sidecar.export import export as run  # noqa: PLC0415 - slow to import

    path = None if output == Path("-") else output
    told = _ends_when_told() if path else []  # else the file that is not whole would stay
    run(settings, form, path, force=force, stop=lambda: bool(told), **days)


@main.command()
@_config
@click.option("--before", metavar="DATE", help="What started before this day, UTC (YYYY-MM-DD).")
@click.option("--actor", metavar="ID", help="What this actor asked; compared exactly.")
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--vacuum", is_flag=True, help="Rewrite a SQLite file of any size; its writers wait.")
def purge(settings: Settings, *, dry_run: bool, yes: bool, vacuum: bool, **scope: str | None) -> None:
    """Delete records for good: those before a day, an actor's, or an actor's before a day.

    Interceptions go with all that belongs to them, those that are open stay. A running bridge is not disturbed. Where
    records are forwarded they are deleted from the local journal and from the store, and what was not yet forwarded
    never will be; other hosts have journals of their own. What is deleted is overwritten in a SQLite file, and one of
    up to 16 MiB is rewritten; of a larger one traces of short texts may stay in its free space until it is (--vacuum).
    """
    from sidecar.purge import purge as run  # noqa: PLC0415 - slow to import

    run(settings, dry_run=dry_run, yes=yes, vacuum=vacuum, **scope)


@main.command()
@_config
def console(settings: Settings) -> None:
    """Serve read-only web pages of what was recorded, until SIGTERM or ctrl-C."""
    from sidecar import console as pages  # noqa: PLC0415 - for one command alone
    from sidecar import premises  # noqa: PLC0415 - for some commands alone

    premises.close_to_others()
    pages.serve(settings)


@main.command()
@_config
@click.option("--model", required=True, help="The model to ask.")
@click.option("--provider", default=None, help="The provider's name  [default: the first one]")
@click.option("--actor", default=None, help="Who asks  [default: identity.default_actor, else the login name]")
@click.option(
    "--credential", type=_PATH, help="A file with a token or a client's key, where identity.source wants one."
)
@click.option("--certificate", type=_PATH, help="A client's certificate with its key (PEM), where [tls] wants one.")
def probe(  # noqa: PLR0913 - the options
    settings: Settings,
    *,
    model: str,
    provider: str | None,
    actor: str | None,
    credential: Path | None,
    certificate: Path | None,
) -> None:
    """Ask a running bridge, with the official client, and see whether the records are there."""
    from sidecar.probe import probe as run  # noqa: PLC0415 - slow to import

    proofs = {"credential": credential, "certificate": certificate}
    if not run(settings, model=model, provider=provider, actor=actor, **proofs):
        sys.exit(_FAILED)
