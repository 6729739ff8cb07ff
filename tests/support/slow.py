"""Cases of a law: the quick tests run some that stand for all, `pytest -m slow` the others."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import pytest


def each(name: str, cases: Mapping[str, Any] | Iterable[str], quick: Collection[str]) -> pytest.MarkDecorator:
    """Parametrize a test's argument `name` by all cases, by their names; those that are not among `quick` are slow.

    name: of several arguments, `a, b`; a case is then a tuple.
    """
    cases = dict(cases) if isinstance(cases, Mapping) else {case: case for case in cases}
    assert cases.keys() >= set(quick)
    several = "," in name
    values = [
        pytest.param(*(v if several else [v]), id=n, marks=() if n in quick else pytest.mark.slow)
        for n, v in cases.items()
    ]
    return pytest.mark.parametrize(name, values)
