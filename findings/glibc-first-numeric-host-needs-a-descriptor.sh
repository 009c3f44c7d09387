#!/usr/bin/env bash
# glibc 2.36 (Debian 12), through its own getaddrinfo: the first look-up of a process needs a free file descriptor,
# even one with AI_NUMERICHOST, which asks nobody.
# Seen: without a free descriptor "127.0.0.1" fails with EMFILE ("Too many open files") in a fresh process, and
# succeeds in one that has looked up any address before.
# A program that wants to tell a shortage of descriptors from a wrong address must have looked up one in time.
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
    libc6=2.36-9+deb12u14
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

cat > look_up.py <<'EOF'
import os, resource, socket, sys

def look_up():
    try:
        socket.getaddrinfo("127.0.0.1", 80, flags=socket.AI_NUMERICHOST)
    except OSError as error:
        return os.strerror(error.errno)
    return "found"

if sys.argv[1] == "warm":
    look_up()
resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
held = []
try:
    while True:
        held.append(os.dup(0))
except OSError:
    pass  # none is left
found = look_up()
for descriptor in held:
    os.close(descriptor)
print(found)
EOF
# With the C library of the package, not of the machine.
loader=$(find root/lib root/lib64 root/usr/lib -name 'ld-linux*.so.*' 2>/dev/null | head -1)
python() { PYTHONHOME=$folder/root/usr "$loader" --library-path "$libraries" root/usr/bin/python3.11 "$@"; }
cold=$(python look_up.py cold)
warm=$(python look_up.py warm)
echo "the first look-up: $cold; a later one: $warm"
[[ $cold == "Too many open files" && $warm == found ]]
