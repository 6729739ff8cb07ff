"""Counts requests by path and status, whoever answers them."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

from softtf.serve.metrics import Metrics

Message = dict[str, Any]
App = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]


class Counting:
    """An ASGI middleware; paths that do not exist count as one, or anybody could fill the memory with them."""

    def __init__(self, app: App, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Run a request and count it."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        known = {route.path for route in scope["app"].routes}
        path, start = scope["path"] if scope["path"] in known else "other", time.perf_counter()

        async def counted(message: Any) -> None:
            if message["type"] == "http.response.start":
                self.metrics.requests.labels(path, str(message["status"])).inc()
                self.metrics.seconds.labels(path).observe(time.perf_counter() - start)
            await send(message)

        await self.app(scope, receive, counted)
