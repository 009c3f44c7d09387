#!/usr/bin/env bash
# Hamlib's rigctld 4.5.4 (Debian 12), with the dummy rig: a word without a backslash is read as one-letter commands.
# Seen: "mode" is m, o, d, e and gets five lines for four answers ("FM", "15000", "0", "0", "0"); "hello" gets
# none, and the question after it gets the refusal: "f" is answered "RPRT -1" instead of the frequency.
# So who counts answers by lines is off by some after one typing error. "\get_mode" is the long form, and the
# extended form "+m" ends every answer with "RPRT n".
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
    libhamlib-utils=4.5.4-1+b1
    libhamlib4=4.5.4-1+b1
    libusb-1.0-0
    libindiclient1
    libnova-0.16-0
)
apt-get -qq -o APT::Sandbox::User=root download "${packages[@]}" >&2 || {
    echo "not run: these packages are not to be had here (is 'apt-get update' due?)" >&2
    exit 2
}
for package in ./*.deb; do dpkg -x "$package" root; done
libraries=$(find "$folder/root" -type d -path '*/lib/*-linux-gnu' | paste -sd:)
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')

LD_LIBRARY_PATH=$libraries root/usr/bin/rigctld -m 1 -T 127.0.0.1 -t "$port" 2>/dev/null &
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
def answers(*commands):
    """Return what comes within 0.5 s after each command, as lines."""
    found = []
    with dial(sys.argv[1]) as sock:
        for command in commands:
            sock.sendall(command + b"\n")
            time.sleep(0.5)
            sock.setblocking(False)
            try:
                found.append(sock.recv(4096).decode().split())
            except BlockingIOError:
                found.append([])
            sock.setblocking(True)
    return found

[mode], [f, hello, after] = answers(b"mode"), answers(b"f", b"hello", b"f")
print(f"mode: {mode}; f: {f}; hello: {hello}; f: {after}")
raise SystemExit((len(mode), mode[:1], hello, after) != (5, ["FM"], [], ["RPRT", "-1"]))
EOF
