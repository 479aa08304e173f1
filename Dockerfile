# The bundled application: docker build -t flasknado . (compose.yaml runs it with what it needs).
FROM python:3.13-slim AS build
RUN python -m venv /venv
COPY requirements/runtime.txt requirements/build.txt /build/requirements/
RUN /venv/bin/pip install --no-cache-dir --require-hashes --only-binary :all: \
    -r /build/requirements/runtime.txt -r /build/requirements/build.txt
COPY pyproject.toml README.md CHANGES.md LICENSE /build/
COPY flasknado /build/flasknado
RUN /venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation /build

FROM python:3.13-slim
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PATH=/venv/bin:$PATH
RUN useradd --system --uid 10001 --no-create-home app \
    && install --directory --owner 10001 --mode 0700 /var/lib/flasknado
COPY --from=build /venv /venv
WORKDIR /srv/flasknado
COPY server.py ./
COPY config config
COPY async_handlers async_handlers
COPY webapp webapp
# Of all this only the folder of uploads belongs to the user that runs it; but for that, /tmp and
# /dev/shm nothing need be writable.
USER 10001
VOLUME /var/lib/flasknado
ENV APP_ENV=production HOST=0.0.0.0 PORT=8000 UPLOAD_DIR=/var/lib/flasknado/uploads
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/-/healthz', timeout=3)"]
CMD ["python", "server.py"]
