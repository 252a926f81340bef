"""Alarms over SNS: to the stack's own topic, or to another that the policy names."""

from chalicelib.aws.clients import Clients
from chalicelib.aws.faults import told

# https://docs.aws.amazon.com/sns/latest/api/API_Publish.html: ASCII, one line, fewer than 100 characters; 256 KiB.
_LONGEST_SUBJECT = 99
_LARGEST_BODY = 256 * 1024
_SENDER = "Ebbtide: "


class SnsAlarms:
    """`topic_arn` is the stack's own topic."""

    def __init__(self, clients: Clients, topic_arn: str) -> None:
        self._clients = clients
        self._topic_arn = topic_arn

    def publish(self, topic: str | None, subject: str, body: str) -> None:
        """To a topic of this name in the same account and region; without a name, to the stack's own."""
        with told(f"publishing to topic {topic or 'of the stack'}"):
            self._clients.sns.publish(TopicArn=self._arn(topic), Subject=_subject(subject), Message=_body(body))

    def _arn(self, topic: str | None) -> str:
        return f"{self._topic_arn.rpartition(':')[0]}:{topic}" if topic else self._topic_arn


def _subject(text: str) -> str:
    printable = "".join(each if " " <= each <= "~" else "?" for each in _SENDER + text)
    return printable if len(printable) <= _LONGEST_SUBJECT else printable[: _LONGEST_SUBJECT - 3] + "..."


def _body(text: str) -> str:
    return text.encode()[:_LARGEST_BODY].decode(errors="ignore") or "-"
