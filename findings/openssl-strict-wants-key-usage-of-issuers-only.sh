#!/usr/bin/env bash
# OpenSSL 3.0.22 with CPython 3.11.2 (Debian 12), with the flag VERIFY_X509_STRICT, which Python's default context
# sets from 3.13 on.
# Seen: the certificate that `openssl req -x509` makes by default (a CA without key usage) is accepted as a
# server's own, trusted directly; as the issuer of a server's certificate it is refused: "CA cert does not include
# key usage extension". So it works in the first try at home, and no longer when the authority signs others.
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

openssl req -newkey rsa:2048 -nodes -keyout other.key -out other.csr -subj /CN=localhost 2>/dev/null
printf '%s\n' subjectAltName=DNS:localhost authorityKeyIdentifier=keyid subjectKeyIdentifier=hash > extensions
openssl x509 -req -in other.csr -CA server.pem -CAkey server.key -CAcreateserial -days 2 -extfile extensions \
    -out other.pem 2>/dev/null
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

def judged(certificate, key, flags):
    try:
        handshake(*contexts("server.pem", certificate, key, flags))
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    return "accepted"

itself = judged("server.pem", "server.key", ssl.VERIFY_X509_STRICT)
lenient = judged("other.pem", "other.key", 0)
strict = judged("other.pem", "other.key", ssl.VERIFY_X509_STRICT)
print(f"strict, as the server's own: {itself}\nas an issuer: {lenient}\nstrict, as an issuer: {strict}")
raise SystemExit((itself, lenient, strict) != ("accepted", "accepted", "CA cert does not include key usage extension"))
EOF
