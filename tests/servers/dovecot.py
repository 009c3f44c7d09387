"""A real IMAP server, Dovecot, with an account and a folder of its own, to be killed and started again."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Self

import pytest

from tests.servers.certificates import Pair
from tests.servers.line_server import WAIT, free_port, wait_until_accepting

USER, PASSWORD = "someone", "a password"
"""The one account."""

_CONFIG = """\
protocols = imap
listen = 127.0.0.1
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/dovecot.log
instance_name = ipyreconnect-{port}
default_internal_user = {internal}
default_login_user = {login}
default_internal_group = {group}
mail_location = maildir:{folder}/mail
mail_uid = {owner}
mail_gid = {group}
first_valid_uid = 1
first_valid_gid = 0
disable_plaintext_auth = yes
auth_mechanisms = plain login
ssl = yes
ssl_cert = <{pair.pem}
ssl_key = <{pair.key}
passdb {{
  driver = passwd-file
  args = scheme=PLAIN {folder}/users
}}
userdb {{
  driver = static
  args = uid={owner} gid={group} home={folder}/mail
}}
namespace inbox {{
  inbox = yes
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = {tls_port}
    ssl = yes
  }}
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
"""


class Dovecot:
    """Run Dovecot on loopback from `start` to `kill` (or in a `with`); as root, or as whoever runs the tests.

    `address` speaks TLS from the start, `starttls_address` after STARTTLS; both stay the same after
    a `kill` and a `start`. Logging in without TLS is refused, except that Dovecot trusts loopback.
    """

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._process: subprocess.Popen[bytes] | None = None
        self.host = "127.0.0.1"
        self.port = free_port()
        self.tls_port = free_port()
        # Not pytest's folder: Dovecot's users must get in, and a Unix socket's path has at most 107 bytes.
        self._folder = Path(tempfile.mkdtemp(prefix="dovecot-"))

    @property
    def address(self) -> str:
        """Implicit TLS."""
        return f"imaps://localhost:{self.tls_port}"

    @property
    def starttls_address(self) -> str:
        """In the clear, and STARTTLS."""
        return f"imap://localhost:{self.port}"

    def start(self) -> Self:
        """Start it (again); return once both ports accept."""
        self._write()
        program = shutil.which("dovecot", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
        if program is None:
            pytest.skip("Dovecot is not installed (Debian: apt-get install dovecot-imapd)")
        # A session of its own, so that one signal reaches the master and all its helpers.
        self._process = subprocess.Popen(
            [program, "-F", "-c", str(self._folder / "dovecot.conf")], start_new_session=True
        )
        for port in (self.port, self.tls_port):
            wait_until_accepting(self.host, port, self._process)
        return self

    def kill(self) -> None:
        """Kill it and all its helpers with SIGKILL: the kernel closes their sockets."""
        process, self._process = self._process, None
        if process is not None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(WAIT)

    def log(self) -> str:
        """Return what it has logged, for a failing test."""
        return (self._folder / "dovecot.log").read_text()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.kill()
        shutil.rmtree(self._folder)

    def _write(self) -> None:
        if os.geteuid() == 0:
            self._folder.chmod(0o755)
            names = {"internal": "dovecot", "login": "dovenull", "owner": "mail", "group": "mail"}
        else:
            me = pwd.getpwuid(os.geteuid()).pw_name
            names = {"internal": me, "login": me, "owner": me}
            names["group"] = grp.getgrgid(os.getegid()).gr_name
        config = _CONFIG.format(
            folder=self._folder, pair=self._pair, port=self.port, tls_port=self.tls_port, **names
        )
        (self._folder / "dovecot.conf").write_text(config)
        (self._folder / "users").write_text(f"{USER}:{{PLAIN}}{PASSWORD}\n")
        mail = self._folder / "mail"
        mail.mkdir(exist_ok=True)
        if os.geteuid() == 0:
            shutil.chown(mail, names["owner"], names["group"])
        # A killed master leaves its pid behind, and the next one believes it.
        (self._folder / "run" / "master.pid").unlink(missing_ok=True)
