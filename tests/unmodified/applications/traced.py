"""An application that traces with OpenTelemetry; spans leave in batches, here to a file."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import flask
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult


class FileExporter(SpanExporter):
    """Writes the names of spans to a file, one JSON list for each batch."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        with Path("spans").open("a") as file:
            file.write(json.dumps([span.name for span in spans]) + "\n")
        return SpanExportResult.SUCCESS


provider = TracerProvider()
# Nothing leaves before the process ends.
provider.add_span_processor(BatchSpanProcessor(FileExporter(), schedule_delay_millis=600_000))
trace.set_tracer_provider(provider)
tracer = trace.get_tracer("traced")
app = flask.Flask("traced")


@app.get("/<name>")
def index(name: str) -> str:
    with tracer.start_as_current_span(name):
        return str(os.getpid())
