"""What users may write as an address, what is made of it, and what they are told otherwise."""

from __future__ import annotations

import re
import string
from ipaddress import IPv6Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipyreconnect.address import Address, parse_address
from ipyreconnect.errors import SettingsError
from ipyreconnect.profile.base import PROFILES, TLSMode

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("text", "scheme", "host", "port", "tls"),
    [
        # bare
        ("localhost:4000", "tcp", "localhost", 4000, TLSMode.NONE),
        ("localhost 4000", "tcp", "localhost", 4000, TLSMode.NONE),
        ("  localhost \t 4000 ", "tcp", "localhost", 4000, TLSMode.NONE),
        ("127.0.0.1:1", "tcp", "127.0.0.1", 1, TLSMode.NONE),
        ("127.0.0.1:65535", "tcp", "127.0.0.1", 65535, TLSMode.NONE),
        ("localhost:0080", "tcp", "localhost", 80, TLSMode.NONE),
        ("Imap.Example.ORG:143", "tcp", "imap.example.org", 143, TLSMode.NONE),
        ("host.with.a.dot.:99", "tcp", "host.with.a.dot.", 99, TLSMode.NONE),
        ("under_score.example:99", "tcp", "under_score.example", 99, TLSMode.NONE),
        ("bücher.example:99", "tcp", "bücher.example", 99, TLSMode.NONE),
        ("[::1]:4000", "tcp", "::1", 4000, TLSMode.NONE),
        ("[::1] 4000", "tcp", "::1", 4000, TLSMode.NONE),
        ("::1 4000", "tcp", "::1", 4000, TLSMode.NONE),
        ("[2001:DB8:0:0::7]:4000", "tcp", "2001:db8::7", 4000, TLSMode.NONE),
        ("[::FFFF:192.0.2.1]:4000", "tcp", str(IPv6Address("::ffff:c000:201")), 4000, TLSMode.NONE),
        ("[fe80::1%eth0]:4000", "tcp", "fe80::1%eth0", 4000, TLSMode.NONE),
        ("[fe80::1%25]:4000", "tcp", "fe80::1%25", 4000, TLSMode.NONE),
        # bare, on a port where nothing but TLS is spoken
        ("h:993", "imaps", "h", 993, TLSMode.IMPLICIT),
        ("h 993", "imaps", "h", 993, TLSMode.IMPLICIT),
        ("[::1]:995", "pop3s", "::1", 995, TLSMode.IMPLICIT),
        ("h:465", "smtps", "h", 465, TLSMode.IMPLICIT),
        ("h:563", "nntps", "h", 563, TLSMode.IMPLICIT),
        ("h:6697", "ircs", "h", 6697, TLSMode.IMPLICIT),
        # a scheme means what it says, whatever the port
        ("tcp://h:993", "tcp", "h", 993, TLSMode.NONE),
        ("imap://h:993", "imap", "h", 993, TLSMode.NONE),
        ("tls://h:143", "tls", "h", 143, TLSMode.IMPLICIT),
        ("imaps://h:143", "imaps", "h", 143, TLSMode.IMPLICIT),
        # default ports
        ("imap://h", "imap", "h", 143, TLSMode.NONE),
        ("imaps://h", "imaps", "h", 993, TLSMode.IMPLICIT),
        ("smtp://h", "smtp", "h", 25, TLSMode.NONE),
        ("smtps://h", "smtps", "h", 465, TLSMode.IMPLICIT),
        ("submission://h", "submission", "h", 587, TLSMode.STARTTLS),
        ("pop3://h", "pop3", "h", 110, TLSMode.NONE),
        ("pop3s://h", "pop3s", "h", 995, TLSMode.IMPLICIT),
        ("nntp://h", "nntp", "h", 119, TLSMode.NONE),
        ("nntps://h", "nntps", "h", 563, TLSMode.IMPLICIT),
        ("irc://h", "irc", "h", 6667, TLSMode.NONE),
        ("ircs://h", "ircs", "h", 6697, TLSMode.IMPLICIT),
        ("redis://h", "redis", "h", 6379, TLSMode.NONE),
        ("rediss://h", "rediss", "h", 6379, TLSMode.IMPLICIT),
        ("nats://h", "nats", "h", 4222, TLSMode.NONE),
        ("scpi://h", "scpi", "h", 5025, TLSMode.NONE),
        ("gpsd://h", "gpsd", "h", 2947, TLSMode.NONE),
        ("nmea://h", "nmea", "h", 10110, TLSMode.NONE),
        # as people type URLs
        ("IMAPS://H", "imaps", "h", 993, TLSMode.IMPLICIT),
        ("imaps://h/", "imaps", "h", 993, TLSMode.IMPLICIT),
        ("imaps://h:", "imaps", "h", 993, TLSMode.IMPLICIT),
        ("imaps://[::1]", "imaps", "::1", 993, TLSMode.IMPLICIT),
        ("imaps://[::1]:994/", "imaps", "::1", 994, TLSMode.IMPLICIT),
        ("tcp://[fe80::1%25eth0]:99", "tcp", "fe80::1%eth0", 99, TLSMode.NONE),
        ("tcp://[fe80::1%eth0]:99", "tcp", "fe80::1%eth0", 99, TLSMode.NONE),
    ],
)
def test_an_address_is_understood(text: str, scheme: str, host: str, port: int, tls: TLSMode) -> None:
    """Every way in which people write an address leads to the host, the port and the TLS that they mean."""
    address = parse_address(text)
    assert address == Address(scheme, host, port, "", PROFILES[scheme], tls)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("unix:///run/x.sock", "/run/x.sock"),
        ("unix:/run/x.sock", "/run/x.sock"),
        ("UNIX:///run/x.sock", "/run/x.sock"),
        ("unix:////run/x.sock", "/run/x.sock"),
        ("unix:///run/with%20space", "/run/with space"),
        ("unix:///run/with space", "/run/with space"),
        ("unix:///run/user@host:1?#[]", "/run/user@host:1?#[]"),
        ("unix:///run/%FF", "/run/\udcff"),
        ("unix:///" + "a" * 106, "/" + "a" * 106),
    ],
)
def test_a_unix_socket_is_understood(text: str, path: str) -> None:
    """A Unix socket's path may hold any character, written as it is or escaped as in a URL."""
    address = parse_address(text)
    assert (address.path, address.host, address.port, address.tls) == (path, "", 0, TLSMode.NONE)
    assert address.display == path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no address: write host:port, or a URL such as imaps://imap.example.org"),
        (" \t", "no address: "),
        # the port
        ("localhost", "no port in 'localhost': write localhost:PORT, or a URL such as imaps://localhost"),
        ("localhost:", "no port in 'localhost:'"),
        ("[::1]", r"no port in '\[::1\]': write \[::1\]:PORT, or a URL such as imaps://\[::1\]"),
        ("tcp://localhost", "no port in 'tcp://localhost': write tcp://localhost:PORT"),
        ("tls://[::1]/", r"no port in 'tls://\[::1\]': write tls://\[::1\]:PORT"),
        ("localhost:0", "port '0' is out of range: write a number from 1 to 65535"),
        ("localhost:000", "port '000' is out of range"),
        ("localhost:65536", "port '65536' is out of range"),
        ("localhost 65536", "port '65536' is out of range"),
        ("imaps://h:70000", "port '70000' is out of range"),
        ("localhost:" + "9" * 5000, "port '9{80}…' is out of range"),
        ("localhost:abc", "port 'abc' is not a number: write a number from 1 to 65535"),
        ("localhost:imaps", "port 'imaps' is not a number: write imaps://localhost$"),
        ("[::1]:imaps", r"port 'imaps' is not a number: write imaps://\[::1\]$"),
        ("localhost:-1", "port '-1' is not a number"),
        ("localhost:+1", r"port '\+1' is not a number"),
        ("localhost:1.5", "port '1.5' is not a number"),
        ("localhost:0x50", "port '0x50' is not a number"),
        ("localhost:1_0", "port '1_0' is not a number"),
        ("localhost:٣", "port '٣' is not a number"),
        # the scheme
        ("http://example.org", "unknown scheme 'http': known are tcp, tls, unix, imap, imaps, "),
        ("imapz://h", r"unknown scheme 'imapz' \(did you mean imap\?\): known are "),
        ("reddis://h", r"unknown scheme 'reddis' \(did you mean redis\?\)"),
        ("://h:1", "unknown scheme ''"),
        # the host
        (":993", "no host in the address"),
        ("imaps://", "no host in the address"),
        ("imaps:///", "no host in the address"),
        ("[]:1", "only an IPv6 address stands in brackets"),
        ("[127.0.0.1]:1", "only an IPv6 address stands in brackets, as in .* not '127.0.0.1'"),
        ("[::1:993", r"brackets hold an IPv6 address, the port follows, as in \[::1\]:993"),
        ("[::1]993", r"brackets hold an IPv6 address, the port follows, as in \[::1\]:993"),
        ("::1:993", r"an IPv6 address needs brackets, as in \[::1\]:993, not '::1:993'"),
        ("tcp://fe80::1", "an IPv6 address needs brackets"),
        ("[::g]:1", "'::g' is not an IPv6 address"),
        ("[1:2:3]:1", "'1:2:3' is not an IPv6 address"),
        ("[fe80::1%]:1", "the zone behind the % of 'fe80::1%' is not the name of a network interface"),
        ("[fe80::1%a/b]:1", "the zone behind the % of 'fe80::1%a/b'"),
        ("256.0.0.1:1", "'256.0.0.1' is not an IPv4 address: each part is a number from 0 to 255"),
        ("a..b:1", r"'a\.\.b' is not a host name: each part between dots has 1 to 63 characters"),
        (".:1", "is not a host name"),
        ("a" * 64 + ":1", "is not a host name: each part between dots has 1 to 63 characters"),
        (".".join(["abcdefg"] * 32) + ":1", "a host name has at most 253 characters, this one has 255"),
        ("ho\x00st:1", "is not a host name"),
        ("ho\x1bst:1", "is not a host name"),
        ("ho\u202est:1", "is not a host name"),
        ("ho%st:1", "'ho%st' is not a host name"),
        ("host,port:1", "'host,port' is not a host name"),
        ("host/path:1", "'host/path' is not a host name"),
        (
            "imaps:/imap.example.org",
            r"'imaps:/imap\.example\.org' is no URL, .*: write imaps://imap\.example\.org$",
        ),
        ("imaps:/localhost:4993", "write imaps://localhost:4993$"),
        ("IMAPS:localhost:4993", "write imaps://localhost:4993$"),
        ("redis:localhost", "write redis://localhost$"),
        ("redis//localhost:6379", "write redis://localhost:6379$"),
        ("impas:/localhost:1", "is no URL, .*: write imaps://localhost:1$"),
        ("localhost:/x", "port '/x' is not a number"),
        ("/tmp/x.sock", "'/tmp/x.sock' is a path: for a Unix socket write unix:///tmp/x.sock$"),
        ("/run/my socket", "is a path: for a Unix socket write unix:///run/my socket$"),
        ("./x.sock", f"is a path: for a Unix socket write unix://{Path.cwd()}/x.sock$"),
        ("../x.sock", f"is a path: for a Unix socket write unix://{Path.cwd().parent}/x.sock$"),
        ("~/x.sock", f"is a path: for a Unix socket write unix://{Path.home()}/x.sock$"),
        ("/dev/ttyUSB0", "'/dev/ttyUSB0' is a serial port, not a server: .* host:port$"),
        ("/dev/cu.usbmodem1", "is a serial port, not a server"),
        ("COM3", "'COM3' is a serial port, not a server"),
        ("{host}:4000", "'{host}:4000' has a name in it that was not filled in: .*--fill$"),
        ("{{host}}:{{port}}", "has a name in it that was not filled in"),
        ("$host:4000", "has a name in it that was not filled in"),
        ("imaps://{host}", "'imaps://{host}' has a name in it that was not filled in"),
        ("//host:993", "is not a host name"),
        # too much
        ("a b c", "an address has no spaces but the one between host and port, not 'a b c'"),
        ("imaps://h 993", "'h 993' is not a host name"),
        ("x" * 5000 + ":1", "'x{80}…' is not a host name"),
        ("x" * 5000 + "://h", "unknown scheme 'x{80}…'"),
        ("redis://h/0", "an address ends after the port: leave out what follows redis://h$"),
        ("imaps://h:993/INBOX", "leave out what follows imaps://h:993$"),
        ("imaps://h?x=1", "leave out what follows imaps://h$"),
        ("imaps://h#x", "leave out what follows imaps://h$"),
        # Unix sockets
        ("unix:", "a Unix socket's address needs an absolute path: write unix:///path/to/socket"),
        ("unix://", "needs an absolute path"),
        ("unix://run/x.sock", "needs an absolute path"),
        ("unix:run/x.sock", "needs an absolute path"),
        ("unix:///", "no path in the address"),
        ("unix:///a%00b", "a Unix socket's path cannot hold a NUL"),
        ("unix:///" + "a" * 107, "a Unix socket's path has at most 107 bytes, this one has 108$"),
        ("unix:///" + "é" * 54, "a Unix socket's path has at most 107 bytes"),
    ],
)
def test_a_bad_address_is_refused_with_one_clear_line(text: str, message: str) -> None:
    """What cannot be an address is refused with one line that says what to write instead."""
    with pytest.raises(SettingsError, match=message) as caught:
        parse_address(text)
    assert len(str(caught.value).splitlines()) == 1
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("value", [None, 993, b"localhost:993", ("localhost", 993)])
def test_an_address_must_be_text(value: object) -> None:
    """Anything but text is named by its type."""
    with pytest.raises(SettingsError, match=f"an address is text, not {type(value).__name__}"):
        parse_address(value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        f"imaps://user:{SECRET}@h",
        f"imaps://:{SECRET}@h:993",
        f"imaps://user:x/{SECRET}@h",
        f"imaps://user:x?{SECRET}#@h",
        f"imaps://user:{SECRET}@[::1]:993",
        f"user:{SECRET}@h:993",
        f"user:{SECRET}@h 993",
        f"user {SECRET}@h 993 x",
        f"http://user:{SECRET}@h",
        f"imaps://h/{SECRET}",
        f"imaps://h?token={SECRET}",
        f"imaps://h#{SECRET}",
    ],
)
def test_a_password_in_an_address_is_refused_and_never_repeated(text: str) -> None:
    """No message shows what was written where URLs carry passwords and tokens, not even through its cause."""
    with pytest.raises(SettingsError) as caught:
        parse_address(text)
    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET not in str(error)
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize(
    ("text", "canonical", "display"),
    [
        ("localhost 4000", "tcp://localhost:4000", "localhost:4000"),
        ("h:993", "imaps://h:993", "h:993"),
        ("IMAPS://H/", "imaps://h", "h:993"),
        ("imaps://h:993", "imaps://h:993", "h:993"),
        ("[::1]:993", "imaps://[::1]:993", "[::1]:993"),
        ("redis://[::1]", "redis://[::1]", "[::1]:6379"),
        ("[fe80::1%eth0]:99", "tcp://[fe80::1%25eth0]:99", "[fe80::1%eth0]:99"),
        ("unix:///run/a b%25", "unix:///run/a%20b%25", "/run/a b%"),
    ],
)
def test_an_address_is_shown_in_one_spelling(text: str, canonical: str, display: str) -> None:
    """`str()` is a URL that leads to the same place; `display` is how messages name the server."""
    address = parse_address(text)
    assert str(address) == canonical
    assert address.display == display


@pytest.mark.parametrize(
    ("text", "mode", "canonical"),
    [
        ("h:993", TLSMode.NONE, "imap://h:993"),
        ("h:993", TLSMode.STARTTLS, "imap://h:993"),
        ("h:4000", TLSMode.IMPLICIT, "tls://h:4000"),
        ("tls://h:4000", TLSMode.NONE, "tcp://h:4000"),
        ("imap://h", TLSMode.IMPLICIT, "imaps://h"),
        ("imaps://h", TLSMode.NONE, "imap://h"),
        ("imaps://h", TLSMode.STARTTLS, "imap://h"),
        ("imap://h:1143", TLSMode.IMPLICIT, "imaps://h:1143"),
        ("submission://h", TLSMode.NONE, "submission://h"),
        ("submission://h", TLSMode.IMPLICIT, "smtps://h"),
        ("redis://h", TLSMode.IMPLICIT, "rediss://h"),
        ("nats://h", TLSMode.IMPLICIT, "nats://h"),
        ("unix:///x", TLSMode.IMPLICIT, "unix:///x"),
    ],
)
def test_the_tls_mode_can_be_overridden(text: str, mode: TLSMode, canonical: str) -> None:
    """Another TLS mode keeps the protocol and a port the user named; a default port follows the mode."""
    address = parse_address(text).with_tls(mode)
    assert address.tls is mode
    assert str(address) == canonical
    assert address.port == parse_address(canonical).port


@pytest.mark.parametrize("scheme", ["tcp", "tls", "irc", "ircs", "redis", "nats", "scpi"])
def test_starttls_is_refused_where_the_protocol_has_none(scheme: str) -> None:
    """Asking for STARTTLS without a dialect to speak it is refused, with the protocols that have one."""
    address = parse_address(f"{scheme}://h:4000")
    with pytest.raises(SettingsError, match=rf"{scheme} knows no STARTTLS.*\(imap, smtp, pop3, nntp\)"):
        address.with_tls(TLSMode.STARTTLS)


names = st.lists(
    st.text(string.ascii_lowercase + string.digits + "-_", min_size=1, max_size=12), min_size=1, max_size=4
).map(lambda labels: ".".join([*labels, "example"]))
hosts = st.one_of(
    names,
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(lambda ip: f"[{ip.compressed}]"),
    st.tuples(st.ip_addresses(v=6), st.text(string.ascii_letters + string.digits + ".-_~@", min_size=1)).map(
        lambda pair: f"[{pair[0].compressed.partition('%')[0]}%{pair[1].replace('@', '-')}]"
    ),
)
ports = st.integers(1, 65535)
paths = st.binary(min_size=1, max_size=100).map(
    lambda raw: "/" + raw.replace(b"\0", b"x").decode("utf-8", "surrogateescape").lstrip("/")
)


@given(hosts, ports)
def test_bare_addresses_round_trip(host: str, port: int) -> None:
    """What `str()` gives back for a bare address leads to an equal one."""
    address = parse_address(f"{host}:{port}")
    assert parse_address(str(address)) == address
    assert parse_address(f"{host} {port}") == address
    assert address.display == f"{host}:{port}"


@given(st.sampled_from(sorted(PROFILES.keys() - {"unix"})), hosts, ports)
def test_urls_round_trip(scheme: str, host: str, port: int) -> None:
    """What `str()` gives back for a URL leads to an equal address, with and without its port."""
    address = parse_address(f"{scheme}://{host.replace('%', '%25')}:{port}")
    assert parse_address(str(address)) == address
    if PROFILES[scheme].port:
        address = parse_address(f"{scheme}://{host.replace('%', '%25')}")
        assert parse_address(str(address)) == address
        assert address.port == PROFILES[scheme].port


@given(paths)
def test_unix_paths_round_trip(path: str) -> None:
    """Any path of bytes survives being written as a URL."""
    if path == "/":
        return
    profile = PROFILES["unix"]
    address = Address("unix", "", 0, path, profile, profile.tls, port_given=False)
    assert parse_address(str(address)) == address


@given(st.text())
def test_any_text_is_an_address_or_refused(text: str) -> None:
    """Whatever is typed, the outcome is an address that round-trips or a SettingsError of one line."""
    address = message = None
    try:
        address = parse_address(text)
    except SettingsError as error:
        message = str(error)
    if address is not None:
        assert parse_address(str(address)) == address
    else:
        assert message is not None
        assert message.isprintable()


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_is_whole(name: str) -> None:
    """Every profile is named as its scheme, and cuts and answers lines as it says."""
    profile = PROFILES[name]
    assert profile.name == name
    assert profile.eol in (b"\r\n", b"\n")
    assert (profile.framing == "announced") == (profile.announce is not None)
    assert profile.tls is not TLSMode.STARTTLS or profile.dialect is not None
    for pattern, template in profile.replies:
        assert template
        re.compile(pattern)
    # A heartbeat is one line and has an answer, or it may be said why there is none.
    assert (profile.heartbeat is None) == (profile.heartbeat_answer is None)
    assert profile.heartbeat is None or (profile.heartbeat.isprintable() and not profile.no_heartbeat)


@pytest.mark.parametrize(
    ("scheme", "line", "answers"),
    [
        ("pop3", b"+OK", True),  # CAPA, in each state
        ("pop3s", b"-ERR Unknown command.", True),
        ("pop3", b"CAPA", False),
        ("nntp", b"111 20261130120000", True),
        ("nntps", b"401 MODE-READER", True),
        ("nntp", b"Subject: 111 lines", False),
        ("irc", b":irc.znc.in PONG irc.znc.in ipyreconnect", True),
        ("ircs", b"PONG :ipyreconnect", True),
        ("irc", b"@time=2026-01-01T00:00:00Z :irc.example.org PONG irc.example.org :ipyreconnect", True),
        ("irc", b":ngircd.test 451 * :Connection not registered", False),  # 2 s for each, so no pace to keep
        ("irc", b":somebody!u@h PRIVMSG #c :PONG", False),
        ("irc", b"PING :irc.example.org", False),
        ("redis", b"+PONG", True),
        ("rediss", b"-NOAUTH Authentication required.", True),
        ("redis", b"+OK", False),
        ("redis", b"$5\r\n+PONG", False),
        ("nats", b"PONG", True),
        ("nats", b"PING", False),
        ("nats", b"MSG a 1 4\r\nPONG", False),
        ("gpsd", b'{"class":"VERSION","release":"3.22"}', True),
        ("gpsd", b'{"class":"TPV","device":"/dev/ttyS0"}', False),
    ],
)
def test_a_profile_knows_what_answers_its_heartbeat(scheme: str, line: bytes, answers: bool) -> None:
    """The answers that real servers gave, and what else they say."""
    pattern = PROFILES[scheme].heartbeat_answer
    assert pattern is not None
    assert bool(pattern.search(line)) is answers


@pytest.mark.parametrize("scheme", ["smtp", "smtps", "submission"])
def test_mail_servers_get_no_heartbeat_by_themselves(scheme: str) -> None:
    """Exim closes at the tenth NOOP: what nobody asked for must do no harm."""
    assert PROFILES[scheme].heartbeat is None
    assert "nine NOOPs" in PROFILES[scheme].no_heartbeat


@pytest.mark.parametrize(
    ("scheme", "line", "count"),
    [
        ("imap", b"* 1 FETCH (BODY[] {310}", b"310"),
        ("imap", b"* 1 FETCH (BODY[]<0> {0}", b"0"),
        ("imap", b"a LOGIN {4+}", b"4"),
        ("imap", b"* 1 FETCH (BINARY[1] ~{12}", b"12"),
        ("imap", b"a SEARCH CHARSET UTF-8 (TEXT {5}", b"5"),
        ("imap", b"({5}", b"5"),
        ("imap", b" {5}", b"5"),
        ("imap", b"{5}", b"5"),
        ("imaps", b"* LIST () NIL {3}", b"3"),
        ("imap", b"* OK no literal: x{5}", None),
        ("imap", b"* 1 FETCH (BODY[] {310})", None),
        ("imap", b"* 1 FETCH (BODY[] {310} ", None),
        ("imap", b"* OK {}", None),
        ("imap", b"* OK {-1}", None),
        ("imap", b"* OK {+}", None),
        ("imap", b"* OK {" + b"9" * 20 + b"}", None),
        ("redis", b"$5", b"5"),
        ("redis", b"$0", b"0"),
        ("rediss", b"!21", b"21"),
        ("redis", b"=15", b"15"),
        ("redis", b"$-1", None),
        ("redis", b"$?", None),
        ("redis", b"*2", None),
        ("redis", b":5", None),
        ("redis", b"+$5", None),
        ("redis", b"$5 ", None),
        ("nats", b"MSG foo.bar 9 11", b"11"),
        ("nats", b"MSG foo.bar 9 reply.to 11", b"11"),
        ("nats", b"msg foo.bar 9 0", b"0"),
        ("nats", b"MSG\tfoo\t9\t11", b"11"),
        ("nats", b"HMSG foo 9 34 45", b"45"),
        ("nats", b"HMSG foo 9 reply 34 45", b"45"),
        ("nats", b"MSG foo.bar 9 -1", None),
        ("nats", b"INFO {5}", None),
        ("nats", b"-ERR 'MSG 5'", None),
        ("nats", b"+OK", None),
    ],
)
def test_an_announced_count_is_found(scheme: str, line: bytes, count: bytes | None) -> None:
    """The bytes that a line announces are counted as the protocol says; nothing else is taken for a count."""
    announce = PROFILES[scheme].announce
    assert announce is not None
    found = announce.search(line)
    assert (found and found[1]) == count


@pytest.mark.parametrize(
    ("scheme", "line", "answer"),
    [
        ("irc", b"PING :irc.example.org", b"PONG :irc.example.org"),
        ("ircs", b"PING 12345", b"PONG 12345"),
        ("irc", b":irc.example.org PING :x y", b"PONG :x y"),
        ("irc", b"@time=2026-01-01T00:00:00Z :irc.example.org PING :x", b"PONG :x"),
        ("irc", b":somebody PRIVMSG #channel :PING me", None),
        ("irc", b":irc.example.org PONG irc :PING x", None),
        ("nats", b"PING", b"PONG"),
        ("nats", b"PING ", b"PONG"),
        ("nats", b"PINGO", None),
        ("nats", b"PONG", None),
    ],
)
def test_a_profile_answers_what_the_server_asks(scheme: str, line: bytes, answer: bytes | None) -> None:
    """A server's PING gets its PONG; what others say about pings gets none."""
    ((pattern, template),) = PROFILES[scheme].replies
    found = re.search(pattern, line)
    assert (found and found.expand(template)) == answer


@pytest.mark.parametrize("home", ["/home/user", "/home/100%25 é", "/home/ü~"])
def test_a_unix_sockets_path_begins_at_home(home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """~ is the user's home, whatever stands in its name; elsewhere in a path it is itself."""
    monkeypatch.setenv("HOME", home)
    for text in ("unix://~/run/x%20y.sock", "unix:~/run/x y.sock"):
        address = parse_address(text)
        assert address.path == f"{home}/run/x y.sock"
        assert parse_address(str(address)) == address
    assert parse_address("unix:///run/~/x").path == "/run/~/x"
    with pytest.raises(SettingsError, match="needs an absolute path"):
        parse_address("unix://~no-such-user-of-ours/x")
