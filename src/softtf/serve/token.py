"""The token that a client must send, if the service asks for one."""

import hashlib
import hmac
import os
from pathlib import Path

from fastapi import HTTPException, Request
from fastapi.security import HTTPBearer

from softtf.errors import UserError, reason_of
from softtf.files.reading import read_text

VARIABLE = "SOFTTF_TOKEN"
SHORTEST, LARGEST = 16, 4096  # characters of a token, bytes of its file
REMEDY = f"give {SHORTEST} or more letters and digits, such as `openssl rand -hex 32` prints"


def read_token(file: Path | None) -> str | None:
    """Return the token in a file or in the environment; None if there is neither. A command line never has it.

    Raises:
        UserError: the file cannot be read, or the token is too short or has other characters than ASCII's.
    """
    if file is None:
        if VARIABLE not in os.environ:
            return None
        token, where = os.environ[VARIABLE], f"${VARIABLE}"
    else:
        where = str(file)
        try:
            token = read_text(file, LARGEST)
        except (OSError, ValueError) as error:  # ValueError: no UTF-8, or a NUL in the path
            raise UserError(f"the token's file {where} cannot be read: {reason_of(error)}") from None
    token = token.strip()
    if len(token) < SHORTEST or not (token.isascii() and token.isprintable()) or " " in token:
        raise UserError(f"the token in {where} cannot be used; {REMEDY}")
    return token


class Token(HTTPBearer):
    """Refuses requests without the token, by a comparison whose time tells nothing about it."""

    def __init__(self, token: str) -> None:
        super().__init__(auto_error=False)
        self._digest = _digest(token)

    async def __call__(self, request: Request) -> None:  # type: ignore[override]
        """Let a request pass, or raise an HTTPException with status 401."""
        found = await super().__call__(request)
        if found is None or not hmac.compare_digest(_digest(found.credentials), self._digest):
            raise HTTPException(401, "the header Authorization: Bearer TOKEN is missing or wrong", CHALLENGE)


CHALLENGE = {"WWW-Authenticate": "Bearer"}


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
