#!/bin/sh
# What a machine of Ebbtide runs first: arm the power-off timer, fetch the agent, become a receiver or a recovery.
# A template: the names in braces that start with "ebbtide_" are filled in, and a doubled dollar sign is one for the shell.
# On a real machine every path starts at /; EBBTIDE_ROOT is another place to start from, for whoever is not root.
set -eu

ROLE='${ebbtide_role}'
ID='${ebbtide_id}'
ATTEMPT='${ebbtide_attempt}'
BUCKET='${ebbtide_bucket}'
REGION='${ebbtide_region}'
BRIEF='${ebbtide_brief}'
AGENT_KEY='${ebbtide_agent}'
POWER_OFF_MINUTES='${ebbtide_power_off_minutes}'
STOP_MINUTES='${ebbtide_stop_minutes}'
SERVES='${ebbtide_serves}'
NONCE='${ebbtide_nonce}'
FILESYSTEM='${ebbtide_filesystem}'

R="$${EBBTIDE_ROOT:-}"
AGENT="$$R/opt/ebbtide/ebbtide-agent.pyz"
export DEBIAN_FRONTEND=noninteractive

say() { echo "ebbtide: $$*"; }

has_systemd() { [ -z "$$R" ] && [ -d /run/systemd/system ]; }

# Nothing keeps running: whatever goes wrong from here on, this machine powers itself off.
arm_power_off() {
    if has_systemd; then
        systemd-run --quiet --unit=ebbtide-power-off --on-active="$${POWER_OFF_MINUTES}min" systemctl poweroff ||
            fail "the power-off timer could not be armed"
    else
        (sleep "$$((POWER_OFF_MINUTES * 60))" && power_off) </dev/null >/dev/null 2>&1 &
    fi
}

# A boot after this one has neither timer nor agent, for user data runs once: whoever needs this machine launches another.
allow_no_second_boot() {
    has_systemd || return 0
    cat >/etc/systemd/system/ebbtide-second-boot.service <<UNIT
[Unit]
Description=Power off what was booted again: Ebbtide has launched this machine for its first boot

[Service]
Type=oneshot
ExecStart=systemctl poweroff

[Install]
WantedBy=multi-user.target
UNIT
    systemctl --quiet enable ebbtide-second-boot.service || fail "a second boot could not be ruled out"
}

# Below another root only a power button of that root's own is pressed, never the machine's.
power_off() {
    if [ -z "$$R" ]; then
        poweroff
    elif [ -x "$$R/usr/local/sbin/poweroff" ]; then
        "$$R/usr/local/sbin/poweroff"
    fi
}

fail() {
    say "$$*; powering off" >&2
    power_off
    exit 1
}

# Whoever boots what it restored has no way out but to the archive: its image must bring all of these.
missing_packages() {
    if [ "$$SERVES" = yes ]; then
        command -v rsync >/dev/null || echo rsync
        command -v bwrap >/dev/null || echo bubblewrap
        [ -x /usr/sbin/sshd ] || echo openssh-server
    else
        command -v systemd-nspawn >/dev/null || echo systemd-container
        command -v nft >/dev/null || echo nftables
    fi
    command -v mkfs.ext4 >/dev/null || echo e2fsprogs
    [ "$$FILESYSTEM" != btrfs ] || command -v mkfs.btrfs >/dev/null || echo btrfs-progs
    command -v setpriv >/dev/null || echo util-linux
    command -v python3 >/dev/null || echo python3
    python3 -c 'from importlib.util import find_spec; exit(find_spec("boto3") is None)' 2>/dev/null || echo python3-boto3
}

install_missing() {
    missing="$$(missing_packages | tr '\n' ' ')"
    [ -n "$$missing" ] || return 0
    if [ "$$(id -u)" = 0 ] && [ -z "$$R" ] && command -v apt-get >/dev/null; then
        say "installing $$missing"
        apt-get -q update && apt-get -q -y --no-install-recommends install $$missing || fail "could not install $$missing"
    else
        say "not installed: $$missing"
    fi
}

# Whoever knows the nonce could say a word before this machine does: it is for root alone.
write_instance() {
    mkdir -p "$$R/etc/ebbtide" "$$R/opt/ebbtide"
    (umask 077 && cat >"$$R/etc/ebbtide/instance.json" <<JSON
{"schema": 1, "role": "$$ROLE", "id": "$$ID", "attempt": $$ATTEMPT, "bucket": "$$BUCKET", "region": "$$REGION", "brief": "$$BRIEF", "nonce": "$$NONCE"}
JSON
    )
}

download_agent() {
    python3 - "$$REGION" "$$BUCKET" "$$AGENT_KEY" "$$AGENT" <<'PYTHON'
import os, sys
import boto3
region, bucket, key, path = sys.argv[1:]
boto3.client("s3", region_name=region).download_file(bucket, key, path + ".new")
os.replace(path + ".new", path)
PYTHON
}

# An instance's role may take a moment to arrive.
fetch_agent() {
    for pause in 1 2 4 8 16 32 0; do
        if download_agent; then return 0; fi
        say "the agent is not here yet; trying again in $$pause s" >&2
        sleep "$$pause"
    done
    fail "the agent s3://$$BUCKET/$$AGENT_KEY could not be fetched"
}

write_unit() {
    cat >/etc/systemd/system/ebbtide.service <<UNIT
[Unit]
Description=Ebbtide $$ROLE $$ID
Wants=network-online.target
After=network-online.target local-fs.target
Conflicts=ssh.service ssh.socket
FailureAction=poweroff

[Service]
Type=exec
ExecStart=$$(command -v python3) $$AGENT $$ROLE boot
Environment=HOME=/root
KillMode=mixed
TimeoutStopSec=$${STOP_MINUTES}min
OOMPolicy=continue
Delegate=memory cpu
Restart=no
StandardOutput=journal+console
StandardError=journal+console
UNIT
    systemctl daemon-reload
}

case "$$ROLE" in
receiver | recovery) ;;
*) fail "role $$ROLE is not one of receiver, recovery" ;;
esac

arm_power_off
allow_no_second_boot
install_missing
write_instance
fetch_agent
say "$$ROLE $$ID, attempt $$ATTEMPT"
if has_systemd; then
    write_unit
    systemctl start --no-block ebbtide.service
else
    exec python3 "$$AGENT" "$$ROLE" boot
fi
