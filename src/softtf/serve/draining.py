"""Lets a client hear why its request was refused, before its whole body was read.

Where a client wants the connection to end with the answer, as Python's urllib does, the server closes it at once. A
client that still sends its body then fails at sending, and never sees the answer.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from softtf.serve.deadline import deadline_of

MOST = 2**28
"""Bytes of a refused body that are read and dropped; beyond them the connection is closed."""

Message = dict[str, Any]
App = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]


class Draining:
    """An ASGI middleware; before an answer it reads what is left of the request's body, and keeps none of it.

    Args:
        app: the application.
        timeout: the most seconds from a request's first byte to its answer; it reads no longer.
    """

    def __init__(self, app: App, timeout: float) -> None:
        self.app, self.timeout = app, timeout

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Run a request."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        deadline = deadline_of(scope, self.timeout)
        headers = dict(scope["headers"])
        # Who asks first whether the body is wanted (curl does) has sent none of it yet.
        comes = (b"content-length" in headers or b"transfer-encoding" in headers) and b"expect" not in headers

        async def heard() -> Any:
            nonlocal comes
            message = await receive()
            comes = message["type"] == "http.request" and message.get("more_body", False)
            return message

        async def drain() -> None:
            left = MOST
            while comes and left > 0:
                left -= len((await heard()).get("body", b""))

        async def answered(message: Any) -> None:
            if message["type"] == "http.response.start" and comes:
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(deadline):
                        await drain()
            await send(message)

        await self.app(scope, heard, answered)
