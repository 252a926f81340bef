"""EC2's throttling as it is documented: each kind of call from a bucket that refills."""

from dataclasses import dataclass
from math import ceil


@dataclass(frozen=True)
class Bucket:
    """https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html"""

    burst: int
    a_second: float

    def seconds(self, calls: int) -> float:
        """The least time in which this many calls are let through, from a full bucket."""
        return max(0, calls - self.burst) / self.a_second


SNAPSHOTS = Bucket(100, 5)  # CreateSnapshot, DeleteSnapshot, CreateTags
LOOKS = Bucket(100, 20)  # Describe… with a filter or an id
PAGE = 1000


def pages(found: int) -> int:
    return max(1, ceil(found / PAGE))
