"""The server: it listens, and on SIGTERM, SIGHUP or Ctrl-C answers what has come before it ends."""

import logging
import math
import os
import signal
import socket
from contextlib import suppress

import uvicorn
from fastapi import FastAPI

from softtf.errors import UserError, reason_of
from softtf.serve.deadline import Punctual

WAITING = 2048
"""Connections that the system keeps until they are accepted."""
GRACE = 2
"""Seconds after the last deadline, when connections are cut at the end of the service: for clients that do not read."""


def bound(host: str, port: int) -> socket.socket:
    """Return a socket that has its address, port 0 being a free one; connections are refused until it listens.

    Raises:
        UserError: the address is not this machine's, or the port is in use or not allowed.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        if os.name != "nt":  # where it would let two servers share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except (OSError, OverflowError, UnicodeError) as error:
        listener.close()
        remedy = "give another --host or --port"
        raise UserError(f"cannot listen at {host} port {port}: {reason_of(error)}; {remedy}") from None
    return listener


def address_of(listener: socket.socket) -> str:
    """Return the URL of a socket's address."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def new_server(app: FastAPI, timeout: float) -> uvicorn.Server:
    """Return a server for an application; what it logs of errors goes to stderr.

    Args:
        app: the application.
        timeout: the most seconds from a request's first byte to its answer.
    """
    logging.getLogger("python_multipart").addHandler(logging.NullHandler())  # what a client sent is not our error
    config = uvicorn.Config(
        app,
        http=type("Connection", (Punctual,), {"timeout": timeout}),
        timeout_graceful_shutdown=math.ceil(timeout) + GRACE,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        ws="none",
        lifespan="on",
    )
    return uvicorn.Server(config)


def run(app: FastAPI, listener: socket.socket, timeout: float) -> None:
    """Serve until a signal comes: then no connection is accepted, and all requests are answered that have come.

    Args:
        app: the application.
        listener: a socket that listens.
        timeout: the most seconds from a request's first byte to its answer.
    """
    server = new_server(app, timeout)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, server.handle_exit)
    with suppress(KeyboardInterrupt):  # uvicorn raises the signal once more when all is done
        server.run([listener])


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches what listens at a host."""
    return host == "localhost" or host == "::1" or host.startswith("127.")
