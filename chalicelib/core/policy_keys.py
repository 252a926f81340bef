"""Every key a policy may have, once: validation and docs/configuration.md both follow these tables."""

from chalicelib.core import policy_values as values
from chalicelib.core.checks import Key, ListOf, Named, Table

VOLUME = Table(
    (
        Key("size", values.SIZE, "Size of the data volume. A larger one is there the next night; a smaller one never."),
        Key(
            "type",
            values.one_of("gp3", "gp2", note=" (st1 and sc1 charge every small random read as 1 MiB)"),
            "EBS volume type.",
            "gp3",
        ),
        Key(
            "filesystem",
            values.one_of("ext4", "btrfs"),
            "File system made on a new volume; one that has one keeps it.",
            "ext4",
        ),
        Key(
            "mode",
            values.one_of("persistent", "ephemeral"),
            "Whether the volume stays, or is made from the last snapshot each night and goes when its own is complete.",
            "persistent",
        ),
    ),
    'a table like { size = "80GiB" }',
)

RETENTION = Table(
    tuple(
        Key(rule, values.KEEP_COUNT, meaning, 0)
        for rule, meaning in (
            ("last", "The newest points."),
            ("hourly", "The newest point of each of the last hours that have one."),
            ("daily", "The newest point of each of the last days (in UTC) that have one."),
            ("weekly", "The newest point of each of the last ISO weeks that have one."),
            ("monthly", "The newest point of each of the last months that have one."),
            ("yearly", "The newest point of each of the last years that have one."),
        )
    ),
    "a table like { daily = 7, weekly = 4 }",
)

RECEIVER = Table(
    (
        Key(
            "window",
            values.WINDOW,
            "When the receiver stands, in local time: 30 minutes to 21 hours. The end is the deadline.",
        ),
        Key("timezone", values.ZONE, "The IANA time zone of the window."),
        Key("name", values.DNS_NAME, "The name hosts connect to, in the hosted zone of the deployment."),
        Key(
            "address",
            values.one_of("route53", "elastic-ip"),
            'How the name finds tonight\'s receiver. `"elastic-ip"` has no effect yet.',
            "route53",
        ),
        Key("allow", ListOf(values.NETWORK), "Who may reach the receiver's ssh port."),
        Key(
            "instance",
            ListOf(values.INSTANCE_TYPE),
            "Instance types of one architecture, tried in this order when AWS is out of one.",
        ),
        Key("volume", VOLUME, "The data volume."),
        Key("hosts", ListOf(values.HOST), "The hosts it receives: each one's name in `[host.NAME]`."),
    )
)

HOST = Table(
    (
        Key("id", values.HOST_ID_VALUE, "Given at enrolment, permanent, never used again for another host."),
        Key("keys", ListOf(values.KEY, most=2), "Its ssh public key; two while a key is being changed.", ()),
        Key("probe", values.PROBE, "What a drill asks of the booted image (see What a drill asks).", None),
        Key(
            "start",
            ListOf(values.COMMAND),
            "What starts its services, for an image that has neither systemd nor sysvinit: one command after the "
            "other, by its own `/bin/sh`, each of which has to come to its end (see Servers without an init).",
            (),
        ),
        Key(
            "quota",
            values.SIZE,
            "The most its tree may take on a receiver's volume, as it is stored; at its quota the host fails alone.",
            None,
        ),
        Key("alarm_after", values.NIGHTS, "Nights missed in a row before an alarm.", 2),
        Key(
            "guard",
            values.one_of("on", "off"),
            "Whether a night in which half of its tree went, or was rewritten, is suspect instead of a restore point, "
            "as the receiver sees it; so is one with less than half of what one of the last 30 complete nights held. "
            '`"off"` says that it is meant; set it back the next day.',
            "on",
        ),
        Key(
            "target",
            values.one_of("receiver", "volume"),
            "Where it pushes to: a receiver, or an EBS volume of its own (see Hosts with a volume).",
            "receiver",
        ),
        Key("instance_id", values.INSTANCE, 'The EC2 instance it is, with `target = "volume"`.', None),
        Key("retention", RETENTION, "Rules of its own, in place of all of `[retention]`.", None),
    )
)

COPY = Table(
    (
        Key("region", values.REGION, "Where snapshots are copied to, for a standby there to keep."),
        Key("retention", RETENTION, "The rules for the copies: what they keep is copied, and kept there."),
    ),
    "a table with region and retention",
)

VAULT = Table(
    (
        Key("account", values.ACCOUNT, "The account that pulls copies, where a stack with `Role=vault` stands."),
        Key("retention", RETENTION, "The rules for its copies: what they keep is offered, and kept there."),
    ),
    "a table with account and retention",
)

RESTORE_INSTANCES = Table(
    (
        Key(
            "arm64",
            values.INSTANCE_TYPE,
            "The instance type for images of ARM machines. Without it that of the host's receiver, if that is an ARM "
            "type, else `t4g.medium`.",
            None,
        ),
        Key(
            "x86_64",
            values.INSTANCE_TYPE,
            "The same for Intel and AMD machines: without it that of the host's receiver, else `t3a.medium`.",
            None,
        ),
    ),
    'a table like { arm64 = "t4g.medium" }',
)

RESTORE = Table(
    (
        Key(
            "subnet",
            values.SUBNET,
            "Where restored machines are launched, and nowhere else; otherwise where receivers may be.",
            None,
        ),
        Key("instance", RESTORE_INSTANCES, "What restored machines run on, by the architecture of the host.", None),
        Key(
            "readers",
            ListOf(values.KEY),
            "Ssh public keys of operators: they may read whatever point is opened, beside its host (`ebbtide get`).",
            (),
        ),
    )
)

DRILL = Table(
    (
        Key("every", values.DAYS, "Each host is drilled at least this often."),
        Key("budget", values.BUDGET, "What drills may cost, by an estimate, before an alarm of their own.", None),
    )
)

ALARM = Table(
    (
        Key(
            "topic",
            values.TOPIC,
            "The SNS topic alarms go to: `STACK-TOPIC`, in the stack's account and region. The stack makes `alarms`.",
            "alarms",
        ),
        Key("ping", values.PING, "Asked after each good night, for a watch from outside.", None),
        Key("budget", values.BUDGET, "What the whole may cost, by an estimate, before an alarm.", None),
    )
)

RECEIVERS = Named(values.RECEIVER, RECEIVER, "at least one table like [receiver.main]")
HOSTS = Named(values.HOST, HOST, "at least one table like [host.us0]")

POLICY = Table(
    (
        Key("schema", values.THIS_SCHEMA, "The version of this format."),
        Key("receiver", RECEIVERS, "The receivers, by name. None, if every host has a volume of its own.", None),
        Key("host", HOSTS, "The hosts, by name."),
        Key("retention", RETENTION, "Which restore points stay. Without it all do.", None),
        Key("copy", COPY, "Copies in another region.", None),
        Key("vault", VAULT, "Copies that another account pulls.", None),
        Key("restore", RESTORE, "How images are brought up.", None),
        Key("drill", DRILL, "How often a restore is proved. Without it nobody drills but by hand.", None),
        Key("alarm", ALARM, "Who is told.", None),
    ),
    "a policy",
)
