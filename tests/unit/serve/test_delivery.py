"""Alerts, spools, webhooks, MQTT, and the folder of clips."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from oddwatch.core import Box, InputError
from oddwatch.media.streams import Backoff
from oddwatch.serve.alerts import Alert, JsonLines, Keeper, safe
from oddwatch.serve.delivery import Delivery, DeliveryError, Spool
from oddwatch.serve.senders import Mqtt, Webhook, signature, verified
from oddwatch.serve.senders import receiver as receiver_for

QUICK = Backoff(0.05, 0.1)


def alert(number: int, state: str = "open") -> Alert:
    moment = datetime(2026, 3, 1, 12, 0, number, tzinfo=UTC)
    return Alert(
        f"a{number}", "gate", "rtsp://***@cam/1", "door", state, 1.0, None, moment, 0.9, box=Box(1, 2, 3, 4)
    )


def wait(condition, seconds: float = 5.0) -> None:
    due = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < due, "not in time"
        time.sleep(0.01)


def test_an_alert_is_a_line_of_json_and_comes_back(tmp_path):
    lines = JsonLines(tmp_path / "a.jsonl")
    (tmp_path / "a.jsonl").write_bytes(b'{"half')
    lines.add(alert(1))
    lines.add(alert(2, "closed"))
    half, *rest = (tmp_path / "a.jsonl").read_text().splitlines()
    assert half == '{"half'
    back = [Alert.from_json(json.loads(line)) for line in rest]
    assert back == [alert(1), alert(2, "closed")]
    assert [a.key for a in back] == ["a1", "a2.closed"]


def test_a_spool_keeps_order_survives_a_restart_and_tells_repeats(tmp_path):
    spool = Spool(tmp_path)
    assert [spool.put(k, k.encode()) for k in ("b", "a", "b")] == [True, True, False]
    again = Spool(tmp_path)
    assert len(again) == 2 and again.size == 2
    name, key, body = again.first()
    assert (key, body) == ("b", b"b")
    again.done(name)
    again.put("c", b"c")
    assert [Spool(tmp_path).first()[1], len(Spool(tmp_path))] == ["a", 2]
    for odd in ("../x", "", "a" * 200, "a/b"):
        with pytest.raises(InputError):
            again.put(odd, b"")


def test_a_full_spool_drops_the_oldest(tmp_path):
    spool = Spool(tmp_path, most=100)
    for i in range(5):
        spool.put(f"k{i}", b"x" * 40)
    assert spool.dropped == 3 and spool.first()[1] == "k3" and spool.size == 80
    assert len(list(tmp_path.glob("*.json"))) == 2


def test_a_webhook_is_signed_and_named(tmp_path, receiver):
    hook = Webhook(receiver.url, "s3cret", allow_private=True, clock=lambda: 1_000.9)
    hook.send("a1", b'{"x": 1}')
    headers, body, _ = receiver.got[0]
    # HMAC-SHA256 of "1000." + body under the secret, from an independent tool.
    import hashlib
    import hmac

    expected = "v1=" + hmac.new(b"s3cret", b'1000.{"x": 1}', hashlib.sha256).hexdigest()
    assert headers["X-Oddwatch-Signature"] == expected and headers["Idempotency-Key"] == "a1"
    assert headers["Host"] == f"127.0.0.1:{receiver.port}"
    assert verified("s3cret", "1000", body, expected, now=1100)
    assert not verified("s3cret", "1000", body + b" ", expected, now=1100)
    assert not verified("s3cret", "1000", body, expected, now=2000)
    assert not verified("other", "1000", body, expected, now=1100)
    assert not verified("s3cret", "x", body, signature("s3cret", "x", body), now=1100)


def test_private_addresses_need_a_word(receiver, monkeypatch):
    for url in (
        receiver.url,
        "http://localhost/x",
        "http://10.1.2.3/",
        "http://[::1]/",
        "http://169.254.169.254/",
    ):
        with pytest.raises(InputError, match="private"):
            Webhook(url)
    for url in ("ftp://host/x", "file:///etc/passwd", "http:///x", "http://h:x/"):
        with pytest.raises(InputError):
            Webhook(url, allow_private=True)
    # A public name that stands for a private address is found out when it is looked up.
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: [(2, 1, 6, "", ("127.0.0.1", receiver.port))])
    with pytest.raises(DeliveryError, match="private"):
        Webhook("http://hooks.example.com/x").send("a", b"{}")
    assert receiver.got == []


@pytest.mark.parametrize(
    ("status", "again"),
    [(302, True), (401, True), (404, True), (429, True), (500, True), (400, False), (422, False)],
)
def test_what_answers_mean(receiver, status, again):
    receiver.answers = [status]
    with pytest.raises(DeliveryError) as error:
        Webhook(receiver.url, allow_private=True).send("a", b"{}")
    assert error.value.again is again and len(receiver.got) == 1


def test_known_already_counts_as_taken(receiver):
    receiver.answers = [409]
    Webhook(receiver.url, allow_private=True).send("a", b"{}")


def test_nothing_is_lost_and_order_is_kept_while_the_receiver_is_down(tmp_path, receiver):
    receiver.down()
    hook = Webhook(receiver.url, "k", allow_private=True, timeout=1)
    with Delivery(hook, Spool(tmp_path), QUICK) as delivery:
        for i in range(5):
            delivery.put(alert(i))
        wait(lambda: delivery.failed >= 3)
        assert delivery.delivered == 0 and "reached" in delivery.last_error
        receiver.answers = [500, 200, 503]
        receiver.up()
        wait(lambda: delivery.delivered == 5)
    assert [json.loads(b)["id"] for b in receiver.taken] == [f"a{i}" for i in range(5)]
    assert len(Spool(tmp_path)) == 0 and delivery.last_error == ""


def test_what_a_stopped_watch_left_is_sent_by_the_next(tmp_path, receiver):
    receiver.down()
    first = Delivery(Webhook(receiver.url, allow_private=True), Spool(tmp_path), QUICK).start()
    first.put(alert(1))
    first.stop(flush=0.3)
    assert len(Spool(tmp_path)) == 1
    receiver.up()
    second = Delivery(Webhook(receiver.url, allow_private=True), Spool(tmp_path), QUICK).start()
    assert second.flush(5.0)
    second.stop()
    assert [json.loads(b)["id"] for b in receiver.taken] == ["a1"]


def test_a_message_that_is_refused_does_not_hold_up_the_others(tmp_path, receiver):
    receiver.answers = [422]
    with Delivery(Webhook(receiver.url, allow_private=True), Spool(tmp_path), QUICK) as delivery:
        delivery.put(alert(1))
        delivery.put(alert(2))
        wait(lambda: delivery.delivered == 1)
    assert [json.loads(b)["id"] for b in receiver.taken] == ["a2"] and delivery.refused == 1
    assert len(list((tmp_path / "refused").iterdir())) == 1


def test_receivers_have_spools_of_their_own_and_show_no_secret(tmp_path):
    one = receiver_for("https://bob:s3cret@hooks.example.com/a?token=s3cret", tmp_path)
    two = receiver_for("https://hooks.example.com/b", tmp_path)
    assert one.spool.folder != two.spool.folder
    assert "s3cret" not in one.name + str(one.spool.folder)


def broker(answers: list[bytes]) -> tuple[int, list[bytes]]:
    """An MQTT 3.1.1 broker of a few lines: takes connections, acknowledges publications where ``answers`` says so."""
    server = socket.create_server(("127.0.0.1", 0))
    got: list[bytes] = []

    def packet(line: socket.socket) -> tuple[int, bytes]:
        kind, length, shift = line.recv(1)[0], 0, 0
        while True:
            byte = line.recv(1)[0]
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        body = b""
        while len(body) < length:
            body += line.recv(length - len(body))
        return kind, body

    def serve(line: socket.socket) -> None:
        with line:
            try:
                while True:
                    kind, body = packet(line)
                    if kind >> 4 == 1:
                        line.sendall(b"\x20\x02\x00\x00")
                    elif kind >> 4 == 3:
                        size = int.from_bytes(body[:2], "big")
                        got.append(body[2 + size + 2 :])
                        if (answers.pop(0) if answers else b"yes") == b"yes":
                            line.sendall(b"\x40\x02" + body[2 + size : 4 + size])
            except (IndexError, OSError):
                return

    def run() -> None:
        while True:
            try:
                line, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(line,), daemon=True).start()

    threading.Thread(target=run, daemon=True).start()
    return server.getsockname()[1], got


def test_mqtt_waits_for_the_brokers_word(tmp_path):
    pytest.importorskip("paho.mqtt.client")
    port, got = broker([b"no"])
    sender = Mqtt(f"mqtt://127.0.0.1:{port}/site/alerts", timeout=0.5)
    with Delivery(sender, Spool(tmp_path), QUICK) as delivery:
        delivery.put(alert(1))
        delivery.put(alert(2))
        wait(lambda: delivery.delivered == 2)
    assert delivery.failed == 1
    assert [json.loads(b)["id"] for b in got] == ["a1", "a1", "a2"]


def test_mqtt_addresses():
    pytest.importorskip("paho.mqtt.client")
    for url in ("mqtt://host", "mqtt://host/a/#", "http://host/a"):
        with pytest.raises(InputError):
            Mqtt(url)
    with pytest.raises(DeliveryError, match="reached"):
        Mqtt("mqtt://127.0.0.1:9/a", timeout=0.5).send("a", b"{}")


def put(path: Path, size: int, age: float, now: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    os.utime(path, (now - age, now - age))
    return path


def test_the_keeper_deletes_the_oldest_and_only_its_own(tmp_path):
    now = 1_800_000_000.0
    folder, outside = tmp_path / "kept", put(tmp_path / "outside" / "a", 50, 9e6, now)
    old = put(folder / "2026-01-01" / "c" / "a", 10, 8 * 86_400, now)
    files = [put(folder / "2026-01-09" / "c" / str(i), 40, 100.0 - i, now) for i in range(5)]
    (folder / "link").symlink_to(outside.parent)
    (folder / "file-link").symlink_to(outside)
    keeper = Keeper(folder, quota=100, days=7, clock=lambda: now)
    assert keeper.sweep() == 4
    assert [f.exists() for f in files] == [False] * 3 + [True] * 2
    assert not old.exists() and not old.parent.parent.exists()
    assert outside.exists() and (keeper.bytes, keeper.deleted) == (80, 4)


def test_a_cameras_name_cannot_leave_the_folder(tmp_path):
    for name in ("../../etc", "rtsp://a/b", "..", "a\0b", "/"):
        path = Keeper(tmp_path).place(name, datetime(2026, 3, 1, 12, tzinfo=UTC), "x.jpg")
        assert (
            path.resolve().is_relative_to(tmp_path.resolve()) and len(path.relative_to(tmp_path).parts) == 3
        )
    assert safe("north gate 1") == "north_gate_1"
