"""The page about alarms says what the code does."""

import re
from pathlib import Path

from chalicelib.core.measures import Name
from tools.alarm_reference import DOCUMENT, updated

ROOT = Path(__file__).parents[2]


def test_the_table_is_what_messages_say_now() -> None:
    document = DOCUMENT.read_text()

    assert document == updated(document), "run `python -m tools.alarm_reference`"


def test_every_metric_is_on_the_page() -> None:
    page = DOCUMENT.read_text()

    assert [name for name in Name if f"`{name.value}`" not in page] == []


def test_every_alarm_of_the_stack_is_on_the_page() -> None:
    template = (ROOT / "infra" / "resources.yaml").read_text()

    alarms = re.findall(r"^  (\w+):\n    Type: AWS::CloudWatch::Alarm$", template, re.MULTILINE)

    assert len(alarms) == 3
    assert [alarm for alarm in alarms if f"| `{alarm}` |" not in DOCUMENT.read_text()] == []
