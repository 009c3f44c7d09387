#!/usr/bin/env bash
# Dovecot 2.3.19 (Debian 12), POP3: NOOP is a command only after the login (RFC 1939 has it so); before it, each one
# counts among the bad commands, and the fourth ends the connection.
# Seen: three times "-ERR Unknown command.", then "-ERR Too many invalid bad commands." and the end; CAPA is
# answered as often as it is asked. A heartbeat of NOOPs, right in IMAP at any time, throws a POP3 client out
# before it has logged in. Needs root, as Dovecot gives its helpers users of their own.
set -euo pipefail
folder=$(mktemp -d)
started=()
finish() {
    for pid in ${started[@]+"${started[@]}"}; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    rm -rf "$folder"
}
trap finish EXIT
cd "$folder"

packages=(
    dovecot-core=1:2.3.19.1+dfsg1-2.1+deb12u7
    dovecot-pop3d=1:2.3.19.1+dfsg1-2.1+deb12u7
    libcap2
    libsystemd0
    libssl3
)
apt-get -qq -o APT::Sandbox::User=root download "${packages[@]}" >&2 || {
    echo "not run: these packages are not to be had here (is 'apt-get update' due?)" >&2
    exit 2
}
for package in ./*.deb; do dpkg -x "$package" root; done
libraries=$(find "$folder/root" -type d -path '*/lib/*-linux-gnu' | paste -sd:)
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')

if [[ $(id -u) != 0 ]]; then
    echo "not run: needs root" >&2
    exit 2
fi
chmod 755 .
mkdir run state
cat > dovecot.conf <<EOF
protocols = pop3
base_dir = $folder/run
state_dir = $folder/state
libexec_dir = $folder/root/usr/lib/dovecot
log_path = $folder/log
listen = 127.0.0.1
ssl = no
import_environment = LD_LIBRARY_PATH
default_internal_user = daemon
default_internal_group = daemon
default_login_user = nobody
passdb {
  driver = static
  args = password=unused
}
service pop3-login {
  chroot =
  inet_listener pop3 {
    port = $port
  }
  inet_listener pop3s {
    port = 0
  }
}
service anvil {
  chroot =
}
service stats {
  chroot =
}
EOF
LD_LIBRARY_PATH=$folder/root/usr/lib/dovecot:$libraries root/usr/sbin/dovecot -F -c "$folder/dovecot.conf" &
started+=($!)
python3 - "$port" <<'EOF'
import socket, sys, time

def dial(port, patience=10.0):
    end = time.monotonic() + patience
    while True:
        try:
            sock = socket.create_connection(("127.0.0.1", int(port)), 5)
            break
        except ConnectionRefusedError:
            if time.monotonic() > end:
                print("not run: the server did not start", file=sys.stderr)
                sys.exit(2)
            time.sleep(0.1)
    return sock
def answers(command, count):
    """Return the first lines of the answers to that many commands; "" is the end."""
    found = []
    with dial(sys.argv[1]) as sock, sock.makefile("rwb") as file:
        file.readline()  # the greeting
        for _ in range(count):
            file.write(command + b"\r\n")
            file.flush()
            found.append(line := file.readline().decode().strip())
            while command == b"CAPA" and line not in (".", ""):
                line = file.readline().decode().strip()
            if "Too many" in found[-1]:
                found.append(file.readline().decode())
                break
    return found

noop, capa = answers(b"NOOP", 10), answers(b"CAPA", 10)
print(f"NOOP: {noop}; CAPA: {capa}")
expected = ["-ERR Unknown command."] * 3 + ["-ERR Too many invalid bad commands.", ""]
raise SystemExit((noop, capa) != (expected, ["+OK"] * 10))
EOF
