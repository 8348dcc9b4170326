"""`brake` and `bypass`: two switches for emergencies, audited, each with an end."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from relay import clock
from relay.commands.context import Context, emit, fail, json_option, pass_context, reporting_errors
from relay.commands.standings import Span
from relay.store import emergency
from relay.store.emergency import Name, Switch

if TYPE_CHECKING:
    from collections.abc import Callable

_LONGEST = timedelta(days=7)
_WHO = "staff:command-line"


def _command(name: Name, default: str | None, text: str) -> click.Command:
    @click.option(
        "--for", "span", type=Span(), default=default, required=default is None, show_default=True,
        help="When it ends by itself, 7 days at most.",
    )  # fmt: skip
    @click.option("--off", is_flag=True, help="End it now.")
    @click.option("--reason", default=f"{name} by staff", help="Kept in the audit log.")
    @json_option
    @pass_context
    @reporting_errors
    def command(context: Context, span: timedelta, off: bool, reason: str, as_json: bool) -> None:
        now = clock.now()
        if span > _LONGEST:
            fail(f"{name} lasts for 7 days at most", 2)
        one = Switch(name, now, now + span, _WHO, reason)
        with context.begin() as tx:
            if off:
                emergency.turn_off(tx, now, name, who=_WHO, reason=reason)
            else:
                emergency.turn_on(tx, now, one)
        if as_json:
            until: Any = None if off else one.until.isoformat()
            emit({"switch": str(name), "on": not off, "until": until, "reason": reason})
        else:
            click.echo(f"{name} is off" if off else f"{name} is on until {one.until:%Y-%m-%d %H:%M} UTC")

    make: Callable[[Callable[..., None]], click.Command] = click.command(str(name), help=text)
    return make(command)


brake = _command(
    Name.BRAKE,
    "1h",
    "Take all mail and deliver none: it waits in the outbox until the brake ends. Effective within a second.",
)
bypass = _command(
    Name.BYPASS,
    "30m",
    "Let everything pass as if every customer were only observed: judged and recorded, nothing refused, held "
    "or slowed. Closed accounts and blocked passwords stay out. Effective within a second.",
)
