"""A hub on loopback that speaks as much of the Hub's protocol as pushing to it and loading from it need.

Repositories are folders of bytes in memory, one for each commit; `asked` has every path that was asked for.
"""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import huggingface_hub
import pytest

Files = dict[str, bytes]


class FakeHub:
    """What the hub holds: commits by their name, and branches of each repository."""

    def __init__(self) -> None:
        self.commits: dict[str, Files] = {}
        self.branches: dict[str, dict[str, str]] = {}
        self.asked: list[str] = []
        self.private: dict[str, Any] = {}

    def create(self, name: str) -> None:
        if name not in self.branches:
            self.branches[name] = {"main": self.add({".gitattributes": b""})}

    def add(self, files: Files) -> str:
        commit = hashlib.sha1(repr((len(self.commits), sorted(files))).encode(), usedforsecurity=False).hexdigest()
        self.commits[commit] = files
        return commit

    def commit_of(self, name: str, revision: str) -> str | None:
        branches = self.branches.get(name)
        return None if branches is None else branches.get(revision) or (revision if revision in self.commits else None)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: FakeHub

    @property
    def url(self) -> str:
        return f"http://{self.headers['Host']}"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.handle_read()

    def do_HEAD(self) -> None:
        self.handle_read()

    def handle_read(self) -> None:
        path = unquote(urlparse(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        if "/resolve/" in path:
            name, _, rest = path[1:].partition("/resolve/")
            revision, _, file = rest.partition("/")
            return self.send_file(name, revision, file)
        parts = path.removeprefix("/api/models/").split("/")
        name, verb, revision = "/".join(parts[:2]), (parts[2:] or [""])[0], (parts[3:] or ["main"])[0]
        commit = self.hub.commit_of(name, revision)
        if commit is None:
            return self.missing("Repo" if name not in self.hub.branches else "Revision")
        files = self.hub.commits[commit]
        if verb == "tree":
            return self.send([{"type": "file", "path": n, "size": len(d), "oid": "0" * 40} for n, d in files.items()])
        self.send(
            {"id": name, "sha": commit, "siblings": [{"rfilename": n} for n in files], "private": False, "tags": []}
        )

    def do_POST(self) -> None:
        path = urlparse(self.path).path
        self.hub.asked.append(f"POST {path}")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if path == "/api/validate-yaml":
            return self.send({"errors": [], "warnings": []})
        if path == "/api/repos/create":
            about = json.loads(body)
            name = f"{about['organization']}/{about['name']}" if about.get("organization") else f"me/{about['name']}"
            self.hub.create(name)
            self.hub.private[name] = about.get("private", about.get("visibility"))
            return self.send({"url": f"{self.url}/{name}"})
        parts = path.removeprefix("/api/models/").split("/")
        name, verb, revision = "/".join(parts[:2]), parts[2], parts[3]
        if verb == "branch":
            branches = self.hub.branches[name]
            return self.send({}, 409 if branches.setdefault(revision, branches["main"]) != branches["main"] else 200)
        if verb == "preupload":
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]
            ]
            return self.send({"files": files})
        assert verb == "commit", path
        self.send(self.committed(name, revision, body))

    def committed(self, name: str, revision: str, body: bytes) -> dict[str, Any]:
        files = dict(self.hub.commits[self.hub.branches[name][revision]])
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        commit = self.hub.branches[name][revision] = self.hub.add(files)
        return {"commitUrl": f"{self.url}/{name}/commit/{commit}", "commitOid": commit, "pullRequestUrl": None}

    def send_file(self, name: str, revision: str, file: str) -> None:
        commit = self.hub.commit_of(name, revision)
        if commit is None:
            return self.missing("Repo" if name not in self.hub.branches else "Revision")
        data = self.hub.commits[commit].get(file)
        if data is None:
            return self.missing("Entry", commit)
        etag = hashlib.sha256(data).hexdigest()
        self.send_data(data, {"ETag": f'"{etag}"', "X-Repo-Commit": commit})

    def missing(self, what: str, commit: str = "") -> None:
        self.send({"error": f"{what} not found"}, 404, {"X-Error-Code": f"{what}NotFound", "X-Repo-Commit": commit})

    def send(self, content: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_data(json.dumps(content).encode(), {"Content-Type": "application/json"} | (headers or {}), status)

    def send_data(self, data: bytes, headers: dict[str, str], status: int = 200) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


@contextmanager
def fake_hub(cache: Path) -> Iterator[FakeHub]:
    """Serve a hub, and let the client of the Hub ask it, with a cache of its own."""
    hub = FakeHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    constants = huggingface_hub.constants
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "ENDPOINT", url)
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
        patch.setattr(constants, "HF_HUB_CACHE", str(cache))
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setenv("HF_TOKEN", "hf_of_the_test")
        try:
            yield hub
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
