"""The sandbox's one door to the environment of its process: what Lambda would have set for the handlers."""

import os
from collections.abc import Mapping


class Environment:
    """Variables of this process, put back as they were by restore()."""

    def __init__(self) -> None:
        self._before: dict[str, str | None] = {}

    def set(self, variables: Mapping[str, str]) -> None:
        """Set them, whatever they were."""
        for name, value in variables.items():
            self._before.setdefault(name, os.environ.get(name))
            os.environ[name] = value

    def restore(self) -> None:
        """As they were before the first set()."""
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self._before.clear()
