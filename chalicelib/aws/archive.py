"""The archive in S3: what is there is never written over."""

from botocore.exceptions import ClientError

from chalicelib.aws.clients import Clients
from chalicelib.aws.faults import code_of, told


class S3Archive:
    def __init__(self, clients: Clients, bucket: str) -> None:
        self._clients = clients
        self._bucket = bucket

    def get(self, key: str) -> bytes:
        """Raises KeyError when absent."""
        with told(f"reading {key} from the archive"):
            try:
                return self._clients.s3.get_object(Bucket=self._bucket, Key=key)["Body"].read()
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

    def list(self, prefix: str) -> list[str]:
        """Every key under the prefix, from all pages, sorted."""
        pages = self._clients.s3.get_paginator("list_objects_v2")
        with told(f"listing {prefix} in the archive"):
            return sorted(
                entry["Key"]
                for page in pages.paginate(Bucket=self._bucket, Prefix=prefix)
                for entry in page.get("Contents", [])
            )
