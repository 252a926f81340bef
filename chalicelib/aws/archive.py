"""The archive in S3: what is there is never written over."""

from itertools import islice
from typing import IO, TYPE_CHECKING

from botocore.exceptions import ClientError

from chalicelib.aws.clients import Clients
from chalicelib.aws.faults import code_of, told
from chalicelib.errors import TooLargeError

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef

# Hosts with volumes of their own write here themselves, and IAM knows no limit on size. What a function reads, a policy
# or a report, is far smaller.
LARGEST = 4 * 1024 * 1024
_PIECE = 1024 * 1024


class S3Archive:
    def __init__(self, clients: Clients, bucket: str) -> None:
        self._clients = clients
        self._bucket = bucket

    def get(self, key: str) -> bytes:
        """Raises KeyError when absent, TooLargeError when it is larger than anything that is read here."""
        with told(f"reading {key} from the archive"):
            answer = self._get_object(key)
            if answer["ContentLength"] > LARGEST:
                answer["Body"].close()
                raise TooLargeError(f"{key} has {answer['ContentLength']} bytes: expected at most {LARGEST}")
            return answer["Body"].read()

    def copy_to(self, file: IO[bytes], key: str) -> None:
        with told(f"copying {key} from the archive"):
            for piece in self._get_object(key)["Body"].iter_chunks(_PIECE):
                file.write(piece)

    def _get_object(self, key: str) -> "GetObjectOutputTypeDef":
        """Raises KeyError when absent."""
        try:
            return self._clients.s3.get_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            if code_of(error) == "NoSuchKey":
                raise KeyError(key) from None
            raise

    def put_once(self, key: str, body: bytes) -> bool:
        """False when the key was there already; what was there stays."""
        with told(f"adding {key} to the archive"):
            try:
                self._clients.s3.put_object(Bucket=self._bucket, Key=key, Body=body, IfNoneMatch="*")
            except ClientError as error:
                if code_of(error) == "PreconditionFailed":
                    return False
                raise
        return True

    def list(self, prefix: str, after: str = "", most: int | None = None) -> list[str]:
        """Every key under the prefix that sorts after `after`, from all pages, sorted; only the first of them, if there
        are more than `most`: S3 lists in that order.
        """
        pages = self._clients.s3.get_paginator("list_objects_v2")
        start = {"StartAfter": after} if after else {}
        with told(f"listing {prefix} in the archive"):
            keys = (
                entry["Key"]
                for page in pages.paginate(Bucket=self._bucket, Prefix=prefix, **start)  # type: ignore[arg-type]
                for entry in page.get("Contents", [])
            )
            return sorted(islice(keys, most))
