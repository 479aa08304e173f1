"""A site of both halves that is traced with OpenTelemetry and reports errors to Sentry."""

import logging
import os

import flask
import sentry_sdk
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.instrumentation.tornado import TornadoInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from sentry_sdk.integrations.tornado import TornadoIntegration
from tornado.web import RequestHandler

sentry_sdk.init(os.environ["SENTRY_DSN"], integrations=[TornadoIntegration()])
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)

app = flask.Flask("observed")
FlaskInstrumentor().instrument_app(app)
TornadoInstrumentor().instrument()
log = logging.getLogger("observed")


@app.get("/view/<name>")
def view(name: str) -> str:
    log.warning("seen by the view")
    if name == "broken":
        raise RuntimeError("the view is broken")
    return name


class Native(RequestHandler):
    async def get(self, name: str) -> None:
        log.warning("seen by the handler")
        if name == "broken":
            raise RuntimeError("the handler is broken")
        self.write(name)


routes = [(r"/native/(.*)", Native)]
