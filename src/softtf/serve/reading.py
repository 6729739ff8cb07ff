"""A request's body: images (multipart, or base64 in JSON) or texts (JSON), as the backbone takes them.

What is wrong with a body is told by an `HTTPException` with a status from 400 to 422 and one line.
"""

import base64
import binascii
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fastapi import HTTPException, Request

from softtf.devices.memory import WORDS
from softtf.errors import UserError
from softtf.files.plain_json import ManyPartsError, parse_json
from softtf.serve.limits import Limits
from softtf.serve.version import Version
from softtf.streams.decode import LargeImageError, pixels_of
from softtf.streams.preparation import LoadedInput

JSON, FORM = "application/json", "multipart/form-data"
KINDS = {"images": "base64 of an image file", "texts": "a text"}
Receive = Any
Raw = bytes | str

BODY = {
    "required": True,
    "content": {
        JSON: {
            "schema": {
                "oneOf": [
                    {
                        "type": "object",
                        "required": [name],
                        "properties": {
                            name: {"type": "array", "minItems": 1, "items": {"type": "string", "description": what}}
                        },
                    }
                    for name, what in KINDS.items()
                ]
            }
        },
        FORM: {
            "schema": {
                "type": "object",
                "required": ["images"],
                "properties": {"images": {"type": "array", "items": {"type": "string", "format": "binary"}}},
            }
        },
    },
}
"""The body in OpenAPI's words."""


async def read_body(request: Request, limits: Limits) -> bytes | list[bytes]:
    """Return the body of a JSON request, or the image files of a multipart one.

    Raises:
        HTTPException: 413 if there is too much of it, 415 if it is of another type, 400 or 422 if it is broken.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in (JSON, FORM):
        raise HTTPException(415, f"the body must be {JSON} or {FORM}; say which in the header Content-Type")
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or len(length) > 18 or int(length) > limits.body_bytes:
        raise _too_much(limits)
    bounded = Request(request.scope, _bounded(request.receive, limits))
    if kind == JSON:
        return await bounded.body()
    try:
        async with bounded.form(max_files=limits.max_inputs, max_fields=1) as form:
            items = form.multi_items()
            for name, value in items:
                if name != "images":
                    raise HTTPException(422, f"a part of the form must have the name images, not {name[:50]!r}")
                if isinstance(value, str):
                    raise HTTPException(422, "images is text, not a file; with curl write -F images=@FILE")
            return [await value.read() for _, value in items if not isinstance(value, str)]
    except Exception as error:  # starlette's HTTPException, not fastapi's
        if str(getattr(error, "detail", "")).startswith("Too many files"):
            raise _too_many(f"more than {limits.max_inputs} images", limits) from None
        raise


def _bounded(receive: Receive, limits: Limits) -> Receive:
    """Return ASGI's `receive`, which stops when more than the limit has come: nobody has to tell the length."""
    seen = 0

    async def bounded() -> Any:
        nonlocal seen
        message = await receive()
        if message["type"] == "http.disconnect":
            raise HTTPException(400, "the client left before its whole body was here")
        seen += len(message.get("body", b""))
        if seen > limits.body_bytes:
            raise _too_much(limits)
        return message

    return bounded


def _too_much(limits: Limits) -> HTTPException:
    return HTTPException(413, f"the body is larger than {limits.max_body:g} MiB; send fewer or smaller inputs")


def _too_many(inputs: str, limits: Limits) -> HTTPException:
    return HTTPException(413, f"there are {inputs}; at most {limits.max_inputs} are answered at once")


def load_inputs(
    body: bytes | list[bytes], version: Version, limits: Limits, dropped: Callable[[], bool]
) -> list[LoadedInput]:
    """Return the inputs of a body as a version's backbone takes them.

    Args:
        body: as `read_body` returns it.
        version: whose backbone takes them.
        limits: the most inputs and pixels.
        dropped: asked before each input whether nobody waits for the answer any more.

    Raises:
        HTTPException: 400 if it is not JSON, 413 if it has too many inputs or too many pixels, 422 if it holds
            something else, or an input cannot be read.
        TimeoutError: nobody waits any more.
    """
    name, inputs = ("images", body) if isinstance(body, list) else _from_json(body, limits)
    reads_text = version.model.learner.network.backbone.reads_text
    if (name == "texts") != reads_text:
        wanted = "texts" if reads_text else "images"
        raise HTTPException(422, f"this learner answers for {wanted}, not for {name}")
    if not inputs:
        raise HTTPException(422, f"there are no {name}; send at least one")
    if len(inputs) > limits.max_inputs:
        raise _too_many(f"{len(inputs)} {name}", limits)
    if name == "images":
        _check_pixels(inputs, limits)
    loaded = []
    for i, raw in enumerate(inputs):
        if dropped():
            raise TimeoutError("nobody waits for the answer any more")
        with _refusing(f"{name}[{i}]", limits) as where:
            loaded.append(version.load(raw, where))
    return loaded


def _from_json(body: bytes, limits: Limits) -> tuple[str, Sequence[Raw]]:
    """Return what the inputs are called, and the inputs of a JSON body."""
    try:
        content = parse_json(body.decode(), "the body", most=limits.json_parts)
    except UnicodeDecodeError:
        raise HTTPException(400, "the body is not UTF-8 text") from None
    except ManyPartsError:
        raise _too_many(f"more than {limits.max_inputs} values", limits) from None
    except (UserError, RecursionError) as error:
        raise HTTPException(400, line(error)) from None
    names = list(content) if isinstance(content, dict) else []
    if len(names) != 1 or names[0] not in KINDS:
        raise HTTPException(422, 'the body must be {"images": [base64, ...]} or {"texts": [text, ...]}')
    (name,) = names
    values = content[name]
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise HTTPException(422, f"{name} must be a list of strings, each {KINDS[name]}")
    if name == "texts" or len(values) > limits.max_inputs:
        return name, values
    return name, [_decoded(value, f"images[{i}]") for i, value in enumerate(values)]


def _decoded(text: str, where: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):  # ValueError: not ASCII
        raise HTTPException(422, f"{where} is not base64") from None


def _check_pixels(images: Sequence[Any], limits: Limits) -> None:
    """Refuse too many pixels by the headers of all images, before the pixels of one are read."""
    total = 0
    for i, raw in enumerate(images):
        with _refusing(f"images[{i}]", limits) as where:
            pixels = pixels_of(raw, where)
            if pixels > limits.max_pixels:
                raise HTTPException(413, f"{where} has {pixels:,} pixels; at most {limits.max_pixels:,} are read")
            total += pixels
    if total > limits.max_request_pixels:
        remedy = "send fewer or smaller ones in a request, or start the service with a larger --max-request-pixels"
        most = f"at most {limits.max_request_pixels:,} are read"
        raise HTTPException(413, f"the images have {total:,} pixels together; {most}: {remedy}")


@contextmanager
def _refusing(where: str, limits: Limits) -> Iterator[str]:
    """Turn errors about one input into what is answered."""
    try:
        yield where
    except LargeImageError:
        raise HTTPException(413, f"{where} has too many pixels; at most {limits.max_pixels:,} are read") from None
    except UserError as error:
        raise refused(error) from None


def refused(error: UserError) -> HTTPException:
    """Return what to answer where an input cannot be answered: 503 if memory is short, otherwise 422."""
    return HTTPException(503 if WORDS.search(str(error)) else 422, line(error))


def line(error: Exception) -> str:
    """Return an error's message in one line."""
    return " ".join(str(error).split())
