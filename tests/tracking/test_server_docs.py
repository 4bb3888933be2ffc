"""docs/server.md, done: its commands, environment and configuration are read from the documents and run on loopback."""

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import psycopg2
import pytest
import requests
from mlflow import MlflowClient
from ruamel.yaml import YAML

from bonafide.project.files import md5
from bonafide.tracking.delivery import Delivery
from tests.s3 import client, s3_server
from tests.stores import binary, free_port, mlflow_server, wait_for
from tests.tracking.test_tracking import record

ROOT = Path(__file__).parents[2]
FILES = ROOT / "docs" / "server"
GUIDE = (ROOT / "docs" / "server.md").read_text()
COMPOSE = YAML(typ="safe").load((FILES / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
SECRETS = {"DATABASE_PASSWORD": "of the database", "ADMIN_PASSWORD": "of the admin 12", "SECRET_KEY": "k" * 32}
ADA, BOB = ("ada", "ada's password"), ("bob", "bob's password")


def test_the_compose_file_fits_its_schema():
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, FILES / "compose.yaml"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_guide_names_every_file_and_the_example_every_variable():
    assert set(re.findall(r"\]\(server/([^)]+)\)", GUIDE)) == {path.name for path in FILES.iterdir()}
    asked = set(re.findall(r"\$\{([A-Z0-9_]+):\?\}", (FILES / "compose.yaml").read_text()))
    assert asked == set(re.findall(r"^([A-Z0-9_]+)=", (FILES / "env.example").read_text(), re.MULTILINE))


def test_only_the_proxy_has_a_port_and_the_database_no_way_out():
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["proxy"]
    assert SERVICES["database"]["networks"] == ["inside"]
    assert COMPOSE["networks"]["inside"] == {"internal": True}


def test_the_image_has_the_versions_that_are_tested():
    pinned = re.findall(r'"([a-z0-9-]+)(?:\[[a-z]+\])?==([^"]+)"', SERVICES["mlflow"]["build"]["dockerfile_inline"])
    assert {name: version(name) for name, _ in pinned} == dict(pinned)


def fill(text, values):
    """What Docker makes of `${NAME:?}`."""
    return re.sub(r"\$\{(\w+):\?\}", lambda match: values[match[1]], str(text))


def swap(text, **changes):
    """Change what is the container's to what is the test's, each of which must be there."""
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    return text


def commands(beginning):
    """The lines of the guide's shell blocks that begin so, as they run within a container."""
    lines = "\n".join(re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL)).splitlines()
    return [line.removeprefix(beginning).strip() for line in lines if line.startswith(beginning)]


@contextlib.contextmanager
def database():
    """The database service: PostgreSQL with a user who has a password; yields host:port and a scratch folder."""
    folder = Path(tempfile.mkdtemp(prefix="bonafide-team-"))
    secret, port = folder / "password", free_port()
    secret.write_text(SECRETS["DATABASE_PASSWORD"])
    user = {"user": "nobody", "group": "nogroup"} if os.getuid() == 0 else {}  # it refuses to run as root
    for path in (folder, secret) if user else ():
        shutil.chown(path, **user)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder, **user}
    owner = SERVICES["database"]["environment"]["POSTGRES_USER"]
    init = [binary("initdb"), "-A", "scram-sha-256", "-U", owner, "--pwfile", secret, "--no-sync", "-D", "data"]
    subprocess.run(init, check=True, **quiet)
    options = ["-D", "data", "-k", folder, "-p", str(port), "-c", "fsync=off"]
    server = subprocess.Popen([binary("postgres"), *options], **quiet)
    env = {"PGHOST": "127.0.0.1", "PGPORT": str(port), "PGPASSWORD": SECRETS["DATABASE_PASSWORD"]}
    check = [binary("pg_isready"), *SERVICES["database"]["healthcheck"]["test"][2:]]
    try:
        wait_for(lambda: subprocess.run(check, env=os.environ | env, check=False).returncode == 0)
        name = SERVICES["database"]["environment"]["POSTGRES_DB"]
        make = [binary("createdb"), "-U", owner, name]
        subprocess.run(make, env=os.environ | env, check=True)
        yield env
    finally:
        server.terminate()
        server.kill()
        server.wait()
        shutil.rmtree(folder)


@dataclass
class Team:
    """The server of the guide, running."""

    folder: Path
    host: str
    endpoint: str
    database: dict[str, str]
    inner: int

    @property
    def certificate(self):
        return str(self.folder / "certificates" / "fullchain.pem")

    def ask(self, method, path, who=None, **options):
        url = f"https://{self.host}{path}"
        return requests.request(method, url, auth=who, verify=self.certificate, timeout=30, **options)

    def shell(self, script, **values):
        env = os.environ | {"HOST": self.host, "CURL_CA_BUNDLE": self.certificate} | SECRETS | values
        done = subprocess.run(["bash", "-euc", script], env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


def start_mlflow(team, values):
    """The mlflow service: its command and its environment."""
    service, at = SERVICES["mlflow"], f"@127.0.0.1:{team.database['PGPORT']}/"
    auth = team.folder / "auth.ini"
    auth.write_text(swap((FILES / "auth.ini").read_text(), **{"@database/": at}))
    env = {name: fill(value, values) for name, value in service["environment"].items()}
    env |= {"MLFLOW_AUTH_CONFIG_PATH": str(auth)}
    command = "\n".join(fill(word, values) for word in service["command"])
    ours = {"--host=0.0.0.0": "--host=127.0.0.1", "--port=5000": f"--port={team.inner}", "--workers=4": "--workers=1"}
    command = swap(command, **ours, **{"@database/": at}).split("\n")
    plain = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    ours = {"env": plain | env, "cwd": team.folder}
    with (team.folder / "mlflow.log").open("w") as log:
        return subprocess.Popen([sys.executable, "-m", *command], stdout=log, stderr=log, **ours)


def start_nginx(team, port):
    """The proxy service: its configuration, with a certificate signed by itself."""
    certificates = team.folder / "certificates"
    certificates.mkdir()
    pair = ["-keyout", certificates / "privkey.pem", "-out", certificates / "fullchain.pem"]
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *pair, *name]
    subprocess.run(make, check=True, capture_output=True)
    ours = {
        "listen 443": f"listen 127.0.0.1:{port}",
        "http://mlflow:5000": f"http://127.0.0.1:{team.inner}",
        "/etc/nginx/certificates": str(certificates),
        "/dev/stdout": str(team.folder / "access.log"),
        "/dev/stderr": str(team.folder / "error.log"),
    }
    path = team.folder / "nginx.conf"
    path.write_text(swap((FILES / "nginx.conf").read_text(), **ours))
    own = f"daemon off; pid {team.folder / 'nginx.pid'};"
    return subprocess.Popen(["nginx", "-e", team.folder / "start.log", "-c", path, "-g", own])


@pytest.fixture(scope="module")
def team(tmp_path_factory):
    if shutil.which("nginx") is None:
        pytest.skip("no nginx here: apt-get install nginx-light (.ci/run does)")
    port, folder = free_port(), tmp_path_factory.mktemp("team")
    with database() as there, s3_server("team") as endpoint, contextlib.ExitStack() as ends:
        made = Team(folder, f"localhost:{port}", endpoint, there, free_port())
        values = SECRETS | {"HOST": made.host, "BUCKET": "team", "S3_ENDPOINT": endpoint}
        values |= {"S3_KEY": "test", "S3_SECRET": "test", "S3_REGION": "us-east-1"}
        for process in (start_mlflow(made, values), start_nginx(made, port)):
            ends.callback(process.wait)
            ends.callback(process.terminate)
        check = SERVICES["mlflow"]["healthcheck"]["test"][1:]
        code = swap(fill(check[2], values), **{"127.0.0.1:5000": f"127.0.0.1:{made.inner}"})
        healthy = [sys.executable, *check[1:2], code]
        wait_for(lambda: subprocess.run(healthy, capture_output=True, check=False).returncode == 0)
        yield made


@pytest.fixture(scope="module")
def shared(team):
    """An experiment of the admin's into which ada may log: its id."""
    admin = ("admin", SECRETS["ADMIN_PASSWORD"])
    made = team.ask("POST", "/api/2.0/mlflow/experiments/create", admin, json={"name": "test"})
    experiment = made.json()["experiment_id"]
    (users,) = re.findall(r"```sh\n(curl.*?)```", GUIDE, re.DOTALL)
    team.shell(users, ADA_PASSWORD=ADA[1], EXPERIMENT=experiment)
    user = dict(zip(("username", "password"), BOB, strict=True))
    assert team.ask("POST", "/api/2.0/mlflow/users/create", admin, json=user).ok
    return experiment


def artifact(run):
    return f"/api/2.0/mlflow-artifacts/artifacts/{run.info.experiment_id}/{run.info.run_id}/artifacts/index.html"


@pytest.fixture(scope="module")
def logged(team, shared):
    """A stage's run, told by ada through TLS as a project of hers would."""
    settings = {"TRACKING_URI": f"https://{team.host}", "TRACKING_USERNAME": ADA[0], "TRACKING_PASSWORD": ADA[1]}
    page = team.folder / "index.html"
    page.write_text("a report")
    what = replace(record(), status="FINISHED", ended=1_700_000_001_000, headline={"test/f1_macro": 0.88})
    what.artifacts = {str(page): md5(page)}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(team.folder)
        for name, value in {**settings, "TRACKING_SERVER_CERT_PATH": team.certificate}.items():
            patch.setenv(f"MLFLOW_{name}", value)
        Delivery(what).finish()
        (run,) = MlflowClient().search_runs([shared], "tags.`bonafide.pipeline_key` = 'p1'")
    return run


@pytest.mark.slow
def test_nobody_gets_in_without_a_password(team):
    for who in (None, ("admin", "password1234"), ("nobody", "")):
        for method, path in (
            ("GET", "/"),
            ("GET", "/api/2.0/mlflow/experiments/search?max_results=5"),
            ("GET", "/api/2.0/mlflow-artifacts/artifacts"),
            ("PUT", "/api/2.0/mlflow-artifacts/artifacts/1/any/artifacts/model.safetensors"),
            ("POST", "/api/2.0/mlflow/users/create"),
        ):
            assert team.ask(method, path, who).status_code == 401, (method, path, who)
    assert not client(team.endpoint).list_objects_v2(Bucket="team", Prefix="mlflow/1/any").get("Contents")


@pytest.mark.slow
def test_another_host_or_origin_is_refused(team):
    who, path = ("admin", SECRETS["ADMIN_PASSWORD"]), "/api/2.0/mlflow/experiments/search?max_results=5"
    assert team.ask("GET", path, who).status_code == 200
    assert team.ask("GET", path, who, headers={"Host": "evil.example"}).status_code == 403
    from_elsewhere = {"headers": {"Origin": "https://evil.example"}, "json": {"name": "planted"}}
    assert team.ask("POST", "/api/2.0/mlflow/experiments/create", who, **from_elsewhere).status_code == 403


@pytest.mark.slow
def test_nothing_is_said_in_clear(team):
    assert requests.get(f"http://{team.host}/", timeout=10).status_code == 400
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(host="127.0.0.1", port=team.database["PGPORT"], user="mlflow", password="wrong")  # noqa: S106


@pytest.mark.slow
def test_a_stage_is_logged_through_it_and_its_page_lies_in_the_bucket(team, logged):
    assert logged.data.metrics == {"test/f1_macro": 0.88}
    assert logged.info.artifact_uri.startswith("mlflow-artifacts:/")
    (found,) = client(team.endpoint).list_objects_v2(Bucket="team", Prefix="mlflow/")["Contents"]
    assert found["Key"].endswith(f"{logged.info.run_id}/artifacts/index.html")
    assert team.ask("GET", artifact(logged), ADA).text == "a report"


@pytest.mark.slow
def test_who_was_given_nothing_sees_nothing(team, logged):
    assert team.ask("GET", f"/api/2.0/mlflow/runs/get?run_id={logged.info.run_id}", BOB).status_code == 403
    assert team.ask("GET", artifact(logged), BOB).status_code == 403
    assert team.ask("PUT", artifact(logged), BOB, data="another").status_code == 403
    found = team.ask("GET", "/api/2.0/mlflow/experiments/search?max_results=5", BOB)
    assert logged.info.experiment_id not in {one["experiment_id"] for one in found.json().get("experiments", [])}
    assert team.ask("GET", artifact(logged), ADA).text == "a report"


@pytest.mark.slow
def test_it_is_dumped_restored_and_upgraded_by_the_guides_lines(team, logged, tmp_path):
    where = f"export PATH={Path(binary('pg_dump')).parent}:{Path(sys.executable).parent}:$PATH; cd {tmp_path}; "
    dump, restore = commands("docker compose exec -T database")
    team.shell(where + dump, **team.database)
    assert "users" in team.shell(f"{where} pg_restore --list mlflow.dump")
    team.shell(where + restore, **team.database)
    upgrades = commands("docker compose run --rm mlflow")
    assert len(upgrades) == 2
    for line in upgrades:
        team.shell(where + swap(line, **{"@database/": f"@127.0.0.1:{team.database['PGPORT']}/"}), **team.database)
    assert team.ask("GET", f"/api/2.0/mlflow/runs/get?run_id={logged.info.run_id}", ADA).ok


@pytest.mark.slow
def test_a_project_is_pointed_at_the_bucket_by_the_guides_lines(tmp_path):
    subprocess.run(["dvc", "init", "-q", "--no-scm"], check=True)
    for line in commands("dvc remote"):
        subprocess.run(["dvc", "remote", *shlex.split(line, comments=True)], check=True, capture_output=True)
    settings = Path(".dvc/config").read_text()
    assert "remote = team" in settings
    assert "url = s3://team/dvc" in settings
    assert "endpointurl = https://" in settings


@pytest.mark.slow
def test_a_careless_server_lets_anybody_replace_a_model(tmp_path):
    with mlflow_server(tmp_path) as server:
        url = f"{server.uri}/api/2.0/mlflow-artifacts/artifacts/0/any/artifacts/model.safetensors"
        assert requests.put(url, data=b"another model", timeout=30).status_code == 200
        assert requests.get(url, timeout=30).content == b"another model"
