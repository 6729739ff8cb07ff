"""A service on a free port of this machine, and a client of Python's own library."""

import base64
import io
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from softtf.classifier import ContinualClassifier
from softtf.serve.app import make_app
from softtf.serve.limits import Limits
from softtf.serve.server import WAITING, bound, new_server
from softtf.serve.service import Service

SECONDS = 30  # none of this takes so long: what hangs fails
JSON = "application/json"
LINE = b"0123456789abcdef"


@dataclass
class Served:
    """A service that answers, until `stop`."""

    service: Service
    port: int
    stop: Callable[[], None]

    def ask(
        self,
        path: str = "/predict",
        body: Any = None,
        kind: str | None = JSON,
        token: str | None = None,
        method: str | None = None,
    ) -> tuple[int, Any]:
        """The status and the content of an answer; a body that is not bytes is sent as JSON."""
        if body is not None and not hasattr(body, "__next__") and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        headers = ({"Content-Type": kind} if kind else {}) | ({"Authorization": token} if token else {})
        connection = HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        try:
            connection.request(method or ("GET" if body is None else "POST"), path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        return answer.status, json.loads(content) if answer.headers["content-type"] == JSON else content.decode()

    def answers(self, images: Sequence[bytes], query: str = "") -> list[dict[str, Any]]:
        """The answers for image files."""
        status, found = self.ask("/predict" + query, {"images": [base64.b64encode(one).decode() for one in images]})
        assert status == 200, found
        return list(found["answers"])


@contextmanager
def serving(
    folder: Path,
    open_model: Callable[[Path], ContinualClassifier],
    *,
    token: str | None = None,
    watch: float = 0,
    **limits: Any,
) -> Iterator[Served]:
    """Serve a learner in a thread; at the end what is under way is answered, as after SIGTERM."""
    service = Service(folder, open_model, Limits(**{"timeout": SECONDS, **limits}))
    listener = bound("127.0.0.1", 0)
    listener.listen(WAITING)
    server = new_server(make_app(service, token, watch), service.limits.timeout)
    thread = threading.Thread(target=server.run, args=([listener],))

    def stop() -> None:
        server.should_exit = True
        thread.join(SECONDS)
        assert not thread.is_alive()

    port = listener.getsockname()[1]
    thread.start()
    try:
        yield Served(service, port, stop)
    finally:
        stop()
        listener.close()


def png(image: Tensor) -> bytes:
    """An image uint8 [h, w, 3] as a file."""
    file = io.BytesIO()
    Image.fromarray(image.numpy()).save(file, "PNG")
    return file.getvalue()


def form(images: Sequence[bytes], name: str = "images") -> tuple[bytes, str]:
    """The body of a multipart request and its type."""
    part = b'--%s\r\nContent-Disposition: form-data; name="%s"; filename="\xc3\xa4.png"\r\n\r\n'
    parts = [part % (LINE, name.encode()) + image + b"\r\n" for image in images]
    return b"".join(parts) + b"--%s--\r\n" % LINE, f"multipart/form-data; boundary={LINE.decode()}"
