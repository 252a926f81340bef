"""A receiver whose night somebody has written of beforehand, with the role of a machine of an earlier night."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ebbtide_agent.receiver import confine
from ebbtide_agent.receiver.ledger import MOST_MANIFESTS
from tests.local.receiver_machine import MISSING, NONCE, PATIENCE_SECONDS, RUN, a_receiver, an_aws

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
EARLIER = "f" * 32
WORDS = ("ready", "released", "damaged", "refused")


def keys_that_can_be_known() -> Iterator[str]:
    """Of this host in this run, without a nonce and under that of an earlier night."""
    for below in ("", "/hosts", f"/{EARLIER}/hosts"):
        yield f"reports/{RUN}{below}/us0a.json"
    for below in (f"runs/{RUN}", f"reports/{RUN}/words", f"reports/{RUN}/{EARLIER}/words"):
        yield from (f"{below}/{what}/1.json" for what in WORDS)
    for name in (RUN, f"{RUN}/{EARLIER}"):
        yield f"manifests/us0a/{name}.jsonl.gz"
        yield from (f"manifests/us0a/{name}.{number}.jsonl.gz" for number in range(2, MOST_MANIFESTS + 1))


@pytest.mark.attack(
    "words, a report and manifests of a night to come, under every key that can be known before it",
    row="X6",
    outcome="that night is as it would have been",
)
@pytest.mark.fault("X6", lacks="reports and manifests of one host kept from who has the machine of another")
def test_what_was_written_ahead_is_in_nobodys_way(tmp_path: Path) -> None:
    kind = confine.SEPARATE if os.geteuid() == 0 else confine.OWN
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_text("of tonight")
    with an_aws() as aws:
        for key in keys_that_can_be_known():
            assert NONCE not in key
            aws.put(key, b"written ahead")
        with a_receiver(aws, kind, ("us0",)) as receiver:
            ended = receiver.back_up("us0", tree, tmp_path / "etc")
            exit_code = receiver.process.wait(PATIENCE_SECONDS)

            report, released = receiver.report("us0"), receiver.word("released")
            assert (ended.returncode, exit_code) == (0, 0), ended.stderr + receiver.log()
            assert report and report["status"] == "complete"
            assert aws.body(report["receiver"]["manifest"]["key"]) != b"written ahead"
            assert receiver.word("ready") and released and released["clean"]
