"""What strangers may post: signed reports (/feedback/NAME) and one-click unsubscriptions (RFC 8058).

No login, no cookie; who posts is known by a signature, or has the link that one message alone carried.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Request
from starlette.datastructures import UploadFile
from starlette.responses import HTMLResponse, JSONResponse, Response

from relay.console.desk import Desk
from relay.console.guard import REPORT_BYTES
from relay.console.login import desk_of
from relay.feedback import providers, signed
from relay.store import nonces

if TYPE_CHECKING:
    from datetime import datetime

    from relay.config import FeedbackSource
    from relay.feedback.steps import Outcome

router = APIRouter(include_in_schema=False)
DeskOf = Annotated[Desk, Depends(desk_of)]
#: what a report may be: mail, or XARF
MAIL = frozenset(("message/rfc822", "message/global"))
JSON = frozenset(("application/json", "application/xarf+json"))
_NOBODY = b"no source has this secret"
_PAGE = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>Unsubscribe</title>'
    '<link rel="stylesheet" href="/static/console.css"><main class="plain">'
)


@router.post("/feedback/{source}")
async def report(request: Request, source: str, desk: DeskOf) -> Response:
    """Take one signed report, through the same intake as mail: 200 once it is recorded."""
    intake, known = desk.intake, desk.config.feedback.sources.get(source)
    body, now = await request.body(), desk.now()
    secret = await asyncio.to_thread(_secret, desk, known)
    seal = _seal(secret or _NOBODY, body, request, now)
    if intake is None or known is None or secret is None or seal is None:
        return _answer(request, 401, "The signature is missing, wrong or too old.")
    packed = request.headers.get("content-encoding", "identity")
    if _media(request) not in MAIL | JSON or packed not in ("identity", "gzip"):
        return _answer(request, 415, "Send message/rfc822 or application/json, plain or gzip.")
    content = signed.unpacked(body, REPORT_BYTES) if packed == "gzip" else body
    if content is None:
        return _answer(request, 413, "The report is too large, or no gzip.")
    events = _events(content) if _media(request) in JSON else [content]
    if not events:
        return _answer(request, 400, "That is no JSON, or too many events.")
    if await desk.store.query(lambda tx: nonces.taken(tx, source, seal.number)):
        return _answer(request, 401, "This was posted before.")
    taken = [_said(await intake.take(event, now, bearer=known.reporter)) for event in events]
    # not before: what could not be recorded comes again as it was, and what was recorded counts once
    await desk.store.write(lambda tx: nonces.take(tx, source, seal.number, seal.expires_at))
    return JSONResponse(taken[0] if len(taken) == 1 else {"reports": taken})


def _said(outcome: Outcome) -> dict[str, Any]:
    return {"id": outcome.id, "kind": str(outcome.report.kind), "counted": outcome.counted}


def _seal(secret: bytes, body: bytes, request: Request, now: datetime) -> signed.Seal | None:
    if "webhook-signature" in request.headers:
        return signed.check_standard(secret, body, request.headers, now)
    return signed.check(secret, body, request.headers.get("gatepost-signature", ""), now)


def _secret(desk: Desk, source: FeedbackSource | None) -> bytes | None:
    if source is None:
        return None
    try:
        secret = desk.config.path(source.secret_file).read_bytes().strip()
    except OSError:
        return None
    return secret if len(secret) >= signed.LEAST_SECRET_BYTES else None


def _media(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _events(body: bytes) -> list[bytes]:
    """Return the reports in a post of JSON, none if it is none."""
    try:
        json.loads(body)
        return providers.events_of(body)
    except (ValueError, RecursionError):
        return []


def _answer(request: Request, status: int, text: str) -> Response:
    return JSONResponse({"detail": text, "id": request.state.id}, status)


@router.post("/unsubscribe/{text}")
async def unsubscribe(request: Request, text: str, desk: DeskOf) -> Response:
    """Unsubscribe whoever has the link: a program's `List-Unsubscribe=One-Click`, a person's button."""
    if not await _one_click(request):
        return HTMLResponse(f"{_PAGE}<h1>This is no unsubscription.</h1></main></html>", 400)
    if desk.intake is None or not await desk.intake.unsubscribe(text, desk.now()):
        return HTMLResponse(f"{_PAGE}<h1>This link is not known here.</h1></main></html>", 404)
    return HTMLResponse(f"{_PAGE}<h1>Done: you will get no more of this mail.</h1></main></html>")


async def _one_click(request: Request) -> bool:
    """Return whether a form says `List-Unsubscribe=One-Click`, in either encoding (RFC 8058 §3.2)."""
    if _media(request) == "multipart/form-data":
        async with request.form(max_files=1, max_fields=5) as form:
            value = form.get("List-Unsubscribe", "")
            return not isinstance(value, UploadFile) and value == "One-Click"
    try:
        fields = parse_qs((await request.body()).decode("latin-1"), max_num_fields=5)
    except ValueError:
        return False
    return fields.get("List-Unsubscribe") == ["One-Click"]


@router.get("/unsubscribe/{text}")
async def look(text: str) -> Response:
    """Change nothing (prefetching programs open links too); show people a button. Only POST unsubscribes."""
    del text
    form = (
        '<h1>Unsubscribe?</h1><form method="post"><button name="List-Unsubscribe" value="One-Click">'
        "Send me no more of this mail</button></form></main></html>"
    )
    return HTMLResponse(_PAGE + form, 405, headers={"allow": "POST"})
