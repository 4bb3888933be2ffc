"""An S3 server on loopback, by moto."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import boto3
import requests

from tests.stores import free_port, wait_for

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


def client(endpoint: str) -> Any:
    """A client of the server's."""
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    return boto3.client("s3", endpoint_url=endpoint, **keys)


@contextlib.contextmanager
def s3_server(bucket: str) -> Iterator[str]:
    """Its endpoint; it has the one bucket and forgets all in the end."""
    endpoint = f"http://127.0.0.1:{(port := free_port())}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | KEYS)

    def answers() -> bool:
        assert server.poll() is None, "moto has ended"
        with contextlib.suppress(requests.RequestException):
            return requests.get(f"{endpoint}/moto-api", timeout=1).ok
        return False

    try:
        wait_for(answers)
        client(endpoint).create_bucket(Bucket=bucket)
        yield endpoint
    finally:
        server.kill()
        server.wait()
