"""Seeds that depend only on the recipe's seed and the place of use, so a resumed run draws the same random numbers."""

import hashlib


def derive_seed(*parts: int | str) -> int:
    """Return a stable seed in [0, 2**63) for a place such as `(seed, "order", task, epoch)`."""
    digest = hashlib.sha256("\x1f".join(f"{type(p).__name__}:{p}" for p in parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
