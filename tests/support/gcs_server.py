"""The part of Google Cloud Storage's JSON interface that the cold store speaks, over HTTP on the loopback.

Here: requests and answers. Not here: what is kept and refused (gcs_rules.py, which says what it is and what it is not).
"""

from __future__ import annotations

import json
import re
import threading
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support.gcs_rules import GcsRules, RefusalError, known, number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.gcs_rules import StoredObject

_PIECE: Final = 256 * 1024
_PAGE: Final = 1000
_PATH: Final = re.compile(r"/(upload/|download/)?storage/v1/b(?:/([^/]+)(?:/(iam/testPermissions|o)(?:/([^/]+))?)?)?")


@dataclass
class _Session:
    """An upload under way."""

    bucket: str
    asked: dict[str, Any]
    params: dict[str, str]
    received: bytearray = field(default_factory=bytearray)
    made: StoredObject | None = None


@dataclass
class GcsServer:
    """A running service.

    Attributes:
        rules: what it keeps and refuses; tests look into it and change it.
        url: its endpoint.
        uploads: uploads in pieces, those that ended included.
        tokens: credentials that came with requests.
        requests: method and path of all that came.
    """

    rules: GcsRules
    port: int = 0
    url: str = ""
    uploads: dict[str, _Session] = field(default_factory=dict)
    tokens: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@contextmanager
def gcs_server(rules: GcsRules | None = None) -> Iterator[GcsServer]:
    """Run the service."""
    running = GcsServer(rules or GcsRules())

    class Handler(_Handler):
        owner = running

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        running.port = server.server_address[1]
        running.url = f"http://127.0.0.1:{running.port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield running
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    owner: GcsServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _asked(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "Authorization" in self.headers:
            self.owner.tokens.append(self.headers["Authorization"])
        parts = urlsplit(self.path)
        self.owner.requests.append(f"{self.command} {parts.path}")
        params = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        try:
            with self.owner.rules.lock:
                self._route(parts.path, params, body)
        except RefusalError as refusal:
            error = {
                "code": refusal.status,
                "message": refusal.message,
                "errors": [{"domain": "global", "reason": refusal.reason, "message": refusal.message}],
            }
            self._answer(refusal.status, {"error": error})

    def _route(self, path: str, params: dict[str, str], body: bytes) -> None:
        rules = self.owner.rules
        place = _PATH.fullmatch(path)
        if place is None:
            raise RefusalError(404, "notFound", f"the tests' service does not know {path}")
        way, bucket_name, what, name = (unquote(each) if each else each for each in place.groups())
        if bucket_name is None:
            self._answer(200, self._bucket(rules.make_bucket(json.loads(body), params).name))
        elif way == "upload/":
            self._upload(bucket_name, params, body)
        elif what is None:
            self._settings(bucket_name, params, body)
        elif what == "iam/testPermissions":
            asked = parse_qs(urlsplit(self.path).query)["permissions"]
            rights = rules.bucket(bucket_name).rights
            self._answer(200, {"permissions": [right for right in asked if right in rights]})
        elif name is None:
            self._list(bucket_name, params)
        else:
            self._object(bucket_name, name, params, body)

    def _bucket(self, name: str) -> dict[str, Any]:
        return {"kind": "storage#bucket", "metageneration": "1", **self.owner.rules.bucket(name).settings, "name": name}

    def _settings(self, bucket_name: str, params: dict[str, str], body: bytes) -> None:
        known(params, "alt", "projection", "prettyPrint", "ifMetagenerationMatch")
        bucket = self.owner.rules.bucket(bucket_name)
        bucket.need("storage.buckets.get")
        if self.command == "PATCH":
            bucket.need("storage.buckets.update")
            bucket.settings |= json.loads(body)
        self._answer(200, self._bucket(bucket_name))

    def _list(self, bucket_name: str, params: dict[str, str]) -> None:
        found = self.owner.rules.listed(self.owner.rules.bucket(bucket_name), params)
        begin = number(params, "pageToken") or 0
        count = min(number(params, "maxResults") or _PAGE, _PAGE)
        answer: dict[str, Any] = {"kind": "storage#objects"}
        if found[begin : begin + count]:
            answer["items"] = [self._shown(each) for each in found[begin : begin + count]]
        if len(found) > begin + count:
            answer["nextPageToken"] = str(begin + count)
        self._answer(200, answer)

    def _shown(self, found: StoredObject) -> dict[str, Any]:
        return {key: value for key, value in found.resource().items() if key not in self.owner.rules.hidden}

    def _object(self, bucket_name: str, name: str, params: dict[str, str], body: bytes) -> None:
        rules = self.owner.rules
        bucket = rules.bucket(bucket_name)
        if self.command == "DELETE":
            rules.delete(bucket, name, params)
            self._answer(204, None)
            return
        bucket.need("storage.objects.get")
        found = bucket.found(name, number(params, "generation"))
        if self.command == "PATCH":
            self._answer(200, self._shown(rules.patch(found, json.loads(body), params)))
        elif params.get("alt") == "media":
            known(params, "alt", "generation")
            self._bytes(found)
        else:
            known(params, "alt", "generation", "projection", "prettyPrint")
            self._answer(200, self._shown(found))

    def _bytes(self, found: StoredObject) -> None:
        size = len(found.data)
        headers = {"X-Goog-Generation": str(found.generation), "Content-Type": "application/octet-stream"}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked is None:
            self._send(200, found.data, headers)
            return
        first, last = int(asked[1]), min(int(asked[2] or size - 1), size - 1)
        if first >= size:
            raise RefusalError(416, "requestedRangeNotSatisfiable", "Request range not satisfiable")
        self._send(206, found.data[first : last + 1], headers | {"Content-Range": f"bytes {first}-{last}/{size}"})

    def _upload(self, bucket_name: str, params: dict[str, str], body: bytes) -> None:
        rules = self.owner.rules
        if params.get("upload_id"):
            self._piece(params["upload_id"], body)
        elif params.get("uploadType") == "multipart":
            asked, data = _parts(self.headers["Content-Type"], body)
            self._answer(200, self._shown(rules.put(bucket_name, asked, params, data)))
        elif params.get("uploadType") == "resumable":
            asked = json.loads(body)
            told = {key: value for key, value in params.items() if key not in rules.ignored}
            rules.check_put(rules.bucket(bucket_name), asked["name"], told)
            session = uuid.uuid4().hex
            self.owner.uploads[session] = _Session(bucket_name, asked, params)
            host = self.headers["Host"]  # so that a proxy in between stays in between
            location = f"http://{host}/upload/storage/v1/b/{bucket_name}/o?uploadType=resumable&upload_id={session}"
            self._send(200, b"", {"Location": location, "X-GUploader-UploadID": session})
        else:
            raise RefusalError(501, "notImplemented", "the tests' service does not know this way of uploading")

    def _piece(self, upload_id: str, body: bytes) -> None:
        session = self.owner.uploads.get(upload_id)
        if session is None:
            raise RefusalError(404, "notFound", "No such upload.")
        span = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", self.headers.get("Content-Range", ""))
        if span is None:
            raise RefusalError(400, "invalid", "Failed to parse Content-Range header.")
        if session.made is None and span[1] is not None:
            begin = int(span[1])
            if begin > len(session.received):
                raise RefusalError(503, "backendError", "Invalid request. Bytes before these did not come.")
            # What was kept before is passed over.
            session.received += body[len(session.received) - begin :]
        if session.made is None and span[3] != "*" and len(session.received) == int(span[3]):
            data = bytes(session.received)
            session.made = self.owner.rules.put(session.bucket, session.asked, session.params, data)
        if session.made is not None:
            self._answer(200, self._shown(session.made))
            return
        if len(session.received) % _PIECE:
            raise RefusalError(400, "invalid", "Every piece but the last has a multiple of 256 KiB.")
        self._send(308, b"", {"Range": f"bytes=0-{len(session.received) - 1}"} if session.received else {})

    def _answer(self, status: int, content: dict[str, Any] | None) -> None:
        data = b"" if content is None else json.dumps(content).encode()
        self._send(status, data, {"Content-Type": "application/json; charset=UTF-8"})

    def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response_only(status)
        self.send_header("Date", self.date_time_string(self.owner.rules.clock().timestamp()))
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = _asked  # noqa: N815 - the names that the server looks for


def _parts(content_type: str, body: bytes) -> tuple[dict[str, Any], bytes]:
    """Properties and bytes of an upload in one request (multipart/related)."""
    found = re.search(r'boundary="?([^";]+)"?', content_type)
    if found is None:
        raise RefusalError(400, "badRequest", "There is no boundary.")
    _, properties, rest = body.split(b"--" + found[1].encode(), 2)
    data = rest[: rest.rindex(b"\r\n--" + found[1].encode() + b"--")]
    return json.loads(properties.split(b"\r\n\r\n", 1)[1]), data.split(b"\r\n\r\n", 1)[1]
