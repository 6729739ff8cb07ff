"""The client of docs/serve.md."""

import re
from pathlib import Path
from typing import Any

import pytest

from support.serving import Served

PAGE = Path(__file__).parents[2] / "docs/serve.md"


def test_it_is_short_and_gets_answers(served: Served, files: list[bytes], tmp_path: Path) -> None:
    code = next(c for c in re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL) if "urllib" in c)
    assert len(code.splitlines()) <= 23  # twenty, and empty ones
    names: dict[str, Any] = {}
    exec(compile(code, "serve.md", "exec"), names)
    for i, file in enumerate(files[:3]):
        (tmp_path / f"{i}.png").write_bytes(file)
    paths = [str(path) for path in sorted(tmp_path.iterdir())]
    url = f"http://127.0.0.1:{served.port}"
    assert names["predict"](url, paths) == served.answers(files[:3])
    (tmp_path / "0.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"images\[0\]"):
        names["predict"](url, paths)


def test_the_page_names_every_status_and_option(served: Served) -> None:
    from softtf.serve.limits import Limits

    text = PAGE.read_text("utf-8")
    described = served.ask("/openapi.json")[1]["paths"]["/predict"]["post"]["responses"]
    assert all(f"| {status} |" in text for status in described if status != "200")
    options = {name.replace("_", "-"): value for name, value in vars(Limits()).items()}
    assert all(f"--{name}" in text for name in options)
    told = dict(re.findall(r"`--([a-z-]+) (\d+)`", text))
    assert {name: float(value) for name, value in told.items() if name in options} == {
        name: float(options[name]) for name in told if name in options
    }
