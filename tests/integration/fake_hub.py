"""A Hugging Face Hub on this machine, for tests: API, resolve with redirects to a second host, and every fault that a
network has. Standard library only.

  fake_hub.py ROOT [https]: serves the files below ROOT/repository as the dataset of every name, on free ports; with
`https` by ROOT/certificate.pem and ROOT/key.pem.
ROOT/ports.json says which ("hub", "cdn"); every request becomes a line of ROOT/requests.jsonl; ROOT/faults.json holds
what goes wrong: a list of {"at": "api|hub|cdn", "path": part of the path, "times": N, and one fault}. Faults:
  status (with retry_after, ratelimit), drop_after, truncate_to, stall_after, pause (seconds between pieces), corrupt,
  longer, ignore_range, wrong_range, page (text in place of the file), false_hash (in the listing), circle.
"""

import hashlib
import json
import os
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

ROOT = sys.argv[1]
SCHEME = sys.argv[2] if len(sys.argv) > 2 else "http"
COMMIT = hashlib.sha1(b"the commit").hexdigest()
LARGE = (".bin", ".model")
PAGE = 3  # entries of a page of the listing
LOCK = threading.Lock()
USED = {}


def repository():
    files = {}
    for folder, _, names in os.walk(os.path.join(ROOT, "repository")):
        for name in names:
            path = os.path.join(folder, name)
            files[os.path.relpath(path, os.path.join(ROOT, "repository"))] = path
    return dict(sorted(files.items(), reverse=True))


def read(path):
    with open(path, "rb") as file:
        return file.read()


def fault(at, path):
    try:
        with open(os.path.join(ROOT, "faults.json")) as file:
            faults = json.load(file)
    except (OSError, ValueError):
        return {}
    with LOCK:
        for entry in faults:
            key = json.dumps(entry, sort_keys=True)
            if entry["at"] == at and entry.get("path", "") in path and USED.get(key, 0) < entry.get("times", 1 << 30):
                USED[key] = USED.get(key, 0) + 1
                return entry
    return {}


def listing():
    entries = [{"type": "directory", "path": "datasets", "size": 0, "oid": "0" * 40}]
    for name, path in repository().items():
        content = read(path)
        entry = {"type": "file", "path": name, "size": len(content),
                 "oid": hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()}
        if name.endswith(LARGE):
            entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
            entry["oid"] = hashlib.sha1(name.encode()).hexdigest()
            if fault("listing", name).get("false_hash"):
                entry["lfs"]["oid"] = "0" * 64
        entries.append(entry)
    return entries


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        proxied = self.path.startswith("http://")
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        host = "cdn" if self.server is CDN or parts.netloc.startswith("cdn") else "hub"
        at = "api" if path.startswith("/api/") else host
        with LOCK, open(os.path.join(ROOT, "requests.jsonl"), "a") as log:
            log.write(json.dumps({"at": at, "path": path, "range": self.headers.get("Range", ""), "proxied": proxied,
                                  "token": self.headers.get("Authorization", "")}) + "\n")
        wrong = fault(at, path)
        try:
            if "status" in wrong:
                headers = [("X-Error-Code", wrong.get("code", "Fault")), ("X-Request-Id", "request-17")]
                if "retry_after" in wrong:
                    headers.append(("Retry-After", str(wrong["retry_after"])))
                if "ratelimit" in wrong:
                    headers.append(("RateLimit", wrong["ratelimit"]))
                return self.answer(wrong["status"], b"no", headers)
            if wrong.get("circle"):
                return self.answer(302, headers=[("Location", self.path)])
            if at == "api":
                return self.api(path, parse_qs(parts.query), wrong)
            name = path.split("/", 6)[6] if host == "hub" else path[len("/blobs/"):]
            known = repository()
            if name not in known:
                return self.answer(404, b"", [("X-Error-Code", "EntryNotFound")])
            if host == "hub" and name.endswith(LARGE):
                base = "http://cdn.test" if proxied else "%s://localhost:%d" % (SCHEME, CDN.server_port)
                return self.answer(302, headers=[("Location", "%s/blobs/%s?signature=x" % (base, name)),
                                                 ("X-Repo-Commit", COMMIT)])
            self.content(read(known[name]), wrong)
        except OSError:
            self.close_connection = True

    def api(self, path, query, wrong):
        if "page" in wrong:
            return self.answer(200, wrong["page"].encode())
        if "/revision/" in path:
            revision = path.split("/revision/")[1]
            if revision not in ("main", "v1.2"):
                return self.answer(404, b"{}", [("X-Error-Code", "RevisionNotFound")])
            return self.answer(200, json.dumps({"sha": COMMIT}).encode())
        entries = listing()
        first = int(query.get("cursor", ["0"])[0])
        headers = []
        if first + PAGE < len(entries):
            headers.append(("Link", '<%s?recursive=true&cursor=%d>; rel="next"' % (path, first + PAGE)))
        self.answer(200, json.dumps(entries[first:first + PAGE]).encode(), headers)

    def content(self, content, wrong):
        if wrong.get("corrupt"):
            middle = len(content) // 2
            content = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1:]
        if "page" in wrong:
            content = wrong["page"].encode()
        size, first = len(content), 0
        wanted = self.headers.get("Range", "")
        if wanted.startswith("bytes=") and not wrong.get("ignore_range"):
            first = int(wanted[6:].split("-")[0])
            if first >= size:
                return self.answer(416, b"", [("Content-Range", "bytes */%d" % size)])
            self.send_response(206)
            shown = first + 7 if wrong.get("wrong_range") else first
            self.send_header("Content-Range", "bytes %d-%d/%d" % (shown, size - 1, size))
        else:
            self.send_response(200)
        body = content[first:] + b"x" * (1000 if wrong.get("longer") else 0)
        if "truncate_to" in wrong:
            body = body[:wrong["truncate_to"]]
        if wrong.get("longer"):  # without a length: the end of the connection ends it
            self.send_header("Connection", "close")
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        for at in range(0, len(body), 4096):
            piece = body[at:at + 4096]
            for limit in ("drop_after", "stall_after"):
                if limit in wrong and at + len(piece) > wrong[limit]:
                    self.wfile.write(piece[:wrong[limit] - at])
                    self.wfile.flush()
                    if limit == "stall_after":
                        time.sleep(60)
                    self.close_connection = True
                    return
            self.wfile.write(piece)
            if "pause" in wrong:
                self.wfile.flush()
                time.sleep(wrong["pause"])


HUB = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
CDN = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
for server in (HUB, CDN):
    server.daemon_threads = True
    if SCHEME == "https":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(os.path.join(ROOT, "certificate.pem"), os.path.join(ROOT, "key.pem"))
        server.socket = context.wrap_socket(server.socket, server_side=True)
threading.Thread(target=CDN.serve_forever, daemon=True).start()
with open(os.path.join(ROOT, "ports.tmp"), "w") as file:
    json.dump({"hub": HUB.server_port, "cdn": CDN.server_port}, file)
os.rename(os.path.join(ROOT, "ports.tmp"), os.path.join(ROOT, "ports.json"))
HUB.serve_forever()
