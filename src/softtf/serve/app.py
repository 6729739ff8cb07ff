"""The routes of the service, and their description in OpenAPI's words."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from softtf.errors import UserError, unknown
from softtf.serve.counting import Counting
from softtf.serve.draining import Draining
from softtf.serve.page import POLICY, page_of
from softtf.serve.reading import BODY
from softtf.serve.service import Service
from softtf.serve.token import Token

MOST_LABELS = 1000
PARAMETERS = ("task", "top")  # of /predict


@dataclass(frozen=True)
class Likely:
    """A label and its probability."""

    label: Any
    probability: float


@dataclass(frozen=True)
class OneAnswer:
    """The likeliest label of one input, its probability, the task, from 1, and how unknown the input looks.

    Unknown is from 0 to 1, the share of known inputs that look more familiar; null if the learner cannot tell.
    """

    label: Any
    confidence: float
    task: int
    probabilities: list[Likely]
    unknown: float | None


@dataclass(frozen=True)
class Answers:
    """The answers in the order of the inputs, and the version of the learner that gave them."""

    version: str
    answers: list[OneAnswer]


@dataclass(frozen=True)
class State:
    """The version of the learner that answers, its tasks, and why the next one could not be loaded, if so."""

    version: str
    tasks: int
    refused: str | None


@dataclass(frozen=True)
class Detail:
    """What is wrong, in one line."""

    detail: str


def _refusals(**lines: str) -> dict[int | str, dict[str, Any]]:
    return {int(status[1:]): {"model": Detail, "description": text} for status, text in lines.items()}


READING = _refusals(
    s400="the body is broken",
    s408="the body did not arrive in time",
    s413="the body, an image or their number is too large",
    s415="the body is neither JSON nor a form",
    s422="an input cannot be read, or does not suit this learner",
    s429="too many requests wait",
    s503="memory is short",
    s504="there was no answer in time",
)


def make_app(service: Service, token: str | None = None, watch: float = 0) -> FastAPI:
    """Return the ASGI application of a service.

    Args:
        service: not started yet.
        token: what clients must send in the header `Authorization: Bearer TOKEN`; None asks for nothing.
        watch: every how many seconds the folder is looked at for the learner's next version; 0 looks only when asked.
    """

    @asynccontextmanager
    async def running(app: FastAPI) -> AsyncIterator[None]:
        service.start()
        watching = asyncio.create_task(service.watch(watch)) if watch else None
        yield
        if watching:
            watching.cancel()
        await service.stop()

    app = FastAPI(
        title="softtf",
        summary="Labels for images or texts, from a learner of many tasks.",
        lifespan=running,
        docs_url=None,  # their scripts would come from a network
        redoc_url=None,
    )
    app.add_middleware(Draining, timeout=service.limits.timeout)
    app.add_middleware(Counting, metrics=service.metrics)
    app.add_exception_handler(RequestValidationError, _in_one_line)
    allowed = [Depends(Token(token))] if token else []
    answers_of(app, service, allowed)
    states_of(app, service, allowed)
    return app


def answers_of(app: FastAPI, service: Service, allowed: list[Any]) -> None:
    """Add the routes that answer and reload."""

    @app.post(
        "/predict", dependencies=allowed, response_model=Answers, responses=READING, openapi_extra={"requestBody": BODY}
    )
    async def predict(
        request: Request,
        task: Annotated[int | None, Query(description="the task of all inputs, from 1, where it is known")] = None,
        top: Annotated[int, Query(ge=1, le=MOST_LABELS, description="how many likeliest labels each answer has")] = 5,
    ) -> Response:
        """Answer for images or texts; the task of each is inferred, unless it is given."""
        if unread := [name for name in request.query_params if name not in PARAMETERS]:
            raise HTTPException(422, str(unknown("parameter of /predict", unread[0], PARAMETERS)))
        version, found = await service.predict(request, None if task is None else task - 1, top)
        return JSONResponse({"version": version.name, "answers": [answer.plain() for answer in found]})

    @app.post(
        "/reload",
        dependencies=allowed,
        response_model=State,
        responses=_refusals(s409="it cannot be loaded; the old version goes on answering"),
    )
    async def reload() -> Response:
        """Take up the version of the learner that its folder holds now; requests are answered meanwhile."""
        try:
            await service.reload()
        except UserError as error:
            raise HTTPException(409, str(error)) from None
        return _state(service)


def states_of(app: FastAPI, service: Service, allowed: list[Any]) -> None:
    """Add the routes that tell how the service is."""

    @app.get("/health", response_model=State, responses=_refusals(s503="it does not answer any more; restart it"))
    async def health() -> Response:
        """Say that the process answers requests."""
        if not service.works:
            raise HTTPException(503, "the thread that answers has ended; start the service again")
        return _state(service)

    @app.get("/ready", response_model=State, responses=_refusals(s503="it accepts no request now"))
    async def ready() -> Response:
        """Say whether a further request would be accepted now."""
        if service.full or not service.works:
            raise HTTPException(503, "it accepts no further request now; try again in a second")
        return _state(service)

    @app.get(
        "/metrics", dependencies=allowed, response_class=Response, responses={200: {"content": {"text/plain": {}}}}
    )
    async def metrics() -> Response:
        """Return numbers for Prometheus."""
        return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/docs", include_in_schema=False)
    @app.get("/", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(page_of(app.openapi(), service), headers={"Content-Security-Policy": POLICY})


def _state(service: Service) -> Response:
    version, refused = service.version, service.refused
    state = {"version": version.name, "tasks": version.model.num_tasks, "refused": refused[1] if refused else None}
    return JSONResponse(state)


async def _in_one_line(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return JSONResponse({"detail": f"{first['loc'][-1]}: {first['msg']}"}, 422)
