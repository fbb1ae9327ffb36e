# The inputs that fuzzing starts from: the golden files of the repository, with the bytes in front that say how each is read
# (see src/main.rs), and a dictionary of the words in them. Knows nothing of how targets are run.

import json
import re
import struct
import zlib
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent.parent
WORKERS = CHECKOUT / "workers/tests/golden"
SCHEMAS = CHECKOUT / "schemas/tests/golden"

# As in src/provider.rs and src/request.rs.
DIALECTS = ["openai", "responses", "anthropic", "google", "vertex", "mistral", "cohere", "bedrock", "azure"]
CALLERS = ["openai", "anthropic", "responses", "google"]

CHAT = b'{"model":"m","messages":[{"role":"user","content":"hi"}],"max_tokens":9}'
OF_OPENAI = [
    CHAT,
    b'{"model":"m","prompt":["once","upon"],"max_tokens":9,"n":2,"best_of":3}',
    b'{"model":"m","input":["a","b","c","d"],"encoding_format":"base64","dimensions":8}',
    b'{"model":"m","input":"a"}',
    b'{"model":"m","prompt":"a cat","n":2,"size":"1024x1024","quality":"high"}',
    b'{"model":"m","input":"say it","voice":"alloy","response_format":"mp3","speed":1.5}',
    b'{"model":"m","query":"q","documents":["a",{"text":"b"}],"top_n":1}',
]
OF_GOOGLE = [
    b'{"contents":[{"role":"user","parts":[{"text":"hi"},{"inlineData":{"mimeType":"image/png","data":"AAAA"}}]}],'
    b'"generationConfig":{"maxOutputTokens":9,"responseSchema":{"type":"OBJECT"}},"tools":[{"googleSearch":{}}]}',
    b'{"requests":[{"model":"models/m","content":{"parts":[{"text":"a"}]},"outputDimensionality":8}]}',
    b'{"generateContentRequest":{"model":"models/m","contents":[{"parts":[{"text":"a"}]}]}}',
]
EMBEDDINGS = b'{"object":"list","data":[{"index":1,"embedding":[0.5]},{"index":0,"embedding":[1]}],"usage":{"prompt_tokens":4}}'

FORM = (
    b'multipart/form-data; charset=utf-8; boundary="x y"\n--x y\r\nContent-Disposition: form-data; name="file"; '
    b'filename="a;\\"b.wav"\r\nContent-Type: audio/wav\r\n\r\nRIFF\r\n--x\r\n\r\n--x y\r\n'
    b"content-disposition:form-data;name=model\r\n\r\nwhisper\r\n--x y\r\nContent-Disposition: form-data; "
    b'name="stream"\r\n\r\n\r\n--x y--\r\n'
)

# Events of a session, a client's and a provider's.
SESSION = [
    b'{"type":"session.update","session":{"type":"realtime","tools":[{"type":"function","name":"f"}],"audio":{"input":'
    b'{"turn_detection":{"type":"server_vad","create_response":true,"idle_timeout_ms":null},"transcription":null}}}}',
    b'{"type":"session.update","session":{"turn_detection":{"type":"server_vad"},"input_audio_transcription":{"model":"w"}}}',
    b'{"type":"response.create","event_id":"e","response":{"conversation":"none","input":[{"id":"i"}],"max_output_tokens":9}}',
    b'{"type":"input_audio_buffer.append","audio":"AAAA"}',
    b'{"type":"session.created","session":{"model":"m","audio":{"input":{"turn_detection":{"type":"server_vad"}}}}}',
    b'{"type":"response.done","response":{"id":"r","status":"completed","usage":{"input_tokens":9,"output_tokens":3,'
    b'"input_token_details":{"cached_tokens":4,"cached_tokens_details":{"audio_tokens":1}}}}}',
    b'{"type":"error","error":{"code":"c","message":"m","event_id":"e"}}',
]

# (what, kind, text), as in src/names.rs.
NAMES = [
    (0, 0, "openai/gpt-4o:x@1+y~z"),
    (0, 0, "alpha/*"),
    (1, 0, "18446744.073709551615"),
    (1, 0, "0.000000000001"),
    (2, 0, "2027-01-01T02:00:00.5+02:00"),
    (2, 0, "7d\n2026-11-22\nproject,tag:team\n2026-11-01\nfalse"),
    (2, 0, "90m\n1h\nday\n\ntrue"),
    (3, 0, "openai/*-4o*\nopenai/gpt-4o-mini"),
    (4, 0, '{"name":"search","display_name":"Search"}'),
    (4, 1, '{"name":"ann","project":"search"}'),
    (4, 2, '{"name":"b","match":{"project":"search","tags":{"a":"*"}},"limit_usd":"5","cycle":"daily","zone":"Europe/Berlin"}'),
    (4, 3, '{"name":"l","match":{"model":"gpt*"},"per":["user"],"requests_per_minute":5,"tokens_per_minute":9}'),
    (4, 4, '{"id":"k","project":"search","models":["openai/*"],"expires_at":"2027-01-01T00:00:00Z"}'),
    (4, 5, '{"name":"ann","role":"admin"}'),
    (4, 6, '{"name":"w","url":"https://a.example/x","kinds":["budget.threshold"]}'),
    (5, 0, "eyJhbGciOiJSUzI1NiIsImtpZCI6ImEifQ.eyJpc3MiOiJodHRwczovL2kudGVzdCIsImF1ZCI6InBlbnN0b2NrIiwiZXhwIjoxNjAwfQ.AAAA"),
    (5, 0, "eyJhbGciOiJFUzI1NiJ9.eyJleHAiOjE2MDB9.AAAA"),
    (5, 0, "eyJhbGciOiJFZERTQSJ9.eyJleHAiOjE2MDB9.AAAA\n[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AAAA\",\"use\":\"sig\"}]"),
    (6, 0, '{"iss":"https://i.test","sub":"ann","p":"search","r":["admin"],"m":"openai/* x","t":"web","exp":1.6e9,"nbf":1}'),
    (7, 0, "models/ollama/llama3:8b:countTokens"),
    (7, 0, "gemini:streamGenerateContent"),
]


def golden(dialect, folder, *endings):
    files = sorted((WORKERS / dialect / folder).glob("*")) if (WORKERS / dialect / folder).exists() else []
    return [file for file in files if file.name.endswith(endings) and ".expected." not in file.name]


def sse(data, event=None):
    return (f"event: {event}\n" if event else "") + f"data: {data}\n\n"


def amazon(file):
    """A golden stream of Amazon's, as its binary messages and as server-sent events."""
    raw, events = b"", ""
    for line in map(json.loads, file.read_text().splitlines()):
        if "event" in line:
            name, headers = line["event"], {":message-type": "event", ":event-type": line["event"]}
        elif "exception" in line:
            name = "exception:" + line["exception"]
            headers = {":message-type": "exception", ":exception-type": line["exception"]}
        else:
            continue
        payload = json.dumps(line["data"]).encode() if line.get("data") is not None else b""
        events += sse(payload.decode(), name)
        head = b"".join(
            struct.pack(">B", len(key)) + key.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
            for key, value in headers.items()
        )
        prelude = struct.pack(">II", 16 + len(head) + len(payload), len(head))
        message = prelude + struct.pack(">I", zlib.crc32(prelude)) + head + payload
        raw += message + struct.pack(">I", zlib.crc32(message))
    return raw, events.encode()


def requests():
    for at, dialect in enumerate(CALLERS):
        for file in golden(dialect, "requests", ".json"):
            own = dialect if file.name.startswith("own_") else "openai"
            yield bytes([CALLERS.index(own), 0]) + file.read_bytes()
    yield from (bytes([0, at]) + body for at, body in enumerate(OF_OPENAI))
    yield from (bytes([3, at]) + body for at, body in enumerate(OF_GOOGLE))
    yield bytes([1, 1]) + CHAT
    yield bytes([2, 0]) + b'{"model":"m","input":[{"role":"user","content":[{"type":"input_text","text":"a"}]}]}'


def spelt():
    for at, dialect in enumerate(DIALECTS):
        for file in golden(dialect, "requests", ".json"):
            form = 1 if file.name.startswith("own_") else 0
            yield from (bytes([at, 0, form + more]) + file.read_bytes() for more in (0, 2))
        yield from (bytes([at, operation, 0]) + body for operation, body in zip([1, 2, 3, 4, 5, 8], OF_OPENAI[1:]))


def answers():
    for at, dialect in enumerate(DIALECTS):
        for file in golden(dialect, "replies", ".json"):
            yield from (bytes([at, 0, form]) + file.read_bytes() for form in (0, 1))
        yield bytes([at, 2, 0]) + EMBEDDINGS


def streams():
    for at, dialect in enumerate(DIALECTS):
        for file in golden(dialect, "streams", ".sse"):
            yield from (bytes([at, form, 99, 0]) + file.read_bytes() for form in (0, 1))
        for file in golden(dialect, "streams", ".eventstream"):
            raw, events = amazon(file)
            yield from (bytes([at, form, 99, 1]) + raw for form in (0, 1))
            yield from (bytes([at, form, 99, 0]) + events for form in (0, 1))


def refusals():
    for at, dialect in enumerate(DIALECTS):
        for number, file in enumerate(golden(dialect, "errors", ".http")):
            yield bytes([at, number % 11]) + file.read_bytes()
    limits = "x-ratelimit-remaining-tokens: 0\nx-ratelimit-reset-tokens: 6m0.5s\nretry-after: Sun, 06 Nov 1994 08:49:37 GMT\n\n"
    yield bytes([0, 7]) + limits.encode()
    yield bytes([2, 7]) + b"anthropic-ratelimit-requests-remaining: 1\nanthropic-ratelimit-requests-reset: 2027-01-01T00:00:00Z\n\n"


def clients():
    for dialect in DIALECTS:
        for file in (WORKERS / dialect).glob("*/*.expected.json"):
            found = json.loads(file.read_text())
            if isinstance(found, dict) and found.get("answer"):
                yield bytes([0, 0]) + json.dumps(found["answer"]).encode()
            if isinstance(found, dict) and isinstance(found.get("events"), list):
                data = (event if isinstance(event, str) else json.dumps(event) for event in found["events"])
                yield bytes([1, 99]) + "".join(map(sse, data)).encode()
        yield from (bytes([2, 99]) + file.read_bytes() for file in golden(dialect, "streams", ".sse") if "own" in file.name)
    yield bytes([2, 0]) + EMBEDDINGS


def messages():
    yield bytes([0]) + (SCHEMAS / "envelope.bin").read_bytes()
    yield from (bytes([1]) + file.read_bytes() for file in sorted(SCHEMAS.glob("frame-*.bin")))
    yield from (bytes([2]) + file.read_bytes() for file in sorted(SCHEMAS.glob("usage*.jsonl")))
    for control in json.loads((SCHEMAS / "control.json").read_text()):
        yield bytes([3]) + json.dumps(control).encode()
    for at, name in [(4, "key"), (5, "directory"), (6, "provider-card"), (8, "spend-query")]:
        yield bytes([at]) + (SCHEMAS / f"{name}.json").read_bytes()
    for reply in json.loads((SCHEMAS / "spend-replies.json").read_text()):
        yield bytes([7]) + json.dumps(reply).encode()
    yield bytes([9]) + (SCHEMAS / "audit.json").read_bytes()


def configurations():
    example = (CHECKOUT / "deploy/penstock.example.toml").read_text()
    yield example.encode()
    # Each section alone, with its commented keys as keys.
    for section in re.split(r"\n(?=#? ?\[)", example):
        yield re.sub(r"(?m)^# ?(?=[\[\w])", "", section).encode()
    yield b"[ingress]\nlisten = \"127.0.0.1:1\"\n\x01PENSTOCK_INGRESS_QUEUE=5"


def names():
    return (bytes([what, kind]) + text.encode() for what, kind, text in NAMES)


SEEDS = {
    "request": requests,
    "form": lambda: [b"\0" + FORM, b"\1" + FORM.replace(b'"x y"', b"x").replace(b"x y", b"x")],
    "spell": spelt,
    "answer": answers,
    "stream": streams,
    "refuse": refusals,
    "client": clients,
    "session": lambda: [bytes([way]) + event for way in (0, 1) for event in SESSION],
    "bus": messages,
    "names": names,
    "config": configurations,
}


def write(target, folder, dictionary):
    """Writes the seeds of a target, and the words in them."""
    folder.mkdir(parents=True, exist_ok=True)
    words = {}
    for number, seed in enumerate(SEEDS[target]()):
        (folder / f"seed-{number}").write_bytes(seed)
        for word in re.findall(rb'"[\w.:-]{1,30}"|^[\w-]{3,30}(?= ?[=:])', seed, re.MULTILINE):
            words[word] = words.get(word, 0) + 1
    usual = sorted(words, key=words.get, reverse=True)[:400]
    text = "".join('"' + word.decode().replace('"', '\\"') + '"\n' for word in usual)
    dictionary.write_text(text)
