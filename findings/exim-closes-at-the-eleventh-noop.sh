#!/usr/bin/env bash
# Exim 4.96 (Debian 12), with its default of smtp_accept_max_nonmail: NOOP is one of the commands that count as
# none of mail's, of which ten are allowed in a connection.
# Seen: after EHLO ten NOOPs are answered 250, the eleventh "554 Too many nonmail commands", and the connection ends.
# A client that sends NOOP in order to keep a connection open loses it by that. Needs root, as Exim's user must
# exist: the script gives it one in a mount namespace of its own.
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
    exim4-daemon-light=4.96-15+deb12u11
    exim4-base
    libgnutls-dane0
    libgnutls30
    libidn12
    libnsl2
    libdb5.3
    libunbound8
    libpcre2-8-0
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
cat > exim.conf <<EOF
spool_directory = $folder/spool
log_file_path = $folder/log-%s
primary_hostname = mail.example.test
daemon_smtp_ports = $port
local_interfaces = 127.0.0.1
tls_advertise_hosts =
acl_smtp_rcpt = accept
begin acl
EOF
mkdir spool
nobody=$(id -u nobody)
chown "$nobody" . spool
{ cat /etc/passwd; echo "Debian-exim:x:$nobody:$nobody::/:/bin/false"; } > passwd
{ cat /etc/group; echo "Debian-exim:x:$nobody:"; } > group
chmod 644 exim.conf passwd group
LD_LIBRARY_PATH=$libraries unshare --mount bash -c '
    mount --bind passwd /etc/passwd
    mount --bind group /etc/group
    exec root/usr/sbin/exim4 -C "$PWD/exim.conf" -bdf
' >/dev/null 2>&1 &
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
with dial(sys.argv[1]) as sock, sock.makefile("rwb") as file:
    file.readline()  # the greeting
    file.write(b"EHLO client.example.test\r\n")
    file.flush()
    while not file.readline().startswith(b"250 "):
        pass
    answers = []
    while not answers or answers[-1].startswith(b"250") and len(answers) < 30:
        file.write(b"NOOP\r\n")
        file.flush()
        answers.append(file.readline())
    rest = file.read()
print(f"answer {len(answers)}: {answers[-1]!r}; after it: {rest!r}")
raise SystemExit((len(answers), answers[-1][:3], rest) != (11, b"554", b""))
EOF
