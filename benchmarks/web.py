"""How many steps a second does a page take? The engine of the live pages in headless Chromium, beside the same step in plain
JavaScript, and what the living things weigh. Writes web.json beside this file.  `make bench`, or: python benchmarks/web.py --help

Headless Chromium renders in software unless it is told otherwise, so these are the numbers of a machine without a graphics card.
The two take turns within a round; a ratio is taken within a round, and the table shows the middle one, with the smallest and the largest."""
import argparse
import base64
import json
import os
import statistics
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
for folder in (ROOT, ROOT / "tools"):
    if str(folder) not in sys.path: sys.path.insert(0, str(folder))

from browser import MISSING, find as find_browser, lend_node  # noqa: E402
from nca_tutorial.core import NCAModel  # noqa: E402
from nca_tutorial.playground import export_web  # noqa: E402

# The step as one would write it without a graphics card: typed arrays, empty neighbourhoods and idle cells left out
PLAIN = """
class Plain {
  constructor({ channels: C, hidden: H, fire_rate, alive_threshold, layers }, side) {
    Object.assign(this, { C, H, rate: fire_rate, threshold: alive_threshold, ...layers, n: side })
    this.x = new Float32Array(C * side * side); this.y = new Float32Array(C * side * side); this.p = new Float32Array(3 * C); this.h = new Float32Array(H)
    for (let c = 3; c < C; c++) this.x[((side >> 1) * side + (side >> 1)) * C + c] = 1
  }
  mature(x, i, j) {                                        // is there a mature cell in the 3x3?
    const { n, C } = this
    for (let a = Math.max(i - 1, 0); a <= Math.min(i + 1, n - 1); a++)
      for (let b = Math.max(j - 1, 0); b <= Math.min(j + 1, n - 1); b++) if (x[(a * n + b) * C + 3] > this.threshold) return true
    return false
  }
  perceive(i, j) {
    const { x, p, n, C } = this
    const at = (a, b, c) => a < 0 || b < 0 || a >= n || b >= n ? 0 : x[(a * n + b) * C + c]
    for (let c = 0; c < C; c++) {
      const nw = at(i - 1, j - 1, c), ne = at(i - 1, j + 1, c), sw = at(i + 1, j - 1, c), se = at(i + 1, j + 1, c)
      p[3 * c] = x[(i * n + j) * C + c]
      p[3 * c + 1] = (ne - nw + 2 * (at(i, j + 1, c) - at(i, j - 1, c)) + se - sw) / 8
      p[3 * c + 2] = (sw - nw + 2 * (at(i + 1, j, c) - at(i - 1, j, c)) + se - ne) / 8
    }
  }
  step() {
    const { x, y, p, h, n, C, H, w1, b1, w2, b2 } = this, K = 3 * C
    const near = new Uint8Array(n * n)
    for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) near[i * n + j] = this.mature(x, i, j) ? 1 : 0
    y.set(x)
    for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) {
      if (!near[i * n + j] || Math.random() >= this.rate) continue
      this.perceive(i, j)
      for (let u = 0; u < H; u++) { let s = b1[u]; for (let k = 0; k < K; k++) s += w1[u * K + k] * p[k]; h[u] = s > 0 ? s : 0 }
      for (let c = 0; c < C; c++) { let s = b2[c]; for (let u = 0; u < H; u++) s += w2[c * H + u] * h[u]; y[(i * n + j) * C + c] += s }
    }
    for (let i = 0; i < n; i++) for (let j = 0; j < n; j++)
      if (!near[i * n + j] || !this.mature(y, i, j)) y.fill(0, (i * n + j) * C, (i * n + j + 1) * C)
    this.x = y; this.y = x
  }
}"""

RACE = """async ([file, side, seconds, rounds, grown]) => {
  const model = nca.parse(Uint8Array.from(atob(file), c => c.charCodeAt(0)).buffer)
  const engine = new nca.Engine(model, { height: side, width: side }), plain = new Plain(model, side), res = []
  engine.step(grown)
  const x = engine.read(), n = side * side                         // both go on from the same grown gecko
  for (let c = 0; c < model.channels; c++) for (let i = 0; i < n; i++) plain.x[i * model.channels + c] = x[c * n + i]
  const rate = (go, wait) => { let steps = 0, start = performance.now(); do { go(); steps++; if (steps % 4 === 0 || side > 200) wait() } while (performance.now() - start < seconds * 1000); wait(); return steps / (performance.now() - start) * 1000 }
  const texel = new Float32Array(4), { gl } = engine
  const wait = () => { gl.bindFramebuffer(gl.FRAMEBUFFER, engine.state.each[0]); gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.FLOAT, texel) }
  for (let r = 0; r < rounds; r++) { res.push([rate(() => engine.step(), wait), rate(() => plain.step(), () => {})]); await new Promise(requestAnimationFrame) }
  engine.gl.getExtension('WEBGL_lose_context').loseContext()
  return res }"""


def race(sides, seconds, rounds, gpu, grown=100):
    from playwright.sync_api import sync_playwright
    args = ["--no-sandbox"] + ([] if gpu else ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"])
    file = HERE.parent / "build" / "bench.nca"
    export_web(NCAModel.from_pretrained("gecko-persist"), file)
    data, rows = base64.b64encode(file.read_bytes()).decode(), []
    lend_node()
    with sync_playwright() as pw:
        browser = pw.chromium.launch(executable_path=find_browser() or sys.exit(MISSING), args=args)
        page = browser.new_page()
        page.route("http://book.localhost/**", lambda route: route.fulfill(body=(ROOT / "nca_tutorial/web/nca.js").read_text(encoding="utf-8") if route.request.url.endswith(".js") else "<!doctype html>",
                                                                           content_type="text/javascript" if route.request.url.endswith(".js") else "text/html"))
        page.goto("http://book.localhost/")
        page.evaluate("import('/nca.js').then(m => { window.nca = m })")
        page.add_script_tag(content=PLAIN + "\nwindow.Plain = Plain")
        renderer = page.evaluate("""() => { const gl = document.createElement('canvas').getContext('webgl2'), ext = gl.getExtension('WEBGL_debug_renderer_info');
            return gl.getParameter(ext ? ext.UNMASKED_RENDERER_WEBGL : gl.RENDERER) }""")
        for side in sides:
            pairs = page.evaluate(RACE, [data, side, seconds, rounds, grown])
            ratios = sorted(a / b for a, b in pairs)
            ratio = f"{statistics.median(ratios):.1f}x [{ratios[0]:.1f} .. {ratios[-1]:.1f}]"
            for name, rates, r in (("WebGL2", [p[0] for p in pairs], ratio), ("plain JavaScript", [p[1] for p in pairs], "")):
                rows.append(dict(what=f"one grown gecko in {side}x{side}", engine=name, value=max(rates), median=statistics.median(rates), unit="steps/s", ratio=r))
        version = browser.version
        browser.close()
    return rows, f"Chromium {version}, {renderer}"


def weights():
    "What a page with one creature fetches because of it, in kB"
    module = (ROOT / "nca_tutorial/web/nca.js").stat().st_size / 1000
    creature = (HERE.parent / "build" / "bench.nca").stat().st_size / 1000
    rows = [dict(what="weight", engine="nca.js", value=module, median=module, unit="kB", ratio=""), dict(what="weight", engine="one creature", value=creature, median=creature, unit="kB", ratio="")]
    page = ROOT / "_site" / "index.html"
    if page.exists(): rows.append(dict(what="weight", engine="the front page's text", value=page.stat().st_size / 1000, median=page.stat().st_size / 1000, unit="kB", ratio=""))
    return rows


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="+", default=[72, 128, 512], help="sides of the worlds (72 128 512)")
    parser.add_argument("--seconds", type=float, default=3, help="of each turn (3)")
    parser.add_argument("--rounds", type=int, default=5, help="how often the two take turns (5)")
    parser.add_argument("--gpu", action="store_true", help="let Chromium use the graphics card")
    parser.add_argument("--grown", type=int, default=100, help="steps before the race begins (100)")
    parser.add_argument("--out", type=Path, default=HERE / "web.json", help="the rows (web.json beside this file)")
    args = parser.parse_args(arguments)
    load = f", load {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else ""
    rows, machine = race(args.sides, args.seconds, args.rounds, args.gpu, args.grown)
    rows += weights()
    machine = f"{machine}, {os.cpu_count()} cores{load}" + ("" if args.gpu else "; rendered in software, without a graphics card")
    print(machine)
    for r in rows: print(f"{r['what']:<34}{r['engine']:<24}{r['value']:>9.1f} {r['unit']:<8} {r['ratio']}")
    args.out.write_text(json.dumps(dict(machine=machine, settings=dict(seconds=args.seconds, rounds=args.rounds), rows=rows), indent=1) + "\n")


if __name__ == "__main__": main()
