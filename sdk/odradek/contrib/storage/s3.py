"""Payloads in a bucket of S3, or of what speaks its protocol. Needs the extra ``odradek[s3]``."""

from __future__ import annotations

from typing import Any, Final

from odradek.contrib.storage.content import ContentDriver

PREFIX: Final = "odradek/"
TIMEOUT_SECONDS: Final = 5
_MISSING: Final = frozenset({"NoSuchKey", "404"})


class S3StorageDriver(ContentDriver):
    """``client`` is one of boto3's; without it one is made from the environment, with ``endpoint_url`` if given.

    An object that is stored again gets a new date, so a lifecycle rule of the bucket may expire objects by their age:
    later than runs and their histories are kept.
    """

    def __init__(
        self,
        bucket: str,
        *,
        client: Any = None,
        endpoint_url: str | None = None,
        prefix: str = PREFIX,
        name: str = "s3",
    ) -> None:
        super().__init__(name)
        self._bucket, self._prefix = bucket, prefix
        self._client = client or _made(endpoint_url)

    def place(self, digest: str) -> str:
        return f"s3://{self._bucket}/{self._key(digest)}"

    def write(self, digest: str, stored: bytes) -> None:
        self._client.put_object(Bucket=self._bucket, Key=self._key(digest), Body=stored)

    def read(self, digest: str) -> bytes | None:
        from botocore.exceptions import ClientError  # type: ignore[import-untyped]

        try:
            found: bytes = self._client.get_object(Bucket=self._bucket, Key=self._key(digest))["Body"].read()
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in _MISSING:
                return None
            raise
        return found

    def _key(self, digest: str) -> str:
        return f"{self._prefix}{digest}"


def _made(endpoint_url: str | None) -> Any:
    import boto3  # type: ignore[import-untyped]
    from botocore.config import Config  # type: ignore[import-untyped]

    config = Config(connect_timeout=TIMEOUT_SECONDS, read_timeout=TIMEOUT_SECONDS, retries={"total_max_attempts": 2})
    return boto3.client("s3", endpoint_url=endpoint_url, config=config)
