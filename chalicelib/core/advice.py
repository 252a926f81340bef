"""Every kind of trouble: when it is told, and what to do then. Messages and docs/alarms.md say the same."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What can be wrong."""

    MISSED = "missed"
    SUSPECT = "suspect"
    STALE = "stale"
    RUN_FAILED = "run failed"
    PRUNE_REFUSED = "prune refused"
    DRILL_FAILED = "drill failed"
    PROOF_OLD = "proof old"
    RESTORE_FAILED = "restore failed"
    RESTORE_DOUBTFUL = "restore doubtful"
    RESTORE_ENDS = "restore ends"
    COPY_FAILED = "copy failed"
    LOCK_FAILED = "lock failed"
    SNAPSHOT_GONE = "snapshot gone"
    DISK_FILLING = "disk filling"
    VOLUME_DAMAGED = "volume damaged"
    HOST_QUOTA = "host quota"
    DISK_WARNING = "disk warning"
    BUDGET = "budget"
    DRILL_BUDGET = "drill budget"
    LEFT_STANDING = "left standing"
    LAUNCH_REFUSED = "launch refused"
    KEY_UNUSABLE = "key unusable"
    QUOTA = "quota"
    MISSING_PART = "missing part"
    GUARD_OFF = "guard off"
    LOCKS_BEGIN = "locks begin"
    PREFLIGHT_BLIND = "preflight blind"
    PREFLIGHT_SILENT = "preflight silent"


@dataclass(frozen=True)
class Advice:
    """When a kind of trouble is told, and what to do then."""

    meaning: str
    to_do: str


ADVICE: Mapping[Kind, Advice] = {
    Kind.MISSED: Advice(
        "A host gave no restore point on `alarm_after` nights in a row: it was missing, partial or failed. "
        "In a failed run only what the host itself reported counts.",
        "Look at the agent's log on the host, and start `ebbtide-agent run` there by hand, while a receiver stands. "
        "Its newest restore point is kept meanwhile.",
    ),
    Kind.SUSPECT: Advice(
        "A host's night looked like the end of its data: a file system that is not mounted or half of the tree gone "
        "(then nothing was pushed), or most files rewritten at once (then it was pushed, and is no restore point). Or "
        "the receiver found half gone or rewritten, or less than half of what one of the last 30 complete nights held. "
        "Told after the first such night.",
        "Find out what happened on the host; every night is suspect until then. Restore from a point before this night "
        "if it was an attack. If it is meant, do what the report's first problem says: `ebbtide-agent run "
        "--accept-shrink` or `--accept-rewrite` on the host, once, while a receiver stands, or where the receiver saw "
        'it, `guard = "off"` for the host in the policy, for one night.',
    ),
    Kind.STALE: Advice(
        "A host's newest restore point is more than `alarm_after` + 1 days old, or it has had none at all for so long, "
        "whatever the reason: perhaps no run was opened at all.",
        "Look whether the function `tick` runs and whether a run of the receiver is stuck; then start `ebbtide run`. "
        "A host with a volume of its own has not reported: look at the agent's log there.",
    ),
    Kind.RUN_FAILED: Advice(
        "A run closed without a single restore point. Every failed run is told, but for what a host with a volume of "
        "its own says of itself, which is counted as `missed`.",
        "What it says is what to mend; behind `receiver N says` are the words of a machine that let nobody in. Then "
        "`ebbtide run` gives the night another attempt. A host with a volume of its own gives itself one with its "
        "next night. A volume that turned read-only is checked and mended by the next receiver; if it does so again, "
        "restore from before that night, and give the receiver another volume.",
    ),
    Kind.PRUNE_REFUSED: Advice(
        "Retention would not delete anything, because a guard said no.",
        "Compare with `ebbtide prune --dry-run`. Nothing is deleted meanwhile; snapshots, and what they cost, add up.",
    ),
    Kind.DRILL_FAILED: Advice(
        "The latest drill of a host did not prove its restore point. A host without a `probe` is content with "
        "identical content.",
        "Read the findings, mend what they say, and run `ebbtide drill` again. Until then do not rely on this host's "
        "newest point: restore an older one that was proven.",
    ),
    Kind.PROOF_OLD: Advice(
        "Where the policy has `drill.every`: the last drill that proved a host's backup is twice that long ago, or the "
        "host has had restore points for so long and no drill has proved one. So it is told at once where "
        "`drill.every` is new and the points are not.",
        "Where `drill.every` is new, wait: it ends with the first drill of each host, for all within about that time. "
        "Otherwise look whether drills are begun at all, in the log of the function `begin_drills`, which does it once "
        "an hour; then start `ebbtide drill`.",
    ),
    Kind.RESTORE_FAILED: Advice(
        "A server that somebody wanted back did not come back, and what there was of it has been taken down. Whoever "
        "asked for it may not have waited. Not told of one that somebody has closed.",
        "Read the findings, mend what they say, and run `ebbtide restore` again, with `--at` for an older point. This "
        "ends once a restore of the host is back, or a drill of it has come to its end: `ebbtide drill` if nobody "
        "wants the server any more.",
    ),
    Kind.RESTORE_DOUBTFUL: Advice(
        "A restored server is not what was backed up (`different`), or nobody could compare it (`unproven`), or it did "
        "not come up or did not answer its `probe` (`content only`), or it has come to no verdict within a day. It "
        "answers before it is compared, and may be in use, or off by now; that it has not come up is told at once. Or "
        "what its machine says of it cannot be read (`unheard`): then it may be back, and nothing ends it before its "
        "time.",
        "Read the findings, which `ebbtide restore` says again with its address, or why it has none and which volume "
        "to attach: nobody takes it down for them, and whoever uses it should know. `ebbtide restore --at` brings back "
        "an older point beside it, and `ebbtide drill` proves one; `ebbtide close` takes it down, and ends this.",
    ),
    Kind.RESTORE_ENDS: Advice(
        "A restored server is taken down within 48 hours, with its machine, its volume, and all that was written there "
        "since: that is in no backup.",
        "Whoever still works on it moves out what is new there, or says `ebbtide restore` again with what it was asked "
        "with and `--for 7d`, which gives it more time, up to 28 days in all. `ebbtide close` takes it down now, if it "
        "is nobody's. This ends with either.",
    ),
    Kind.COPY_FAILED: Advice(
        "Snapshots lack the copies that the policy wants in another place: a copy or an offer has failed twice, or it "
        "is wanted for more than a day (no room, a region out of reach, a backlog, a vault that does not pull), or "
        "nobody could look for a day.",
        "Read the reasons, and the log of the function `copy`, the vault's for a vault: the encryption key, the quota "
        "of snapshots under way, the region itself. The sources stay until they are copied; what they cost adds up.",
    ),
    Kind.LOCK_FAILED: Advice(
        "At a vault with `LockDays`: for an hour EBS has refused to lock copies, or to show what is locked.",
        "Read the reasons: mostly a permission is missing, compare the role of the function `copy` with "
        "`.chalice/policy-copy.json`. Every tick tries again; until then who rules in the vault can delete them.",
    ),
    Kind.SNAPSHOT_GONE: Advice(
        "A snapshot with restore points is not there any more, and retention did not delete it. Found by the pruning "
        "after a run; its points are in the catalogue no longer, and this is told for a day.",
        "Find out who deleted it (`DeleteSnapshot` in CloudTrail), and whether more will follow: a hold keeps what is "
        "left from retention only, a lock from everyone. Copies of it in another region are still there.",
    ),
    Kind.DISK_FILLING: Advice(
        "A receiver's volume is 90 % full when it lets go of it (told again from 95 %), or will be full within 14 days "
        "if it goes on as on its last nights. Fewer than three nights make no forecast.",
        "Make `volume.size` of the receiver larger and apply the policy: the volume grows before its next night. What "
        "does not fit is partial that night.",
    ),
    Kind.VOLUME_DAMAGED: Advice(
        "A receiver found its volume damaged: the file system beyond what fsck mends without a guess, or the file that "
        "says whose the volume is. It was set aside, and the night went on with another one, made from the newest "
        "snapshot that was sound: hosts pushed what was missing. Told until the receiver's next night.",
        "Restore points are in snapshots, and most are what they were. If a night since the last snapshot is missed, "
        "attach the volume to a machine of your own, read only, within 30 days; then it is deleted, or once two more "
        "were set aside. A snapshot that has the tag `ebbtide:damaged` is damaged as well: no volume is made from it "
        "any more and nothing in it counts as a restore point; it stays for 30 days at least, and is in the plan of "
        "`ebbtide prune --dry-run`. Where that tag was refused, the message says so: put it there by hand, for until "
        "then what the snapshot holds counts. What was found is in the archive, below `reports/`.",
    ),
    Kind.HOST_QUOTA: Advice(
        "A host holds 90 % of its quota on its receiver's volume (told again from 95 %), or will hold all of it within "
        "14 days if it goes on as on its last nights; or nothing keeps it to its quota, and the reason is told.",
        "Raise `quota` of the host and apply the policy, or let the host exclude more: at its quota it is partial each "
        "night, and no other host notices. A quota that holds nothing leaves the volume to whoever fills it first.",
    ),
    Kind.DISK_WARNING: Advice(
        "A host reported with its last night that a disk of its own is failing (SMART), that an array is degraded, or "
        "that a file system is 90 % full or does not answer. The night itself may have been complete.",
        "Replace the disk while the newest restore point is good, or make room. What the host knows of all its disks "
        "is in its report.",
    ),
    Kind.BUDGET: Advice(
        "By list prices and the last nights a month costs more than a month of the policy's `budget`. It is an "
        "estimate: snapshots count by what hosts have sent.",
        "`ebbtide cost` shows every part and how it came about. Keep fewer points, copy fewer, or raise the budget; "
        "what it really costs is in AWS's bill.",
    ),
    Kind.DRILL_BUDGET: Advice(
        "By list prices and the drills of the last weeks a month of them costs more than a month of `budget` in "
        "`[drill]`: they have become more, take longer, or stand on larger machines and volumes.",
        "`ebbtide cost` shows the drills of each receiver: how many a month, for how long, on what. Look at those that "
        "took long, and whether somebody begins them by hand; then drill less often (`drill.every`), on a smaller "
        "`restore.instance`, or raise the budget.",
    ),
    Kind.LEFT_STANDING: Advice(
        "A machine or volume has outlived the run, drill, restore or opening that it was made for, and two hours later "
        "is still there, although the sweep removes such things every hour. Or it is of one that the catalogue does "
        "not know: then no list of what stands has it, and it is left until its tag `ebbtide:expires` says. It costs "
        "until it is gone.",
        "`ebbtide rebuild` brings back what the catalogue has lost, and `ebbtide close` then lists and ends it. Of "
        "anything else read the log of the function `sweep`: mostly a permission is missing, or somebody has attached "
        "the volume elsewhere. Look at what its tag `Name` says, then end the machine or delete the volume by hand. "
        "It is no volume that a receiver backs up to any more, and no restore point is lost with it.",
    ),
    Kind.LAUNCH_REFUSED: Advice(
        "The daily preflight asked EC2, without launching anything, whether it would launch a machine that a night or "
        "a restore needs, and it would not: a permission, the image, the type, the subnet or the group.",
        "Mend what EC2 says before the next window opens, and look again with `ebbtide preflight`.",
    ),
    Kind.KEY_UNUSABLE: Advice(
        "A KMS key that volumes, snapshots or copies are encrypted with is not enabled, is about to be deleted, or "
        "refuses a dry use.",
        "Enable it (`aws kms enable-key`) or cancel its deletion (`aws kms cancel-key-deletion`, then enable it). What "
        "is encrypted with a deleted key is lost for good, every restore point included.",
    ),
    Kind.QUOTA: Advice(
        "What the next night needs does not fit into a quota of the account, or four fifths of the quota are used.",
        "Ask for more in the console of Service Quotas, which may take days; or free some.",
    ),
    Kind.MISSING_PART: Advice(
        "Something that a receiver fetches when it boots is not there: the agent's file in the archive, or its host "
        "key in the parameter store.",
        "Put it there again as in docs/deployment.md. A new host key must also be pinned by every host.",
    ),
    Kind.GUARD_OFF: Advice(
        'The policy has `guard = "off"` for a host, which is meant for one night: whatever is gone from its tree, or '
        "was rewritten in it, is a restore point like any other.",
        "Once a night has taken what was meant, take `guard` out of the policy and apply it.",
    ),
    Kind.LOCKS_BEGIN: Advice(
        "At a vault with `LockDays`: EBS has locked copies for longer than any before, and soon nobody can take that "
        "back. Told every day while it can be; later locks of the same length are not told.",
        "If it is meant, nothing. If not, deploy the vault with `LockDays=0`, or the days that are meant, and then "
        "`aws ec2 unlock-snapshot` each copy before the time it says; what is paid for afterwards is paid to the end.",
    ),
    Kind.PREFLIGHT_BLIND: Advice(
        "The preflight could not look at something, so that nobody knows whether the next night has it. What was wrong "
        "with it when that was last seen is not well again by this.",
        "Mostly a permission is missing: compare the function's role with `.chalice/policy-preflight.json`, and let "
        "the policy of a key of your own allow its account's roles to use it.",
    ),
    Kind.PREFLIGHT_SILENT: Advice(
        "For two days there was no preflight, or none is known at all.",
        "Look at the log and the schedule of the function `preflight`, then start `ebbtide preflight`. After a rebuild "
        "of the catalogue that is all there is to do.",
    ),
}
