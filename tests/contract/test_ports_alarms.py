"""Alarms over SNS: what is published arrives whole at whoever has subscribed, in a form that SNS accepts."""

import json

import pytest

from chalicelib.aws.alarms import SnsAlarms
from chalicelib.errors import PermanentError
from tests.contract.aws import REGION, Account

# moto's account, and the prefix a deployment would give.
TOPICS = f"arn:aws:sns:{REGION}:123456789012:ebbtide-test-"


class Subscriber:
    """A queue that hears what is said to a topic of the stack."""

    def __init__(self, account: Account, topic: str) -> None:
        self._sqs = account.session.client("sqs")
        sns = account.session.client("sns")
        self._queue = self._sqs.create_queue(QueueName=topic)["QueueUrl"]
        arn = self._sqs.get_queue_attributes(QueueUrl=self._queue, AttributeNames=["QueueArn"])["Attributes"]
        made = sns.create_topic(Name=f"ebbtide-test-{topic}")["TopicArn"]
        sns.subscribe(TopicArn=made, Protocol="sqs", Endpoint=arn["QueueArn"])

    def heard(self) -> list[tuple[str, str]]:
        """The subjects and bodies, once."""
        messages = self._sqs.receive_message(QueueUrl=self._queue, MaxNumberOfMessages=10).get("Messages", [])
        envelopes = [json.loads(message["Body"]) for message in messages]
        return [(envelope["Subject"], envelope["Message"]) for envelope in envelopes]


@pytest.fixture
def alarms(account: Account) -> SnsAlarms:
    return SnsAlarms(account.clients, TOPICS)


def test_what_is_published_arrives_at_the_subscribers_of_that_topic_only(alarms: SnsAlarms, account: Account) -> None:
    ops, others = Subscriber(account, "ops"), Subscriber(account, "alarms")

    alarms.publish("ops", "run failed: run main/2026-11-23/1", "since: …\nwhat to do: …")

    assert ops.heard() == [("Ebbtide: run failed: run main/2026-11-23/1", "since: …\nwhat to do: …")]
    assert others.heard() == []


@pytest.mark.parametrize("subject", ["x" * 500, "a line\nand another", "Zürich — \x1b[2J", ""])
def test_whatever_the_subject_it_is_one_that_sns_accepts(alarms: SnsAlarms, account: Account, subject: str) -> None:
    ops = Subscriber(account, "ops")

    alarms.publish("ops", subject, "body")

    ((sent, _),) = ops.heard()
    assert sent.startswith("Ebbtide: ")
    assert sent.isascii()
    assert sent.isprintable()
    assert len(sent) < 100


def test_a_body_that_sns_would_not_take_is_cut_between_characters(alarms: SnsAlarms, account: Account) -> None:
    ops = Subscriber(account, "ops")

    alarms.publish("ops", "long", "ü" * 200_000)

    ((_, body),) = ops.heard()
    assert body == "ü" * 131_072


def test_a_topic_that_is_not_there_is_a_fault_that_names_it(alarms: SnsAlarms) -> None:
    with pytest.raises(PermanentError, match="topic ops"):
        alarms.publish("ops", "subject", "body")
