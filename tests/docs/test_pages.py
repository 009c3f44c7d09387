"""Every block of code on the site runs in a real kernel, on loopback, and shows what the page says."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from docs import catalogue
from notebooks.imap_server import PASSWORD, USER, ImapServer
from tests.docs import pages
from tests.docs.servers import SshGateway, TokenDovecot, gps, http_proxy, instrument
from tests.servers.certificates import Certificates
from tests.servers.dovecot import Dovecot
from tests.servers.line_server import (
    LineServer,
    Peer,
    answering,
    echo,
    end_process,
    free_port,
    wait_until_accepting,
)
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


def test_how_liveness_works(tmp_path: Path) -> None:
    """What the page shows of keepalive, health and deliveries is what a client shows."""
    with LineServer(echo) as server:
        pages.run(read("liveness.md"), {"127.0.0.1:4000": server.address}, tmp_path)


def test_the_examples_of_the_magics(tmp_path: Path, certificates: Certificates) -> None:
    """The examples of each magic's help can be typed as they stand there."""
    answers = {rb"\x05": b"1 OK", rb"(\S+) .*": rb"\1 OK\r\n1 OK", rb".*": b"* OK"}
    password = ["```ipython", "%load_ext ipyreconnect", "password = 'asked for'", "```"]
    markdown = "\n".join([*password, *catalogue.reference()]).replace("{{?Password}}", "{{password}}")

    async def imap(peer: Peer) -> None:
        peer.send(b"* OK ready\r\n")
        await answering(answers)(peer)

    with (
        LineServer(imap, tls=certificates.good().server_context()) as mail,
        LineServer(answering(answers)) as gps,
    ):
        addresses = {
            "imaps://imap.example.org": f"imaps://localhost:{mail.port}",
            "127.0.0.1:4000": gps.address,
        }
        pages.run(markdown, addresses, tmp_path, {"SSL_CERT_FILE": str(certificates.cafile)})


CONSOLES = {
    "start.md": {"pip install ."},
    "howto/proxy.md": None,  # run by its own test
    "howto/voila.md": {  # run by tests/browser/test_apps.py
        "pip install voila",
        "voila app.ipynb --Voila.tornado_settings=\"{'disable_check_xsrf': True}\"",
    },
    "howto/marimo.md": {"pip install marimo", "marimo edit feed.py", "marimo run feed.py"},
}
"""The commands for a shell on each page: what is run elsewhere, or needs no test of ours."""


def test_no_block_of_code_is_left_out() -> None:
    """Each page with code has a test here, and no block has a language that no test knows."""
    tested = {"index.md", "start.md", "liveness.md", *(f"howto/{path.name}" for path in HOWTOS)}
    for path in sorted(pages.DOCS.rglob("*.md")):
        name = path.relative_to(pages.DOCS).as_posix()
        languages = {block.language for block in pages.blocks(read(name))}
        assert languages <= pages.LANGUAGES, name
        assert name in tested or not languages & {"python", "ipython", "output"}, name
        if "console" in languages:
            known = CONSOLES[name]
            assert known is None or set(pages.commands(read(name))) == known


HOWTOS = sorted((pages.DOCS / "howto").glob("*.md"))


def test_the_extras_that_the_start_names_exist() -> None:
    """`pip install ".[keyring]"` installs something: the extra is in pyproject.toml, and so is each other."""
    extras = tomllib.loads((pages.ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for path in pages.DOCS.rglob("*.md"):
        for named in re.findall(r'pip install "(?:ipyreconnect|\.)\[([a-z,]+)\]', path.read_text()):
            assert set(named.split(",")) <= extras.keys(), path
