"""The table of faults: what may go wrong, and what Ebbtide must then do; a row by its number."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    fault: str
    behaviour: str


HOST = {
    "H1": Row(
        "a host is down all night", "missing, the run degraded, its last point kept, told after the second night"
    ),
    "H2": Row("a script before the backup fails or hangs", "killed at its timeout, never complete"),
    "H3": Row("a dump is empty or cut short, and its program says nothing", "the check of the dump fails the night"),
    "H4": Row(
        "a file vanishes while it is read",
        "scanned and pushed once more; partial if it goes on; a warning where files come and go by themselves",
    ),
    "H5": Row("a file cannot be read", "partial, with the list of paths"),
    "H6": Row("the agent is killed in the middle", "no completion; a restore takes the earlier snapshot"),
    "H7": Row("two agents at once", "the second one is refused"),
    "H8": Row("the host's clock is wrong", "times are the receiver's"),
    "H9": Row("a change keeps size and time", "found by a checksum sample within 30 days"),
    "H11": Row("completion before the data is durable", "the tree is synced before it is recorded"),
    "H13": Row("a million entries, sparse terabytes, strange names", "they come back equal"),
    "H14": Row("the source is not mounted", "nothing is deleted, suspect"),
    "H15": Row("everything is rewritten at once", "suspect, kept, told"),
    "H17": Row("an image that recovery cannot run", "recorded at backup time, the drill says so early"),
}
NETWORK = {
    "N1": Row("the name still has the old address", "looked up again; the wrong machine is not believed"),
    "N2": Row("no receiver at cron's minute", "tried again until the cut-off"),
    "N3": Row("the link drops inside a file", "resumed, and no restore point holds a torn file"),
    "N4": Row("a black hole", "given up within ten minutes"),
    "N6": Row("a thousand hosts at once", "none starves"),
    "N7": Row("another host key", "refused, told, and nothing sent"),
    "N8": Row("events cannot be sent", "kept for later; the deadline closes the run"),
}
RECEIVER = {
    "R1": Row("EC2 has no room", "the next type, then another zone from the snapshot, then failed and told"),
    "R2": Row("a receiver is never ready", "replaced once, then failed and told"),
    "R3": Row("the wrong volume, or none", "refused"),
    "R4": Row("the file system turns read-only", "failed, and no snapshot counts"),
    "R5": Row("the volume is full", "a quota for each host, told, larger the next day, and still a snapshot"),
    "R7": Row("the receiver is lost in the middle", "replaced, the volume attached again, the push resumed"),
    "R10": Row("the volume cannot be let go of", "powered off, crash-consistent; what was reported counts"),
    "R11": Row("power-off hangs", "ended past deadline and grace, crash-consistent"),
    "R12": Row("the receiver's clock is wrong", "no host is let in before it is right"),
    "R14": Row("a snapshot holds a damaged file system", "checked at the start; the previous one is taken"),
}
CONTROL_PLANE = {
    "C1": Row("a Lambda dies after any call", "played again it converges"),
    "C2": Row("events are lost", "the tick closes within ten minutes"),
    "C3": Row("events come a hundred times, at once", "one transition"),
    "C6": Row("nothing is invoked", "alarms, and someone outside misses us"),
    "C7": Row("a schedule is skipped, or fires twice", "caught up with; the same run"),
    "C8": Row("the table throttles", "tried again; nothing is done without the write"),
    "C9": Row("a poisonous event", "told, and the others go on"),
    "C11": Row("two operators begin a night", "one is refused"),
    "C13": Row("the channel of alarms is broken", "told later; a weekly letter is missed"),
    "C14": Row("a policy names who is not there", "refused, and the old one stays"),
}
AWS_API = {
    "A1": Row("CreateSnapshot fails after its effect", "adopted by its tag, and no second one"),
    "A2": Row("what was made does not show for minutes", "waited for, and only then asked for again"),
    "A3": Row("snapshots are limited", "backed off, until a later tick"),
    "A4": Row("a snapshot ends in an error", "taken once more, else the run has failed"),
    "A6": Row("a launch is ambiguous", "the same token; one that is spent costs an attempt"),
    "A7": Row("a volume is stuck", "waited for, then the instance is replaced"),
    "A8": Row("a page of a listing fails", "nothing is deleted"),
    "A9": Row("a listing is empty", "pruning refuses"),
    "A11": Row("a storm of throttling", "outlasted"),
    "A12": Row("the key is disabled", "found out by day"),
    "A13": Row("a quota is reached", "found out by day"),
    "A14": Row("a permission is gone", "said clearly, told, and the timer ends the instance"),
    "A15": Row("a region is out", "the other one restores from what is there"),
    "A17": Row("an event of another region is missed", "its own tick"),
}
TIME = {
    "T1": Row("clocks change, midnight, leap day, the year's end", "every day has its night, every week is kept"),
    "T2": Row("a week of failures", "old points do not age out"),
}
OPERATOR = {
    "O2": Row("someone deletes a snapshot, a volume, the table", "rebuilt from what is left; the gap is told"),
    "O3": Row("retention is cut by mistake", "capped, until confirmed"),
    "O5": Row("a restore aims at production", "refused; a new name by default"),
    "O6": Row("a restored clone backs itself up", "the agent is masked there"),
    "O7": Row("a drill leaves something behind", "swept, or told; told too when drills cost more than they may"),
    "O8": Row("a drill compares nothing", "no proof"),
    "O9": Row("services do not start in a chroot", "a container, or their own commands"),
}
ATTACKER = {
    "X1": Row("a host reaches for another's tree", "no effect outside its own"),
    "X2": Row("a host wants a shell or a tunnel", "refused"),
    "X3": Row("a forged report", "rejected"),
    "X4": Row("a host floods", "quotas, caps, escaping"),
    "X6": Row("the receiver's role is stolen", "it deletes, launches and reads nothing of others"),
    "X7": Row("the account's administrator is stolen", "what is locked, and what is elsewhere, survives"),
    "X8": Row("a poisoned image is restored", "it reaches nothing"),
    "X9": Row("rsync itself is broken into", "confined to that host's tree"),
}

ROWS = {
    "Host": HOST,
    "Network": NETWORK,
    "Receiver": RECEIVER,
    "Control plane": CONTROL_PLANE,
    "AWS": AWS_API,
    "Time": TIME,
    "Operator": OPERATOR,
    "Attacker": ATTACKER,
}
