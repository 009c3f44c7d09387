#!/usr/bin/env bash
# gearmand 1.1.20 (Debian 12): a text command that ends with a bare LF is carried out, without its last byte.
# Seen: "create function abc" with LF is answered OK, and `status` then lists a function "ab"; with CRLF it is
# "abc". Commands without an argument ("version", "status") work with both, so that LF seems to be right.
# A client that ends its lines with LF works on other names than it was told.
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
    gearman-job-server=1.1.20+ds-1
    libboost-program-options1.74.0
    libevent-2.1-7
    libevent-pthreads-2.1-7
    libhiredis0.14
    libmariadb3
    libmemcached11
    libhashkit2
    libpq5
    libsqlite3-0
)
apt-get -qq -o APT::Sandbox::User=root download "${packages[@]}" >&2 || {
    echo "not run: these packages are not to be had here (is 'apt-get update' due?)" >&2
    exit 2
}
for package in ./*.deb; do dpkg -x "$package" root; done
libraries=$(find "$folder/root" -type d -path '*/lib/*-linux-gnu' | paste -sd:)
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')

LD_LIBRARY_PATH=$libraries root/usr/sbin/gearmand -L 127.0.0.1 -p "$port" -l stderr -P "$folder/pid" 2>/dev/null &
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
    def ask(line):
        file.write(line)
        file.flush()
        return file.readline()

    created = ask(b"create function abc\n"), ask(b"create function def\r\n")
    names, line = set(), ask(b"status\r\n")
    while line.rstrip() != b".":
        names.add(line.split(b"\t")[0].decode())
        line = file.readline()
print(f"answers: {created}; functions: {sorted(names)}")
raise SystemExit((created, names) != ((b"OK\r\n",) * 2, {"ab", "def"}))
EOF
