"""The recovery card: all that brings a server back with nothing but the AWS CLI. Values in, text out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from textwrap import fill

from chalicelib.core.model import TreeKind
from ebbtide_agent.restore.masked import MASKED

WIDTH = 100
# As Debian calls what `uname -m` does.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
TYPES = {"amd64": "t3a.medium", "arm64": "t4g.medium"}
# What stands in a line to be mended first: EC2 then says what it expects.
UNKNOWN = "amd64-or-arm64"
# The hold that the card sets, and the only one that it takes off.
HOLD = "recovery by hand"


@dataclass(frozen=True)
class Server:
    """A host's newest restore point. `architecture` is Debian's word, or UNKNOWN."""

    name: str
    id: str
    at: datetime
    snapshot: str
    size_gib: int
    architecture: str
    tree: TreeKind


@dataclass(frozen=True)
class Region:
    """What one region holds: the servers' newest points, and the keys that these snapshots are encrypted with."""

    name: str
    archive: str
    servers: tuple[Server, ...]
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Facts:
    """All that the card says. `types` are instance types by architecture; `faults` what could not be read."""

    account: str
    written: datetime
    regions: tuple[Region, ...]
    receivers: tuple[str, ...] = ()
    vault: str | None = None
    types: Mapping[str, str] | None = None
    faults: tuple[str, ...] = ()


def write_card(facts: Facts) -> str:
    """Lines that are indented by four are commands of a shell, to be pasted as they are."""
    return "\n".join((*_head(facts), *_what_there_is(facts), *_commands(facts), *_where_else(facts))) + "\n"


def _head(facts: Facts) -> Iterator[str]:
    yield f"EBBTIDE RECOVERY CARD    account {facts.account}, written {facts.written:%Y-%m-%d %H:%M} UTC"
    yield "Brings any server below back with the AWS CLI and ssh alone: no Ebbtide, no function, no table."
    yield "Keep it outside this account, and write it again when servers come or go: ebbtide card"
    yield "Paste what is indented, section by section, into a shell (sh or bash; for each server one of its own)"
    yield "with credentials that may use EC2, S3 and the snapshots' KMS key."
    yield from (f"NOT READ when this was written: {fault}" for fault in facts.faults)


def _what_there_is(facts: Facts) -> Iterator[str]:
    yield from ("", "1. CHOOSE: a region, and one server's line")
    for number, region in enumerate(facts.regions):
        yield from (["or, when that region is out:"] if number else [])
        yield f"    export AWS_DEFAULT_REGION={region.name} ARCHIVE={region.archive}"
        for each in region.servers:
            line = f"    ID={each.id} SNAPSHOT={each.snapshot} GIB={each.size_gib} ARCH={each.architecture}"
            yield f"{line} TREE={each.tree}  # {each.name} {each.at:%m-%d %H:%M}"
        yield from ([] if region.servers else ["  (no restore point was there)"])
    if facts.vault:
        yield f"or with credentials of the vault, account {facts.vault}: it has a card of its own."


def _commands(facts: Facts) -> Iterator[str]:
    types = {**TYPES, **(facts.types or {})}
    names = " ".join(unit.removesuffix(".service") for unit in MASKED if not unit.endswith(".timer"))
    units = fill(names, WIDTH + 7, initial_indent='    UNITS="', subsequent_indent=" " * 8, break_on_hyphens=False)
    yield f"""
2. IS THERE A NEWER ONE? The last that ends in None is the newest; then say SNAPSHOT=snap-... What ends in
a run was found damaged in that run.
    aws ec2 describe-snapshots --owner-ids self --output text \\
        --filters Name=tag:ebbtide:role,Values=backup,copy Name=status,Values=completed \\
        --query "Snapshots[].[SnapshotId,(Tags[?Key=='ebbtide:taken'].Value|[0])||StartTime,
        Tags[?Key=='ebbtide:run'].Value|[0],Tags[?Key=='ebbtide:damaged'].Value|[0],
        join(' ',Tags[?starts_with(Key,'ebbtide:complete.')].Value)]" |
        grep -E "[[:space:]]([a-z0-9]{{4}})*$ID([a-z0-9]{{4}})*( |$)" | cut -f 1-4 | sort -k 2 | tail -n 3

3. A VOLUME AND A MACHINE. First what keeps retention from the snapshot. Console: EC2, Snapshots, Create
volume; Launch instance (Debian, in the volume's zone); Volumes, Attach.
    NAME=ebbtide-card-$ID-$$; ME=203.0.113.9/32; WHO=$ME    # your own address: who logs in, who is served
    HELD=$(aws ec2 describe-tags --filters Name=resource-id,Values=$SNAPSHOT Name=key,Values=ebbtide:hold \\
        --query "Tags[].Value" --output text) && if [ -z "$HELD" ]; then aws ec2 create-tags \\
        --resources $SNAPSHOT --tags "Key=ebbtide:hold,Value={HOLD}"; fi
    if [ ! -e $NAME.pem ]; then PEM=$(aws ec2 create-key-pair --key-name $NAME \\
        --query KeyMaterial --output text) && (umask 077; echo "$PEM" >$NAME.pem); fi
    set -- $(aws ec2 describe-subnets --filters Name=map-public-ip-on-launch,Values=true --output text \\
        --query "Subnets[0].[SubnetId,AvailabilityZone,VpcId]") && SUBNET=$1 ZONE=$2 VPC=$3
    GROUP=$(aws ec2 create-security-group --group-name $NAME --description "{HOLD}" \\
        --vpc-id $VPC --query GroupId --output text || aws ec2 describe-security-groups --output text \\
        --filters Name=vpc-id,Values=$VPC Name=group-name,Values=$NAME \\
        --query "SecurityGroups[0].GroupId")
    for PORT in "22 --cidr $ME" "80 --cidr $WHO" "443 --cidr $WHO"; do eval "aws ec2 \\
        authorize-security-group-ingress --group-id $GROUP --protocol tcp --port $PORT"; done
    VOLUME=$(aws ec2 create-volume --snapshot-id $SNAPSHOT --availability-zone $ZONE --volume-type gp3 \\
        --query VolumeId --output text)
    case $ARCH in amd64) TYPE={types["amd64"]} ;; *) TYPE={types["arm64"]} ;; esac
    MACHINE=$(aws ec2 run-instances --image-id resolve:ssm:/aws/service/debian/release/13/latest/$ARCH \\
        --instance-type $TYPE --key-name $NAME --security-group-ids $GROUP --subnet-id $SUBNET \\
        --block-device-mappings "DeviceName=/dev/xvda,Ebs={{VolumeSize=$((2 * GIB + 8)),VolumeType=gp3}}" \\
        --metadata-options HttpTokens=required --query "Instances[0].InstanceId" --output text)
    aws ec2 wait volume-available --volume-ids $VOLUME
    aws ec2 wait instance-running --instance-ids $MACHINE
    aws ec2 attach-volume --volume-id $VOLUME --instance-id $MACHINE --device /dev/sdf
    ADDRESS=$(aws ec2 describe-instances --instance-ids $MACHINE --output text \\
        --query "Reservations[0].Instances[0].PublicIpAddress")
    echo "ID=$ID VOLUME=$VOLUME TREE=$TREE"    # to be pasted on the machine first
    IN="-i $NAME.pem -o ConnectTimeout=9 -o UserKnownHostsFile=$NAME.hosts"
    until ssh -n $IN -o StrictHostKeyChecking=accept-new admin@$ADDRESS true; do sleep 5; done
    ssh -t $IN admin@$ADDRESS sudo -i

4. ON THE MACHINE. The manifest's first line must name the server's id and the snapshot's run; if it says
"munged":true, say MUNGED=--munge-links (cuts links off at 4,080 bytes). One file: rsync .../tree/etc/fstab.
    apt-get update && apt-get install -y rsync systemd-container nftables
    mkdir -p /mnt/backup /srv/restored && mount -o ro,noatime,nosuid,nodev,noexec \\
        /dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol${{VOLUME#vol-}} /mnt/backup
    zcat /mnt/backup/hosts/$ID/manifest.jsonl.gz | head -n 1
    case $TREE in fake-super) STORED="--fake-super -M--super" ;; *) STORED= ;; esac
    rsync -aHAXS --numeric-ids --modify-window=-1 $STORED $MUNGED \\
        /mnt/backup/hosts/$ID/tree/ /srv/restored/

5. LET IT RUN as restored-$ID, without the old one's work. To let mail out: nft delete table inet mail
{units}"
    cd /srv/restored && rm -rf etc/hostname var/lib/systemd/linger && echo restored-$ID >etc/hostname
    for U in $UNITS; do rm -f etc/rc?.d/S??$U; done; [ ! -e etc/fstab ] || mv etc/fstab etc/fstab.original
    nft "table inet mail{{chain o{{type filter hook output priority 0;oif!=lo tcp dport{{25,465,587}}reject;}};}}"
    FOUND=$(find etc/systemd usr/lib/systemd usr/local/lib \\( -name "*.timer" -o -name "*.*mount" \\
        ! -regex ".*/\\(\\(dev\\|proc\\|sys\\)-\\|run-lock\\|run-rpc\\|tmp\\.\\|-\\.\\)[^/]*" \\) -printf "%f ")
    systemd-nspawn --boot -D . systemd.hostname=restored-$ID $(printf " systemd.mask=%s" $UNITS $FOUND)
    chroot /srv/restored /bin/bash    # instead: only a shell in it

6. TAKE IT DOWN, in the first shell. A hold that was there before section 3 stays.
    aws ec2 terminate-instances --instance-ids $MACHINE
    aws ec2 wait instance-terminated --instance-ids $MACHINE
    aws ec2 delete-volume --volume-id $VOLUME; aws ec2 delete-security-group --group-id $GROUP
    aws ec2 delete-key-pair --key-name $NAME && rm -f $NAME.pem $NAME.hosts
    aws ec2 delete-tags --resources $SNAPSHOT --tags "Key=ebbtide:hold,Value={HOLD}\""""


def _where_else(facts: Facts) -> Iterator[str]:
    yield from ("", "7. WHAT ELSE THERE IS, in the archive $ARCHIVE (S3), and beside it")
    yield "policies/: who is backed up, and whose keys may come in. manifests/ID/: each night's list of files."
    yield "Was a file there on a night, and when was it changed? KEY is one of these lists, here the newest:"
    # By when it was written: a night's second list is called NONCE.2, its tenth run 10, and both sort before others.
    yield "    KEY=$(aws s3 ls --recursive s3://$ARCHIVE/manifests/$ID/ | sort | tail -n 1 | awk '{print $4}')"
    yield """    aws s3 cp s3://$ARCHIVE/$KEY - | zcat | grep '"p":"etc/fstab"'"""
    for name in facts.receivers:
        yield f"ssh host key of receiver {name}: parameter /ebbtide/{name}/host-key (SSM, with decryption)"
    for region in facts.regions:
        for key in region.keys:
            yield f"KMS key in {region.name}: {key}; disabled: enable it; deleted: these snapshots are lost"
