"""Downloads from a server of our own, and zip archives that nobody should unpack."""

import concurrent.futures
import errno
import hashlib
import http.server
import re
import stat
import threading
import warnings
import zipfile

import pytest

import data
from data import DataError, archives, building, downloads
from data.downloads import Download
from tests.data.archives import damage, longciu

CONTENT = bytes(range(256)) * 4000
# Served as if they were published, the small volumes fail the self-check: one test looks at that, the others do not.
pytestmark = pytest.mark.filterwarnings("ignore:.*published are")


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


def test_two_at_once_never_write_into_one_file(tmp_path, monkeypatch):
  parts = []

  def receive(download, part):
    parts.append(part)
    part.write_bytes(b"half")
    if len(parts) == 1:  # the other one, of the same process number, starts and ends meanwhile
      downloads.fetch([download], tmp_path, terms="")
      assert (tmp_path / "x.bin").read_bytes() == CONTENT and part.read_bytes() == b"half"
    part.write_bytes(CONTENT)
    return hashlib.sha256(CONTENT).hexdigest()

  monkeypatch.setattr(downloads, "_receive", receive)
  downloads.fetch([Download("", "x.bin", hashlib.sha256(CONTENT).hexdigest())], tmp_path, terms="")
  assert [path.name for path in tmp_path.iterdir()] == ["x.bin"] and (tmp_path / "x.bin").read_bytes() == CONTENT


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
  with pytest.warns(UserWarning, match=r"longciu_1_tgt.nii.gz: 66.\d\d % of the pixels are marked, published are 6.98"):
    data.prepare(builder)  # these are not the published volumes, but here their checksums count as such
  assert "Open Data Commons" in capsys.readouterr().out
  assert len(data.data_source(builder, "test")) == 40
  by_hand = data.get_builder("longciu", data_dir=str(tmp_path / "other"))
  data.prepare(by_hand, manual_dir=str(raw))
  assert data.fingerprint(builder) == data.fingerprint(by_hand)
  num_requests = len(Handler.requests)
  data.prepare(data.get_builder("longciu", data_dir=str(tmp_path / "built")))
  assert len(Handler.requests) == num_requests


def test_other_files_are_not_held_against_the_published_totals(tmp_path):
  (tmp_path / "raw").mkdir()
  longciu.write(tmp_path / "raw")
  with warnings.catch_warnings():
    warnings.filterwarnings("error", message=".*published are")
    data.prepare(data.get_builder("longciu", data_dir=str(tmp_path / "built")), manual_dir=str(tmp_path / "raw"))


@pytest.mark.parametrize("fault", ["wrong", "short"])
def test_a_benchmark_is_not_built_from_a_bad_download(server, tmp_path, monkeypatch, fault):
  (tmp_path / "raw").mkdir()
  longciu.write(tmp_path / "raw")
  builder = longciu_builder(server, tmp_path, monkeypatch, tmp_path / "raw")
  bad = builder.DOWNLOADS[2]
  content = server.files[f"/{bad.name}"]
  server.files[f"/{bad.name}"] = content[:-1] + b"?" if fault == "wrong" else content[:-100]
  with pytest.raises(DataError, match=f"{bad.name}: its SHA-256 is [0-9a-f]+, published is {bad.sha256}"):
    data.prepare(builder)
  assert sorted(path.name for path in (tmp_path / "built" / "downloads" / "longciu").iterdir()) == [
    "longciu_1_tgt.nii.gz",
    "longciu_img.nii.gz",
  ]
  server.files[f"/{bad.name}"] = content  # the next try fetches what is missing only
  before = len(Handler.requests)
  data.prepare(builder)
  assert Handler.requests[before:] == [f"/{download.name}" for download in builder.DOWNLOADS[2:]]


def test_processes_that_meet_download_once(server, tmp_path, monkeypatch):
  (tmp_path / "raw").mkdir()
  longciu.write(tmp_path / "raw")
  builder = longciu_builder(server, tmp_path, monkeypatch, tmp_path / "raw")
  with concurrent.futures.ThreadPoolExecutor(4) as pool:  # locks of a file hold between threads as well
    found = list(pool.map(lambda _: building._find_source(builder, "", must_exist=True), range(4)))
  assert len(set(found)) == 1
  assert len(Handler.requests) == len(builder.DOWNLOADS)


def test_an_unfinished_download_beside_the_files_changes_nothing(server, tmp_path, monkeypatch):
  (tmp_path / "raw").mkdir()
  longciu.write(tmp_path / "raw")
  builder = longciu_builder(server, tmp_path, monkeypatch, tmp_path / "raw")
  data.prepare(builder)
  folder = tmp_path / "built" / "downloads" / "longciu"
  (folder / ".longciu_img.nii.gz.killed.part").write_bytes(b"half")
  data.prepare(data.get_builder("longciu", data_dir=str(tmp_path / "built")))
  (folder / "longciu_splits.json").write_text("{}")
  with pytest.raises(DataError, match="was built from other files"):
    data.prepare(data.get_builder("longciu", data_dir=str(tmp_path / "built")))


def test_a_place_that_cannot_be_written_is_named(tmp_path):
  builder = data.get_builder("longciu", data_dir=str(tmp_path / "built"))
  (tmp_path / "built").mkdir()
  (tmp_path / "built" / "downloads").write_text("")
  with pytest.raises(DataError, match=r"longciu: cannot be downloaded to .*downloads/longciu") as caught:
    data.prepare(builder)
  assert "\n" not in str(caught.value)


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
  write_zip(tmp_path / "a.zip", "./", "top/x.txt", "__MACOSX/top/x.txt", "top/.DS_Store", "./y.txt")
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


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_compressed_member_leaves_nothing(tmp_path, method):
  with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
    archive.writestr("a.bin", hashlib.sha512(b"x").digest() * 100)
  content = bytearray((tmp_path / "a.zip").read_bytes())
  content[45:75] = bytes(255 - byte for byte in content[45:75])
  (tmp_path / "a.zip").write_bytes(content)
  with pytest.raises(DataError, match=r"a.zip: is no whole zip archive .*Download it again"):
    archives.unpack(tmp_path / "a.zip", tmp_path / "out")
  assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_a_truncated_archive_is_named(tmp_path):
  write_zip(tmp_path / "a.zip", "a.txt", "b.txt")
  damage(tmp_path / "a.zip")
  with pytest.raises(DataError, match=r"a.zip: is no whole zip archive"):
    archives.unpack(tmp_path / "a.zip", tmp_path / "out")


def test_a_full_disk_is_not_taken_for_a_damaged_archive(tmp_path, monkeypatch):
  write_zip(tmp_path / "a.zip", "a.txt")

  def full(*args):
    raise OSError(errno.ENOSPC, "No space left on device")

  monkeypatch.setattr(zipfile.ZipFile, "extract", full)
  message = f"a.zip: cannot be unpacked to {re.escape(str(tmp_path / 'out'))} .*No space left"
  with pytest.raises(DataError, match=message) as caught:
    archives.unpack(tmp_path / "a.zip", tmp_path / "out")
  assert "Download it again" not in str(caught.value)
  assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_other_users_may_read_what_was_unpacked(tmp_path):
  write_zip(tmp_path / "a.zip", "a.txt")
  (tmp_path / "plain").mkdir()
  folder = archives.unpack(tmp_path / "a.zip", tmp_path / "out")
  assert folder.stat().st_mode == (tmp_path / "plain").stat().st_mode
