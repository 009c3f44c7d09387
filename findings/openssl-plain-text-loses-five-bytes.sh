#!/usr/bin/env bash
# OpenSSL 3.0.22 with CPython 3.11.2 (Debian 12): when plain text comes in the middle of a TLS stream, the error
# "wrong version number" comes after its first five bytes were consumed, as if they were a record's header.
# Seen: of "421 service not available" the MemoryBIO still has "ervice not available"; "421 s" can be had nowhere.
# Exim is one that does this when it is stopped: who wants to quote its last words must keep a copy of what it
# feeds to OpenSSL.
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
import ssl

def contexts(authority="server.pem", certificate="server.pem", key="server.key", flags=0):
    client = ssl.create_default_context(cafile=authority)
    client.verify_flags |= flags
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    return client, server

def handshake(client, server):
    """Return the client's end, and what it reads from."""
    to_client, from_client, to_server, from_server = (ssl.MemoryBIO() for _ in range(4))
    ends = (client.wrap_bio(to_client, from_client, server_hostname="localhost"),
            server.wrap_bio(to_server, from_server, server_side=True))
    for _ in range(3):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                pass
            to_server.write(from_client.read())
            to_client.write(from_server.read())
    return ends[0], to_client

client, incoming = handshake(*contexts())
text = b"421 service not available\r\n"
try:
    client.read(1)  # takes the session tickets
except ssl.SSLWantReadError:
    pass
incoming.write(text)
try:
    client.read(100)
    error = "none"
except ssl.SSLError as raised:
    error = raised.reason
left = incoming.read()
print(f"error: {error}; left of {text!r}: {left!r}")
raise SystemExit((error, left) != ("WRONG_VERSION_NUMBER", text[5:]))
EOF
