"""Which of an hour's ticks does what is not for each of them."""

from datetime import datetime

# Minutes between ticks, so that one of an hour's twelve falls into its first minutes.
_A_TICK = 5


def is_the_hours_first(now: datetime) -> bool:
    return now.minute < _A_TICK
