"""`suspend`, `deactivate`, `reinstate` and `close`: the same words for accounts, servers and customers."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click
from pydantic_core import PydanticCustomError

from relay import clock
from relay.commands.context import Context, emit, json_option, pass_context, reporting_errors
from relay.model import Level, Standing, State
from relay.store import switch
from relay.values import parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable

    Command = Callable[..., Any]

_VERBS = {
    "throttle": (State.THROTTLED, "24h", "Take mail and release it at a pace, for a time."),
    "suspend": (State.SUSPENDED, None, "Switch sending off until staff reinstate, or for a time."),
    "deactivate": (State.DEACTIVATED, "24h", "Switch sending off for a time; it comes back by itself."),
    "reinstate": (State.ACTIVE, None, "Switch sending on again; only messages sent from now on count."),
    "close": (State.CLOSED, None, "Close for good: the login itself is refused."),
}
#: the owner's switch, beside the provider's: the stricter holds
_OWN = {
    "pause": "Switch sending off for its owner; staff's own switch stays as it is.",
    "resume": "Take the owner's pause back; what staff or policy switched off stays off.",
}
_WITH_AN_END = ("throttle", "suspend", "deactivate")


class Span(click.ParamType[timedelta, str]):
    """A duration such as 6h on the command line."""

    name = "6h"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Return the duration."""
        try:
            return parse_duration(value)
        except PydanticCustomError as error:
            self.fail(error.message(), param, ctx)


def as_json(standing: Standing) -> dict[str, Any]:
    """Return a standing as every `--json` shows it."""
    return {
        "standing": str(standing.state),
        "since": standing.since.isoformat(),
        "until": standing.until.isoformat() if standing.until else None,
        "reason": standing.reason,
    }


def add_commands(group: click.Group, level: Level) -> None:
    """Add the commands of one level."""
    for verb, (state, span, text) in _VERBS.items():
        command: Command = _change(level, state)
        if verb in _WITH_AN_END:
            command = click.option(
                "--for", "span", type=Span(), default=span, show_default=True, help="How long."
            )(command)
        command = click.option(
            "--reason",
            default=f"{state} by staff",
            show_default=True,
            help="Kept with the decision; the sender sees it.",
        )(command)
        argument = click.argument("name", metavar="LOGIN" if level is Level.ACCOUNT else "NAME")
        group.command(verb, help=text)(argument(json_option(command)))
    for verb, text in _OWN.items():
        group.add_command(_pause(verb, level, text))


def _pause(verb: str, level: Level, text: str) -> click.Command:
    @click.argument("name", metavar="LOGIN" if level is Level.ACCOUNT else "NAME")
    @click.option("--reason", default=f"{verb}d by its owner", help="Kept in the audit log.")
    @click.option("--by", "who", default="owner", show_default=True, help="Who asked for it.")
    @json_option
    @pass_context
    @reporting_errors
    def command(context: Context, name: str, reason: str, who: str, as_json: bool) -> None:
        with context.begin() as tx:
            standing = switch.set_by_owner(
                tx, clock.now(), level, name, paused=verb == "pause", who=who, reason=reason
            )
        if as_json:
            emit({str(level): name, **_json(standing.binding), "own": str(standing.own)})
        else:
            click.echo(f"{name} is {standing.binding.state}")

    return click.command(verb, help=text)(command)


def _change(level: Level, state: State) -> Command:
    @pass_context
    @reporting_errors
    def command(
        context: Context, /, name: str, reason: str, as_json: bool, span: timedelta | None = None
    ) -> None:
        now = clock.now()
        with context.begin() as tx:
            until = now + span if span else None
            standing = switch.set_by_staff(tx, now, level, name, state, reason=reason, until=until)
        if as_json:
            emit({str(level): name, **_json(standing), "case_id": standing.case_id})
        else:
            click.echo(f"{name} is {standing.state}, case {standing.case_id}")

    return command


_json = as_json
