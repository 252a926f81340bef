"""The judge of a sandbox's night reads what a recovery had in its hands out of the archive."""

from pathlib import Path

import pytest

from chalicelib.aws import archive as s3
from chalicelib.aws.archive import S3Archive
from ebbtide_agent import manifest
from ebbtide_agent.entry import Header
from ebbtide_console.sandbox.judge import judge
from ebbtide_console.sandbox.trees import Source
from tests.contract.aws import Account


def test_what_was_restored_is_judged_however_many_files_there_are(
    account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree, found = tmp_path / "tree", tmp_path / "found"
    tree.mkdir()
    (tree / "file").write_text("as it was")
    manifest.write(tree, "real", None, found, Header("us0a", "main/2026-11-23/1", "real"))
    archive = S3Archive(account.clients, account.bucket)
    archive.put_once("found", found.read_bytes())
    monkeypatch.setattr(s3, "LARGEST", found.stat().st_size - 1)

    comparison = judge(Source("us0", tree, "here", whole_system=False), "found", archive)

    assert (comparison.identical, comparison.entries) == (True, 2)
