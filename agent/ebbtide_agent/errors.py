"""The agent's errors: what kind it is says who acts next, and with which exit code the program ends."""

from __future__ import annotations


class AgentError(Exception):
    """Anything the agent raises on purpose. A message says what happened to what, and what to do next."""

    exit_code = 1


class ConfigError(AgentError):
    """An operator has to edit something. Carries every fault found, not just the first."""

    exit_code = 78

    def __init__(self, faults: tuple[str, ...]) -> None:
        super().__init__(faults)
        self.faults = faults

    def __str__(self) -> str:
        return "\n".join(self.faults)


class TransientError(AgentError):
    """It may work next time: try again, or let the next night try."""

    exit_code = 75


class PermanentError(AgentError):
    """It will not work next time either."""


class DeniedError(PermanentError):
    """AWS lets it nowhere near: what is not there looks the same to whoever may not see what is."""


class Refused(AgentError):
    """A guard said no. Never retried."""

    exit_code = 77


class Unseen(AgentError):
    """Whoever is to record a push has not seen it, as the successor of a receiver that was lost: push once more."""

    exit_code = 79


# How what a gate refuses begins, for whoever hears no more of it than what it says: rsync ends with a code of its own.
REFUSAL = "refused: "
