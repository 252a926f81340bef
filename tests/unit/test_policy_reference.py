"""The policy reference in the docs says what the validation does."""

import re
from pathlib import Path

from chalicelib.core.policy_file import parse
from tests.builders import A_KEY
from tools.policy_reference import DOCUMENT, updated


def test_the_reference_is_what_the_tables_say_now() -> None:
    document = DOCUMENT.read_text()

    assert document == updated(document), "run `python -m tools.policy_reference`"


def test_the_policy_in_the_document_is_valid_once_a_real_key_is_filled_in() -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", Path(DOCUMENT).read_text(), re.DOTALL)

    policy = parse(text.replace("ssh-ed25519 AAAA... root@us0", A_KEY), "000001")

    assert policy.hosts["us0"].id == "us0a"
