"""report.html in a real browser: widths, slider, contrast, headings, alternative texts, print, and without scripts.

The browser starts once. It loads a page with one frame per circumstance (frames have the media queries of their own
width) and a script that looks into each of them and writes down what it finds.
"""

import html
import itertools
import json
import re
import shutil
import subprocess

import pytest

from ordseg.reporting import report
from tests.helpers import evaluations

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")
OPTIONS = (
  "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
  "--disable-component-update --disable-sync --virtual-time-budget=8000 --dump-dom"
)
NUM_RATERS = 7
WIDTHS = (360, 768, 1280)

LOOK = """
const linear = v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
const luminance = rgb => { const [r, g, b] = rgb.map(v => linear(v / 255));
  return .2126 * r + .7152 * g + .0722 * b; };
const channels = text => text.match(/[\\d.]+/g).map(Number);
const ground = (element, view) => { for (let e = element; e; e = e.parentElement) {
  const c = channels(view.getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > .99) return c.slice(0, 3); }
  return [255, 255, 255]; };
const seen = e => e.checkVisibility();
function look(frame) {
  const page = frame.contentDocument, view = frame.contentWindow, root = page.documentElement, contrasts = [];
  const walker = page.createTreeWalker(page.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !seen(e)) continue;
    const a = luminance(channels(view.getComputedStyle(e).color).slice(0, 3)), b = luminance(ground(e, view));
    contrasts.push([(Math.max(a, b) + .05) / (Math.min(a, b) + .05), walker.currentNode.data.trim().slice(0, 40)]);
  }
  const slider = page.getElementById('level'), figures = [...page.querySelectorAll('[data-raters]')];
  const views = figure => [...figure.querySelectorAll('[data-level]')];
  const levels = () => figures.map(f => views(f).filter(seen).map(v => +v.dataset.level));
  const state = () => ({ text: slider.getAttribute('aria-valuetext'), levels: levels(),
    words: page.getElementById('level-words').textContent });
  const out = { width: [root.scrollWidth, root.clientWidth], start: state(), moved: [], ground: ground(page.body, view),
    wide: [...page.querySelectorAll('body *')].filter(e => !e.closest('.scroll') && !e.closest('.skip') && seen(e) &&
      e.getBoundingClientRect().right > root.clientWidth + 1).map(e => e.outerHTML.slice(0, 80)).slice(0, 3),
    headings: [...page.querySelectorAll('h1,h2,h3,h4,h5,h6')].filter(seen).map(h => +h.tagName[1]),
    images: [...page.images].map(i => [i.alt, i.complete && i.naturalWidth > 0]),
    drawings: [...page.querySelectorAll('svg')].filter(s => !s.closest('[aria-hidden]'))
      .map(s => [s.getAttribute('role'), s.getAttribute('aria-label')]),
    slider: { seen: seen(slider), name: slider.labels[0].textContent, tab: slider.tabIndex },
    folded: [...page.querySelectorAll('details > :not(summary)')].map(e => seen(e) && e.clientHeight > 0),
    contrasts: contrasts.sort((a, b) => a[0] - b[0]).slice(0, 5), texts: contrasts.length };
  for (const value of [1, 2, +slider.max]) {
    slider.value = value;
    slider.dispatchEvent(new view.Event('input'));
    out.moved.push(state());
  }
  figures.slice(0, 1).forEach(f => { f.dataset.raters = 3; });  // as where only three raters answered the first image
  out.fewer = [];
  for (let value = 1; value <= +slider.max; value++) {
    slider.value = value;
    slider.dispatchEvent(new view.Event('input'));
    out.fewer.push(levels());
  }
  return out;
}
onload = () => {
  const found = Object.fromEntries([...document.querySelectorAll('iframe')].map(f => [f.name, look(f)]));
  document.body.replaceChildren(Object.assign(document.createElement('pre'), { textContent: JSON.stringify(found) }));
};
"""


def frame(name, width, source, *, scripts=True):
  sandbox = "" if scripts else ' sandbox="allow-same-origin"'
  style = f"width:{width}px;height:1200px;border:0"
  return f'<iframe name="{name}" style="{style}"{sandbox} srcdoc="{html.escape(source)}"></iframe>'


def add_intervals(metrics):
  """Intervals, so that the widest page is tested."""
  paths = [f"read_outs.{r}.{key}" for r, scores in metrics["read_outs"].items() for key in scores]
  values = {path: [0.1234, 0.5678] for path in (*paths, "raters.leave_one_out.dice")}
  metrics["intervals"] = {"confidence": 0.95, "method": "bootstrap", "unit": "group", "values": values}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
  """What the browser saw: circumstance -> what `look` returned."""
  browser = next(filter(None, map(shutil.which, BROWSERS)), None)
  if browser is None:
    pytest.skip(f"needs a browser: none of {', '.join(BROWSERS)} is installed")
  folder = evaluations.write(tmp_path_factory.mktemp("browser") / "mine/eval/test", num_raters=NUM_RATERS)
  evaluations.change(folder, "metrics.json", add_intervals)
  page = report.write_report(folder).read_text().replace(' loading="lazy"', "")
  light = page.replace("(prefers-color-scheme: dark)", "not all")
  dark = page.replace("(prefers-color-scheme: dark)", "all")
  printed = light.replace("@media screen", "@media not all").replace("@media print", "@media all")
  assert len({page, light, dark, printed}) == 4
  frames = [frame(str(width), width, light) for width in WIDTHS]
  frames += [frame("dark", 1280, dark), frame("dark phone", 360, dark), frame("print", 690, printed)]
  frames += [frame("no scripts", 768, light, scripts=False)]
  probe = folder / "probe.html"
  probe.write_text(f'<!doctype html><meta charset="utf-8"><body>{"".join(frames)}<script>{LOOK}</script>')
  command = [browser, *OPTIONS.split(), f"--user-data-dir={folder / 'profile'}", probe.as_uri()]
  try:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
  except subprocess.TimeoutExpired:
    pytest.skip(f"{browser} did not answer within two minutes")
  written = re.search(r"<pre>(.*?)</pre>", done.stdout, re.DOTALL)
  if written is None and not done.stdout.strip():
    pytest.skip(f"{browser} does not run here: {done.stderr[-200:]}")
  assert written, done.stdout[:500] + done.stderr[-500:]
  return json.loads(html.unescape(written[1]))


CIRCUMSTANCES = (*map(str, WIDTHS), "dark", "dark phone", "print", "no scripts")


@pytest.mark.parametrize("name", CIRCUMSTANCES)
def test_nothing_is_wider_than_the_page(found, name):
  needed, there = found[name]["width"]
  assert needed <= there, found[name]["wide"]
  assert found[name]["wide"] == []


@pytest.mark.parametrize("name", CIRCUMSTANCES)
def test_text_stands_out_from_its_ground(found, name):
  """WCAG 2 AA: 4.5 to 1, for every piece of text that is seen."""
  assert found[name]["texts"] > 150
  assert found[name]["contrasts"][0][0] >= 4.5, found[name]["contrasts"]


def test_dark_is_dark(found):
  assert max(found["dark"]["ground"]) < 60 and min(found["1280"]["ground"]) == 255


@pytest.mark.parametrize("name", CIRCUMSTANCES)
def test_headings_are_in_order_and_pictures_have_words(found, name):
  levels = found[name]["headings"]
  assert levels[0] == 1 and levels.count(1) == 1 and len(levels) > 8
  assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
  assert len(found[name]["images"]) > 20
  assert all(len(alt) > 10 and decoded for alt, decoded in found[name]["images"])
  assert len(found[name]["drawings"]) >= 9 * NUM_RATERS
  assert all(role == "img" and len(label) > 20 for role, label in found[name]["drawings"])


@pytest.mark.parametrize("name", [*map(str, WIDTHS), "dark"])
def test_the_slider_changes_what_is_shown_and_says_so(found, name):
  page = found[name]
  assert page["slider"]["seen"] and page["slider"]["tab"] == 0
  assert page["slider"]["name"] == "How many raters must agree?"
  images = len(page["start"]["levels"])
  assert images == 9
  for state, level in zip((page["start"], *page["moved"]), (4, 1, 2, NUM_RATERS), strict=True):
    assert state["levels"] == [[level]] * images
    words = f"all {level} raters" if level == NUM_RATERS else f"at least {level} of {NUM_RATERS} raters"
    assert state["text"] == state["words"] == words
  for wanted, levels in enumerate(page["fewer"], start=1):  # of the three who answered, no smaller share
    of_three = next(k for k in (1, 2, 3) if k / 3 >= wanted / NUM_RATERS)
    assert levels == [[of_three], *[[wanted]] * (images - 1)]


def test_without_scripts_every_level_is_shown(found):
  page = found["no scripts"]
  assert page["start"]["levels"] == [list(range(1, NUM_RATERS + 1))] * 9
  assert not page["slider"]["seen"]


def test_print_shows_every_level_and_what_is_folded(found):
  page = found["print"]
  assert page["start"]["levels"] == [list(range(1, NUM_RATERS + 1))] * 9
  assert not page["slider"]["seen"]
  assert len(page["folded"]) == 3 and all(page["folded"])
  assert not any(found["768"]["folded"])
