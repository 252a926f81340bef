"""How properties are tried: a machine that is slow, or busy, is no counterexample. How garbage is collected: seldom."""

import gc

from hypothesis import settings

settings.register_profile("ebbtide", deadline=None)
settings.load_profile("ebbtide")


def pytest_collection_finish() -> None:
    """What was imported stays: to look through all of it thousands of times takes a fifth of a simulated night."""
    gc.freeze()
    gc.set_threshold(50_000)
