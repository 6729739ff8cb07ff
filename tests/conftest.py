"""For every test: one thread (small matrices gain nothing from more), and no state left in the global generator."""

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
