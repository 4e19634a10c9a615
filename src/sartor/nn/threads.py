"""How many of torch's threads a piece of work gets."""

from collections.abc import Generator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread(small: bool) -> Generator[None]:
    """Keep small work on one core: threads that wait for each other on a busy machine cost more than it does."""
    before = torch.get_num_threads()
    if not small or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
