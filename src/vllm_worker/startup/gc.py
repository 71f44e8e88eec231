"""When Python's garbage collector runs while a process imports."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """For imports: what they make is no garbage, and to search it all the time takes a quarter of
    theirs. It is not searched afterwards either."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def collect_garbage_rarely() -> None:
    """The same for a process that cannot say when it has imported all."""
    gc.set_threshold(100_000, 50, 100)
