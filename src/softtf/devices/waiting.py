"""How OpenMP's threads wait for each other: they spin for some microseconds, then they sleep.

A thread that only spins takes the processor time that other processes need; one that sleeps at once is woken late. Both
change no sum. docs/performance.md, "A busy machine", has what each costs. This module is read before torch is loaded.
"""

from collections.abc import Mapping

NAMES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
SPINS = 3_000  # turns of GNU OpenMP, which torch's packages bring; other kinds of OpenMP read the policy alone


def waiting(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that say how threads wait: the user's if there are any, else ours."""
    own = {name: environment[name] for name in NAMES if name in environment}
    return own or {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": str(SPINS)}
