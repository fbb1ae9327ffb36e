"""Keeps files with OpenAI's and Anthropic's own Python SDKs, which are told nothing but the base URL and the key.

    PENSTOCK_URL       the gateway, http://127.0.0.1:8080
    PENSTOCK_KEY       the caller's key

One line per check, `ok …` or `FAILED …: why`; exits with 1 if any failed.
"""

import hashlib
import io
import os
import sys
import tempfile

import anthropic
import openai

url, key = os.environ["PENSTOCK_URL"], os.environ["PENSTOCK_KEY"]
client = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=30)
claude = anthropic.Anthropic(base_url=url, api_key=key, max_retries=0, timeout=30)


def same(what, found, expected):
    assert found == expected, f"{what}: {found!r}, not {expected!r}"


def a_file_is_kept_read_listed_and_removed():
    lines = b'{"custom_id": "1"}\n' * 1000
    file = client.files.create(file=io.BytesIO(lines), purpose="batch")
    same("the file", (file.object, file.bytes, file.purpose, file.status), ("file", len(lines), "batch", "processed"))
    same("its life", file.expires_at - file.created_at, 30 * 24 * 3600)
    same("the content", client.files.content(file.id).read(), lines)
    same("it again", client.files.retrieve(file.id), file)
    same("it at last", client.files.wait_for_processing(file.id), file)
    assert file.id in [listed.id for listed in client.files.list(purpose="batch")]
    same("removed", client.files.delete(file.id).deleted, True)
    try:
        client.files.retrieve(file.id)
        raise AssertionError("it is still there")
    except openai.NotFoundError as error:
        same("the field", error.param, "file_id")


def a_file_may_expire_and_come_from_a_path():
    with tempfile.NamedTemporaryFile(suffix=".txt") as place:
        place.write(b"hello")
        place.flush()
        after = {"anchor": "created_at", "seconds": 3600}
        with open(place.name, "rb") as opened:
            file = client.files.create(file=opened, purpose="user_data", expires_after=after)
        same("its life", file.expires_at - file.created_at, 3600)
        same("its name", file.filename, os.path.basename(place.name))


def pages_follow_each_other():
    made = [client.files.create(file=(f"{n}.txt", b"x"), purpose="vision").id for n in range(5)]
    listed = [file.id for file in client.files.list(purpose="vision", limit=2, order="asc")]
    same("the files", listed, made)


def a_large_file_arrives_in_parts():
    content = bytes(range(256)) * 4096
    digest = hashlib.md5(content).hexdigest()
    upload = client.uploads.upload_file_chunked(
        file=content, filename="a.bin", bytes=len(content), mime_type="text/plain", purpose="user_data",
        part_size=300_000, md5=digest,
    )
    same("the upload", (upload.status, upload.file.bytes, upload.file.filename), ("completed", len(content), "a.bin"))
    same("the content", client.files.content(upload.file.id).read(), content)
    begun = client.uploads.create(bytes=5, filename="a", mime_type="text/plain", purpose="batch")
    same("cancelled", client.uploads.cancel(begun.id).status, "cancelled")


def an_empty_file_is_a_bad_request():
    try:
        client.files.create(file=("a.txt", b""), purpose="batch")
        raise AssertionError("it is taken")
    except openai.BadRequestError as error:
        same("the field", error.param, "file")


def anthropics_files_work_too():
    file = claude.beta.files.upload(file=("a.txt", b"hello", "text/plain"))
    same("the file", (file.type, file.size_bytes, file.mime_type), ("file", 5, "text/plain"))
    same("the content", claude.beta.files.download(file.id).read(), b"hello")
    same("it again", claude.beta.files.retrieve_metadata(file.id), file)
    for _ in range(3):
        claude.beta.files.upload(file=("b.txt", b"hello", "text/plain"))
    assert file.id in [listed.id for listed in claude.beta.files.list(limit=2)]
    same("by id", [listed.id for listed in claude.beta.files.list(ids=[file.id])], [file.id])
    same("removed", claude.beta.files.delete(file.id).type, "file_deleted")
    try:
        claude.beta.files.retrieve_metadata(file.id)
        raise AssertionError("it is still there")
    except anthropic.NotFoundError as error:
        same("the error", error.body["error"]["type"], "not_found_error")


CHECKS = [
    a_file_is_kept_read_listed_and_removed,
    a_file_may_expire_and_come_from_a_path,
    pages_follow_each_other,
    a_large_file_arrives_in_parts,
    an_empty_file_is_a_bad_request,
    anthropics_files_work_too,
]

failed = 0
for check in CHECKS:
    sentence = check.__name__.replace("_", " ")
    try:
        check()
        print(f"ok {sentence}", flush=True)
    except Exception as error:  # any failure is a line of its own
        failed = 1
        print(f"FAILED {sentence}: {type(error).__name__}: {error}".replace("\n", " "), flush=True)
sys.exit(failed)
