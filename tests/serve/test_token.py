"""Where the token comes from."""

from pathlib import Path

import pytest

from softtf.errors import UserError
from softtf.serve.token import VARIABLE, read_token

TOKEN = "0123456789abcdef0123"


def test_it_comes_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert read_token(None) is None
    monkeypatch.setenv(VARIABLE, TOKEN)
    assert read_token(None) == TOKEN
    (tmp_path / "token").write_text(f"{TOKEN[::-1]}\n")
    assert read_token(tmp_path / "token") == TOKEN[::-1]


@pytest.mark.parametrize("token", ["", "short", "a token with spaces", "größer als sechzehn", "0123456789abcdef\x1b"])
def test_one_that_cannot_be_sent_or_guessed_is_refused(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, token)
    with pytest.raises(UserError, match="cannot be used") as refused:
        read_token(None)
    assert not token or token not in str(refused.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_token(tmp_path / "none")
    with pytest.raises(UserError, match="cannot be read"):
        read_token(tmp_path)
