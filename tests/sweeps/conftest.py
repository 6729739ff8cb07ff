"""A bucket for tests of sweeps at a URL."""

from collections.abc import Iterator

import fsspec
import pytest


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of an empty bucket of S3: moto's server on this machine, which s3fs reaches over HTTP as it does any."""
    from moto.server import ThreadedMotoServer  # takes a second, for which no other test should wait

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    files = fsspec.filesystem("s3")
    files.mkdir("bucket")
    yield "s3://bucket"
    files.rm("bucket", recursive=True)  # moto's buckets outlive its server
    type(files).clear_instance_cache()  # each knows the server's port
    server.stop()
