"""The sandbox's one door to the environment of its process: what Lambda would have set for the handlers."""

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


def forget_the_operators_aws() -> None:
    """Take out of this process's environment whatever AWS's clients find there: their account is nothing to a sandbox,
    and a profile that is not configured would be the end of it."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]


class Environment:
    """Variables of this process, put back as they were by restore().

    Lambda gives every function a process. Here all run in one, so those of one deployment run while it has its turn,
    as many at once as there are, and those of another wait for theirs.
    """

    def __init__(self) -> None:
        self._before: dict[str, str | None] = {}
        self._turn = threading.Condition()
        self._whose = ""
        self._running = 0

    def set(self, variables: Mapping[str, str]) -> None:
        """Set them, whatever they were."""
        for name, value in variables.items():
            self._before.setdefault(name, os.environ.get(name))
            os.environ[name] = value

    @contextmanager
    def of(self, deployment: str, variables: Mapping[str, str]) -> Iterator[None]:
        """Within, these are set: it is this deployment's turn."""
        with self._turn:
            self._turn.wait_for(lambda: not self._running or self._whose == deployment)
            self._whose = deployment
            self._running += 1
            self.set(variables)
        try:
            yield
        finally:
            with self._turn:
                self._running -= 1
                self._turn.notify_all()

    def restore(self) -> None:
        """As they were before the first set()."""
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self._before.clear()
