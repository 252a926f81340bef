"""List prices in USD, in us-east-1, as they were in November 2026; other regions are up to half as much again dearer.

https://aws.amazon.com/ebs/pricing/ https://aws.amazon.com/ec2/pricing/on-demand/ https://aws.amazon.com/vpc/pricing/
https://aws.amazon.com/kms/pricing/ https://aws.amazon.com/cloudwatch/pricing/
"""

AS_OF = "list prices of us-east-1, November 2026"

HOURS_A_MONTH = 730.0
DAYS_A_MONTH = 30.4

VOLUME_GIB_MONTH = {"gp3": 0.08, "gp2": 0.10}
SNAPSHOT_GIB_MONTH = 0.05
# Of what a snapshot holds, for each MiB a second at which a volume is filled from it: 0.0012 at the lowest rate, 100.
FILLED_GIB_AT_A_MIB_A_SECOND = 0.0012 / 100
# Out of a region into another one.
TRANSFER_GIB = 0.02
PUBLIC_ADDRESS_HOUR = 0.005
KEY_MONTH = 1.00
METRIC_MONTH = 0.30
ALARM_MONTH = 0.10

# On demand. The types that the documentation names; of any other one it is said that it has no price here.
MACHINE_HOUR = {
    "t3a.small": 0.0188,
    "t3a.medium": 0.0376,
    "t4g.small": 0.0168,
    "t4g.medium": 0.0336,
    "m7g.medium": 0.0408,
}
