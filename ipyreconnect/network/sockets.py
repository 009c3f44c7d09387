"""Socket options, and words for the system's errors; decides nothing about when, and keeps no state.

Each operating system is one row of a table, so that all of them can be tested on any. What a row lacks, or
the running kernel refuses, is left out and named by `missing_options`.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import stat
import struct
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from ..errors import Ending
from ..protocol.tcp_info import TcpInfo
from ..settings import KeepAlive

__all__ = [
    "AF_UNIX",
    "HERE",
    "SILENT",
    "SockAddr",
    "System",
    "abort",
    "apply_keepalive",
    "describe",
    "drop",
    "ending_of",
    "has_hung_up",
    "join_names",
    "let_wait",
    "missing_options",
    "more_exact",
    "outq",
    "prepare",
    "read_keepalive",
    "read_user_timeout",
    "reason_for",
    "set_longest_retransmission",
    "set_user_timeout",
    "shortage",
    "shut",
    "system_for",
    "tcp_info",
]

SockAddr = Any
"""What the socket module takes and gives: (host, port), (host, port, flow, scope), a path or bytes."""

MAX_OPTION: Final = 2**31 - 1
"""The largest int that setsockopt takes; in milliseconds 24 days, which only huge keepalives exceed."""

TCP_INFO_SIZE: Final = 280
"""Bytes; all of struct tcp_info in Linux 6.x; an older kernel fills a shorter part, from the start."""

USUAL_LONGEST_RETRANSMISSION: Final = 120_000
"""Milliseconds; TCP_RTO_MAX of Linux (its net/tcp.h), unless net.ipv4.tcp_rto_max_ms says otherwise."""

NAMES_SHOWN: Final = 3
"""Addresses that one reason names before it only counts them, so that the line stays readable."""


@dataclass(frozen=True, slots=True)
class System:
    """The socket options of one operating system, by number; None: it has no such option.

    Attributes:
        name: as users call it.
        idle: the option for the seconds before the first probe.
        interval: the option for the seconds between probes.
        count: the option for the number of probes.
        user_timeout: the option for how long sent data may stay unacknowledged.
        user_timeout_unit: milliseconds in one unit of that option.
        longest_retransmission: the option for the milliseconds between two retransmissions or window probes
            at most.
        tcp_info: the option that reads struct tcp_info in Linux's layout.
        outq_ioctl: whether SIOCOUTQ gives the number of bytes that the peer has not acknowledged.
        outq_option: the option of SOL_SOCKET that gives it.
        usual: idle, interval and count in force where their option is missing.
        linger: the format of struct linger.
        no_wait: the flag that makes one call on a blocking socket not block; 0: there is none.
    """

    name: str
    idle: int | None
    interval: int | None
    count: int | None
    user_timeout: int | None = None
    user_timeout_unit: int = 1
    longest_retransmission: int | None = None
    tcp_info: int | None = None
    outq_ioctl: bool = False
    outq_option: int | None = None
    usual: tuple[int, int, int] = (7200, 75, 9)
    linger: str = "ii"
    no_wait: int = 0


# tcp(7), recv(2), and linux/tcp.h and linux/socket.h for the numbers.
_LINUX: Final = System(
    "Linux",
    idle=4,
    interval=5,
    count=6,
    user_timeout=18,
    longest_retransmission=44,
    tcp_info=11,
    outq_ioctl=True,
    no_wait=0x40,
)
# netinet/tcp.h and sys/socket.h of xnu: TCP_KEEPALIVE, TCP_KEEPINTVL, TCP_KEEPCNT, TCP_RXT_CONNDROPTIME in
# seconds, and SO_NWRITE.
_MACOS: Final = System(
    "macOS",
    idle=0x10,
    interval=0x101,
    count=0x102,
    user_timeout=0x80,
    user_timeout_unit=1000,
    outq_option=0x1024,
    usual=(7200, 75, 8),
)
# ws2ipdef.h: TCP_KEEPIDLE, TCP_KEEPINTVL and TCP_KEEPCNT, all since Windows 10 1709, and TCP_MAXRTMS. An
# older one sends 10 probes.
_WINDOWS: Final = System(
    "Windows", idle=3, interval=17, count=16, user_timeout=14, usual=(7200, 1, 10), linger="HH"
)


def system_for(platform: str) -> System:
    """Return the row for a value of sys.platform; for any other system, what Python knows. Any thread."""
    if platform.startswith("linux") or platform == "android":
        return _LINUX
    if platform in ("darwin", "ios"):
        return _MACOS
    if platform == "win32":
        return _WINDOWS
    return System(
        platform,
        idle=getattr(socket, "TCP_KEEPIDLE", None),
        interval=getattr(socket, "TCP_KEEPINTVL", None),
        count=getattr(socket, "TCP_KEEPCNT", None),
    )


HERE: Final = system_for(sys.platform)
"""The system that this process runs on."""

AF_UNIX: Final[int | None] = getattr(socket, "AF_UNIX", None)
"""The address family of Unix sockets; None where Python has none."""
_TCP: Final = socket.IPPROTO_TCP

# With which errors a kernel refuses an option that it does not know; WSAENOPROTOOPT is ENOPROTOOPT in
# Python's errno.
_UNKNOWN_OPTION: Final = (errno.ENOPROTOOPT, errno.EOPNOTSUPP)


def _set(sock: socket.socket, option: int | None, value: int) -> None:
    """Set a TCP option that may be missing: the connection does without, and `missing_options` says so."""
    if option is None:
        return
    try:
        sock.setsockopt(_TCP, option, value)
    except OSError as error:
        if error.errno not in _UNKNOWN_OPTION:
            raise


def _get(sock: socket.socket, option: int | None, usual: int) -> int:
    if option is None:
        return usual
    try:
        return sock.getsockopt(_TCP, option)
    except OSError as error:
        if error.errno not in _UNKNOWN_OPTION:
            raise
        return usual


def prepare(sock: socket.socket) -> None:
    """Make a new socket non-blocking, have it send at once, and keep urgent bytes in the stream.

    Any thread. Source: tcp(7), TCP_NODELAY; RFC 6093, 6: unless urgent data is read in line, its byte is
    missing from the stream.
    """
    sock.setblocking(False)
    if sock.family != AF_UNIX:
        sock.setsockopt(_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)


def let_wait(sock: socket.socket, milliseconds: int, *, system: System = HERE) -> int:
    """Make receiving block for a limited time, unless a call asks not to.

    Any thread. Source: recv(2), MSG_DONTWAIT; socket(7), SO_RCVTIMEO. Sending without the flag would block
    for ever.

    Args:
        sock: a non-blocking socket.
        milliseconds: the limit, about: the kernel waits for two ticks of its clock at least, which is 2 to
            20 ms (8 measured).
        system: the operating system.

    Returns:
        The flag with which a call does not block; 0 where the system has none: then the socket stays as it
        is, and no call blocks.
    """
    if system.no_wait:
        limit = struct.pack("ll", milliseconds // 1000, milliseconds % 1000 * 1000)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        sock.setblocking(True)
    return system.no_wait


def apply_keepalive(
    sock: socket.socket, keepalive: KeepAlive, user_timeout: int = 0, *, system: System = HERE
) -> None:
    """Set the keepalive of a socket, connected or not; a Unix socket is left as it is.

    Any thread. Source: tcp(7). On a connected socket only TCP_KEEPIDLE takes effect at once, while the
    interval and the count wait for the old timer. So it is set last: a peer that was silent for longer is
    probed now (measured).

    Args:
        sock: the socket.
        keepalive: when to probe the peer.
        user_timeout: milliseconds that sent data may stay unacknowledged; 0: the system's own rule.
        system: the operating system.

    Raises:
        OSError: the kernel refuses a value.
    """
    if sock.family == AF_UNIX:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 0)
    set_user_timeout(sock, user_timeout, system=system)
    if not keepalive.enabled:
        return
    _set(sock, system.interval, keepalive.interval)
    _set(sock, system.count, keepalive.count)
    if _would_give_up(sock, keepalive, user_timeout, system):
        # A probe at once would have the kernel give up, even with the answer on its way: so the timer starts
        # anew.
        _set(sock, system.idle, keepalive.idle)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    else:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        _set(sock, system.idle, keepalive.idle)


def _would_give_up(sock: socket.socket, keepalive: KeepAlive, user_timeout: int, system: System) -> bool:
    """Return whether the kernel would end the connection when its keepalive timer expires.

    To be called while that timer stands still. Source: tcp_keepalive_timer in net/ipv4/tcp_timer.c.
    """
    raw = tcp_info(sock, system=system)
    if raw is None:
        return False
    info = TcpInfo.unpack(raw)
    if not user_timeout:
        return info.probes >= keepalive.count
    return info.probes > 0 and info.silence * 1000 >= user_timeout


def read_keepalive(sock: socket.socket, *, system: System = HERE) -> KeepAlive:
    """Return the keepalive in force, as the kernel reports it; off for a Unix socket.

    Any thread.

    Raises:
        OSError: the socket is closed.
    """
    if sock.family == AF_UNIX or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE):
        return KeepAlive.off()
    idle, interval, count = system.usual
    return KeepAlive(
        _get(sock, system.idle, idle), _get(sock, system.interval, interval), _get(sock, system.count, count)
    )


def set_user_timeout(sock: socket.socket, user_timeout: int, *, system: System = HERE) -> None:
    """Set how long sent data may stay unacknowledged before the kernel gives up.

    Any thread. Takes effect at the next retransmission (measured). Source: tcp(7), TCP_USER_TIMEOUT.

    Args:
        sock: the socket.
        user_timeout: milliseconds, rounded down to what the system can express, yet not down to 0; 0: the
            system's own rule.
        system: the operating system.

    Raises:
        OSError: the kernel refuses the value.
    """
    if sock.family == AF_UNIX:
        return
    unit = system.user_timeout_unit
    value = min(max(1, user_timeout // unit), MAX_OPTION) if user_timeout else 0
    _set(sock, system.user_timeout, value)


def read_user_timeout(sock: socket.socket, *, system: System = HERE) -> int:
    """Return how long sent data may stay unacknowledged, in ms; 0: the system's own rule. Any thread."""
    if sock.family == AF_UNIX:
        return 0
    return _get(sock, system.user_timeout, 0) * system.user_timeout_unit


def set_longest_retransmission(sock: socket.socket, milliseconds: int, *, system: System = HERE) -> bool:
    """Set how long the kernel waits between two retransmissions or window probes at most.

    Any thread. Takes effect when the next wait begins. Source: linux/tcp.h, TCP_RTO_MAX_MS.

    Args:
        sock: the socket.
        milliseconds: 1000 to 120000; 0: the system's own rule.
        system: the operating system.

    Returns:
        Whether the kernel knows such a limit; Linux does since 6.15.

    Raises:
        OSError: the kernel refuses the value.
    """
    option = system.longest_retransmission
    if sock.family == AF_UNIX or option is None or not _has(sock, option):
        return False
    if not milliseconds:
        milliseconds = _usual_longest_retransmission(sock, option)
    try:
        sock.setsockopt(_TCP, option, milliseconds)
    except OSError as error:
        if error.errno not in _UNKNOWN_OPTION:
            raise
        return False
    return True


def _usual_longest_retransmission(sock: socket.socket, option: int | None) -> int:
    """Return the system's own rule, which a new socket has; the usual one if there can be no new socket."""
    try:
        with socket.socket(sock.family, socket.SOCK_STREAM) as fresh:
            return _get(fresh, option, USUAL_LONGEST_RETRANSMISSION)
    except OSError:  # too many open files
        return USUAL_LONGEST_RETRANSMISSION


def has_hung_up(sock: socket.socket) -> bool:
    """Return whether the connection has failed, or has ended in both directions. Any thread.

    poll(2) reports that even if it is asked for nothing; where the system has none, this is False.
    """
    if not hasattr(select, "poll"):
        return False
    poller = select.poll()
    poller.register(sock, 0)
    return bool(poller.poll(0))


def tcp_info(sock: socket.socket, *, system: System = HERE) -> bytes | None:
    """Return the kernel's account of a connection, struct tcp_info in Linux's layout; None: there is none.

    Any thread. It stays readable after the connection was lost, until the socket is closed. Source:
    linux/tcp.h.
    """
    if system.tcp_info is None:
        return None
    try:
        return sock.getsockopt(_TCP, system.tcp_info, TCP_INFO_SIZE)
    except OSError:  # a Unix socket, a closed one, or a system that only looks like Linux
        return None


def outq(sock: socket.socket, *, system: System = HERE) -> int | None:
    """Return how many written bytes the peer has not acknowledged yet; None where that is not known.

    Any thread. It stays readable after the connection was lost, until the socket is closed. Source: tcp(7),
    SIOCOUTQ; sys/socket.h of xnu, SO_NWRITE.
    """
    try:
        if system.outq_option is not None:
            return sock.getsockopt(socket.SOL_SOCKET, system.outq_option)
        if system.outq_ioctl:
            import fcntl  # not on Windows
            import termios

            # linux/sockios.h: SIOCOUTQ is TIOCOUTQ, whose number differs between processors.
            answer = fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4))
            return int.from_bytes(answer, sys.byteorder, signed=True)
    except (OSError, ValueError):  # closed
        pass
    return None


def abort(sock: socket.socket, *, system: System = HERE) -> None:
    """Close, and have the kernel forget what was not acknowledged; a peer within reach gets a reset.

    After a plain close the kernel goes on delivering: 3 s later, with the cable back, the peer still got the
    old line (measured). What `tcp_info` says is to be read before.

    Any thread; harmless on a closed socket. Source: socket(7), SO_LINGER.
    """
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack(system.linger, 1, 0))
    except OSError:
        pass
    drop(sock)


def shut(sock: socket.socket) -> None:
    """Send the end of the stream behind all that was written; the socket stays open.

    It can still be read, and `tcp_info` and `outq` say what was acknowledged. Unlike after a close, the peer
    gets the end even while a forked child holds a copy of the socket. Any thread; harmless on a closed
    socket.
    """
    try:
        sock.shutdown(socket.SHUT_WR)
    except OSError:  # not connected any more
        pass


def drop(sock: socket.socket) -> None:
    """Close this process's copy of a socket, and no more. Any thread; harmless on a closed socket."""
    try:
        sock.close()
    except OSError:  # the fd is closed all the same
        pass


def missing_options(*, system: System = HERE, sock: socket.socket | None = None) -> tuple[str, ...]:
    """Return what this system cannot do for a connection, and what the user misses by it.

    Any thread.

    Args:
        system: the operating system.
        sock: the TCP socket that is asked; None: a new one.
    """
    if sock is None:
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as fresh:
                return missing_options(system=system, sock=fresh)
        except OSError:  # no IPv4 here
            with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as fresh:
                return missing_options(system=system, sock=fresh)
    idle, interval, count = system.usual
    missing = [
        text
        for option, text in (
            (system.idle, f"keepalive idle time (stays {idle} s)"),
            (system.interval, f"keepalive interval (stays {interval} s)"),
            (system.count, f"keepalive count (stays {count})"),
            (system.user_timeout, "TCP_USER_TIMEOUT (a line in flight can hide a dead peer for minutes)"),
            (system.tcp_info, "TCP_INFO (no delivery marks, no round-trip times, no watchdog)"),
        )
        if not _has(sock, option)
    ]
    if system.longest_retransmission is not None and not _has(sock, system.longest_retransmission):
        missing.append("TCP_RTO_MAX_MS (a peer that dies while it does not read is noticed late)")
    if outq(sock, system=system) is None:
        missing.append("SIOCOUTQ (no count of unacknowledged bytes)")
    return tuple(missing)


def _has(sock: socket.socket, option: int | None) -> bool:
    if option is None:
        return False
    try:
        sock.getsockopt(_TCP, option)
    except OSError:
        return False
    return True


def describe(sockaddr: SockAddr) -> str:
    """Return a socket's address as users write it: ``host:port``, ``[v6%zone]:port``, a path or ``@name``.

    Any thread.
    """
    if isinstance(sockaddr, bytes):
        sockaddr = os.fsdecode(sockaddr)
    if isinstance(sockaddr, str):
        # unix(7): a name that begins with NUL is abstract, written with @; the calling side has no name.
        return f"@{sockaddr[1:]}" if sockaddr.startswith("\0") else sockaddr or "an unnamed socket"
    host, port = sockaddr[:2]
    if ":" not in host:
        return f"{host}:{port}"
    scope = sockaddr[3] if len(sockaddr) > 3 else 0
    if scope and "%" not in host:
        try:
            host = f"{host}%{socket.if_indextoname(scope)}"
        except OSError:  # the interface has gone
            host = f"{host}%{scope}"
    return f"[{host}]:{port}"


def join_names(names: Iterable[str]) -> str:
    """Return names as a sentence lists them: at most three, then how many more there are. Any thread."""
    listed = list(names)
    if len(listed) > NAMES_SHOWN:
        listed[NAMES_SHOWN:] = [f"{len(listed) - NAMES_SHOWN} more"]
    return " and ".join(filter(None, (", ".join(listed[:-1]), *listed[-1:])))


# By name, for not every system has every number. {} is the peer.
_REASONS: Final = {
    number: text
    for name, text in {
        "ECONNREFUSED": "refused by {}",
        "ECONNRESET": "reset by {}",
        "ECONNABORTED": "connection to {} aborted by this computer",
        "EPIPE": "closed by {}",
        "ESHUTDOWN": "closed by {}",
        "ENOTCONN": "closed by {}",
        "ENETRESET": "connection to {} reset by the network",
        "ETIMEDOUT": "timed out: no answer from {}",
        "EHOSTUNREACH": "no route to {} (host unreachable)",
        "ENETUNREACH": "no route to {} (network unreachable)",
        "EHOSTDOWN": "no route to {} (host down)",
        "ENONET": "no route to {} (no network)",
        "ENETDOWN": "the network is down: cannot reach {}",
        "EADDRNOTAVAIL": "this computer has no address from which to reach {}",
        "EADDRINUSE": "this computer has no free port from which to reach {}",
        "EAFNOSUPPORT": "this computer does not speak the address family of {}",
        "EACCES": "not permitted to connect to {}",
        "WSAEACCES": "not permitted to connect to {}",
        "EPERM": "a firewall on this computer forbids connecting to {}",
        "EPROTOTYPE": "{} is not a stream socket",
        "ENOTSOCK": "{} is not a socket",
        "EISDIR": "{} is a directory, not a socket",
        "ENOENT": "no socket at {}: it does not exist",
        "ENOTDIR": "no socket at {}",
        "EAGAIN": "{} is busy: too many wait to be accepted",
        "EMFILE": "cannot connect to {}: this process has too many open files",
        "ENFILE": "cannot connect to {}: this computer has too many open files",
        "ENOBUFS": "cannot connect to {}: this computer is out of buffers for sockets",
        "ENOMEM": "cannot connect to {}: this computer is out of memory",
        # ICMP's refusals, as Linux maps them (icmp.c, icmp_err_convert).
        "ENOPROTOOPT": "refused by {}: it does not speak TCP",
        "EOPNOTSUPP": "no route to {} (source route failed)",
    }.items()
    if (number := getattr(errno, name, None)) is not None
}

SILENT: Final = frozenset({errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH})
"""Errors with which the kernel ends a connection for its peer's silence: Linux reports the last ICMP or ARP
error, if any, instead of ETIMEDOUT."""


_CLOSED: Final = frozenset({errno.EPIPE, errno.ESHUTDOWN, errno.ENOTCONN})


def ending_of(error: OSError) -> Ending:
    """Return how a connection ended that the system ended with `error`. Any thread."""
    if error.errno == errno.ECONNRESET:
        return Ending.RESET
    return Ending.CLOSED if error.errno in _CLOSED else Ending.OTHER


def more_exact(error: OSError, family: int, sockaddr: SockAddr) -> OSError:
    """Return a more exact error for why no connection could be made, where the system's own says less.

    For a Unix socket's path that leads to no socket, the system says "refused". EADDRNOTAVAIL means two
    things on Linux: that there is no address to connect from, or that all its ports are taken. A UDP socket,
    which takes none of these ports and sends nothing, distinguishes them.

    Any thread; does not block. Source: connect(2), ip(7); net/ipv4/inet_hashtables.c, __inet_hash_connect.

    Args:
        error: the system's own.
        family: the address family.
        sockaddr: the address that was tried.
    """
    number = error.errno
    if number == errno.ECONNREFUSED and family == AF_UNIX:
        try:
            mode = os.stat(sockaddr).st_mode
        except (OSError, ValueError):  # an abstract address, or a socket that was removed meanwhile
            return error
        if not stat.S_ISSOCK(mode):
            number = errno.EISDIR if stat.S_ISDIR(mode) else errno.ENOTSOCK
    elif number == errno.EADDRNOTAVAIL and family != AF_UNIX:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as sock:
                sock.connect(sockaddr)
            number = errno.EADDRINUSE
        except OSError:
            return error
    return error if number == error.errno else OSError(number, os.strerror(number or 0))


def shortage() -> OSError | None:
    """Return the error with which this process can open no file or socket now; None: it can. Any thread.

    getaddrinfo may say that there is no such name when it just could not open its own files.
    """
    try:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            return error
    return None


def reason_for(error: OSError, where: str, *, silence: str = "") -> str:
    """Return an OSError in the user's words: what happened, and to whom.

    The one place where the system's errors become text. Any thread.

    Args:
        error: the system's.
        where: the peer, as `describe` writes it; the bare name for what getaddrinfo has raised.
        silence: what `unanswered` says of it, if a silence has ended the connection.
    """
    if isinstance(error, socket.gaierror):
        return _name_reason(error, where)
    number = error.errno
    if number is None and isinstance(error, TimeoutError):
        number = errno.ETIMEDOUT
    if number == errno.EINVAL and where.startswith("[fe8") and "%" not in where:
        return f"{where} needs its interface: write it as in [fe80::1%eth0]:993"
    text = _REASONS.get(number) if number is not None else None
    if text is None:
        return f"{where}: {error.strerror or error}"
    if silence and number == errno.ETIMEDOUT:
        return f"{where} {silence}"
    reason = text.format(where)
    return f"{reason}, which {silence}" if silence and number in SILENT else reason


def _name_reason(error: socket.gaierror, host: str) -> str:
    """Return an error of getaddrinfo in the user's words. Source: getaddrinfo(3), RFC 3493 6.1."""
    if error.errno in _NO_ADDRESS:
        return f"no address found for '{host}'"
    if error.errno == socket.EAI_AGAIN:
        return f"cannot look up '{host}' now: the name service does not answer"
    if error.errno == socket.EAI_FAIL:
        return f"cannot look up '{host}': the name service failed"
    return f"cannot look up '{host}': {error.strerror or error}"


_NO_ADDRESS: Final = frozenset(
    getattr(socket, name) for name in ("EAI_NONAME", "EAI_NODATA", "EAI_ADDRFAMILY") if hasattr(socket, name)
)
