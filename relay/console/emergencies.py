"""The emergency switches: every page says which is on; who may ends it here, and `/api/v1/switches`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from starlette.responses import RedirectResponse, Response

from relay.console import lists
from relay.console.api import FAULTS
from relay.console.desk import Desk, Refused, Visitor
from relay.console.login import Staff, api_visitor, check_form, desk_of
from relay.console.roles import May
from relay.errors import NotFound
from relay.store import emergency
from relay.store.emergency import Name

router = APIRouter()
DeskOf = Annotated[Desk, Depends(desk_of)]
Asker = Annotated[Visitor, Depends(api_visitor)]


@router.post("/switches/{name}/off", include_in_schema=False)
async def turn_off(
    request: Request,
    name: str,
    visitor: Staff,
    desk: DeskOf,
    reason: Annotated[str, Form(max_length=500)] = "",
    csrf: Annotated[str, Form(max_length=100)] = "",
) -> Response:
    """End a switch now; every process hears of it within a second."""
    check_form(request, visitor.csrf, csrf)
    visitor.needs(May.EMERGENCY)
    if name not in set(Name):
        raise Refused(422, "Choose brake or bypass.")
    why = " ".join(reason.split())
    if len(why) < 3:
        raise Refused(422, "Say why it ends.")
    now, which = desk.now(), Name(name)
    try:
        await desk.store.write(lambda tx: emergency.turn_off(tx, now, which, who=visitor.mark, reason=why))
    except NotFound:
        return RedirectResponse("/", 303)  # it has ended by itself
    return RedirectResponse("/?done=switch", 303)


@router.get("/api/v1/switches", tags=["numbers"], responses=FAULTS)
async def switches(asker: Asker, desk: DeskOf) -> lists.Switches:
    """List the emergency switches that are on (`brake`, `bypass`); the provider's alone."""
    asker.needs(May.READ)
    if asker.only is not None:
        raise NotFound("switches")
    now = desk.now()
    found = await desk.store.query(lambda tx: emergency.switched_on(tx, now))
    return lists.Switches(switches=[lists.SwitchLine.model_validate(one) for one in found])
