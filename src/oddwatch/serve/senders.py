"""Where alerts go: a signed webhook, an MQTT broker.

A webhook is one POST of the alert's JSON with the headers

    Content-Type: application/json
    Idempotency-Key: the alert's id (``id.closed`` for the news that it is over): the same for every try
    X-Oddwatch-Timestamp: seconds since the epoch, at this try
    X-Oddwatch-Signature: v1=hex(HMAC-SHA256(secret, timestamp + "." + body))     only where there is a secret

A receiver checks the signature over the bytes it got, refuses timestamps of more than some minutes ago, and remembers
the keys. Any 2xx, or 409 (it knows that key), means taken; 400, 413 and 422 mean that this message will never be; all
else is tried again.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import math
import socket
import ssl
import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import httpx

from oddwatch.core.errors import InputError
from oddwatch.core.registry import require
from oddwatch.media.addresses import masked
from oddwatch.serve.alerts import safe
from oddwatch.serve.delivery import Delivery, DeliveryError, Sender, Spool

_REFUSED = (400, 413, 422)


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """The value of X-Oddwatch-Signature."""
    return "v1=" + hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def verified(secret: str, timestamp: str, body: bytes, given: str, now: float, within: float = 300.0) -> bool:
    """What a receiver does: whether ``given`` is the signature of ``body``, made within some seconds of ``now``."""
    try:
        fresh = abs(now - float(timestamp)) <= within
    except ValueError:
        return False
    return fresh and hmac.compare_digest(signature(secret, timestamp, body).encode(), given.encode())


@cache
def _tls() -> ssl.SSLContext:
    """Read once: certificates take a tenth of a second."""
    return httpx.create_ssl_context()


class Webhook:
    """POST each alert to ``url`` (http or https), signed with ``secret`` where there is one.

    Redirects are not followed. An address of a private network, or of this machine, is refused unless ``allow_private``;
    what a name stands for is looked up for each message, checked, and then connected to as looked up, so that it cannot
    change in between. No proxy is used.

    Raises:
        InputError: not an http(s) address, or a private one that is not allowed.
    """

    def __init__(
        self,
        url: str,
        secret: str = "",
        *,
        allow_private: bool = False,
        timeout: float = 10.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = masked(url)
        parts = urlsplit(url)
        try:
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise InputError(self.name, "is no address that can be read", "https://host/path") from error
        if parts.scheme not in ("http", "https") or not host:
            raise InputError(self.name, "expected an http or https address", "https://host/path")
        if not (math.isfinite(timeout) and timeout > 0):
            raise InputError("timeout", f"expected seconds above 0, got {timeout}")
        self._host, self._port = host, port or (443 if parts.scheme == "https" else 80)
        self._parts, self._secret, self._private, self._clock = parts, secret, allow_private, clock
        user = unquote(parts.username) if parts.username is not None else None
        self._auth = None if user is None else httpx.BasicAuth(user, unquote(parts.password or ""))
        self._check_literal()
        self._client = httpx.Client(follow_redirects=False, timeout=timeout, trust_env=False, verify=_tls())

    def _check_literal(self) -> None:
        """Say at once what can be known without asking for names."""
        try:
            allowed = self._private or _public(ipaddress.ip_address(self._host))
        except ValueError:
            allowed = self._private or not (self._host == "localhost" or self._host.endswith(".localhost"))
        if not allowed:
            raise InputError(
                self.name, "is an address of a private network", "allow private addresses if you mean it"
            )

    def _addresses(self) -> list[str]:
        """The host's addresses, looked up now and checked."""
        try:
            found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise DeliveryError(f"{self._host} is not known: {error}") from error
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        if not self._private and not all(
            _public(ipaddress.ip_address(a.partition("%")[0])) for a in addresses
        ):
            raise DeliveryError(f"{self._host} stands for a private address")
        return addresses

    def send(self, key: str, body: bytes) -> None:
        """One try. Raises DeliveryError where the receiver did not take it."""
        stamp = str(int(self._clock()))
        headers = {
            "Host": self._parts.netloc.rpartition("@")[2],
            "Content-Type": "application/json",
            "Idempotency-Key": key,
            "X-Oddwatch-Timestamp": stamp,
            "User-Agent": "oddwatch",
        }
        if self._secret:
            headers["X-Oddwatch-Signature"] = signature(self._secret, stamp, body)
        status = self._status(headers, body)
        if 200 <= status < 300 or status == 409:
            return
        if 300 <= status < 400:
            raise DeliveryError(f"the receiver redirects ({status}); name its last address instead")
        raise DeliveryError(f"the receiver answers {status}", again=status not in _REFUSED)

    def _status(self, headers: dict[str, str], body: bytes) -> int:
        """The answer of the first of the host's addresses that can be connected to."""
        problem = ""
        for address in self._addresses():
            place = f"[{address}]:{self._port}" if ":" in address else f"{address}:{self._port}"
            target = urlunsplit((self._parts.scheme, place, self._parts.path or "/", self._parts.query, ""))
            extensions = {"sni_hostname": self._host}
            try:
                with self._client.stream(
                    "POST", target, content=body, headers=headers, auth=self._auth, extensions=extensions
                ) as answer:
                    return answer.status_code
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                problem = masked(str(error)) or type(error).__name__
            except httpx.HTTPError as error:
                raise DeliveryError(f"not delivered: {masked(str(error)) or type(error).__name__}") from error
        raise DeliveryError(f"cannot be reached: {problem}")

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()


def _public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    mapped = getattr(address, "ipv4_mapped", None) or getattr(address, "sixtofour", None)
    return address.is_global and not address.is_multicast and (mapped is None or bool(mapped.is_global))


class Mqtt:
    """Publish each alert with quality of service 1 to ``mqtt(s)://user:password@host:port/topic``.

    A message counts as taken when the broker has acknowledged it. All alerts go to one topic, the camera is in the alert.
    Brokers are named by the user, so a private address is fine.

    Raises:
        InputError: another kind of address, no topic or one with wildcards. MissingExtra: paho-mqtt is not installed.
    """

    def __init__(self, url: str, *, client_id: str = "", timeout: float = 10.0) -> None:
        self.name = masked(url)
        parts = urlsplit(url)
        try:
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise InputError(self.name, "is no address that can be read", "mqtt://host:1883/topic") from error
        self._topic = unquote(parts.path.lstrip("/"))
        if parts.scheme not in ("mqtt", "mqtts") or not host:
            raise InputError(self.name, "expected mqtt:// or mqtts://", "mqtt://host:1883/topic")
        if not self._topic or any(c in self._topic for c in "+#\0") or "#" in url or "?" in url:
            raise InputError(self.name, "expected a topic without wildcards", "mqtt://host:1883/topic")
        self._host, self._secure = host, parts.scheme == "mqtts"
        self._port = port or (8883 if self._secure else 1883)
        self._user = None if parts.username is None else unquote(parts.username)
        self._password = None if parts.password is None else unquote(parts.password)
        self._id, self._timeout = client_id, timeout
        self._paho: Any = require("paho.mqtt.client", for_="MQTT", extra="mqtt")
        self._client: Any = None

    def _connected(self) -> Any:
        if self._client is not None and self._client.is_connected():
            return self._client
        self.close()
        client = self._paho.Client(self._paho.CallbackAPIVersion.VERSION2, client_id=self._id)
        answered, answers = threading.Event(), []

        def connected(_client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
            answers.append(reason)
            answered.set()

        client.on_connect = connected
        client.connect_timeout = self._timeout
        if self._user is not None:
            client.username_pw_set(self._user, self._password)
        if self._secure:
            client.tls_set()
        try:
            client.connect(self._host, self._port, keepalive=30)
        except (OSError, ValueError) as error:
            raise DeliveryError(f"the broker cannot be reached: {error}") from error
        client.loop_start()
        self._client = client
        if not answered.wait(self._timeout) or answers[0].is_failure:
            self.close()
            raise DeliveryError(f"the broker does not let us in: {answers[0] if answers else 'no answer'}")
        return client

    def send(self, key: str, body: bytes) -> None:
        """One try. Raises DeliveryError where the broker did not acknowledge it."""
        client = self._connected()
        try:
            sent = client.publish(self._topic, body, qos=1)
            sent.wait_for_publish(self._timeout)
            taken = sent.is_published()
        except (RuntimeError, ValueError, OSError) as error:
            self.close()
            raise DeliveryError(f"not published: {error}") from error
        if not taken:
            # A client kept would send it a second time by itself, out of order.
            self.close()
            raise DeliveryError("the broker did not acknowledge in time")

    def close(self) -> None:
        """Let go of the connection."""
        client, self._client = self._client, None
        if client is not None:
            client.disconnect()
            client.loop_stop()


def receiver(url: str, spools: str | Path, *, secret: str = "", allow_private: bool = False) -> Delivery:
    """The delivery to a webhook (http, https) or a broker (mqtt, mqtts), with a spool of its own under ``spools``, the
    same one for the same address. Raises as :class:`Webhook` and :class:`Mqtt` do."""
    broker = urlsplit(url).scheme.startswith("mqtt")
    sender: Sender = Mqtt(url) if broker else Webhook(url, secret, allow_private=allow_private)
    folder = f"{safe(urlsplit(url).hostname or '')}-{hashlib.sha256(url.encode()).hexdigest()[:8]}"
    return Delivery(sender, Spool(Path(spools) / folder))
