"""What the gates have left is sent by the main process: again and again while nobody answers, less and less often."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ebbtide_agent import letters
from ebbtide_agent.cloud import Cloud
from ebbtide_agent.errors import AgentError
from ebbtide_agent.receiver.mail import Mail
from ebbtide_agent.receiver.station import say

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 60.0


@dataclass
class Postman:
    """Whoever has just sent in vain rests."""

    mail: Mail
    cloud: Cloud
    _pause: float = FIRST_PAUSE_SECONDS
    _rests_until: float = 0.0

    def go(self) -> None:
        """Unless it rests."""
        if time.monotonic() < self._rests_until:
            return
        try:
            self.mail.send(self.cloud)
            self._pause = FIRST_PAUSE_SECONDS
        except AgentError as error:
            say(f"{error}; trying again in {self._pause:.0f} s")
            self._rests_until = time.monotonic() + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)


def send_now(mail: Mail, cloud: Cloud) -> None:
    """Twice if need be; what does not get through is logged, and no more: nobody waits for a hint."""
    for pause in (FIRST_PAUSE_SECONDS, None):
        try:
            return mail.send(cloud)
        except AgentError as error:
            if pause is None:
                say(f"{error}; {len(letters.waiting(mail.path))} events are not sent, the archive has it all")
            else:
                time.sleep(pause)
    return None
