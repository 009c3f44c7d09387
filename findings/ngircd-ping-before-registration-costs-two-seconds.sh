#!/usr/bin/env bash
# ngircd 26.1 (Debian 12): a PING before the registration is refused at once (451), and then nothing is read from
# that client for two seconds.
# Seen: two CAP LS in a row are answered within milliseconds; the one after a PING comes after 2 s.
# A heartbeat that begins before the registration delays the login each time; CAP LS costs nothing.
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
    ngircd=26.1-1+deb12u1
    libident
)
apt-get -qq -o APT::Sandbox::User=root download "${packages[@]}" >&2 || {
    echo "not run: these packages are not to be had here (is 'apt-get update' due?)" >&2
    exit 2
}
for package in ./*.deb; do dpkg -x "$package" root; done
libraries=$(find "$folder/root" -type d -path '*/lib/*-linux-gnu' | paste -sd:)
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')

cat > ngircd.conf <<EOF
[Global]
Name = irc.example.test
Info = finding
AdminEMail = nobody@example.test
Listen = 127.0.0.1
Ports = $port
PidFile =
[Options]
ChrootDir =
DNS = no
Ident = no
PAM = no
EOF
[[ $(id -u) != 0 ]] || sed -i "/^PidFile/a ServerUID = nobody\nServerGID = $(id -gn nobody)" ngircd.conf
LD_LIBRARY_PATH=$libraries root/usr/sbin/ngircd -n -f "$folder/ngircd.conf" >/dev/null 2>&1 &
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
        """Return the answer, and the seconds until it came."""
        start = time.monotonic()
        file.write(line + b"\r\n")
        file.flush()
        return file.readline().split()[1], time.monotonic() - start

    found = [ask(line) for line in (b"CAP LS", b"CAP LS", b"PING :x", b"CAP LS")]
print(", ".join(f"{word.decode()} after {seconds:.2f} s" for word, seconds in found))
quick = all(seconds < 0.5 for _, seconds in found[:3])
raise SystemExit(not (quick and found[2][0] == b"451" and 1.0 < found[3][1] < 4.0))
EOF
