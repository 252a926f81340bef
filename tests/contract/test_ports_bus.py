"""Events over EventBridge: what is sent reaches whoever has a rule for it, from a source that is ours alone."""

import json
from typing import Any

import pytest

from chalicelib import wire
from chalicelib.aws.bus import EventBus
from chalicelib.errors import TransientError
from tests.builders import a_recovery
from tests.contract.aws import Account

DETAIL = wire.recovery_progress(a_recovery())


class Follower:
    """A queue that hears what a rule on the default bus lets through."""

    def __init__(self, account: Account, pattern: dict[str, Any]) -> None:
        self._sqs = account.session.client("sqs")
        events = account.session.client("events")
        self._queue = self._sqs.create_queue(QueueName="follower")["QueueUrl"]
        arn = self._sqs.get_queue_attributes(QueueUrl=self._queue, AttributeNames=["QueueArn"])["Attributes"]
        events.put_rule(Name="follower", EventPattern=json.dumps(pattern))
        events.put_targets(Rule="follower", Targets=[{"Id": "queue", "Arn": arn["QueueArn"]}])

    def heard(self) -> list[dict[str, Any]]:
        messages = self._sqs.receive_message(QueueUrl=self._queue, MaxNumberOfMessages=10).get("Messages", [])
        return [json.loads(message["Body"]) for message in messages]


def test_what_is_sent_reaches_whoever_listens_to_us(account: Account) -> None:
    follower = Follower(account, {"source": ["ebbtide"], "detail-type": [wire.RECOVERY_PROGRESS]})

    EventBus(account.clients).send(wire.RECOVERY_PROGRESS, DETAIL)

    (event,) = follower.heard()
    assert event["detail"] == DETAIL


def test_our_own_reports_door_does_not_hear_it(account: Account) -> None:
    follower = Follower(account, {"source": [{"prefix": "ebbtide."}]})

    EventBus(account.clients).send(wire.RECOVERY_PROGRESS, DETAIL)

    assert follower.heard() == []


def test_what_eventbridge_did_not_take_is_to_be_sent_again(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers 200 all the same."""
    refused = {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "ThrottlingException"}]}
    monkeypatch.setattr(account.clients.events, "put_events", lambda **_: refused)

    with pytest.raises(TransientError, match=r"Ebbtide Recovery Progress.* was not taken: ThrottlingException"):
        EventBus(account.clients).send(wire.RECOVERY_PROGRESS, DETAIL)
