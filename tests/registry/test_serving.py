"""From a run to a service, in one project: the gate, the champion, its way back, and what HTTP answers."""

import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.project import small_project

pytestmark = pytest.mark.slow

JSON = "application/json"
VERSIONS = "select version, key, value from model_version_tags order by 1, 2"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Three models: of the last commit, as good as can be; `untrained`, which has learned nothing; and `same`."""
    made = small_project(tmp_path_factory.mktemp("serving") / "clone")
    made.set(train__learning_rate=0.01, train__epochs=6)
    made.repro()
    made.commit("Run")
    done = made.run("dvc", "exp", "run", "-q", "-n", "untrained", "-S", "train.learning_rate=1.0e-9")
    assert done.returncode == 0, done.stdout + done.stderr
    made.git("checkout", "-q", ".")
    assert made.run("dvc", "checkout", "-q").returncode == 0
    return made


def bonafide(project, *arguments, **environment):
    return project.run(sys.executable, "-m", "bonafide", *arguments, **environment)


def promote(project, name, *arguments):
    done = bonafide(project, "promote", name, "--json", *arguments)
    assert done.returncode in (0, 1), done.stderr
    return json.loads(done.stdout)


def tags(project, version):
    return {key: value for number, key, value in project.query(VERSIONS) if str(number) == version}


def champion(project):
    return [str(version) for (version,) in project.query("select version from registered_model_aliases")]


def weights(project):
    return sorted((project.folder / "mlartifacts").rglob("*.safetensors"))


def package(project, version):
    """Where MLflow has a version's files."""
    ((place,),) = project.query(f"select storage_location from model_versions where version = {version}")
    return Path(place.removeprefix("file://"))


@pytest.fixture(scope="module")
def promoted(project):
    """The good model, promoted."""
    return promote(project, "main")


@pytest.fixture(scope="module")
def served(project, promoted):
    """Its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = project.folder.parent / "serve.log"
    env = os.environ | {"DVC_SITE_CACHE_DIR": str(project.folder.parent / "site")}
    env.pop("MLFLOW_TRACKING_URI", None)
    command = [sys.executable, "-m", "bonafide", "serve", "--port", str(port), "--json"]
    with log.open("w") as file:
        server = subprocess.Popen(command, cwd=project.folder, env=env, stdout=file, stderr=file)
    try:
        wait_for(port, server, log)
        yield port
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=60)


def wait_for(port, server, log):
    limit = time.monotonic() + 300
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < limit, log.read_text()
            time.sleep(0.2)
        else:
            return


def post(port, body, kind=JSON):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    connection.request("POST", "/invocations", body, {"Content-Type": kind} if kind else {})
    answer = connection.getresponse()
    content = answer.read().decode()
    connection.close()
    return answer.status, content


def ask(port, texts):
    status, content = post(port, json.dumps({"dataframe_records": [{"text": text} for text in texts]}))
    assert status == 200, content
    return json.loads(content)["predictions"]


def test_a_promotion_is_recorded_on_the_version(project, promoted):
    assert promoted["promoted"]
    assert promoted["reasons"] == []
    kept = tags(project, promoted["version"])
    file = json.loads(kept["bonafide.files"])["artifacts/model/model.safetensors"]
    assert kept["weights.sha256"] == file
    assert kept["bonafide.commit"] == project.git("rev-parse", "main").strip()
    assert float(kept["test/f1_macro"]) == project.read("reports/evaluate.json")["test/f1_macro"]
    assert (kept["promotion.verdict"], kept["promotion.forced"]) == ("the first champion", "no")


def test_the_version_is_the_model_that_training_left_with_its_bytes_copied_once(project, promoted):
    assert len(weights(project)) == 1
    locked = (project.folder / "models/model/model.safetensors").read_bytes()
    assert weights(project)[0].read_bytes() == locked
    version = project.query("select source, run_id from model_versions")
    trained = project.query(
        "select 'models:/' || m.model_id, m.source_run_id"
        " from logged_models m join logged_model_tags t using (model_id) where t.tag_key = 'bonafide.identity'"
    )
    assert version == trained
    assert not [path for path in (project.folder / "mlartifacts").rglob("*") if path.suffix in (".pkl", ".pickle")]
    recorded = (weights(project)[0].parents[2] / "MLmodel").read_text()
    assert str(project.folder) not in recorded


def test_the_same_bytes_are_promoted_once_whatever_they_are_called(project, promoted):
    f1 = project.read("reports/evaluate.json")["test/f1_macro"]
    ((run,),) = project.query(
        "select m.run_uuid from latest_metrics m join tags t using (run_uuid)"
        f" where m.key = 'test/f1_macro' and m.value = {f1!r} and t.key = 'stage.evaluate.run'"
    )
    again = promote(project, run)
    assert (again["promoted"], again["version"]) == (True, promoted["version"])
    assert len(weights(project)) == 1
    assert project.query("select count(*) from model_versions") == [(1,)]


def test_http_gives_the_probabilities_of_evaluate(project, served):
    table = pq.read_table(project.folder / "reports/evaluate/predictions.parquet")
    expected = table.filter([split == "test" for split in table["split"].to_pylist()])
    texts = pq.read_table(project.folder / "data/validated/test.parquet")
    assert texts["id"].to_pylist() == expected["id"].to_pylist()
    whole = ask(served, texts["text"].to_pylist())
    alone = [ask(served, [text])[0] for text in texts["text"].to_pylist()]
    for found in (whole, alone):
        probabilities = np.array([[row["probabilities"][name] for name in ("negative", "positive")] for row in found])
        assert np.abs(probabilities - np.array(expected["model"].to_pylist())).max() < 1e-6
        assert [row["label"] for row in found] == [
            ("negative", "positive")[best] for best in probabilities.argmax(axis=1)
        ]


def test_many_clients_at_once_get_their_own_answers(served):
    from concurrent.futures import ThreadPoolExecutor

    texts = [f"{word} film number {number}" for number in range(24) for word in ("good", "awful")]
    alone = [ask(served, [text])[0]["probabilities"]["positive"] for text in texts]
    with ThreadPoolExecutor(12) as pool:
        together = [found[0]["probabilities"]["positive"] for found in pool.map(lambda t: ask(served, [t]), texts)]
    assert np.abs(np.array(alone) - np.array(together)).max() < 1e-6


RECORDS = '{"dataframe_records": [%s]}'


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("good film", "valid JSON"),
        ("null", "JSON dictionary"),
        ('["good film"]', "Received a list"),
        (b'{"dataframe_records": [{"text": "\xff"}]}', "valid JSON"),
        (RECORDS % '{"words": "good film"}', "missing inputs ['text']"),
        (RECORDS % "", "missing inputs ['text']"),
        ('{"dataframe_split": {"columns": ["text"], "data": []}}', "no rows"),
        (RECORDS % '{"text": 5}', "row 0: a text is wanted, not int"),
        (RECORDS % '{"text": "good"}, {"text": 5}', "row 1: a text is wanted, not int"),
        (RECORDS % '{"text": null}', "row 0: a text is wanted, not null"),
        (RECORDS % '{"text": ["good", "bad"]}', "row 0: a text is wanted, not list"),
        (RECORDS % r'{"text": " \n"}', "row 0: the text is blank"),
        (RECORDS % r'{"text": "half \ud800"}', "surrogates not allowed"),
        (RECORDS % json.dumps({"text": "a" * 10_000_000}), "10,000,000 characters"),
        (RECORDS % ",".join([json.dumps({"text": "bad film " * 11})] * 90_000), "send several"),
    ],
    ids=[
        "not JSON", "null body", "a list", "not UTF-8", "another column", "no rows", "no texts", "a number",
        "one number", "null", "a list of texts", "blank", "surrogate", "one text of 10 MB", "10 MB of texts",
    ],
)  # fmt: skip
def test_a_bad_request_is_told_what_is_wrong(served, body, says):
    status, content = post(served, body)
    assert status == 400
    assert says in content
    assert ask(served, ["good film"])[0]["label"] in ("negative", "positive")


def test_a_csv_of_words_that_pandas_takes_for_nothing_is_read_as_it_is(served):
    words = ["NA", "None", "null", "nan", "good film, really"]
    status, content = post(served, "text\n" + "".join(f'"{word}"\n' for word in words), "text/csv")
    assert status == 200, content
    assert json.loads(content)["predictions"] == ask(served, words)
    status, content = post(served, 'text\nNA\n""\n', "text/csv")
    assert (status, "row 1: the text is blank" in content) == (400, True)


def test_another_kind_of_content_is_refused(served):
    assert post(served, "good film", "text/plain")[0] == 415


def test_hostile_texts_are_texts(served):
    texts = ["\0", "\u202egood", "<script>alert(1)</script>", "'; drop table runs; --", "=cmd|'/C calc'!A0", "\x1b[2J"]
    texts += ["é" * 2000, "🙂" * 100, "[CLS] [SEP] [PAD] [MASK]", "::set-output name=a::b", "../../etc/passwd"]
    found = ask(served, texts)
    assert len(found) == len(texts)
    assert all(abs(sum(row["probabilities"].values()) - 1) < 1e-9 for row in found)


def test_personal_data_is_masked_as_the_training_texts_were(served):
    plain, masked = ask(served, ["good film by ann@example.com", "good film by [EMAIL]"])
    assert plain == masked


def test_the_gate_refuses_a_worse_model_with_a_broken_table_and_says_why(project, promoted):
    table = project.folder / "data/raw/table.parquet"
    digest = hashlib.md5(table.read_bytes(), usedforsecurity=False).hexdigest()
    cached = project.folder / ".dvc/cache/files/md5" / digest[:2] / digest[2:]
    whole = cached.read_bytes()
    cached.chmod(0o644)
    cached.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        done = bonafide(project, "promote", "untrained")
    finally:
        cached.write_bytes(whole)
        cached.chmod(0o444)
    assert done.returncode == 1, done.stderr
    refused, *reasons = done.stdout.splitlines()
    assert refused == "sentiment: untrained is not promoted"
    assert any("test/f1_macro is" in reason and "below 0.8" in reason for reason in reasons)
    assert any("regressed" in reason for reason in reasons)
    assert any("data/raw: " in reason and digest[2:] in reason and "is altered" in reason for reason in reasons)
    assert len(reasons) == 3
    assert champion(project) == [promoted["version"]]
    assert len(weights(project)) == 1


def test_force_wants_a_reason(project):
    for wrong in (["--force"], ["--reason", "because"], ["--force", "--reason", " "]):
        assert bonafide(project, "promote", "main", *wrong).returncode == 2


def test_what_is_forced_is_recorded_and_rolled_back(project, promoted):
    forced = promote(project, "untrained", "--force", "--reason", "a demonstration")
    assert forced["previous"] == promoted["version"]
    assert champion(project) == [forced["version"]]
    kept = tags(project, forced["version"])
    assert kept["promotion.forced"] == "a demonstration"
    assert "below 0.8" in kept["promotion.against"]
    assert kept["promotion.by"]
    assert len(weights(project)) == 2
    back = bonafide(project, "rollback", "--reason", "it knows nothing", "--json")
    assert json.loads(back.stdout)["version"] == promoted["version"]
    assert champion(project) == [promoted["version"]]
    kept = tags(project, forced["version"])
    assert (kept["rollback.to"], kept["rollback.why"]) == (promoted["version"], "it knows nothing")
    assert bonafide(project, "rollback").returncode == 3


def refused(project):
    with socket.create_server(("127.0.0.1", 0)) as taken:  # so that nothing is served if it is not refused
        done = bonafide(project, "serve", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 3, (done.stdout, done.stderr)
    return done.stderr.splitlines()[-1]


def test_an_alias_that_no_promotion_gave_is_refused(project, promoted):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{project.folder / 'mlflow.db'}")
    stray = client.create_model_version("sentiment", package(project, promoted["version"]).as_uri())
    client.set_registered_model_alias("sentiment", "champion", stray.version)
    try:
        assert "no promotion gave it" in refused(project)
    finally:
        client.set_registered_model_alias("sentiment", "champion", promoted["version"])


@pytest.mark.parametrize("part", ["artifacts/model/model.safetensors", "pyfunc.py", "artifacts/model/config.json"])
def test_a_file_that_was_replaced_in_the_store_is_refused(project, promoted, part):
    path = package(project, promoted["version"]) / part
    whole = path.read_bytes()
    canary = project.folder / "canary"
    evil = f"open({str(canary)!r}, 'w')\n".encode()
    shutil.rmtree(project.folder / ".bonafide/served", ignore_errors=True)
    path.write_bytes(evil if part.endswith(".py") else whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        assert f"{part}' is another file now since the promotion" in refused(project)
        assert not canary.exists()
    finally:
        path.write_bytes(whole)


def test_bytes_that_the_registry_vouches_for_and_git_does_not_are_refused(project, promoted):
    """Whoever can write to the tracking server can change its records too, but not a commit of this repository."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{project.folder / 'mlflow.db'}")
    version = promoted["version"]
    sealed = tags(project, version)["bonafide.files"]
    folder = package(project, version)
    path = folder / "artifacts/model/model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    changed = json.loads(sealed) | {"artifacts/model/model.safetensors": hashlib.sha256(path.read_bytes()).hexdigest()}
    client.set_model_version_tag("sentiment", version, "bonafide.files", json.dumps(changed))
    try:
        assert "not the bytes that dvc.lock has" in refused(project)
    finally:
        path.write_bytes(whole)
        client.set_model_version_tag("sentiment", version, "bonafide.files", sealed)


def test_a_tracking_server_that_is_not_there_is_one_line_without_its_password(project):
    done = bonafide(project, "rollback", MLFLOW_TRACKING_URI="http://user:secret@127.0.0.1:9")
    assert done.returncode == 4
    assert done.stderr.startswith("bonafide: MLflow at http://127.0.0.1:9")
    assert "secret" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_port_that_is_taken_is_found_before_an_address_is_said(project, promoted):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = bonafide(project, "serve", "--port", str(taken.getsockname()[1]))
    assert (done.returncode, done.stdout) == (4, "")
    assert "Address already in use" in done.stderr


def test_another_name_has_a_champion_of_its_own_and_no_copy(project, promoted):
    path = project.folder / "params.yaml"
    before, copies = path.read_text(), weights(project)
    project.set(promote__model="other")
    try:
        assert refused(project) == "bonafide: other: no version is the champion: bonafide promote RUN"
        assert promote(project, "main")["promoted"]
        assert weights(project) == copies
        assert project.query("select count(*) from model_versions where name = 'other'") == [(1,)]
    finally:
        path.write_text(before)


def test_what_no_commit_holds_is_no_champion(project):
    ((run,),) = project.query("select run_uuid from tags where key = 'dvc.experiment' and value = 'untrained' limit 1")
    held = project.git("for-each-ref", "--format=%(refname)", "refs/exps").split()
    (named,) = [name for name in held if name.endswith("/untrained")]
    (project.folder / "dvc.lock").write_text(project.git("show", f"{named}:dvc.lock"))
    for name in held:
        project.git("update-ref", "-d", name)
    done = bonafide(project, "promote", run)
    assert done.returncode == 3
    assert "its dvc.lock is not committed" in done.stderr
