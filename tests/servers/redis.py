"""A real Redis server, in memory only, in the clear and with TLS."""

from __future__ import annotations

import shutil
import subprocess
from typing import Self

import pytest

from tests.servers.certificates import Pair
from tests.servers.line_server import end_process, free_port, wait_until_accepting


class Redis:
    """Run redis-server on loopback from `start` to `kill` (or in a `with`); a `pair` adds TLS."""

    def __init__(self, pair: Pair | None = None) -> None:
        self._pair = pair
        self._process: subprocess.Popen[bytes] | None = None
        self.host = "127.0.0.1"
        self.port = free_port()
        self.tls_port = free_port() if pair is not None else None

    @property
    def address(self) -> str:
        """In the clear."""
        return f"redis://{self.host}:{self.port}"

    @property
    def tls_address(self) -> str:
        """Implicit TLS."""
        assert self.tls_port is not None, "made without a certificate"
        return f"rediss://localhost:{self.tls_port}"

    def start(self) -> Self:
        """Start it (again, on the same ports); return once it accepts."""
        program = shutil.which("redis-server")
        if program is None:
            pytest.skip("Redis is not installed (Debian: apt-get install redis-server)")
        command = [program, "--bind", self.host, "--port", str(self.port), "--save", "", "--appendonly", "no"]
        if self._pair is not None:
            command += ["--tls-port", str(self.tls_port), "--tls-auth-clients", "no"]
            command += ["--tls-cert-file", str(self._pair.pem), "--tls-key-file", str(self._pair.key)]
            command += ["--tls-ca-cert-file", str(self._pair.pem)]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        for port in filter(None, (self.port, self.tls_port)):
            wait_until_accepting(self.host, port, self._process)
        return self

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        end_process(self._process)
        self._process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.kill()
