"""A receiver's events on their way out: in order, once each, and there until they are through."""

from pathlib import Path
from typing import Any

import pytest

from ebbtide_agent.errors import AgentError, TransientError
from ebbtide_agent.receiver.mail import Mail


class Bus:
    """It takes so many events, and then none."""

    def __init__(self, takes: int) -> None:
        self.takes = takes
        self.taken: list[str] = []

    def send_event(self, source: str, detail_type: str, detail: dict[str, Any]) -> None:
        if len(self.taken) == self.takes:
            raise TransientError("nobody answers")
        self.taken.append(f"{source}: {detail_type} of {detail['host']}")


@pytest.fixture
def mail(tmp_path: Path) -> Mail:
    mail = Mail(tmp_path)
    for host in ("us0", "eu0", "us0", "ap0"):
        mail.leave("ebbtide.receiver.main", "Ebbtide Host Report", {"host": host})
    return mail


def sent(mail: Mail, takes: int) -> list[str]:
    bus: Any = Bus(takes)
    try:
        mail.send(bus)
    except AgentError as error:
        return [*bus.taken, str(error)]
    return list(bus.taken)


@pytest.mark.fault("N8")
def test_events_go_out_in_their_order_and_what_was_left_twice_once(mail: Mail) -> None:
    assert sent(mail, 9) == [f"ebbtide.receiver.main: Ebbtide Host Report of {host}" for host in ("us0", "eu0", "ap0")]
    assert sent(mail, 9) == []


@pytest.mark.attack("report the same twenty times, each an event", row="X4", outcome="told once")
@pytest.mark.fault("X4")
def test_what_was_sent_already_is_not_sent_when_it_is_left_again(mail: Mail) -> None:
    sent(mail, 9)

    for _ in range(20):
        mail.leave("ebbtide.receiver.main", "Ebbtide Host Report", {"host": "us0"})

    assert sent(mail, 9) == []


@pytest.mark.fault("N8")
def test_what_does_not_get_through_stays_with_all_behind_it(mail: Mail) -> None:
    assert sent(mail, 1) == ["ebbtide.receiver.main: Ebbtide Host Report of us0", "nobody answers"]
    assert sent(mail, 9) == [f"ebbtide.receiver.main: Ebbtide Host Report of {host}" for host in ("eu0", "ap0")]
