"""`python -m benchmarks.costs`: the accuracy that it prints is that of the run with these settings."""

import json
from pathlib import Path

import pytest
from benchmarks import costs

from cli import BACKBONE, call, read_json

SMALL = ("stream.train_per_class=6", "stream.test_per_class=3", "stream.num_tasks=2")


@pytest.mark.slow
def test_it_finds_what_the_run_finds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = f"backbone.name={BACKBONE[1]}"
    costs.main(["quickstart", "ncm", "--set", own, "backbone.image_size=32", *SMALL])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    flags = [word for setting in SMALL for word in (f"--{setting.partition('=')[0]}", setting.partition("=")[2])]
    assert (
        call("run", "quickstart", "--method", "ncm", *BACKBONE, *flags, "--device", "cpu", "--output", tmp_path / "run")
        == 0
    )
    score = next(iter(found["scores"].values()))
    assert score["acc"] == pytest.approx(read_json(tmp_path / "run/summary.json")["policies"]["none"]["acc"])
    assert found["bytes"] > 0 and {"learn", "test"} <= found.keys()


def test_a_setting_that_it_does_not_read_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        costs.main(["quickstart", "ncm", "--set", "device=cuda"])
    assert "--set device: set what begins with stream., " in capsys.readouterr().err
