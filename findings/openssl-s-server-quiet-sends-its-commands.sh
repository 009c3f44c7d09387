#!/usr/bin/env bash
# OpenSSL 3.0.22 (Debian 12): `openssl s_server` takes a line R of its input as the command to renegotiate and Q as
# the end, but not with -quiet, of which the manual only says that it inhibits printing.
# Seen: with -quiet the client receives the texts "R" and "Q"; without it, it receives no text, and Q ends the
# connection. A test that has its server renegotiate by R must leave -quiet out, or it tests nothing.
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
    python3.11-minimal=3.11.2-6+deb12u9
    libpython3.11-minimal=3.11.2-6+deb12u9
    libpython3.11-stdlib=3.11.2-6+deb12u9
    libexpat1
    zlib1g
    libssl3=3.0.22-1~deb12u2
    openssl=3.0.22-1~deb12u2
)
apt-get -qq -o APT::Sandbox::User=root download "${packages[@]}" >&2 || {
    echo "not run: these packages are not to be had here (is 'apt-get update' due?)" >&2
    exit 2
}
for package in ./*.deb; do dpkg -x "$package" root; done
libraries=$(find "$folder/root" -type d -path '*/lib/*-linux-gnu' | paste -sd:)
python() { LD_LIBRARY_PATH=$libraries PYTHONHOME=$folder/root/usr root/usr/bin/python3.11 "$@"; }

openssl req -x509 -newkey rsa:2048 -nodes -keyout server.key -out server.pem -days 2 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost 2>/dev/null

python - <<'EOF'
import os, socket, ssl, subprocess, time

def received(command, *options):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        ["root/usr/bin/openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", "server.pem",
         "-key", "server.key", "-tls1_2", *options],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        context = ssl.create_default_context(cafile="server.pem")
        for _ in range(100):
            try:
                plain = socket.create_connection(("127.0.0.1", port), 5)
                break
            except ConnectionRefusedError:
                time.sleep(0.1)
        with context.wrap_socket(plain, server_hostname="localhost") as client:
            process.stdin.write(command + b"\n")
            process.stdin.flush()
            client.settimeout(1.5)
            try:
                return client.recv(100)
            except TimeoutError:
                return None
    finally:
        process.kill()
        process.communicate()

found = {(command, options): received(command, *options) for command in (b"R", b"Q") for options in ((), ("-quiet",))}
for (command, options), text in found.items():
    print(command, *options, "->", "nothing" if text is None else "the end" if text == b"" else text)
raise SystemExit(list(found.values()) != [None, b"R\n", b"", b"Q\n"])
EOF
