"""What a restored image does not start: it is a clone, and must not do the original's work."""

from __future__ import annotations

# No backups, no scheduled jobs, no timers, no mail, none fetched that nobody else would get then, no name pointed here
# that is the original's, no disks of others. Nor is it another new machine, which cloud-init would give other host keys
# and users; and nothing waits for a network.
MASKED = (
    "cron.service", "crond.service", "cronie.service", "fcron.service", "cron.target", "anacron.service", "atd.service",
    "bcron.service", "mcron.service", "incron.service", "incrond.service", "systemd-cron.service",
    "timers.target", "nullmailer.service", "postfix.service", "exim4.service", "exim.service", "sendmail.service",
    "sm-client.service", "opensmtpd.service", "smtpd.service", "courier-mta.service", "qmail.service",
    "msmtpd.service", "fetchmail.service", "ddclient.service", "inadyn.service", "autofs.service",
    "iscsi.service", "open-iscsi.service",
    "ebbtide-agent.service", "ebbtide-agent.timer", "ebbtide-peer.service",
    "cloud-init.service", "cloud-init-local.service", "cloud-init-main.service", "cloud-config.service",
    "cloud-final.service", "systemd-networkd-wait-online.service", "NetworkManager-wait-online.service",
)  # fmt: skip

# The network is this machine's own then: the image may not set it up, and the security group is its firewall.
MASKED_WHERE_IT_STANDS = (
    "networking.service", "systemd-networkd.service", "systemd-networkd.socket", "systemd-resolved.service",
    "NetworkManager.service", "network-manager.service", "dhcpcd.service", "nftables.service",
    "netfilter-persistent.service", "ufw.service", "firewalld.service",
)  # fmt: skip


def masked(stands: bool) -> tuple[str, ...]:
    """As systemd's units."""
    return (*MASKED, *MASKED_WHERE_IT_STANDS) if stands else MASKED


def scripts(units: tuple[str, ...]) -> frozenset[str]:
    """As init scripts: they are called as their services are, which systemd takes for one another as well."""
    return frozenset(unit[: -len(".service")] for unit in units if unit.endswith(".service"))
