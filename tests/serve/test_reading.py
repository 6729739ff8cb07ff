"""Bodies that are nonsense, or too much: a status from 400 to 422 and one line, and the service goes on."""

import base64
import io
import json
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from softtf.serve.version import Version
from support.serving import JSON, LINE, Served, form

FORM = f"multipart/form-data; boundary={LINE.decode()}"


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def picture(width: int, height: int, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, kind)
    return file.getvalue()


def bomb() -> bytes:
    """A PNG of a few bytes whose header promises 10,000 million pixels."""
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"")))
    parts = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


SMALL = picture(8, 8)
BODIES: dict[str, tuple[int, str | None, Any]] = {
    "nothing": (400, JSON, b""),
    "no type": (415, None, b"{}"),
    "a type of its own": (415, "text/plain", b"{}"),
    "urlencoded": (415, "application/x-www-form-urlencoded", b"images=1"),
    "not JSON": (400, JSON, b"{"),
    "not UTF-8": (400, JSON, b'{"images": ["\xff"]}'),
    "UTF-16": (400, JSON, '{"images": []}'.encode("utf-16")),
    "deep": (400, JSON, b"[" * 50_000),
    "a long number": (400, JSON, b"1" * 50_000),
    "not a number": (400, JSON, b'{"images": [NaN]}'),
    "a name twice": (400, JSON, b'{"images": [], "images": []}'),
    "a list": (422, JSON, []),
    "a text": (422, JSON, "images"),
    "null": (422, JSON, b"null"),
    "another name": (422, JSON, {"image": [b64(SMALL)]}),
    "a name with a line end": (422, JSON, {"a\nb\x1b[31m": 1}),
    "more names": (422, JSON, {"images": [b64(SMALL)], "texts": ["x"]}),
    "one image, no list": (422, JSON, {"images": b64(SMALL)}),
    "no images": (422, JSON, {"images": []}),
    "numbers": (422, JSON, {"images": [1]}),
    "not base64": (422, JSON, {"images": ["?"]}),
    "not ASCII": (422, JSON, {"images": ["ä"]}),
    "base64 of nothing": (422, JSON, {"images": [""]}),
    "base64 of no image": (422, JSON, {"images": [b64(b"hello")]}),
    "one of two is broken": (422, JSON, {"images": [b64(SMALL), b64(SMALL[:40])]}),
    "texts": (422, JSON, {"texts": ["größer"]}),
    "too many": (413, JSON, {"images": [b64(SMALL)] * 13}),
    "too many pixels": (413, JSON, {"images": [b64(picture(40, 40))]}),
    "too many pixels together": (413, JSON, {"images": [b64(picture(30, 30))] * 5}),
    "too many pixels in a form": (413, FORM, form([picture(30, 30)] * 5)[0]),
    "a bomb": (413, JSON, {"images": [b64(bomb())]}),
    "thousands of lists": (413, JSON, b'{"images": [' + b"[], " * 25_000 + b"[]]}"),
    "thousands of texts": (413, JSON, b'{"images": [' + b'"", ' * 25_000 + b'""]}'),
    "thousands of numbers": (413, JSON, b"[" + b"1, " * 33_000 + b"1]"),
    "thousands of names": (413, JSON, json.dumps({str(i): 1 for i in range(6000)}).encode()),
    "too narrow": (422, JSON, {"images": [b64(picture(900, 1))]}),
    "too large": (413, JSON, b" " * 200_000),
    "a form of nothing": (422, FORM, b""),
    "a form without a boundary": (400, "multipart/form-data", b"x"),
    "a form that is none": (400, FORM, b"hello"),
    "a form that is cut off": (422, FORM, form([SMALL])[0][:-60]),
    "a form without files": (422, FORM, form([])[0]),
    "a form with another name": (422, FORM, form([SMALL], "bild")[0]),
    "a form with a field": (
        422,
        FORM,
        b'--%s\r\nContent-Disposition: form-data; name="images"\r\n\r\nx\r\n--%s--\r\n' % (LINE, LINE),
    ),
    "a form with too many": (413, FORM, form([SMALL] * 13)[0]),
    "a form with no image": (422, FORM, form([b"hello"])[0]),
    "a form too large": (413, FORM, form([b"x" * 200_000])[0]),
}


def test_no_pixel_is_read_of_a_request_with_too_many(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Version, "load", None)
    status, found = served.ask("/predict", {"images": [b64(picture(30, 30))] * 12})
    assert status == 413 and "10,800 pixels" in found["detail"] and "--max-request-pixels" in found["detail"]


def is_one_line(found: Any) -> bool:
    return isinstance(found, dict) and found.keys() == {"detail"} and found["detail"].isprintable() and found["detail"]


@pytest.mark.parametrize("case", BODIES)
def test_nonsense_is_refused_in_one_line(case: str, served: Served) -> None:
    status, kind, body = BODIES[case]
    found = served.ask("/predict", body, kind)
    assert found[0] == status and is_one_line(found[1]), found


def test_the_length_need_not_be_told(served: Served) -> None:
    small = json.dumps({"images": [b64(SMALL)]}).encode()
    assert served.ask("/predict", iter([small[:20], small[20:]]))[0] == 200
    status, found = served.ask("/predict", iter([b" " * 50_000] * 4))
    assert status == 413 and is_one_line(found)


@pytest.mark.parametrize(
    "query", ["?top=0", "?top=x", "?top=1001", "?task=0", "?task=4", "?task=ä", "?task=" + "9" * 50, "?tsk=2", "?\n=1"]
)
def test_a_wrong_parameter_is_refused_in_one_line(query: str, served: Served) -> None:
    from urllib.parse import quote

    status, found = served.ask("/predict" + quote(query, "?="), {"images": [b64(SMALL)]})
    assert status == 422 and is_one_line(found), found


def test_other_paths_and_methods(served: Served) -> None:
    for path, method, status in (("/", "POST", 405), ("/predict", "GET", 405), ("/x%00", "GET", 404)):
        found = served.ask(path, method=method, kind=None)
        assert found[0] == status and is_one_line(found[1])


@settings(max_examples=40)
@given(st.binary(max_size=300), st.sampled_from([JSON, FORM]), st.integers(0, 400))
def test_no_bytes_are_an_error_of_the_service(served: Served, noise: bytes, kind: str, place: int) -> None:
    """Noise, and noise in the midst of a good body."""
    good = json.dumps({"images": [b64(SMALL)]}).encode() if kind == JSON else form([SMALL])[0]
    for body in (noise, good[:place] + noise + good[place + len(noise) :]):
        status, found = served.ask("/predict", body, kind)
        assert status == 200 or (400 <= status < 500 and is_one_line(found)), found


def test_after_all_that_it_answers(served: Served) -> None:
    assert served.ask("/predict", {"images": [b64(SMALL)]})[0] == 200
    assert served.service.waiting == 0
