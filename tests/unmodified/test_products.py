"""Products as they come: one walk under this server and under gunicorn's threads, same answers."""

from __future__ import annotations

import re

import pytest

from tests.unmodified.conftest import TheSame, Use, takes_long
from tests.unmodified.walking import Walker

pytestmark = pytest.mark.timeout(600)  # the first of them installs packages


def value_of(name: str, text: str) -> str:
    """Return the value of an input of a form."""
    found = re.search(rf'name="{name}"[^>]* value="([^"]+)"', text)
    assert found is not None, text[:500]
    return found[1]


def use_django_admin(ann: Walker) -> None:
    form = {"username": "ann", "password": "secret", "next": "/admin/"}

    def post(path: str, **fields: object) -> str:
        token = value_of("csrfmiddlewaretoken", ann.step("GET", path).text)
        data = {"csrfmiddlewaretoken": token, **fields}
        sent = ann.step("POST", path, data=data, headers={"Referer": ann.url + path})
        return sent.headers.get("Location", sent.text)

    assert ann.step("GET", "/admin/").headers["Location"] == "/admin/login/?next=/admin/"
    assert "correct username" in post("/admin/login/", **{**form, "password": "wrong"})
    assert post("/admin/login/", **form) == "/admin/"
    assert "Site administration" in ann.step("GET", "/admin/").text
    assert post("/admin/auth/group/add/", name="Keepers", permissions=["1", "2"]).startswith(
        "/admin/auth/group/"
    )
    assert "was added successfully" in ann.step("GET", "/admin/auth/group/").text
    assert "Keepers" in ann.step("GET", "/admin/auth/group/?q=keep").text
    post("/admin/auth/group/1/change/", name="Guards")
    assert "Guards" in ann.step("GET", "/admin/auth/group/1/history/").text
    post("/admin/auth/user/add/", username="bob", password1="a long one", password2="another")
    post("/admin/auth/group/1/delete/", post="yes")
    assert ann.step("POST", "/admin/logout/", data={}).status_code == 403
    assert ann.step("GET", "/admin/auth/user/99/change/").status_code == 302
    assert ann.step("GET", "/admin/no-such-page").status_code in (302, 404)


def use_wsgidav(ann: Walker) -> None:
    lock = (
        '<?xml version="1.0"?><D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope>'
        "<D:locktype><D:write/></D:locktype><D:owner>ann</D:owner></D:lockinfo>"
    )
    blob = bytes(range(256)) * 12_000
    assert "PROPFIND" in ann.step("OPTIONS", "/").headers["Allow"]
    assert ann.step("MKCOL", "/whales").status_code == 201
    assert ann.step("PUT", "/whales/moby.bin", data=blob).status_code == 201
    pieces = (blob[at : at + 100_000] for at in range(0, len(blob), 100_000))
    assert ann.step("PUT", "/whales/chunked.bin", data=pieces).status_code == 201
    assert ann.step("GET", "/whales/chunked.bin").content == blob
    assert ann.step("PROPFIND", "/whales", headers={"Depth": "1"}).status_code == 207
    part = ann.step("GET", "/whales/moby.bin", headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, blob[10:20])
    for verb, path in (("COPY", "/copy.bin"), ("MOVE", "/moved.bin")):
        moved = ann.step(verb, "/whales/moby.bin", headers={"Destination": ann.url + path})
        assert moved.status_code == 201
    assert ann.step("HEAD", "/moved.bin").headers["Content-Length"] == str(len(blob))
    assert ann.step("GET", "/whales/moby.bin").status_code == 404
    held = ann.step("LOCK", "/copy.bin", data=lock, headers={"Timeout": "Second-60"})
    assert held.status_code == 200
    assert ann.step("PUT", "/copy.bin", data=b"x").status_code == 423
    token = {"Lock-Token": held.headers["Lock-Token"]}
    assert ann.step("UNLOCK", "/copy.bin", headers=token).status_code == 204
    assert ann.step("DELETE", "/whales").status_code == 204
    ann.step("GET", "/")
    ann.step("PROPPATCH", "/copy.bin", data="<no>xml")


def use_flask_admin(ann: Walker) -> None:
    for path in ("/admin/", "/admin/animal/", "/admin/animal/new/"):
        assert ann.step("GET", path).ok
    for number in range(25):
        ann.step("POST", "/admin/animal/new/", data={"name": f"animal {number}"})
    assert ann.answers[-1].status == 302
    assert (
        "Already exists" in ann.step("POST", "/admin/animal/new/", data={"name": "animal 3"}).text
    )
    assert "animal 24" in ann.step("GET", "/admin/animal/?page=1").text
    assert "animal 7" in ann.step("GET", "/admin/animal/?search=animal+7").text
    ann.step("POST", "/admin/animal/edit/?id=1", data={"name": "okapi"})
    assert "okapi" in ann.step("GET", "/admin/animal/export/csv/").text
    ann.step("POST", "/admin/animal/delete/", data={"id": "2"})
    ann.step("POST", "/admin/animal/action/", data={"action": "delete", "rowid": ["3", "4"]})
    assert "animal 3<" not in ann.step("GET", "/admin/animal/").text
    files = {"upload": ("a file.txt", b"whales" * 200_000, "text/plain")}
    ann.step("POST", "/admin/fileadmin/upload/", files=files)
    assert len(ann.step("GET", "/admin/fileadmin/download/a_file.txt").content) == 1_200_000
    ann.step("GET", "/admin/fileadmin/download/../../etc/passwd")
    assert ann.step("GET", "/admin/static/admin/css/bootstrap4/admin.css").status_code in (200, 404)
    ann.step("GET", "/admin/no-such-page")


def use_dash(ann: Walker) -> None:
    page = ann.step("GET", "/").text
    assert "A Dash page" in page
    for script in re.findall(r'src="(/_dash-component-suites/[^"]+)"', page):
        assert ann.step("GET", script, headers={"Accept-Encoding": "gzip"}).ok
    assert ann.step("GET", "/_dash-layout").json()["type"] == "Div"
    assert len(ann.step("GET", "/_dash-dependencies").json()) == 3

    def call(output: str, prop: str, given: list[object], *state: object) -> object:
        question = {
            "output": f"{output}.{prop}",
            "outputs": {"id": output, "property": prop},
            "inputs": given,
            "state": list(state),
            "changedPropIds": [],
        }
        answer = ann.step("POST", "/_dash-update-component", json=question)
        return answer.json()["response"][output][prop] if answer.status_code == 200 else None

    name = {"id": "name", "property": "value", "value": "Ann \N{SNOWMAN}"}
    button = {"id": "go", "property": "n_clicks"}
    assert call("greeting", "children", [{**button, "value": None}], name) is None
    assert ann.answers[-1].status == 204
    greeting = call("greeting", "children", [{**button, "value": 2}], name)
    assert greeting == "hello Ann \N{SNOWMAN}, for the 2. time"
    given = {"id": "greeting", "property": "children", "value": greeting}
    length = call("length", "children", [given])
    assert length == len(str(greeting))
    given = {"id": "length", "property": "children", "value": 5000}
    figure = call("graph", "figure", [given])
    assert isinstance(figure, dict)
    assert figure["data"][0]["y"][-1] == 4999**2
    assert call("length", "children", [{**given, "id": "greeting"}]) is None
    assert ann.answers[-1].status == 500
    assert ann.step("GET", "/anything/else").ok


def use_flask_appbuilder(ann: Walker) -> None:
    assert ann.step("GET", "/").ok
    ann.step("GET", "/users/list/")
    ann.step("POST", "/login/", data={"username": "ann", "password": "wrong"})
    ann.step("POST", "/login/", data={"username": "ann", "password": "secret"})
    assert "ann@example.org" in ann.step("GET", "/users/list/").text
    ann.step("POST", "/roles/add", data={"name": "Keepers", "permissions": ["1"]})
    assert "Keepers" in ann.step("GET", "/roles/list/").text
    login = {"username": "ann", "password": "secret", "provider": "db", "refresh": True}
    token = ann.step("POST", "/api/v1/security/login", json=login).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    assert ann.step("GET", "/api/v1/_openapi", headers=headers).status_code == 200
    assert ann.step("GET", "/swagger/v1").ok
    assert ann.step("GET", "/static/appbuilder/css/bootstrap.min.css").ok
    ann.step("GET", "/logout/")
    assert ann.step("GET", "/users/list/").status_code == 302
    ann.step("GET", "/no-such-page")


def use_mlflow(ann: Walker) -> None:
    api = "/api/2.0/mlflow"
    assert ann.step("GET", "/health").text == "OK"
    ann.step("GET", "/version")
    made = ann.step("POST", f"{api}/experiments/create", json={"name": "whales"})
    number = made.json()["experiment_id"]
    ann.step("POST", f"{api}/experiments/create", json={"name": "whales"})
    assert ann.answers[-1].status == 400
    assert "whales" in ann.step("GET", f"{api}/experiments/get-by-name?experiment_name=whales").text
    named = {"experiment_id": number, "start_time": 1, "run_name": "first"}
    made = ann.step("POST", f"{api}/runs/create", json=named)
    run = made.json()["run"]["info"]["run_id"]
    batch = {
        "run_id": run,
        "metrics": [{"key": "m", "value": n / 7, "timestamp": n, "step": n} for n in range(900)],
        "params": [{"key": f"p{n}", "value": "x" * 200} for n in range(50)],
    }
    assert ann.post(ann.url + f"{api}/runs/log-batch", json=batch, timeout=60).ok
    history = ann.get(ann.url + f"{api}/metrics/get-history?run_id={run}&metric_key=m", timeout=60)
    assert len(history.json()["metrics"]) == 900
    search = {"experiment_ids": [number], "filter": "params.p3 = 'no'"}
    assert ann.step("POST", f"{api}/runs/search", json=search).ok
    blob = bytes(range(256)) * 20_000
    artifact = "/api/2.0/mlflow-artifacts/artifacts/folder/blob.bin"
    assert ann.step("PUT", artifact, data=blob).ok
    assert ann.step("GET", artifact).content == blob
    listed = ann.step("GET", "/api/2.0/mlflow-artifacts/artifacts?path=folder").json()
    assert listed["files"][0]["file_size"] == len(blob)
    assert ann.step("DELETE", artifact).ok
    ann.step("GET", artifact)
    ann.step("GET", "/api/2.0/mlflow-artifacts/artifacts/..%2F..%2Fetc%2Fpasswd")
    ann.step("POST", f"{api}/registered-models/create", json={"name": "moby"})
    assert "moby" in ann.step("GET", f"{api}/registered-models/search").text
    ann.step("POST", f"{api}/runs/create", data="{not json")
    assert ann.step("GET", "/").ok
    ann.step("GET", "/no-such-page")


PRODUCTS = [
    pytest.param("frameworks", "django_admin_site:application", use_django_admin, id="django"),
    pytest.param("wsgidav", "dav_site:app", use_wsgidav, id="wsgidav"),
    pytest.param("flask-admin", "flask_admin_site:app", use_flask_admin, marks=takes_long),
    pytest.param("dash", "dash_site:app", use_dash, marks=takes_long),
    pytest.param("mlflow", "mlflow.server:app", use_mlflow, marks=takes_long),
    pytest.param("flask-appbuilder", "fab_site:app", use_flask_appbuilder, marks=takes_long),
]


@pytest.mark.parametrize(("environment", "application", "use"), PRODUCTS)
def test_product_answers_as_it_does_under_gunicorn(
    environment: str, application: str, use: Use, the_same: TheSame
) -> None:
    the_same(environment, application, use)
