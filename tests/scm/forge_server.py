"""An SCM's API as its description tells it: a real HTTP server that takes what the description allows.

Each call is held against the operation of its path and method: parameters, body, the token. What fits is
answered with the description's example, filled with what was sent; what was made is listed, changed and
removed afterwards. What does not fit is answered with 422 and noted in `wrong`.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from jsonschema import Draft202012Validator

#: What links of GitHub's examples begin with.
_GITHUB = "https://api.github.com"
DESCRIPTIONS = Path(__file__).parent.parent / "fixtures" / "forges"
Answer = tuple[int, dict[str, str], Any]


@dataclass(frozen=True)
class Call:
    """One call that fits the description: its operation, its path's parameters, its body."""

    operation: str
    path: str
    parameters: dict[str, str]
    body: Any
    token: str


@dataclass
class _Operation:
    name: str
    method: str
    template: str
    pattern: re.Pattern[str]
    parameters: list[dict[str, Any]]
    schema: dict[str, Any] | None
    code: int
    example: Any

    @property
    def is_of_one(self) -> bool:
        return self.template.endswith("}")


@dataclass
class ForgeServer:
    """The server; `prefix` is the path of the API where the description does not tell it.

    `calls` are those that fitted, in order. `before` may answer in the SCM's place: it is asked first, and a
    None lets the call go its way.
    """

    description: str
    prefix: str = ""
    token: str = "api-token"
    before: Callable[[str, str], Answer | None] = lambda _method, _path: None
    judge: Callable[[Call], Answer | None] = lambda _call: None
    calls: list[Call] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    made: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        spec = json.loads((DESCRIPTIONS / f"{self.description}.json").read_text())
        self._operations = [
            _operation(self.prefix + path, method, one)
            for path, methods in spec["paths"].items()
            for method, one in methods.items()
        ]
        # What has fewer parameters is the better match: `/webhooks/test` is no webhook.
        self._operations.sort(key=lambda one: one.template.count("{"))
        self._lock, self._next = threading.Lock(), 1000
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def of(self, operation: str) -> list[Call]:
        return [call for call in self.calls if call.operation == operation]

    def answer(self, method: str, target: str, headers: Any, body: bytes) -> Answer:
        with self._lock:
            if early := self.before(method, target):
                return early
            path, query = urlsplit(target).path, dict(parse_qsl(urlsplit(target).query))
            for operation in self._operations:
                found = operation.pattern.fullmatch(path)
                if found and operation.method == method:
                    parameters = {name: unquote(text) for name, text in found.groupdict().items()}
                    return self._operate(operation, path, parameters, query, headers, body)
            return self._refuse(f"{method} {path}: no such operation")

    def _operate(
        self,
        operation: _Operation,
        path: str,
        parameters: dict[str, str],
        query: dict[str, str],
        headers: Any,
        body: bytes,
    ) -> Answer:
        token = headers.get("Authorization", "").rpartition(" ")[2] or headers.get("PRIVATE-TOKEN", "")
        if token != self.token and not token.startswith("ey"):  # an App's own token is a JWT
            return 401, {}, {"message": "Bad credentials"}
        sent = json.loads(body) if body else None
        if problem := _problem(operation, {**parameters, **query}, sent):
            return self._refuse(f"{operation.name}: {problem}")
        call = Call(operation.name, path, parameters, sent, token)
        if verdict := self.judge(call):
            return verdict
        self.calls.append(call)
        return self._state(operation, path, sent)

    def _state(self, operation: _Operation, path: str, sent: Any) -> Answer:
        """Collections remember what is posted to them; everything else is the example."""
        one_path = path if operation.is_of_one else ""
        if operation.method == "GET" and not operation.is_of_one:
            mine = [one for key, one in self.made.items() if key.rpartition("/")[0] == path]
            return operation.code, {}, _listed(operation.example, mine)
        if one_path and operation.method in {"GET", "PATCH", "PUT", "DELETE"}:
            key = self._key(one_path)
            if key is None:
                return 404, {}, {"message": "Not Found"}
            if operation.method == "DELETE":
                del self.made[key]
            elif sent is not None:
                self.made[key] = _merged(self.made[key], sent)
            return operation.code, {}, None if operation.method == "DELETE" else self.made[key]
        if operation.example is None or sent is None:
            return operation.code, {}, operation.example
        self._next += 1
        made = _merged(operation.example, sent)
        if "id" in made:
            made["id"] = self._next
        if str(made.get("url", "")).startswith(_GITHUB):
            made["url"] = f"{_GITHUB}{path.removeprefix(self.prefix)}/{made['id']}"
        name = made.get("uuid", made.get("id"))
        if name is not None:
            self.made[f"{path}/{name}"] = made
        return operation.code, {}, made

    def _key(self, path: str) -> str | None:
        """What was made at a path; GitHub and Gitea have comments at another one than they are made at."""
        path = unquote(path)
        if path in self.made:
            return path
        tail = path.rpartition("/")[2]
        return next(
            (key for key in self.made if key.endswith(f"/{tail}") and path.split("/")[-2] in key), None
        )

    def _refuse(self, problem: str) -> Answer:
        self.wrong.append(problem)
        return 422, {}, {"message": problem}


def _operation(path: str, method: str, one: dict[str, Any]) -> _Operation:
    code, answer = next(iter(one["responses"].items()))
    pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", re.sub(r"([.^$*+?()|\[\]\\])", r"\\\1", path))
    body = one.get("requestBody", {}).get("content", {}).get("application/json", {})
    return _Operation(
        name=one["operationId"],
        method=method.upper(),
        template=path,
        pattern=re.compile(pattern),
        parameters=one["parameters"],
        schema=_today(body["schema"]) if body else None,
        code=int(code),
        example=answer.get("content", {}).get("application/json", {}).get("example"),
    )


def _today(schema: Any) -> Any:
    """OpenAPI 3.0's `nullable` in the words of JSON Schema."""
    if isinstance(schema, list):
        return [_today(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _today(one) for name, one in schema.items() if name != "nullable"}
    if schema.get("nullable") is True and isinstance(found.get("type"), str):
        found["type"] = [found["type"], "null"]
    return found


def _problem(operation: _Operation, given: dict[str, str], sent: Any) -> str:
    known = {one["name"]: one for one in operation.parameters}
    if stranger := given.keys() - known.keys():
        return f"no parameter {sorted(stranger)}"
    for name, text in given.items():
        kind = known[name]["schema"].get("type")
        value: Any = int(text) if kind == "integer" and text.isdecimal() else text
        for error in Draft202012Validator(_today(known[name]["schema"])).iter_errors(value):
            return f"{name}: {error.message}"
    if operation.schema is None:
        return "" if not sent else "no body is taken"  # python-gitlab sends an empty object
    for error in Draft202012Validator(operation.schema).iter_errors(sent):
        return f"{'.'.join(map(str, error.path))}: {error.message}"
    return ""


def _listed(example: Any, mine: list[dict[str, Any]]) -> Any:
    if not mine:
        return example
    return {**example, "values": mine} if isinstance(example, dict) else mine


def _merged(one: Any, sent: Any) -> Any:
    if isinstance(one, dict) and isinstance(sent, dict):
        return one | {name: _merged(one.get(name), value) for name, value in sent.items()}
    return sent


def _handler(forge: ForgeServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            code, headers, answer = forge.answer(self.command, self.path, self.headers, body)
            # Links of examples lead to the vendor's hosts; the libraries follow none but the API's own.
            text = "" if answer is None else json.dumps(answer)
            data = text.replace(_GITHUB, forge.url + forge.prefix).encode()
            self.send_response(code)
            for name, value in ({"Content-Type": "application/json"} | headers).items():
                self.send_header(name, value)
            if code != 204:
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if code != 204:
                self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _any  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    return Handler
