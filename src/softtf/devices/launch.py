"""The launcher of a run on several devices, `torchrun` or `accelerate launch`, as the environment shows it."""

import os
import socket
from datetime import timedelta

SPOKEN = "softtf/spoken"
SECONDS_TO_ASK = 30


def launched() -> int:
    """Return how many processes the launcher started for one run; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ and unreadable() is None else 1


def unreadable() -> str | None:
    """Return the name of the launcher's variable that is no number; None if there is no launcher, or both are."""
    numbers = ("RANK", "WORLD_SIZE") if "RANK" in os.environ else ()
    return next((name for name in numbers if not os.environ.get(name, "1").isdecimal()), None)


def shows() -> bool:
    """Return whether this process shows progress and results: of all processes of a run, the first does."""
    return launched() == 1 or os.environ["RANK"] == "0"


def may_speak() -> bool:
    """Return whether this process shows why it ends: of all processes of a run, the first to ask does.

    The launcher's store knows who asked. If the store is gone, each process speaks for itself.
    """
    if launched() == 1:
        return True
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    place = os.environ.get("MASTER_ADDR", "localhost"), int(os.environ.get("MASTER_PORT", "29500"))
    try:
        socket.create_connection(place, SECONDS_TO_ASK).close()  # where there is none, torch would print pages
        store = TCPStore(*place, is_master=False, timeout=timedelta(seconds=SECONDS_TO_ASK), wait_for_workers=False)
        return bool(store.add(f"{SPOKEN}/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", 1) == 1)
    except (OSError, RuntimeError):
        return True
