"""Who hears of Ebbtide: the operators' topics, and someone outside who misses the ping; with the time of it all."""

from dataclasses import dataclass, field
from datetime import datetime

from tests.sim.clock import Agenda
from tests.sim.story import Story


@dataclass
class SimAlarms:
    """SNS. What was published, with its time."""

    agenda: Agenda
    story: Story
    heard: list[tuple[datetime, str, str]] = field(default_factory=list)

    def publish(self, topic: str, subject: str, body: str) -> None:
        self.heard.append((self.agenda.now, subject, body))
        self.story.tell(f"    {topic} hears: {subject}")

    @property
    def subjects(self) -> list[str]:
        return [subject for _, subject, _ in self.heard]

    def when(self, words: str) -> datetime | None:
        """When a subject with these words in it was first heard."""
        return next((at for at, subject, _ in self.heard if words in subject), None)


@dataclass
class SimWatch:
    """The dead-man outside the account. It has heard of us at these times."""

    agenda: Agenda
    story: Story
    pinged: list[datetime] = field(default_factory=list)

    def ping(self, url: str) -> None:
        self.pinged.append(self.agenda.now)
        self.story.tell(f"    {url} is pinged")
