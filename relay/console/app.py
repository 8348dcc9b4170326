"""The HTTP door: console, API, metrics and health as one ASGI application, made by `create`."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic_core import PydanticCustomError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from relay import clock
from relay.console import (
    access,
    api,
    appealing,
    emergencies,
    evidence,
    export,
    login,
    pages,
    people,
    posts,
    reporting,
    suppressed,
    suppressing,
    unread,
    waiting,
    withheld,
    words,
)
from relay.console.attempts import Attempts
from relay.console.desk import Desk, Forbidden, NotLoggedIn, Refused, Visitor
from relay.console.guard import Guard
from relay.console.series import Series
from relay.errors import Conflict, NotFound
from relay.outbox.queue import reports_of
from relay.store import audit

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from typing import Any

    from relay.config import Config
    from relay.events import Event
    from relay.feedback.intake import Intake
    from relay.keyring import Keyring
    from relay.store.directory import Directory
    from relay.store.engine import Store

_DESCRIPTION = (
    "Everything that staff see and do in the console. Send `Authorization: Bearer gp_…`; admins make tokens "
    "at /tokens. What is missing and what is another customer's answer 404 alike. Times are RFC 3339 UTC."
)


def create(  # noqa: PLR0913 - one argument for each part of the daemon that it needs
    store: Store,
    directory: Directory | None,
    config: Config,
    *,
    metrics: Callable[[], bytes],
    ready: Callable[[], tuple[bool, dict[str, Any]]],
    keyring: Keyring,
    now: Callable[[], datetime] = clock.now,
    emit: Callable[[Event], None] = lambda _: None,
    intake: Intake | None = None,
) -> FastAPI:
    """Return the application; uvicorn serves it with `proxy_headers=False` (the guard reads them itself)."""
    app = FastAPI(
        title="Gatepost",
        version=version("gatepost"),
        description=_DESCRIPTION,
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.desk = Desk(
        store=store,
        directory=directory,
        config=config,
        now=now,
        metrics=metrics,
        ready=ready,
        emit=emit,
        intake=intake,
        keyring=keyring,
        words=words.environment(),
        attempts=Attempts(),
        touches=login.Touches(),
        series=Series(store),
        reports=reports_of(config, keyring),
    )
    app.add_middleware(
        Guard, proxies=config.console.proxies, https=config.console.url.startswith("https:"), emit=emit
    )
    _add_handlers(app)
    _add_gates(app)
    _add_probes(app)
    for router in (
        api.router,
        login.router,
        access.router,
        people.router,
        evidence.router,
        export.router,
        waiting.router,
        suppressing.router,
        suppressed.router,
        unread.router,
        reporting.router,
        withheld.router,
        emergencies.router,
        posts.router,
        appealing.router,
        pages.router,
    ):
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=words.HERE / "static"))
    return app


def _add_probes(app: FastAPI) -> None:
    """Add what monitoring reads, without a login."""

    @app.api_route("/metrics", methods=["GET", "HEAD"], include_in_schema=False)
    async def metrics(request: Request) -> Response:
        body = login.desk_of(request).metrics()
        return Response(body, media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.api_route("/healthz", methods=["GET", "HEAD"], include_in_schema=False)
    async def healthz() -> Response:
        return JSONResponse({"status": "ok"})

    @app.api_route("/readyz", methods=["GET", "HEAD"], include_in_schema=False)
    async def readyz(request: Request) -> Response:
        good, facts = login.desk_of(request).ready()
        return JSONResponse({"ready": good, **facts}, 200 if good else 503)


# --- errors become answers


def _answer(request: Request, status: int, text: str) -> Response:
    """Return JSON to programs, a page to people; both name the request, never more of the inside."""
    if request.url.path.startswith("/api/"):
        return JSONResponse({"detail": text, "id": request.state.id}, status)
    page = login.desk_of(request).words.get_template("fault.html")
    body = page.render(status=status, text=text, id=request.state.id)
    return Response(body, status, media_type="text/html")


def _add_handlers(app: FastAPI) -> None:
    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        texts = {404: "There is nothing here.", 405: "This cannot be done here."}
        return _answer(request, error.status_code, texts.get(error.status_code, "That did not work."))

    @app.exception_handler(NotFound)
    async def missing(request: Request, _: NotFound) -> Response:
        return _answer(request, 404, "There is nothing here.")

    @app.exception_handler(Conflict)
    async def conflict(request: Request, error: Conflict) -> Response:
        return _answer(request, 409, f"Not done: {error}. Open the page again and look.")

    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> Response:
        return _answer(request, error.status, str(error))

    @app.exception_handler(PydanticCustomError)
    async def misread(request: Request, error: PydanticCustomError) -> Response:
        return _answer(request, 422, f"{error.type} {error.message()}")

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        faults = [
            f"{'.'.join(str(part) for part in fault['loc'][1:])}: {fault['msg']}"
            for fault in error.errors()[:10]
        ]
        return _answer(request, 422, "; ".join(faults)[:2000])


def _add_gates(app: FastAPI) -> None:
    @app.exception_handler(NotLoggedIn)
    async def stranger(request: Request, _: NotLoggedIn) -> Response:
        if request.url.path.startswith("/api/"):
            response = _answer(request, 401, "Send a bearer token that is valid.")
            response.headers["www-authenticate"] = 'Bearer realm="gatepost"'
            return response
        if request.headers.get("hx-request"):
            # a part of a page asks: the whole page goes to the login
            return Response(status_code=401, headers={"hx-redirect": f"/login?next={login.shown(request)}"})
        goal = f"?next={login.quoted(request)}" if request.method == "GET" else ""
        return RedirectResponse(f"/login{goal}", 303)

    @app.exception_handler(Forbidden)
    async def forbidden(request: Request, error: Forbidden) -> Response:
        desk = login.desk_of(request)
        moment, deed = desk.now(), f"{request.method} {request.url.path}"[:300]
        visitor: Visitor = request.state.visitor
        await desk.store.write(
            lambda tx: audit.append(tx, moment, visitor.mark, "forbidden", deed, f"needs: {error.may}")
        )
        return _answer(request, 403, f"Your role does not reach this: it needs to {error.may}.")
