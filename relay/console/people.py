"""Staff: who may log in and as what, and one's own password and second factor."""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from typing import TYPE_CHECKING, Annotated

from cryptography.exceptions import InvalidTag
from fastapi import APIRouter, Depends, Form, Request
from starlette.responses import Response

from relay.console import totp
from relay.console.desk import Desk, Refused, Visitor
from relay.console.frame import render
from relay.console.guard import client_key
from relay.console.login import SECOND_FACTOR, Staff, check_form, desk_of, hashed, reopened, right_password
from relay.console.roles import May, Role
from relay.store import audit, staff
from relay.values import STAFF_NAME

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

router = APIRouter(include_in_schema=False)
DeskOf = Annotated[Desk, Depends(desk_of)]
Csrf = Annotated[str, Form(max_length=100)]
Password = Annotated[str, Form(max_length=1000)]

#: A second factor that was offered but not yet proven travels sealed in the form, so that nothing is kept.
_OFFER = "staff second factor offer"
#: NIST SP 800-63B-4 §3.1.1.2 asks for 15 where a password stands alone.
SHORTEST_PASSWORD = 15


# --- one's own


@router.get("/me")
async def own_page(request: Request, visitor: Staff, desk: DeskOf) -> Response:
    """Show how one logs in, and how to change it."""
    person = await _person(desk, visitor.name)
    secret = totp.new_secret()
    sealed = desk.keyring.seal(_OFFER, secret, visitor.name.encode())
    return render(
        request,
        visitor,
        "me.html",
        person=person,
        offer=base64.urlsafe_b64encode(sealed).decode(),
        secret=base64.b32encode(secret).decode(),
        address=totp.address(secret, visitor.name, desk.config.hostname),
        shortest=SHORTEST_PASSWORD,
    )


async def _person(desk: Desk, name: str) -> staff.Staff:
    people = await desk.store.query(staff.everyone)
    found = next((person for person in people if person.name == name), None)
    if found is None:
        raise Refused(404, "There is nothing here.")
    return found


async def _prove(request: Request, desk: Desk, visitor: Visitor, password: str) -> None:
    """Ask for the password once more, under the limits of a login."""
    now, client = desk.now(), client_key(request.state.client)
    if desk.attempts.wait(client, visitor.name, now) is not None:
        raise Refused(429, "Too many wrong tries. Wait five minutes, then try again.")
    desk.attempts.failed(client, visitor.name, now)
    if not await right_password(desk, visitor.name, password):
        raise Refused(422, "That is not your password.")
    desk.attempts.succeeded(client, visitor.name)


def _note(tx: Connection, now: datetime, visitor: Visitor, deed: str, name: str, **details: str) -> None:
    audit.append(tx, now, visitor.mark, deed, f"staff:{name}", "", details)


@router.post("/me/password")
async def change_password(
    request: Request,
    visitor: Staff,
    desk: DeskOf,
    password: Password = "",
    new: Password = "",
    csrf: Csrf = "",
) -> Response:
    """Change one's password; every session ends, this one goes on under a new id."""
    check_form(request, visitor.csrf, csrf)
    if len(new) < SHORTEST_PASSWORD:
        raise Refused(422, f"Take a password of {SHORTEST_PASSWORD} characters or more.")
    await _prove(request, desk, visitor, password)
    stored, now = await hashed(desk, new), desk.now()

    def work(tx: Connection) -> None:
        staff.set_hash(tx, now, visitor.name, stored)
        _note(tx, now, visitor, "password changed", visitor.name)

    await desk.store.write(work)
    return await reopened(request, visitor.name, "/me?done=password")


@router.post("/me/factor")
async def set_factor(
    request: Request,
    visitor: Staff,
    desk: DeskOf,
    offer: Annotated[str, Form(max_length=200)] = "",
    code: Annotated[str, Form(max_length=20)] = "",
    csrf: Csrf = "",
) -> Response:
    """Switch the second factor on, once its first code was shown to be right."""
    check_form(request, visitor.csrf, csrf)
    now, context = desk.now(), visitor.name.encode()
    try:
        secret = desk.keyring.open(_OFFER, base64.urlsafe_b64decode(offer.encode()), context)
    except (InvalidTag, KeyError, IndexError, ValueError, binascii.Error):
        raise Refused(422, "This form is too old. Open the page again.") from None
    if (await _person(desk, visitor.name)).totp is not None:
        raise Refused(422, "It is on already. Switch it off first, with your password.")
    step = totp.accepted(secret, code, now)
    if step is None:
        raise Refused(422, "That code is not right. Is the clock of the telephone right?")
    sealed = desk.keyring.seal(SECOND_FACTOR, secret, context)

    def work(tx: Connection) -> None:
        staff.set_totp(tx, now, visitor.name, sealed)
        staff.use_totp(tx, visitor.name, step)
        _note(tx, now, visitor, "second factor set", visitor.name)

    await desk.store.write(work)
    return await reopened(request, visitor.name, "/me?done=factor")


@router.post("/me/factor/remove")
async def remove_factor(
    request: Request, visitor: Staff, desk: DeskOf, password: Password = "", csrf: Csrf = ""
) -> Response:
    """Switch one's second factor off; asks for the password."""
    check_form(request, visitor.csrf, csrf)
    await _prove(request, desk, visitor, password)
    now = desk.now()

    def work(tx: Connection) -> None:
        staff.set_totp(tx, now, visitor.name, None)
        _note(tx, now, visitor, "second factor removed", visitor.name)

    await desk.store.write(work)
    return await reopened(request, visitor.name, "/me?done=no-factor")


# --- everybody's


async def _staff_page(
    request: Request, visitor: Visitor, desk: Desk, made: tuple[str, str] | None = None
) -> Response:
    people = await desk.store.query(staff.everyone)
    roles = [str(role) for role in Role]
    return render(request, visitor, "staff.html", people=people, roles=roles, made=made)


@router.get("/staff")
async def staff_page(request: Request, visitor: Staff, desk: DeskOf) -> Response:
    """Show who may log in."""
    visitor.needs(May.STAFF)
    return await _staff_page(request, visitor, desk)


def _role(text: str) -> str:
    if text not in set(Role):
        raise Refused(422, "Choose a role.")
    return text


@router.post("/staff")
async def add_person(
    request: Request,
    visitor: Staff,
    desk: DeskOf,
    name: Annotated[str, Form(max_length=100)] = "",
    role: Annotated[str, Form(max_length=20)] = "",
    csrf: Csrf = "",
) -> Response:
    """Add a person and show their first password once."""
    check_form(request, visitor.csrf, csrf)
    visitor.needs(May.STAFF)
    called, as_role = name.strip(), _role(role)
    if not re.fullmatch(STAFF_NAME, called):
        raise Refused(422, "A name is made of letters, digits and . _ @ -, 60 at most.")
    password = secrets.token_urlsafe(15)
    stored, now = await hashed(desk, password), desk.now()

    def work(tx: Connection) -> None:
        staff.add_hashed(tx, now, called, stored, role=as_role)
        _note(tx, now, visitor, "staff added", called, role=as_role)

    await desk.store.write(work)
    return await _staff_page(request, visitor, desk, (called, password))


@router.post("/staff/{name}")
async def change_person(
    request: Request,
    name: str,
    visitor: Staff,
    desk: DeskOf,
    deed: Annotated[str, Form(max_length=20)] = "",
    csrf: Csrf = "",
) -> Response:
    """Change a person's role, lock them out, let them in, or give them a new password; their sessions end."""
    check_form(request, visitor.csrf, csrf)
    visitor.needs(May.STAFF)
    if name == visitor.name:
        raise Refused(422, "Not your own: another admin does that, so that one always remains.")
    now = desk.now()
    if deed == "password":
        password = secrets.token_urlsafe(15)
        stored = await hashed(desk, password)

        def renew(tx: Connection) -> None:
            staff.set_hash(tx, now, name, stored)
            staff.set_totp(tx, now, name, None)
            _note(tx, now, visitor, "staff password and second factor reset", name)

        await desk.store.write(renew)
        return await _staff_page(request, visitor, desk, (name, password))
    to_role = "" if deed in ("disable", "enable") else _role(deed)

    def work(tx: Connection) -> None:
        if to_role:
            staff.set_role(tx, now, name, to_role)
        else:
            staff.disable(tx, now, name, disabled=deed == "disable")
        _note(tx, now, visitor, f"staff {deed}" if not to_role else "staff role", name, role=to_role)

    await desk.store.write(work)
    return await _staff_page(request, visitor, desk)
