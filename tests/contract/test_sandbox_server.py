"""The sandbox as a server: faults, records, addresses, the sample, and the guards of all tests."""

from __future__ import annotations

import http.client
import ipaddress
import json
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
import warnings
from datetime import datetime, timedelta, timezone
from urllib.parse import urlsplit

import pytest

from h2ogpte_migration.sandbox import faults as trouble
from h2ogpte_migration.sandbox import start_sample
from h2ogpte_migration.sandbox.sample import sample_world
from h2ogpte_migration.sandbox.server import SandboxServer
from h2ogpte_migration.sandbox.world import World


class Wire:
    """A client with one connection and no mercy: no retries, whatever is sent is seen."""

    def __init__(self, server, username="anna", base="/api/v1"):
        self._connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=5)
        self._headers = {"Authorization": "Bearer sk-sandbox-" + username}
        self._base = urlsplit(server.url).path + base

    def ask(self, method, path, body=None):
        headers = {**self._headers, "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body)
        self._connection.request(method, self._base + path, data, headers)
        answer = self._connection.getresponse()
        return answer, answer.read()

    def create(self):
        return self.ask("POST", "/collections", {"name": "New", "description": ""})

    def close(self):
        self._connection.close()


@pytest.fixture
def wire(server):
    wire = Wire(server)
    yield wire
    wire.close()


def test_reply_before_and_after_the_work(server, world, wire):
    server.faults.add(trouble.reply(503, retry_after=2), route="POST /collections")
    server.faults.add(trouble.reply(502, after=True, html=True), route="POST /collections")
    answer, body = wire.create()
    assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
    assert json.loads(body)["code"] == 503
    assert world.collections == {}
    answer, body = wire.create()
    assert (answer.status, answer.headers.get_content_type()) == (502, "text/html")
    assert body.startswith(b"<html>")
    assert len(world.collections) == 1
    assert wire.create()[0].status == 201


@pytest.mark.parametrize(
    ("action", "done"),
    [
        (trouble.close(), 0),
        (trouble.close(after=True), 1),
        (trouble.cut(), 1),
        (trouble.call(lambda: None, drop=True), 0),
        (trouble.call(lambda: None, after=True, drop=True), 1),
    ],
)
def test_connection_lost_before_and_after_the_work(server, world, wire, action, done):
    server.faults.add(action)
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        wire.create()
    assert len(world.collections) == done


def test_answers_that_are_none(server, world, wire):
    server.faults.add(trouble.html_page())
    server.faults.add(trouble.invalid_json())
    answer, body = wire.create()
    assert (answer.status, body[:6]) == (200, b"<html>")
    assert world.collections == {}
    answer, body = wire.create()
    assert answer.status == 200
    with pytest.raises(ValueError):
        json.loads(body)
    assert len(world.collections) == 1


def test_hang_delays_the_answer(server, wire):
    server.faults.add(trouble.hang(0.3, after=True))
    started = time.monotonic()
    assert wire.create()[0].status == 201
    assert time.monotonic() - started >= 0.3


def test_late_work_is_done_after_the_answer(server, world, wire):
    server.faults.add(trouble.late(0.2, status=504))
    assert wire.create()[0].status == 504
    assert world.collections == {}
    deadline = time.monotonic() + 5
    while not world.collections and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(world.collections) == 1


def test_rules_choose_by_number_skip_times_and_condition(server, wire):
    nothing = trouble.reply(500)
    by_number = server.faults.add(nothing, number=2)
    third = server.faults.add(nothing, mutating=True, skip=2)
    by_condition = server.faults.add(
        nothing, when=lambda request: (request.body or {}).get("name") == "bad", times=None
    )
    statuses = [wire.create()[0].status for _ in range(5)]
    assert statuses == [201, 500, 201, 500, 201]
    for _ in range(2):
        answer, _ = wire.ask("POST", "/collections", {"name": "bad", "description": ""})
        assert answer.status == 500
    assert (by_number.hits, third.hits, by_condition.hits) == (1, 1, 2)
    server.faults.clear()
    assert wire.ask("POST", "/collections", {"name": "bad", "description": ""})[0].status == 201


def test_callback_runs_at_the_chosen_moment(server, world, wire):
    seen = []
    server.faults.add(trouble.call(lambda: seen.append(len(world.collections))))
    server.faults.add(trouble.call(lambda: seen.append(len(world.collections)), after=True))
    wire.create()
    wire.create()
    assert seen == [0, 2]


def test_rate_limit_answers_429(server, wire):
    server.faults.rate_limit = trouble.RateLimit(0.5, burst=2)
    answers = [wire.ask("GET", "/collections")[0] for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert int(answers[2].headers["Retry-After"]) >= 1
    assert server.faults.rate_limit.refused == 1
    server.faults.rate_limit = trouble.RateLimit(0.5, retry_after=False)
    wire.ask("GET", "/collections")
    assert wire.ask("GET", "/collections")[0].headers["Retry-After"] is None


def test_every_request_is_recorded(server, world, wire):
    home = world.add_collection("anna", "Papers")
    wire.ask("GET", f"/collections/{home.id}/documents?limit=7")
    wire.ask("PUT", f"/collections/{home.id}/metadata", {"a": 1})
    wire.ask("GET", "/no/such/path")
    first, second, third = server.requests
    assert (first.number, first.route) == (1, "GET /collections/{collection_id}/documents")
    assert (first.username, first.status, first.query) == ("anna", 200, {"limit": "7"})
    assert (second.body, second.status, second.mutating) == ({"a": 1}, 204, True)
    assert (third.route, third.status) == ("GET ?", 404)
    assert first.started <= first.ended <= second.started
    assert server.counts(mutating=True) == {"PUT /collections/{collection_id}/metadata": 1}
    assert server.connections == 1
    server.forget_requests()
    assert server.counts() == {}


def test_requests_in_flight_are_measured(server, world):
    world.habits.latency_s = 0.2

    def one():
        wire = Wire(server)
        wire.ask("GET", "/collections")
        wire.close()

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (server.peak_in_flight, server.in_flight, server.connections) == (3, 0, 3)


def test_imports_running_at_once_are_measured(server, world, wire):
    source = world.add_collection("anna", "Old")
    world.times.import_s = 30
    for _ in range(2):
        target = json.loads(wire.create()[1])["id"]
        path = f"/collections/{target}/import_collection_job"
        wire.ask("POST", path, {"source_collection_id": source.id})
    assert (world.peak_running_imports, world.running_imports()) == (2, 2)
    world.cancel_job(world.import_jobs()[0].id)
    assert (world.peak_running_imports, world.running_imports()) == (2, 1)


def test_errors_have_the_shape_of_their_interface(server, wire):
    answer, body = wire.ask("GET", "/collections/none")
    assert (answer.status, json.loads(body)) == (
        404,
        {"code": 404, "message": "Collection not found"},
    )
    rpc = Wire(server, "nobody", base="")
    answer, body = rpc.ask("GET", "/rpc/meta")
    assert (answer.status, list(json.loads(body))) == (401, ["error"])
    rpc.close()


@pytest.mark.parametrize("body", [None, [], {"name": 1, "description": ""}, {"name": "x"}])
def test_bad_bodies_are_refused(wire, body):
    assert wire.ask("POST", "/collections", body)[0].status == 400


def test_a_client_that_waits_to_be_asked_for_its_body_is_asked(server):
    head = "POST /api/v1/collections HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"
    head += "Authorization: Bearer sk-sandbox-anna\r\nContent-Length: 34\r\nExpect: 100-continue\r\n\r\n"
    with socket.create_connection(urlsplit(server.url).netloc.split(":"), timeout=5) as wire:
        wire.sendall(head.encode())
        assert wire.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        wire.sendall(b'{"name": "New", "description": ""}')
        assert wire.recv(1000).startswith(b"HTTP/1.1 201 ")


def test_null_settings_may_be_refused(world, wire):
    request = {"name": "New", "description": "", "collection_settings": None}
    assert wire.ask("POST", "/collections", request)[0].status == 201
    world.habits.refuse_null_settings = True
    assert wire.ask("POST", "/collections", request)[0].status == 400


def test_server_keeps_its_address_and_world_over_a_restart(world):
    server = SandboxServer(world)
    url = server.start()
    server.stop()
    server.stop()
    wire = Wire(server)
    with pytest.raises(ConnectionError):
        wire.ask("GET", "/collections")
    wire.close()
    assert server.start() == url
    assert wire.create()[0].status == 201
    wire.close()
    server.stop()
    assert len(world.collections) == 1


def test_base_path_is_in_front_of_every_path(world):
    with SandboxServer(world, base_path="/genai/h2ogpte/") as server:
        assert server.url.endswith("/genai/h2ogpte")
        wire = Wire(server)
        assert wire.create()[0].status == 201
        wire.close()
        stray = Wire(server)
        stray._base = "/api/v1"
        assert stray.create()[0].status == 404
        stray.close()


def test_https_needs_the_certificate_of_the_server(world, tmp_path):
    certificate = _self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(str(certificate))
    request_headers = {"Authorization": "Bearer sk-sandbox-anna"}
    with SandboxServer(world, ssl_context=context) as server:
        assert server.url.startswith("https://127.0.0.1:")
        request = urllib.request.Request(server.url + "/rpc/meta", headers=request_headers)
        trusting = ssl.create_default_context(cafile=str(certificate))
        with urllib.request.urlopen(request, context=trusting, timeout=5) as answer:
            assert json.load(answer)["username"] == "anna"
        with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
            urllib.request.urlopen(request, context=ssl.create_default_context(), timeout=5)


def _self_signed(folder):
    """Write a key and a certificate for 127.0.0.1 into one file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on Python 3.8: that it will not be supported for ever
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sandbox")])
    now = datetime.now(timezone.utc)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path


# -- snapshots and the sample


def test_snapshot_knows_no_ids_and_no_times(world):
    def migrated(seed, stamp):
        other = World(seed=seed)
        other.add_user("anna", groups=["staff"])
        made = other.add_collection(
            "anna", "Papers", connectors=2, chats=2, group_shares={"staff": None}, public=True
        )
        made.name = "(Migrated) Papers - " + stamp
        return other.snapshot()

    first = migrated(1, "20250101_000000")
    assert first == migrated(2, "20260202_111111")
    assert list(first["collections"]) == ["anna/(Migrated) Papers"]
    assert first["keys"] == ["anna/default"]


def test_snapshot_tells_doubled_documents_and_leftovers(world):
    home = world.add_collection("anna", "Papers", documents=["a.pdf"])
    before = world.snapshot()
    home.documents.append(home.documents[0])
    world.add_key("anna", name="temporary")
    world.add_chat(None, "anna", "test")
    after = world.snapshot()
    assert len(after["collections"]["anna/Papers"][0]["documents"]) == 2
    assert after["keys"] != before["keys"]
    assert after["loose_chats"] == ["anna/test"]


def test_sample_shows_every_feature(sample_server):
    world = sample_server.world
    everything = list(world.collections.values())
    assert sample_server.admin_key == "sk-sandbox-admin"
    assert {c.public_permissions is None for c in everything if c.is_public} == {True, False}
    assert any(None in c.shares.values() for c in everything)
    assert {m.status for c in everything for m in c.documents} == {
        "completed",
        "agent_only",
        "failed",
    }
    assert len({(c.username, c.name) for c in everything}) == len(everything) - 1
    assert any(user.is_guest for user in world.users.values())
    rich = world.find("Research papers")
    assert all(
        [
            *(rich.settings, rich.chat_settings, rich.metadata, rich.rag_type, rich.thumbnail),
            *(rich.prompt_template_id, rich.expiry_date, rich.size_limit, rich.connectors),
            *(rich.vex_encryption, rich.inactivity_interval, rich.group_shares),
        ]
    )


def test_sample_is_readable_by_the_unmodified_client(sample_server):
    from h2ogpte import H2OGPTE

    client = H2OGPTE(sample_server.url, api_key=sample_server.admin_key)
    listed = client.list_all_collections_sort(0, 100, "name", True)
    assert len(listed) == len(sample_server.world.collections)
    client._rest_client.rest_client.pool_manager.clear()
    for user in sample_server.world.users.values():
        client = H2OGPTE(sample_server.url, api_key=sample_server.world.key_of(user.username))
        for item in client.list_recent_collections(0, 100):
            assert client.get_collection(item.id).name == item.name
        client._rest_client.rest_client.pool_manager.clear()


def test_two_samples_are_alike():
    assert sample_world(1).snapshot() == sample_world(2).snapshot()


def test_sample_starts_with_one_call():
    server = start_sample()
    try:
        assert (server.admin_key, server.url[:17]) == ("sk-sandbox-admin", "http://127.0.0.1:")
    finally:
        server.stop()


def test_command_prints_url_keys_and_commands_and_stops_when_asked():
    command = [sys.executable, "-m", "h2ogpte_migration.sandbox", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().split()[3].rstrip(",")
        request = urllib.request.Request(
            url + "/rpc/meta", headers={"Authorization": "Bearer sk-sandbox-anna"}
        )
        with urllib.request.urlopen(request, timeout=5) as answer:
            assert json.load(answer)["username"] == "anna"
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    assert process.returncode == 0
    assert f"h2ogpte-migrate --url {url} --admin-key sk-sandbox-admin --all-users" in rest


def test_package_is_light_until_a_server_is_asked_for():
    code = "import sys, h2ogpte_migration.sandbox; print('aiohttp' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"


# -- guards


def test_guards_keep_tests_on_this_host():
    with socket.socket() as outside, pytest.raises(RuntimeError, match="tried to reach"):
        outside.connect(("192.0.2.1", 80))
    with pytest.raises(RuntimeError, match="tried to reach"):
        socket.getaddrinfo("example.com", 80)
