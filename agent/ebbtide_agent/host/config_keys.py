"""Every key of /etc/backup_config: what it is when it is not said, and what it means, for help and docs alike."""

from __future__ import annotations

from dataclasses import dataclass

from ebbtide_agent.host import compression


@dataclass(frozen=True)
class Key:
    """`default` is as it would be written; None: it has to be said."""

    name: str
    default: str | None
    meaning: str


KEYS = (
    Key("HOST", None, "the host's name, as the policy has it"),
    Key("TARGET", None, "where the backup goes"),
    Key("KEEP", None, "how many snapshots a directory of this host keeps"),
    Key("USER", "root", "whom to log in as at a receiver"),
    Key("KEY", "/etc/ebbtide/key", "the private key that is shown there, and to an ssh:// target"),
    Key("KNOWN_HOSTS", "/etc/ebbtide/known_hosts", "where the other side's host keys are pinned"),
    Key("ROOT", "/", "the tree that is backed up; places and patterns are as seen from it"),
    Key("RSYNC", "rsync", "the rsync program"),
    Key("BANDWIDTH", "", "the most that is sent a second: 800k, 2.5m bytes; 800 is 800k; empty: no limit"),
    Key("COMPRESS", compression.AUTO, "whether what is sent is; auto: not to a private network; yes or no"),
    Key("ONE_FILE_SYSTEM", "no", "yes: leave out what is mounted below ROOT"),
    Key("WHOLE_SYSTEM", "yes", "no: leave nothing out by itself, not even /proc"),
    Key("SCRIPT_MINUTES", "60", "how long each of /etc/backupscripts may take"),
    Key("WAIT_MINUTES", "120", "how long a target that cannot be reached is tried"),
    Key("SHRINK", "50", "hold a night back in which more than this percentage is gone; or no"),
    Key("REWRITE", "50", "call a night suspect in which more than this percentage is rewritten; or no"),
    Key("CHECK", "30", "within how many nights the content of every file is read once; or no"),
    Key("NICE", "10", "how far it comes after others to the processor, 0 to 19"),
    Key("IONICE", "best-effort", "and to the disks: idle, best-effort in its last place, or no"),
)
REQUIRED = tuple(key.name for key in KEYS if key.default is None)
DEFAULTS = {key.name: key.default for key in KEYS if key.default is not None}
