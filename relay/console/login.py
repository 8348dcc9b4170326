"""Who is asking: staff by a session cookie, programs by a bearer token; sessions live in the store."""

from __future__ import annotations

import asyncio
import hmac
import secrets
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote, urlsplit

from fastapi import APIRouter, Depends, Form, Request
from starlette.responses import RedirectResponse, Response

from relay.console import totp
from relay.console.desk import Desk, NotLoggedIn, Refused, Visitor
from relay.console.guard import client_key
from relay.console.roles import GRANTS, SCOPES, Role, Scope
from relay.events import LoginTried
from relay.store import audit, emergency, staff, tokens

if TYPE_CHECKING:
    from sqlalchemy import Connection

router = APIRouter(include_in_schema=False)

#: What an open page asks for by itself: it keeps nobody logged in who has left the desk.
POLLED = frozenset({"/now", "/health", "/api/v1/stats"})
_TOUCH = timedelta(minutes=1)
#: The purpose under which a person's second factor is sealed; the name is its context.
SECOND_FACTOR = "staff second factor"
#: One text for an unknown name, a wrong password, a wrong code and a disabled person.
WRONG = "That is not right. Check name and password, and the code if you use one."


def desk_of(request: Request) -> Desk:
    """Return the parts that the daemon handed in."""
    desk: Desk = request.app.state.desk
    return desk


# --- cookies


def _cookie(request: Request, purpose: str) -> str:
    """Return the cookie's name: __Host- binds it to this origin, but browsers take that by https alone."""
    return f"__Host-gatepost-{purpose}" if request.state.https else f"gatepost-{purpose}"


def _set_cookie(request: Request, response: Response, purpose: str, value: str, seconds: int) -> None:
    response.set_cookie(
        _cookie(request, purpose),
        value,
        max_age=seconds,
        path="/",
        secure=request.state.https,
        httponly=True,
        # strict for the form's own key; lax for the session, or a link in a notice would ask for a login
        samesite="strict" if purpose == "form" else "lax",
    )


def _clear_cookie(request: Request, response: Response, purpose: str) -> None:
    response.delete_cookie(_cookie(request, purpose), path="/", secure=request.state.https, httponly=True)


def csrf_of(secret: str) -> str:
    """Return the form token that belongs to a session id or a login form's cookie; tells nothing about it."""
    return sha256(b"gatepost form " + secret.encode("utf-8", "surrogatepass")).hexdigest()[:40]


def check_form(request: Request, expected: str, given: str) -> None:
    """Raise Refused(403) unless a form of ours, in this session, was sent from our own origin."""
    if not expected or not hmac.compare_digest(expected.encode(), given.encode("utf-8", "surrogatepass")):
        raise Refused(403, "This form is too old, or it was not ours. Open the page again.")
    check_origin(request)


def check_origin(request: Request) -> None:
    """Raise Refused(403) if the browser says that another site sent this request."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise Refused(403, "Another site sent this.")
    origin = request.headers.get("origin")
    if origin is None:
        return
    url = desk_of(request).config.console.url
    own = {urlsplit(url).netloc.lower()} if url else {request.headers.get("host", "").lower()}
    if urlsplit(origin).netloc.lower() not in own:
        raise Refused(403, "Another site sent this.")


def local_path(text: str) -> str:
    """Return where to go after login: a path on this site, `/` for anything that could lead elsewhere."""
    if not text.startswith("/") or text[1:2] in ("/", "\\") or "\\" in text:
        return "/"
    if any(ord(character) <= 32 or ord(character) == 127 for character in text) or len(text) > 500:
        return "/"
    parts = urlsplit(text)
    return text if not parts.scheme and not parts.netloc and parts.path != "/logout" else "/"


def quoted(request: Request) -> str:
    """Return where the request wanted to go, for `?next=`."""
    query = f"?{request.url.query}" if request.url.query else ""
    return quote(request.url.path + query, safe="/")


def shown(request: Request) -> str:
    """Return the page that a part of it asks for more of, for `?next=`."""
    try:
        parts = urlsplit(request.headers.get("hx-current-url", "/"))
    except ValueError:
        return "/"
    return quote(local_path(f"{parts.path}?{parts.query}".rstrip("?")), safe="/")


# --- who asks


async def _session(request: Request) -> Visitor | None:
    desk, session_id = desk_of(request), request.cookies.get(_cookie(request, "session"), "")
    if not session_id or len(session_id) > 200:
        return None
    now = desk.now()
    found, request.state.switches = await desk.store.query(
        lambda tx: (staff.session(tx, now, session_id), emergency.switched_on(tx, now))
    )
    if found is None or found.staff.role not in set(Role):
        return None
    if request.url.path not in POLLED and desk.touches.due(session_id, now):
        desk.store.write_later(lambda tx: staff.touch(tx, now, session_id))
    role = Role(found.staff.role)
    return Visitor(
        found.staff.name, role, GRANTS[role], f"staff:{found.staff.name}", csrf=csrf_of(session_id)
    )


async def staff_visitor(request: Request) -> Visitor:
    """Return the member of staff who asks; NotLoggedIn."""
    visitor = await _session(request)
    if visitor is None:
        raise NotLoggedIn
    request.state.visitor = visitor
    return visitor


async def api_visitor(request: Request) -> Visitor:
    """Return the holder of the bearer token, or, for reading, the member of staff; NotLoggedIn.

    A cookie changes nothing here: the API has no form token, so a write needs the bearer's.
    """
    if {"token", "access_token", "api_key"} & request.query_params.keys():
        raise Refused(400, "A token never goes into a URL: send it as Authorization: Bearer.")
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    visitor = None
    if scheme.lower() == "bearer":
        visitor = await _bearer(request, text.strip())
    elif request.method in ("GET", "HEAD"):
        check_origin(request)
        visitor = await _session(request)
    if visitor is None:
        raise NotLoggedIn
    request.state.visitor = visitor
    return visitor


async def _bearer(request: Request, text: str) -> Visitor | None:
    desk = desk_of(request)
    now = desk.now()
    found = await desk.store.query(lambda tx: tokens.find(tx, text)) if len(text) <= 200 else None
    if found is None or not found.valid(now):
        return None
    if desk.touches.due(found.prefix, now):
        prefix = found.prefix
        desk.store.write_later(lambda tx: tokens.touch(tx, now, prefix))
    may = frozenset(may for scope in found.scopes for may in SCOPES[Scope(scope)])
    return Visitor(found.name, "token", may, f"token:{found.prefix}", only=found.customer_id)


class Touches:
    """When sessions and tokens were last noted as used: once a minute is enough."""

    def __init__(self) -> None:
        self._noted: dict[str, datetime] = {}

    def due(self, key: str, now: datetime) -> bool:
        """Return whether a minute has passed, and begin the next one."""
        noted = self._noted.get(key)
        if noted is not None and now - noted < _TOUCH:
            return False
        if len(self._noted) > 1000:
            self._noted.clear()
        self._noted[key] = now
        return True


Staff = Annotated[Visitor, Depends(staff_visitor)]


# --- the pages


def _form(
    request: Request, *, next_path: str, name: str = "", fault: str = "", status: int = 200
) -> Response:
    key = request.cookies.get(_cookie(request, "form"), "") or secrets.token_urlsafe(18)
    page = desk_of(request).words.get_template("login.html")
    text = page.render(csrf=csrf_of(key), next=next_path, name=name, fault=fault)
    response = Response(text, status, media_type="text/html")
    _set_cookie(request, response, "form", key, 3600)
    return response


@router.get("/login")
async def show_login(request: Request) -> Response:
    """Show the form; who is logged in already goes on."""
    next_path = local_path(request.query_params.get("next", "/"))
    if await _session(request) is not None:
        return RedirectResponse(next_path, 303)
    return _form(request, next_path=next_path)


@router.post("/login")
async def log_in(
    request: Request,
    name: Annotated[str, Form(max_length=200)] = "",
    password: Annotated[str, Form(max_length=2000)] = "",
    code: Annotated[str, Form(max_length=20)] = "",
    next_path: Annotated[str, Form(alias="next", max_length=2000)] = "/",
    csrf: Annotated[str, Form(max_length=100)] = "",
) -> Response:
    """Open a session with a new id, or say one sentence that tells nothing."""
    key = request.cookies.get(_cookie(request, "form"), "")
    check_form(request, csrf_of(key) if key else "", csrf)
    desk, client = desk_of(request), client_key(request.state.client)
    now, goal = desk.now(), local_path(next_path)
    pause = desk.attempts.wait(client, name, now)
    if pause is not None:
        text = "Too many wrong tries. Wait five minutes, then try again."
        response = _form(request, next_path=goal, name=name, fault=text, status=429)
        response.headers["retry-after"] = str(int(pause.total_seconds()) + 1)
        return response
    desk.attempts.failed(client, name, now)
    person = await _verified(desk, name, password, code, now)
    desk.emit(LoginTried(person.name if person else "", person is not None, "console", request.state.client))
    if person is None:
        return _form(request, next_path=goal, name=name, fault=WRONG, status=401)
    desk.attempts.succeeded(client, name)
    return await _opened(request, person, now, goal)


async def right_password(desk: Desk, name: str, password: str) -> bool:
    """Return whether it is; the same work is done for a name that nobody has, outside the loop."""
    stored = await desk.store.query(lambda tx: staff.password_hash(tx, name))
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(20):
        return await loop.run_in_executor(desk.hashing, staff.matches, stored, password)


async def hashed(desk: Desk, password: str) -> str:
    """Return the argon2id form of a password, made outside the loop and outside the store's writer."""
    async with asyncio.timeout(20):
        return await asyncio.get_running_loop().run_in_executor(desk.hashing, staff.hashed, password)


async def _verified(desk: Desk, name: str, password: str, code: str, now: datetime) -> staff.Staff | None:
    """Return the person if password and second factor are right."""
    if not await right_password(desk, name, password):
        return None
    people = await desk.store.query(staff.everyone)
    person = next((known for known in people if known.name == name and known.disabled_at is None), None)
    if person is None or person.role not in set(Role):
        return None
    if person.totp is not None and not await _second_factor(desk, person, code, now):
        return None
    return person


async def _second_factor(desk: Desk, person: staff.Staff, code: str, now: datetime) -> bool:
    """Return whether the code is right and was never used before."""
    if person.totp is None:
        return False
    step = totp.accepted(desk.keyring.open(SECOND_FACTOR, person.totp, person.name.encode()), code, now)
    if step is None:
        return False
    return await desk.store.write(lambda tx: staff.use_totp(tx, person.name, step))


async def _opened(request: Request, person: staff.Staff, now: datetime, goal: str) -> Response:
    desk = desk_of(request)
    mark = f"staff:{person.name}"
    await desk.store.write(lambda tx: audit.append(tx, now, mark, "login", mark))
    response = await reopened(request, person.name, goal)
    _clear_cookie(request, response, "form")
    return response


async def reopened(request: Request, name: str, goal: str) -> Response:
    """Go on in a new session of this person; the one that the browser had before is over."""
    desk, before = desk_of(request), request.cookies.get(_cookie(request, "session"), "")
    now = desk.now()

    def work(tx: Connection) -> str:
        if before:
            staff.close_session(tx, before)  # whoever planted it does not come along
        return staff.open_session(tx, now, name, {"client": request.state.client})

    session_id = await desk.store.write(work)
    response = RedirectResponse(goal, 303)
    _set_cookie(request, response, "session", session_id, int(staff.LIFETIME.total_seconds()))
    return response


@router.post("/logout")
async def log_out(
    request: Request, visitor: Staff, csrf: Annotated[str, Form(max_length=100)] = ""
) -> Response:
    """End the session in the store; the cookie alone would not."""
    check_form(request, visitor.csrf, csrf)
    desk, session_id = desk_of(request), request.cookies.get(_cookie(request, "session"), "")
    now = desk.now()

    def work(tx: Connection) -> None:
        staff.close_session(tx, session_id)
        audit.append(tx, now, visitor.mark, "logout", visitor.mark)

    await desk.store.write(work)
    response = RedirectResponse("/login", 303)
    _clear_cookie(request, response, "session")
    return response
