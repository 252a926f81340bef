"""The four kinds of error: what kind it is says who acts next.

A message names the noun and its id, what happened, and what to do next.
"""


class EbbtideError(Exception):
    """Anything this program raises on purpose."""


class ConfigError(EbbtideError):
    """An operator has to edit something. Carries every fault found, not just the first."""

    def __init__(self, faults: tuple[str, ...]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class TransientError(EbbtideError):
    """It may work next time: raise it, and the platform (or the next tick) tries again."""


class CapacityError(TransientError):
    """AWS has no room for a machine or a volume of this type here now; another type or zone may do."""


class TokenSpentError(TransientError):
    """The machine this client token launched is gone; the next attempt's token may do."""


class TokenTakenError(TransientError):
    """This client token came with another request before: that one may have launched a machine, this one has not."""


class UnderWayError(TransientError):
    """Someone else is at just that now: it is done without whoever asks."""


class PermanentError(EbbtideError):
    """It will not work next time either: record it, tell someone, do not retry."""


class TooLargeError(PermanentError):
    """It is there, and larger than anything that is read here: whoever wrote it has said nothing."""


class Refused(EbbtideError):
    """A guard said no. Loud, and never retried."""
