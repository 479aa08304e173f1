#!/bin/sh
# Resolves the environments of other people's applications again; `make lock` runs it.
set -eu
cd "$(dirname "$0")"

lock() {
  uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate \
    --python-version 3.11 --custom-compile-command "make lock" "$@"
}

lock -c ../../../requirements/runtime.txt ../../../pyproject.toml -o flasknado.txt
for name in flask httpbin isso-build sqlite-web flask-login frameworks opentelemetry telemetry monkey-patches long-answers \
  calibre-web-build calibre-web dash flask-admin flask-appbuilder mlflow wsgidav locust pgadmin-build; do
  lock "$name.in" -o "$name.txt"
done
lock --overrides octoprint-overrides.in octoprint.in -o octoprint.txt
lock --overrides isso-overrides.in isso.in -o isso.txt
lock --overrides pgadmin-overrides.in pgadmin.in -o pgadmin.txt
