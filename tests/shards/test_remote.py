"""Shards behind a URL: the same batches, from servers that fail in every way a server can."""

import threading
import time
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from made.command import fails, quick, tsgc
from made.server import serving
from made.shard_sets import make_shards

from pipelines.errors import TsgcError
from shards import remote
from shards.cache import ShardCache
from shards.load_manifest import load_manifest
from shards.loader import EvalLoader, TrainLoader
from shards.options import LoaderOptions
from shards.remote import check_url, is_url, join_url, parse_place, safe
from shards.remote_files import AHEAD, announce_shards


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    return make_shards(tmp_path_factory.mktemp("remote"))


@pytest.fixture
def server(local, monkeypatch):
    monkeypatch.setattr(remote, "WAIT", 0.001)
    with serving(local.folder) as server:
        yield server


@pytest.fixture
def options(tmp_path):
    return LoaderOptions(cache=tmp_path / "cache")


def batches(shards, options=None, epoch=3, **more):
    """What identifies every batch of an epoch, and its numbers."""
    loader = TrainLoader(shards, batch=10, seed=1, last_batch="spread", options=options, **more)
    parts = [part for step in loader.epoch(epoch) for part in step.parts]
    loader.close()
    return [(part.indices.tolist(), part.partner.tolist(), part.joints.clone()) for part in parts]


def size_of(folder):
    """Bytes of a cache."""
    with ShardCache(folder, 0)._alone():  # while nobody renames
        return sum(file.stat().st_size for file in folder.iterdir())


def same(one, two):
    return len(one) == len(two) and all(
        a[:2] == b[:2] and torch.equal(a[2], b[2]) for a, b in zip(one, two, strict=True)
    )


@pytest.mark.parametrize("window", [0, 2])
def test_batches_over_http_are_those_of_the_folder(local, server, options, window):
    ours = batches(local, window=window)
    assert same(batches(server.url, options, window=window), ours)
    assert all(server.asked[shard.file] == 1 for shard in local.shards["train"])
    server.shutdown()
    there = load_manifest(local.folder)
    assert (there.digest, there.location) == (local.digest, str(local.folder))


def test_a_second_run_reads_from_the_cache_alone(local, server, options):
    batches(server.url, options)
    asked = dict(server.asked)
    assert same(batches(server.url, options), batches(local))
    assert {name: count for name, count in server.asked.items() if name != "manifest.json"} == {
        name: count for name, count in asked.items() if name != "manifest.json"
    }


def test_evaluation_over_http_is_that_of_the_folder(local, server, options):
    there = EvalLoader(server.url, "test", batch=4, options=options)
    here = EvalLoader(local, "test", batch=4)
    assert there.names == here.names
    assert all(torch.equal(a.joints, b.joints) for a, b in zip(there, here, strict=True))


@pytest.mark.parametrize("ailment", ["truncate", "no length", "500", "503", "429", "hang up", "flip", "more"])
def test_a_download_that_fails_is_tried_again(local, server, options, ailment):
    for shard in local.shards["train"]:
        server.ill[shard.file] = [ailment] * 2
    assert same(batches(server.url, options), batches(local))
    assert all(server.asked[shard.file] == 3 for shard in local.shards["train"])


@pytest.mark.parametrize("ailment", ["truncate", "500", "hang up"])
def test_a_manifest_that_fails_is_tried_again(local, server, ailment):
    server.ill["manifest.json"] = [ailment] * 4
    assert load_manifest(server.url).digest == local.digest
    assert server.asked["manifest.json"] == remote.ATTEMPTS


SAYS = {
    "truncate": r"ended after [\d,]+ of [\d,]+ bytes",
    "flip": "its sha256 is not the manifest's",
    "500": "the server answers 500 Internal Server Error",
    "hang up": "(broke off|cannot be reached)",
}


@pytest.mark.parametrize("ailment", SAYS)
@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_download_that_keeps_failing_is_one_line_naming_the_shard(
    local, server, tmp_path, ailment, on_error
):
    name = local.shards["test"][0].file
    server.ill[name] = [ailment] * 50
    loader = EvalLoader(server.url, options=LoaderOptions(on_error, cache=tmp_path))
    with pytest.raises(TsgcError, match=rf"http://127\S+/{name}: {SAYS[ailment]}.*; tried 5 times") as error:
        list(loader)
    assert "\n" not in str(error.value)
    loader.close()
    while list(tmp_path.glob("*.partial")):  # a download ahead of use ends by itself
        time.sleep(0.01)


@pytest.mark.parametrize("status", ["404", "403", "401"])
def test_an_answer_that_will_not_change_is_not_asked_for_again(local, server, status):
    server.ill["manifest.json"] = [status] * 9
    with pytest.raises(TsgcError, match=rf"manifest.json: the server answers {status} .*address right"):
        load_manifest(server.url)
    assert server.asked["manifest.json"] == 1


def test_no_server_is_one_line(monkeypatch):
    monkeypatch.setattr(remote, "WAIT", 0.001)
    with serving(Path()) as gone:
        url = gone.url
    with pytest.raises(TsgcError, match=rf"{url}/manifest.json: cannot be reached .*refused.*tried 5 times"):
        load_manifest(url)


def test_redirects_are_followed_to_http_alone(local, server):
    server.ill["manifest.json"] = [f"to {server.url}/other/manifest.json"]
    assert load_manifest(server.url).digest == local.digest
    for target in ("file:///etc/passwd", "ftp://127.0.0.1/manifest.json", "pipe:cat /etc/passwd"):
        server.ill["manifest.json"] = [f"to {target}"] * 9
        with pytest.raises(TsgcError, match=r"manifest.json: the server (redirects|answers 302)") as error:
            load_manifest(server.url)
        assert "\n" not in str(error.value)
    server.ill["manifest.json"] = [f"to {server.url}/manifest.json"] * 50
    with pytest.raises(TsgcError, match="infinite loop"):
        load_manifest(server.url)


def test_user_and_password_reach_the_server_but_no_error_and_no_other_server(local, server, tmp_path):
    url = server.url.replace("http://", "http://me:se%40cret@")
    assert load_manifest(url).digest == local.digest
    assert server.authorised == ["Basic bWU6c2VAY3JldA=="]
    assert load_manifest(url).location == server.url
    with serving(local.folder) as other:
        server.ill["manifest.json"] = [f"to {other.url}/manifest.json", "403", *["500"] * 9]
        assert load_manifest(url).digest == local.digest
        assert other.authorised == [None]
    for _ in range(2):
        with pytest.raises(TsgcError) as error:
            load_manifest(f"{url}/manifest.json?token=hush")
        assert not any(secret in str(error.value) for secret in ("me:", "cret", "hush"))


def test_a_query_stays_behind_every_file_name():
    assert join_url(check_url("https://x/a/manifest.json?sig=1"), "t.tar") == "https://x/a/t.tar?sig=1"
    assert check_url("s3://bucket/set/") == "s3://bucket/set"
    assert safe("https://me:pw@x/a?sig=1#f") == "https://x/a"


@pytest.mark.parametrize(
    "text",
    ["pipe:cat /etc/passwd", "file:///etc/passwd", "file:/etc", "local://x", "simplecache::http://x/a", "http://",
     "http:///x", "ftp://x/y", "data:text/plain,x", "http://a b/", "HTTP://x::y"],
)  # fmt: skip
def test_what_is_no_plain_url_is_refused(text):
    with pytest.raises(TsgcError, match="not a place of remote shards; expected http://"):
        parse_place(text)


@pytest.mark.parametrize("text", ["data/shards/ntu60/xsub", "/a/b:c", "./x:y", "C"])
def test_paths_stay_paths(text):
    assert parse_place(text) == Path(text)
    assert not is_url(Path(text))


def test_other_schemes_go_through_fsspec(local, options):
    memory = fsspec.filesystem("memory")
    for file in local.folder.iterdir():
        memory.pipe_file(f"/made/xsub/{file.name}", file.read_bytes())
    assert same(batches("memory://made/xsub", options), batches(local))
    memory.rm("/made/xsub/test-000000.tar")
    with pytest.raises(TsgcError, match=r"memory://made/xsub/test-000000.tar: FileNotFoundError"):
        list(EvalLoader("memory://made/xsub", options=options))
    with pytest.raises(TsgcError, match=r"nosuch://x/manifest.json: cannot be opened: .*nosuch"):
        load_manifest("nosuch://x")


def test_shards_are_fetched_before_a_batch_needs_them():
    """What the plan needs next is told once a pass, in order, AHEAD of its use."""

    class Told:
        def __init__(self):
            self.shards = []

        def expect(self, shards):
            self.shards += shards

    shards = np.repeat(np.arange(20), 10)
    batches = np.split(np.arange(200), 50)
    told = Told()
    for k, batch in enumerate(announce_shards(told, batches * 2, shards)):
        used = [int(shards[b[-1]]) for b in (batches * 2)[: k + 1]]
        distinct = [x for i, x in enumerate(used) if i == 0 or x != used[i - 1]]
        assert told.shards[: len(distinct)] == distinct
        assert len(told.shards) == min(40, len(distinct) + AHEAD)
        assert len(batch) == 4


def test_reading_ahead_overlaps_a_slow_server(server, options):
    """The server answers nobody before it is asked for a second shard."""
    manifest = load_manifest(server.url)
    asked, second, in_time = [], threading.Event(), []

    class Waiting(server.RequestHandlerClass):
        def do_GET(self):
            asked.append(self.path)
            if len(asked) > 1:
                second.set()
            in_time.append(second.wait(30))
            super().do_GET()

    server.RequestHandlerClass = Waiting
    batches(manifest, options, window=2, threads=1)
    assert len(in_time) == len(manifest.shards["train"]) and all(in_time)


def test_two_loaders_at_once_fetch_each_shard_once(local, server, options):
    server.delay = 0.02
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(batches(server.url, options))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ours = batches(local)
    assert len(results) == 3 and all(same(result, ours) for result in results)
    assert all(server.asked[shard.file] == 1 for shard in local.shards["train"])


def test_a_cache_that_cannot_hold_the_window_is_refused_at_once(local, server, tmp_path):
    some = sum(sorted(shard.bytes for shard in local.shards["train"])[-(2 + AHEAD) :])
    tight = LoaderOptions(cache=tmp_path, cache_bytes=some)
    assert same(batches(server.url, tight, window=2), batches(local, window=2))
    with pytest.raises(TsgcError, match=r"draws from 2 shards at a time and 4 ahead: .* --cache-size, or"):
        batches(server.url, LoaderOptions(cache=tmp_path, cache_bytes=some - 1), window=2)
    with pytest.raises(TsgcError, match="draws from all shards at a time"):
        batches(server.url, tight)


def test_a_cache_smaller_than_the_set_never_holds_more_than_it_may(local, server, tmp_path):
    limit = sum(sorted(shard.bytes for shard in local.shards["train"])[-(1 + AHEAD) :])
    assert limit < sum(shard.bytes for shard in local.shards["train"])
    options = LoaderOptions(cache=tmp_path, cache_bytes=limit)
    loader = TrainLoader(server.url, batch=10, seed=1, last_batch="spread", window=1, options=options)
    seen = []
    for step in loader.epoch(0):
        seen += step.parts[0].indices.tolist()
        assert size_of(tmp_path) <= limit
    loader.close()
    assert sorted(seen) == list(range(76))


def test_training_and_evaluating_over_http_as_a_user_does(here, made, monkeypatch):
    monkeypatch.setattr(remote, "WAIT", 0.001)
    monkeypatch.setenv("TSGC_CACHE", str(here / "cache"))
    folder = made / "shards/ntu60/xsub"
    with serving(folder) as server:
        url = server.url.replace("//", "//me:secret@")
        monkeypatch.setattr(
            "sys.argv", ["tsgc", "train", f"--shards={url}?token=secret"]
        )  # as it is recorded
        said = tsgc("train", "--shards", url, "--run-dir", here / "run", *quick("shuffle_window=0"))
        said += tsgc("evaluate", here / "run", "--shards", url)
        assert "secret" not in said
        assert f"--shards={server.url}" in (here / "run/environment.json").read_text()
        files = [file for file in (here / "run").rglob("*") if file.is_file()]
        assert len(files) > 5 and not any(b"secret" in file.read_bytes() for file in files)
        assert "shuffle_window: 16" in tsgc("train", "--shards", url, "--print-config")
        said = fails("evaluate", here / "run", "--shards", url, "--cache-size", "0.000001")
        assert "the whole cache may take 1,000; give a larger --cache-size" in said
        tsgc("train", "--shards", folder, "--run-dir", here / "here", *quick())
    weights = [(here / run / "checkpoints/last.safetensors").read_bytes() for run in ("run", "here")]
    assert weights[0] == weights[1]
    assert "not a place of remote shards" in fails("train", "--shards", "pipe:cat x", code=2)
    tsgc("train", "--cache-size", "-1", "--shards", folder, expect=2)
