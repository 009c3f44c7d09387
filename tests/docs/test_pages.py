"""Every block of code on the site runs in a real kernel, and shows what the page says; servers on loopback."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from notebooks.imap_server import PASSWORD, USER, ImapServer
from tests.docs import pages
from tests.docs.servers import SshGateway, TokenDovecot, gps, http_proxy, instrument
from tests.servers.certificates import Certificates
from tests.servers.dovecot import Dovecot
from tests.servers.line_server import LineServer, end_process, free_port, wait_until_accepting
from tests.servers.redis import Redis

pytestmark = pytest.mark.docs


def read(name: str) -> str:
    return (pages.DOCS / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["index.md", "start.md"])
def test_the_first_steps(name: str, tmp_path: Path) -> None:
    """What the site begins with works as it stands there, with a real IMAP server."""
    server = ImapServer(port=0, cafile=tmp_path / "ca.pem").start()
    try:
        # The certificate's authority is one of the system's, as that of a public server is.
        environment = {"SSL_CERT_FILE": str(tmp_path / "ca.pem"), "HOME": str(tmp_path)}
        netrc = tmp_path / ".netrc"
        netrc.touch(0o600)
        netrc.write_text(f"machine localhost login {USER} password {PASSWORD}\n")
        address = {"imaps://imap.example.org": server.address}
        pages.run(read(name), address, tmp_path, environment)
    finally:
        server.stop()


def test_imap_with_a_token(tmp_path: Path, certificates: Certificates) -> None:
    """Dovecot takes the token that the function on the page sends, after each connection."""
    with TokenDovecot(certificates.good()) as server:
        pages.run(
            read("howto/imap-token.md"),
            {"imaps://imap.example.org": server.address},
            tmp_path,
            {"SSL_CERT_FILE": str(certificates.cafile), "IMAP_TOKEN": server.token("me@example.org")},
        )


def test_redis_channels(tmp_path: Path) -> None:
    """A real Redis publishes, kills the subscriber, and has it back."""
    with Redis() as server:
        pages.run(read("howto/redis.md"), {"redis://127.0.0.1:6379": server.address}, tmp_path)


def test_an_nmea_feed(tmp_path: Path) -> None:
    """The feed becomes a table and a plot."""
    with LineServer(gps()) as server:
        pages.run(read("howto/nmea.md"), {"nmea://gps.example.org": f"nmea://{server.address}"}, tmp_path)
    assert (tmp_path / "track.png").stat().st_size > 5000


def test_an_instrument(tmp_path: Path) -> None:
    """It is asked, told, measured with, and gives a waveform that has the line end's byte in it."""
    with LineServer(instrument) as server:
        pages.run(read("howto/scpi.md"), {"scpi://meter.example.org": f"scpi://{server.address}"}, tmp_path)


def test_behind_a_proxy(tmp_path: Path, certificates: Certificates) -> None:
    """The page's own commands forward to a real server: ssh to a gateway, socat through an HTTP proxy."""
    markdown = read("howto/proxy.md")
    ssh, socat = (command.split() for command in pages.commands(markdown))
    ports = {"1993": str(free_port()), "1994": str(free_port())}
    quiet = ["-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={tmp_path / 'hosts'}", "-F", "none"]
    with (
        Dovecot(certificates.wrong_name()) as server,  # it is imap.example.org, and here by another name
        SshGateway() as gateway,
        LineServer(http_proxy(server.tls_port)) as proxy,
    ):
        there = {"imap.example.org:993": f"127.0.0.1:{server.tls_port}", **ports}
        ssh = [pages.replaced(word, there).replace("gateway.example.org", "127.0.0.1") for word in ssh]
        ssh[1:1] = ["-p", str(gateway.port), *quiet]
        here = {"proxy.example.org": "127.0.0.1", "=3128": f"={proxy.port}", **ports}
        socat = [pages.replaced(word, here) for word in socat]
        running = [subprocess.Popen(command, stdin=subprocess.DEVNULL) for command in (ssh, socat)]
        try:
            wait_until_accepting("127.0.0.1", int(ports["1993"]), running[0])
            wait_until_accepting("127.0.0.1", int(ports["1994"]), running[1])
            addresses = {
                f"imaps://localhost:{public}": f"imaps://localhost:{port}" for public, port in ports.items()
            }
            pages.run(markdown, addresses, tmp_path, {"SSL_CERT_FILE": str(certificates.cafile)})
        finally:
            for process in running:
                end_process(process)
