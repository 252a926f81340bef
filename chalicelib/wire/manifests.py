"""What a report says of the tree that a night has left: where its manifest lies, and of what kind of machine it is."""

from dataclasses import dataclass

from chalicelib.core.ids import own_host
from chalicelib.core.model import RunId
from chalicelib.errors import PermanentError
from chalicelib.fields import Fields, read


@dataclass(frozen=True)
class ReportedManifest:
    """`sha256` is of the object, `content` of the entries alone; an older agent does not tell the latter."""

    key: str
    sha256: str
    content: str | None


@dataclass(frozen=True)
class ReportedTree:
    """`architecture` is the host's, as `uname -m` says it; an older agent does not tell."""

    architecture: str | None
    manifest: ReportedManifest | None


def parse_reported_tree(run: RunId, host_id: str, body: bytes) -> ReportedTree:
    """Raises PermanentError for a report of another night, or another host's manifest."""
    fields = read("report", body)
    if (fields.text("run"), fields.text("id")) != (str(run), host_id):
        raise PermanentError(f"the report speaks of host {fields.text('id')[:80]} in run {fields.text('run')[:80]}")
    told = fields.part("receiver" if own_host(run) is None else "volume").maybe_part("manifest")
    return ReportedTree(fields.maybe_text("arch"), _manifest(host_id, told) if told else None)


def _manifest(host_id: str, told: Fields) -> ReportedManifest:
    key = told.text("key")
    if not key.startswith(f"manifests/{host_id}/"):
        raise PermanentError(f"the report's manifest is {key[:80]!r}, expected one below manifests/{host_id}/")
    return ReportedManifest(key, told.text("sha256"), told.maybe_text("content"))
