"""What a peer does unless it is told otherwise, and the most that it does at all."""

from __future__ import annotations

from datetime import timedelta

PORT = 2222
KEEP_DAYS = 7
ALARM_AFTER_DAYS = 2
LONGEST_OPENING = timedelta(days=1)
