"""Downloads from a server of our own, and zip archives that nobody should unpack."""

import hashlib
import http.server
import stat
import threading
import zipfile

import pytest

import data
from data import DataError, archives, building, downloads
from data.downloads import Download
from tests.data.archives import longciu

CONTENT = bytes(range(256)) * 4000


class Handler(http.server.BaseHTTPRequestHandler):
  """/whole answers, /short promises more than it sends, /gone does not."""

  requests: list = []

  def do_GET(self):
    self.requests.append(self.path)
    if self.path == "/gone":
      self.send_error(404)
      return
    content = self.server.files.get(self.path, CONTENT)  # type: ignore[attr-defined]
    self.send_response(200)
    self.send_header("Content-Length", str(len(content)))
    self.end_headers()
    self.wfile.write(content[: len(content) // 2] if self.path == "/short" else content)

  def log_message(self, *args):
    del args


@pytest.fixture
def server():
  Handler.requests = []
  made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
  made.files = {}  # type: ignore[attr-defined]
  threading.Thread(target=made.serve_forever, daemon=True).start()
  yield made
  made.shutdown()
  made.server_close()


def url(server, path):
  return f"http://127.0.0.1:{server.server_port}{path}"


def file(server, path, content=CONTENT):
  return Download(url(server, path), "x.bin", hashlib.sha256(content).hexdigest())


def test_fetches_once_and_prints_the_terms_first(server, tmp_path, capsys):
  wanted = [file(server, "/whole")]
  assert not downloads.are_there(wanted, tmp_path)
  downloads.fetch(wanted, tmp_path, terms="CC BY 4.0, the page")
  said = capsys.readouterr().out
  assert said.index("CC BY 4.0, the page") < said.index("Downloading x.bin (1.0 MB)")
  assert (tmp_path / "x.bin").read_bytes() == CONTENT and downloads.are_there(wanted, tmp_path)
  downloads.fetch(wanted, tmp_path, terms="")
  assert Handler.requests == ["/whole"]
  assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
  ("path", "content", "message"),
  [
    ("/whole", b"other", "x.bin: its SHA-256 is [0-9a-f]{64}, published is [0-9a-f]{64}. Download it by hand"),
    ("/short", CONTENT, "x.bin: .*(the connection ended after|IncompleteRead|cannot be downloaded)"),
    ("/gone", CONTENT, "x.bin: cannot be downloaded .*404.*by hand"),
  ],
)
def test_what_is_not_whole_is_thrown_away(server, tmp_path, path, content, message):
  with pytest.raises(DataError, match=message):
    downloads.fetch([file(server, path, content)], tmp_path, terms="")
  assert list(tmp_path.iterdir()) == []


def test_no_server(tmp_path):
  with pytest.raises(DataError, match="cannot be downloaded"):
    downloads.fetch([Download("http://127.0.0.1:9/x", "x", "0" * 64)], tmp_path, terms="")


def longciu_builder(server, tmp_path, monkeypatch, raw):
  names = ["longciu_img.nii.gz", *(f"longciu_{r}_tgt.nii.gz" for r in (1, 2, 3)), "longciu_splits.json"]
  wanted = []
  for name in names:
    content = (raw / name).read_bytes()
    server.files[f"/{name}"] = content
    wanted.append(Download(url(server, f"/{name}"), name, hashlib.sha256(content).hexdigest()))
  builder = data.get_builder("longciu", data_dir=str(tmp_path / "built"))
  monkeypatch.setattr(type(builder), "DOWNLOADS", tuple(wanted))
  return builder


def test_a_benchmark_downloads_itself(server, tmp_path, monkeypatch, capsys):
  raw = tmp_path / "raw"
  raw.mkdir()
  longciu.write(raw)
  builder = longciu_builder(server, tmp_path, monkeypatch, raw)
  data.prepare(builder)
  assert "Open Data Commons" in capsys.readouterr().out
  assert len(data.data_source(builder, "test")) == 40
  by_hand = data.get_builder("longciu", data_dir=str(tmp_path / "other"))
  data.prepare(by_hand, manual_dir=str(raw))
  assert data.fingerprint(builder) == data.fingerprint(by_hand)
  num_requests = len(Handler.requests)
  data.prepare(data.get_builder("longciu", data_dir=str(tmp_path / "built")))
  assert len(Handler.requests) == num_requests


def test_files_in_the_default_folder_are_not_downloaded_again(server, tmp_path, monkeypatch):
  raw = tmp_path / "raw"
  raw.mkdir()
  longciu.write(raw)
  builder = longciu_builder(server, tmp_path, monkeypatch, raw)
  folder = building.default_manual_dir(builder)
  folder.parent.mkdir(parents=True)
  raw.rename(folder)
  data.prepare(builder)
  assert Handler.requests == []


def test_longciu_from_its_zip(tmp_path):
  raw = tmp_path / "raw"
  raw.mkdir()
  longciu.write(raw)
  plain = data.get_builder("longciu", data_dir=str(tmp_path / "a"))
  data.prepare(plain, manual_dir=str(raw))
  packed = tmp_path / "packed"
  packed.mkdir()
  with zipfile.ZipFile(packed / "longciu.zip", "w") as archive:
    for path in raw.iterdir():
      archive.write(path, path.name)
    archive.writestr("__MACOSX/._longciu_img.nii.gz", "rubbish")
  builder = data.get_builder("longciu", data_dir=str(tmp_path / "b"))
  data.prepare(builder, manual_dir=str(packed))
  assert data.fingerprint(builder) == data.fingerprint(plain)


def write_zip(path, *names, link=""):
  with zipfile.ZipFile(path, "w") as archive:
    for name in names:
      archive.writestr(name, "text")
    if link:
      member = zipfile.ZipInfo(link)
      member.external_attr = (stat.S_IFLNK | 0o777) << 16
      archive.writestr(member, "/etc/passwd")


def test_unpacks_without_rubbish_and_once(tmp_path):
  write_zip(tmp_path / "a.zip", "top/x.txt", "__MACOSX/top/x.txt", "top/.DS_Store", "./y.txt")
  folder = archives.unpack(tmp_path / "a.zip", tmp_path / "out")
  assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()) == ["top/x.txt", "y.txt"]
  (tmp_path / "a.zip").unlink()
  assert archives.unpack(tmp_path / "a.zip", tmp_path / "out") == folder


@pytest.mark.parametrize("name", ["../x.txt", "top/../../x.txt", "/x.txt", "C:/x.txt", "..\\x.txt"])
def test_paths_that_lead_out_are_refused(tmp_path, name):
  write_zip(tmp_path / "a.zip", "good.txt", name)
  with pytest.raises(DataError, match=r"a.zip: holds the path .* which leads out of its folder"):
    archives.unpack(tmp_path / "a.zip", tmp_path / "in" / "out")
  assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.zip", "in"]


def test_links_are_refused(tmp_path):
  write_zip(tmp_path / "a.zip", link="x.txt")
  with pytest.raises(DataError, match=r"a.zip: holds the link 'x.txt'"):
    archives.unpack(tmp_path / "a.zip", tmp_path / "out")


def test_a_damaged_member_leaves_nothing(tmp_path):
  write_zip(tmp_path / "a.zip", "a.txt", "b.txt")
  content = (tmp_path / "a.zip").read_bytes()
  (tmp_path / "a.zip").write_bytes(content.replace(b"text", b"tixt"))
  with pytest.raises(DataError, match=r"a.zip: is no whole zip archive"):
    archives.unpack(tmp_path / "a.zip", tmp_path / "out")
  assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]
