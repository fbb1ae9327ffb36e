"""Messages of OTLP as a receiver got them, read with OpenTelemetry's own types: one connected tree for each trace, with what
the conventions require. Arguments: files with a message each. Prints `ok …` for each check; knows nothing of Penstock."""

import sys
from pathlib import Path

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status


def value(any_value):
    kind = any_value.WhichOneof("value")
    if kind == "array_value":
        return [value(one) for one in any_value.array_value.values]
    return getattr(any_value, kind)


def attributes(all_attributes):
    names = [one.key for one in all_attributes]
    assert len(names) == len(set(names)), f"an attribute stands twice: {names}"
    return {one.key: value(one.value) for one in all_attributes}


spans = {}
for file in sys.argv[1:]:
    message = ExportTraceServiceRequest.FromString(Path(file).read_bytes())
    for resource in message.resource_spans:
        assert attributes(resource.resource.attributes)["service.name"] == "penstock"
        for scope in resource.scope_spans:
            assert scope.scope.name == "penstock" and scope.schema_url.startswith("https://opentelemetry.io/schemas/")
            for span in scope.spans:
                spans[span.span_id] = span
assert spans
print(f"ok {len(spans)} spans have the official form")

for span in spans.values():
    assert len(span.trace_id) == 16 and len(span.span_id) == 8 and len(span.parent_span_id) in (0, 8)
    assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano
    if span.kind != Span.SPAN_KIND_SERVER:
        parent = spans[span.parent_span_id]
        assert parent.trace_id == span.trace_id and parent.kind == Span.SPAN_KIND_SERVER
print("ok every span has its parent in its trace")

clients = [span for span in spans.values() if span.kind == Span.SPAN_KIND_CLIENT]
assert clients
for span in clients:
    said = attributes(span.attributes)
    assert span.name == f"{said['gen_ai.operation.name']} {said['gen_ai.request.model']}", span.name
    assert isinstance(said["gen_ai.provider.name"], str) and "gen_ai.system" not in said
    assert isinstance(said["server.address"], str) and isinstance(said["server.port"], int)
    failed = span.status.code == Status.STATUS_CODE_ERROR
    assert not failed or said["error.type"], said
    if not failed and "error.type" not in said:
        assert isinstance(said["gen_ai.usage.input_tokens"], int), said
        assert isinstance(said["gen_ai.response.finish_reasons"], list), said
print(f"ok {len(clients)} calls of providers have what the conventions require")
