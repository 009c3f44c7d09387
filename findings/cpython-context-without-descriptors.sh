#!/usr/bin/env bash
# CPython 3.11.2 with OpenSSL 3.0.22 (Debian 12): in a process that has no free file descriptor,
# ssl.create_default_context() succeeds, and has no authorities.
# Seen: get_ca_certs() has the one of SSL_CERT_FILE before, and none where each descriptor is taken; neither
# create_default_context() nor load_default_certs() raises, while load_verify_locations(cafile=…) raises EMFILE.
# Every certificate is then judged "unable to get local issuer certificate": a shortage that looks like an attack.
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

export SSL_CERT_FILE=$folder/server.pem
python - <<'EOF'
import os, resource, ssl

before = len(ssl.create_default_context().get_ca_certs())
resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
held = []
try:
    while True:
        held.append(os.dup(0))
except OSError:
    pass  # none is left
context = ssl.create_default_context()
without = len(context.get_ca_certs())
try:
    context.load_verify_locations(cafile=os.environ["SSL_CERT_FILE"])
    named = "loaded"
except OSError as error:
    named = os.strerror(error.errno)
for descriptor in held:
    os.close(descriptor)
print(f"authorities: {before}; without a free descriptor: {without}; loading the file by name: {named}")
raise SystemExit((before, without, named) != (1, 0, "Too many open files"))
EOF
