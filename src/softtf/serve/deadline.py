"""A request's one deadline, from its first byte to its answer; and connections that keep it."""

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

NAME = "deadline"


def deadline_of(scope: Any, timeout: float) -> float:
    """Return when a request must be answered, in the event loop's seconds.

    Args:
        scope: of ASGI; it keeps the deadline. Other servers than ours name none: then it counts from the first call.
        timeout: seconds.
    """
    deadline: float = scope.setdefault("state", {}).setdefault(NAME, asyncio.get_running_loop().time() + timeout)
    return deadline


class Punctual(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """uvicorn's connection, which is closed if a request's headers are not here in time.

    uvicorn knows of a request only then, so nothing else would end a connection that sends half of them, or nothing.

    Attributes:
        timeout: seconds for the first byte, and from then on for the request.
    """

    timeout = 30.0
    app_state: dict[str, Any]

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Wait for the first byte."""
        super().connection_made(transport)
        self.app_state = dict(self.app_state)  # a copy of it comes with each request
        self._late: asyncio.TimerHandle | None = None
        # uvicorn cancels this at the first byte, as it does between two requests
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout, transport.close)

    def data_received(self, data: bytes) -> None:
        """Take bytes of a request, from the first of which its time counts."""
        if self._late is None and not self._answers():
            self._late = self.loop.call_later(self.timeout, self.transport.close)
            self.app_state[NAME] = self.loop.time() + self.timeout
        super().data_received(data)
        if self._answers():  # the application keeps the deadline from here on
            self._rest()

    def connection_lost(self, error: Exception | None) -> None:
        """End the wait."""
        super().connection_lost(error)
        self._rest()

    def _answers(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _rest(self) -> None:
        if self._late:
            self._late.cancel()
        self._late = None
        self.app_state.pop(NAME, None)
