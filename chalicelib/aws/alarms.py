"""Alarms over SNS, to the topic that the policy names."""

from chalicelib.aws.clients import Clients
from chalicelib.aws.faults import told

# https://docs.aws.amazon.com/sns/latest/api/API_Publish.html: ASCII, one line, fewer than 100 characters; 256 KiB.
_LONGEST_SUBJECT = 99
_LARGEST_BODY = 256 * 1024
_SENDER = "Ebbtide: "


class SnsAlarms:
    """`prefix` and the short name make the ARN."""

    def __init__(self, clients: Clients, prefix: str) -> None:
        self._clients = clients
        self._prefix = prefix

    def publish(self, topic: str, subject: str, body: str) -> None:
        with told(f"publishing to topic {topic}"):
            self._clients.sns.publish(TopicArn=f"{self._prefix}{topic}", Subject=_subject(subject), Message=_body(body))


def _subject(text: str) -> str:
    printable = "".join(each if " " <= each <= "~" else "?" for each in _SENDER + text)
    return printable if len(printable) <= _LONGEST_SUBJECT else printable[: _LONGEST_SUBJECT - 3] + "..."


def _body(text: str) -> str:
    return text.encode()[:_LARGEST_BODY].decode(errors="ignore") or "-"
