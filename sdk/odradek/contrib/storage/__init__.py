"""Stores for ``ExternalStorage``: a shared volume, Redis, S3. A key is the hash of what is stored: it is kept once."""

from odradek.contrib.storage.files import FileStorageDriver
from odradek.contrib.storage.redis import RedisStorageDriver
from odradek.contrib.storage.s3 import S3StorageDriver

__all__ = ["FileStorageDriver", "RedisStorageDriver", "S3StorageDriver"]
