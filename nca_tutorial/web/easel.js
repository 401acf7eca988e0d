// A drawing board that becomes a creature: draw, load a picture or an emoji, train it in Python, play with it.
// The player is nca.js; its text comes as a trait, because a widget is one module and cannot import another by its path.

const COLOURS = { ink: '#1f2430', white: '#ffffff', coral: '#d9603b', amber: '#e0a030', leaf: '#2f7d5b', sky: '#3b7ea1', plum: '#7d4f86', brown: '#8a5a34' }
const EMOJI = ['🦎', '🦋', '🍄', '🐢', '🐟', '🌻', '🍓', '🐞', '🦀', '⭐', '❤️', '🙂']
const UNDOS = 60

const STYLE = `
.easel { --ink: #1f2430; --sheet: #fffdf8; --shade: #f4ecdc; --line: #ddd0b6; --soft: #6b6f7b; --leaf: #2f7d5b; --coral: #b8451f; --amber: #e0a030; --check: #f1e9d9;
  container-type: inline-size; color: var(--ink); font: 14px/1.4 system-ui, sans-serif; max-width: 760px; }
.easel.dark { --ink: #e9e3d6; --sheet: #20252f; --shade: #2c3340; --line: #434b5b; --soft: #a9aba6; --leaf: #7cc9a3; --coral: #f2926f; --check: #ece6d8; }
.easel *, .easel *::before { box-sizing: border-box; }
.easel .sheet { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 18px; padding: 16px; background: var(--sheet); border: 1px solid var(--line); border-radius: 14px; }
@container (max-width: 560px) { .easel .sheet { grid-template-columns: minmax(0, 1fr); padding: 12px; } }
.easel h4 { margin: 0 0 8px; font: 600 12px/1 system-ui, sans-serif; letter-spacing: .1em; text-transform: uppercase; color: var(--soft); }
.easel .stage { position: relative; width: 100%; aspect-ratio: 1; border: 1px solid var(--line); border-radius: 10px; overflow: hidden; isolation: isolate;
  background: repeating-conic-gradient(#fffdf8 0 25%, var(--check) 0 50%) 0 0 / 16px 16px; }
.easel .stage:focus-within { outline: 3px solid var(--amber); outline-offset: 2px; }
.easel .stage canvas { position: absolute; inset: 0; width: 100%; height: 100%; image-rendering: pixelated; display: block; outline: none; }
.easel .board canvas { touch-action: none; cursor: crosshair; }
.easel .board .hint { position: absolute; inset: 0; display: grid; place-items: center; pointer-events: none; text-align: center; color: #6b6f7b; font-size: 15px; padding: 2em; }
.easel .ring { position: absolute; border: 1.5px solid #1f2430; box-shadow: 0 0 0 1.5px #fffdf8; border-radius: 50%; pointer-events: none; translate: -50% -50%; display: none; }
.easel .row { display: flex; flex-wrap: wrap; gap: 6px; align-items: center; margin-top: 10px; }
.easel button, .easel .file { font: inherit; min-height: 34px; padding: 4px 11px; color: var(--ink); background: var(--shade); border: 1px solid var(--line); border-radius: 8px; cursor: pointer; margin: 0; display: inline-flex; align-items: center; gap: .4em; }
.easel button:hover:not(:disabled), .easel .file:hover { border-color: var(--leaf); }
.easel button:disabled { opacity: .5; cursor: default; }
.easel button[aria-pressed=true] { border-color: var(--leaf); box-shadow: inset 0 0 0 1px var(--leaf); }
.easel :is(button, input, .file):focus-visible, .easel .file:focus-within { outline: 3px solid var(--amber); outline-offset: 1px; }
.easel .swatch { width: 30px; min-height: 30px; padding: 0; border-radius: 50%; background: var(--c); }
.easel .swatch[aria-pressed=true] { box-shadow: 0 0 0 2px var(--sheet), 0 0 0 4px var(--leaf); }
.easel input[type=color] { width: 34px; height: 34px; padding: 2px; border: 1px solid var(--line); border-radius: 8px; background: var(--shade); cursor: pointer; }
.easel input[type=range] { accent-color: var(--leaf); flex: 1; min-width: 70px; margin: 0; }
.easel input[type=text] { font: inherit; min-height: 34px; min-width: 0; padding: 4px 9px; color: var(--ink); background: var(--sheet); border: 1px solid var(--line); border-radius: 8px; }
.easel label { display: flex; align-items: center; gap: 8px; color: var(--soft); margin: 0; }
.easel .size { flex: 1 1 140px; }
.easel .file input { position: absolute; opacity: 0; width: 1px; height: 1px; }
.easel .emoji { display: none; flex-wrap: wrap; gap: 4px; margin-top: 8px; }
.easel .emoji.open { display: flex; }
.easel .emoji button { font-size: 19px; width: 38px; padding: 0; justify-content: center; }
.easel .emoji input { width: 5.5em; }
.easel .main { background: #2f7d5b; border-color: #2f7d5b; color: #fff; font-weight: 600; padding-inline: 20px; }
.easel .main.stop { background: #b8451f; border-color: #b8451f; }
.easel .bar { height: 6px; flex: 1 1 100px; background: var(--shade); border-radius: 3px; overflow: hidden; }
.easel .bar i { display: block; height: 100%; width: 0; background: var(--leaf); }
.easel svg { display: block; width: 100%; height: 56px; margin-top: 8px; overflow: visible; }
.easel svg polyline { fill: none; stroke: var(--leaf); stroke-width: 1.6; vector-effect: non-scaling-stroke; stroke-linejoin: round; }
.easel svg line { stroke: var(--coral); stroke-width: 1; stroke-dasharray: 4 4; vector-effect: non-scaling-stroke; }
.easel .facts { color: var(--soft); font-variant-numeric: tabular-nums; margin-top: 6px; min-height: 1.4em; }
.easel .word { margin-top: 8px; color: var(--ink); }
.easel .word.bad { color: var(--coral); }
.easel .word:empty, .easel [hidden] { display: none !important; }
.easel .home { margin: 0; --nca-width: none; }
.easel .wait { position: absolute; inset: 0; display: grid; place-items: center; text-align: center; padding: 2em; color: #6b6f7b; font-size: 15px; }
`

function make(tag, props = {}, ...children) {
  const e = document.createElement(tag)
  for (const [k, v] of Object.entries(props)) k in e && k !== 'style' ? (e[k] = v) : e.setAttribute(k, v)
  e.append(...children)
  return e
}

const bytesOf = v => v ? new Uint8Array(v.buffer.slice(v.byteOffset, v.byteOffset + v.byteLength)) : new Uint8Array()

// ------------------------------------------------------------------------------------------------ the board

// Shrinks in halves, so that no pixel of a large picture is passed over
function shrink(source, width, height, most) {
  const k = Math.min(1, most / Math.max(width, height))
  let w = width, h = height, now = source
  do {
    const nw = Math.max(1, Math.round(Math.max(w / 2, width * k))), nh = Math.max(1, Math.round(Math.max(h / 2, height * k)))
    const next = make('canvas', { width: nw, height: nh }), ctx = next.getContext('2d')
    ctx.imageSmoothingQuality = 'high'
    ctx.drawImage(now, 0, 0, w, h, 0, 0, nw, nh);
    [now, w, h] = [next, nw, nh]
  } while (Math.max(w, h) > most + .5)
  return now
}

function trimmed(canvas) {
  const { width: w, height: h } = canvas, a = canvas.getContext('2d').getImageData(0, 0, w, h).data
  let [l, t, r, b] = [w, h, -1, -1]
  for (let y = 0; y < h; y++) for (let x = 0; x < w; x++) if (a[4 * (y * w + x) + 3] > 8) { l = Math.min(l, x); r = Math.max(r, x); t = Math.min(t, y); b = Math.max(b, y) }
  if (r < 0) return null
  const out = make('canvas', { width: r - l + 1, height: b - t + 1 })
  out.getContext('2d').drawImage(canvas, -l, -t)
  return out
}

class Board {
  constructor(size, changed) {
    this.size = size
    this.canvas = make('canvas', { width: size, height: size, tabIndex: 0 })
    this.canvas.setAttribute('role', 'application')
    this.canvas.setAttribute('aria-roledescription', 'drawing board')
    this.ctx = this.canvas.getContext('2d', { willReadFrequently: true })
    Object.assign(this, { changed, past: [], colour: COLOURS.leaf, brush: 3, erasing: false, at: [size / 2, size / 2] })
  }

  get data() { return this.ctx.getImageData(0, 0, this.size, this.size).data }
  set data(rgba) { this.ctx.putImageData(new ImageData(new Uint8ClampedArray(rgba), this.size, this.size), 0, 0) }
  get empty() { return !this.data.some((v, i) => i % 4 === 3 && v > 25) }

  remember() {
    this.past.push(this.data)
    if (this.past.length > UNDOS) this.past.shift()
  }

  line(x0, y0, x1, y1) {
    const { ctx } = this
    ctx.globalCompositeOperation = this.erasing ? 'destination-out' : 'source-over'
    ctx.strokeStyle = this.colour
    Object.assign(ctx, { lineWidth: this.brush, lineCap: 'round', lineJoin: 'round' })
    ctx.beginPath()
    ctx.moveTo(x0, y0)
    ctx.lineTo(x1 + (x0 === x1 && y0 === y1 ? 1e-3 : 0), y1)
    ctx.stroke()
    ctx.globalCompositeOperation = 'source-over'
  }

  undo() {
    if (!this.past.length) return
    this.data = this.past.pop()
    this.changed()
  }

  clear() {
    if (this.empty && !this.data.some(v => v)) return
    this.remember()
    this.ctx.clearRect(0, 0, this.size, this.size)
    this.changed()
  }

  put(source, width, height) {                                   // a picture, as large as the board allows
    const room = this.size - 2, small = shrink(source, width, height, room)
    const k = room / Math.max(small.width, small.height), w = Math.max(1, Math.round(small.width * k)), h = Math.max(1, Math.round(small.height * k))
    this.remember()
    this.ctx.clearRect(0, 0, this.size, this.size)
    this.ctx.drawImage(small, Math.floor((this.size - w) / 2), Math.floor((this.size - h) / 2), w, h)
    this.changed()
  }

  emoji(text) {
    const canvas = make('canvas', { width: 320, height: 320 }), ctx = canvas.getContext('2d')
    Object.assign(ctx, { font: '200px "Noto Color Emoji", "Apple Color Emoji", "Segoe UI Emoji", sans-serif', textAlign: 'center', textBaseline: 'middle' })
    ctx.fillText(text, 160, 170, 300)
    const cut = trimmed(canvas)
    if (cut) this.put(cut, cut.width, cut.height)
    return !!cut
  }
}

// ------------------------------------------------------------------------------------------------ the widget

async function render({ model, el }) {
  const address = URL.createObjectURL(new Blob([model.get('_nca')], { type: 'text/javascript' }))
  let nca
  try { nca = await import(address) } finally { URL.revokeObjectURL(address) }
  const root = make('div', { className: 'easel' }), off = []
  root.dataset.lmSuppressShortcuts = 'true'                      // Jupyter's single-letter commands are not meant for us
  root.append(make('style', { textContent: STYLE }))
  el.append(root)
  off.push(nca.followGround(root))
  const on = (name, f) => { model.on(name, f); off.push(() => model.off(name, f)) }
  const size = model.get('size'), word = make('div', { className: 'word', role: 'status' })
  const say = (text, bad = false) => { word.textContent = text; word.classList.toggle('bad', bad) }

  // -- the left side: draw
  const hint = make('div', { className: 'hint', textContent: 'Draw here' }), ring = make('div', { className: 'ring' })
  let mine = null                                                // the drawing that Python has
  const board = new Board(size, () => {
    const data = board.data
    mine = String(data)
    undo.disabled = !board.past.length
    hint.hidden = data.some(v => v)
    model.set('_ink', new DataView(data.buffer.slice(0)))
    model.save_changes()
  })
  board.canvas.setAttribute('aria-label', `Drawing board, ${size} by ${size} cells. Arrow keys move the brush, space paints, Control Z undoes.`)
  const read = () => {
    const rgba = bytesOf(model.get('_ink'))
    if (rgba.length !== 4 * size * size || String(rgba) === mine) return
    mine = String(rgba)
    board.data = rgba
    hint.hidden = rgba.some(v => v)
  }
  on('change:_ink', read)

  const stage = make('div', { className: 'stage board' }, board.canvas, hint, ring)
  const cell = e => { const b = board.canvas.getBoundingClientRect(); return [(e.clientX - b.left) / b.width * size, (e.clientY - b.top) / b.height * size] }
  const showRing = ([x, y], shown = true) => {
    const k = 100 / size
    Object.assign(ring.style, { display: shown ? 'block' : 'none', left: `${x * k}%`, top: `${y * k}%`, width: `${board.brush * k}%`, height: `${board.brush * k}%` })
  }
  let last = null
  board.canvas.addEventListener('pointerdown', e => {
    if (e.button > 0) return
    board.canvas.setPointerCapture(e.pointerId)
    board.remember()
    last = cell(e)
    board.line(...last, ...last)
    hint.hidden = true
  })
  board.canvas.addEventListener('pointermove', e => {
    showRing(cell(e), e.pointerType !== 'touch')
    if (!last) return
    for (const p of e.getCoalescedEvents?.().length ? e.getCoalescedEvents() : [e]) { const to = cell(p); board.line(...last, ...to); last = to }
  })
  const lift = () => { if (last) { last = null; board.changed() } }
  for (const name of ['pointerup', 'pointercancel']) board.canvas.addEventListener(name, lift)
  board.canvas.addEventListener('pointerleave', () => showRing([0, 0], false))
  board.canvas.addEventListener('keydown', e => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[e.key]
    if (step) board.at = board.at.map((v, i) => Math.min(size - .5, Math.max(.5, Math.floor(v) + .5 + step[i])))
    else if (e.key === ' ' || e.key === 'Enter') { board.remember(); board.line(...board.at, ...board.at); board.changed() }
    else if (e.key === 'z' && (e.ctrlKey || e.metaKey)) board.undo()
    else return
    showRing(board.at)
    e.preventDefault()
    e.stopPropagation()
  })
  board.canvas.addEventListener('blur', () => showRing([0, 0], false))

  const swatches = make('div', { className: 'row', role: 'group' })
  swatches.setAttribute('aria-label', 'Colour')
  const erase = make('button', { type: 'button', textContent: 'Eraser', title: 'Erase' })
  const own = make('input', { type: 'color', value: '#7cc9a3', title: 'Any colour' })
  own.setAttribute('aria-label', 'Any colour')
  const pick = (colour, erasing = false) => {
    Object.assign(board, { erasing }, erasing ? {} : { colour })
    for (const b of swatches.querySelectorAll('.swatch')) b.setAttribute('aria-pressed', !erasing && b.dataset.colour === board.colour)
    erase.setAttribute('aria-pressed', erasing)
  }
  for (const [name, colour] of Object.entries(COLOURS)) {
    const b = make('button', { type: 'button', className: 'swatch', title: name, style: `--c: ${colour}` })
    b.dataset.colour = colour
    b.setAttribute('aria-label', name)
    b.addEventListener('click', () => pick(colour))
    swatches.append(b)
  }
  own.addEventListener('input', () => pick(own.value))
  erase.addEventListener('click', () => pick(null, !board.erasing))
  swatches.append(own)
  pick(board.colour)

  const brush = make('input', { type: 'range', min: 1, max: 9, step: 1, value: board.brush, title: 'Brush size' })
  brush.addEventListener('input', () => { board.brush = +brush.value; showRing(board.at); clearTimeout(brush.later); brush.later = setTimeout(() => showRing([0, 0], false), 900) })
  const undo = make('button', { type: 'button', textContent: 'Undo', disabled: true }), clear = make('button', { type: 'button', textContent: 'Clear' })
  undo.addEventListener('click', () => board.undo())
  clear.addEventListener('click', () => board.clear())
  const tools = make('div', { className: 'row' }, make('label', { className: 'size' }, 'Brush', brush), erase)

  const file = make('input', { type: 'file', accept: 'image/*' })
  const load = async picture => {
    try {
      const b = await createImageBitmap(picture)
      board.put(b, b.width, b.height)
      say('')
    } catch { say(`${picture?.name ?? 'This'} is not a picture that this browser can read.`, true) }
  }
  file.addEventListener('change', () => { if (file.files[0]) load(file.files[0]); file.value = '' })
  stage.addEventListener('dragover', e => e.preventDefault())
  stage.addEventListener('drop', e => { e.preventDefault(); e.stopPropagation(); if (e.dataTransfer.files[0]) load(e.dataTransfer.files[0]) })
  const box = make('div', { className: 'emoji' }), opener = make('button', { type: 'button', textContent: 'Emoji…' })
  const emoji = text => say(board.emoji(text) ? '' : 'This browser cannot draw that.', !text)
  opener.setAttribute('aria-expanded', 'false')
  opener.addEventListener('click', () => opener.setAttribute('aria-expanded', box.classList.toggle('open')))
  for (const text of EMOJI) {
    const b = make('button', { type: 'button', textContent: text })
    b.addEventListener('click', () => emoji(text))
    box.append(b)
  }
  const typed = make('input', { type: 'text', placeholder: 'or type', maxLength: 12 })
  typed.setAttribute('aria-label', 'Another emoji or letter')
  typed.addEventListener('change', () => typed.value.trim() && emoji(typed.value.trim()))
  box.append(typed)
  const sources = make('div', { className: 'row' }, undo, clear, make('label', { className: 'file' }, 'Picture…', file), opener)

  // -- the right side: train, watch, play
  const preview = make('canvas'), wait = make('div', { className: 'wait', textContent: 'Your creature will grow here.' })
  preview.setAttribute('role', 'img')
  preview.setAttribute('aria-label', 'The creature in training')
  const cage = make('div', { className: 'stage' }, preview, wait), home = make('div', { className: 'home', hidden: true })
  const main = make('button', { type: 'button', className: 'main', textContent: 'Train' })
  const bar = make('div', { className: 'bar' }, make('i')), facts = make('div', { className: 'facts' })
  const curve = document.createElementNS('http://www.w3.org/2000/svg', 'svg')
  curve.setAttribute('viewBox', '0 0 100 40')
  curve.setAttribute('preserveAspectRatio', 'none')
  curve.setAttribute('aria-hidden', 'true')
  const name = make('input', { type: 'text', value: 'my-creature', maxLength: 40, size: 12 })
  name.setAttribute('aria-label', 'Name of the creature')
  const save = make('button', { type: 'button', textContent: 'Save' }), page = make('button', { type: 'button', textContent: 'Export page' })
  const keep = make('div', { className: 'row', hidden: true }, name, save, page)
  const send = (what, more = {}) => model.send({ do: what, ...more })
  const running = () => model.get('_told').phase === 'training'
  main.addEventListener('click', () => {
    if (!running() && board.empty) return say('Draw something first.', true)
    say(running() ? 'Stopping…' : 'Waiting for Python…')
    send(running() ? 'stop' : 'train')
  })
  save.addEventListener('click', () => send('save', { name: name.value }))
  page.addEventListener('click', () => send('export', { name: name.value }))

  const tell = () => {
    const t = model.get('_told'), now = t.phase === 'training'
    main.textContent = now ? 'Stop' : model.get('_weights')?.byteLength ? 'Train again' : 'Train'
    main.classList.toggle('stop', now)
    bar.firstChild.style.width = `${100 * (t.steps ? t.step / t.steps : 0)}%`
    bar.hidden = facts.hidden = !t.phase || t.phase === 'idle'
    facts.textContent = t.step ? `step ${t.step} of ${t.steps} · ${Math.round(t.seconds)} s · error ${t.error.toPrecision(2)} (empty ${t.empty.toPrecision(2)})` : ''
    say(t.message, t.phase === 'failed')
    keep.hidden = now || !model.get('_weights')?.byteLength
    draw()
    showPlayer()
  }
  const draw = () => {
    const values = model.get('_curve'), t = model.get('_told')
    curve.style.display = values.length > 1 ? '' : 'none'
    if (values.length < 2) return
    const log = v => Math.log10(Math.max(v, 1e-6)), low = Math.min(...values.map(log)), high = Math.max(log(t.empty), ...values.map(log)), k = 40 / Math.max(high - low, .3)
    const y = v => ((high - log(v)) * k).toFixed(2), share = Math.min(1, t.steps ? t.step / t.steps : 1)
    const points = values.map((v, i) => `${(100 * share * i / (values.length - 1)).toFixed(2)},${y(v)}`).join(' ')
    curve.innerHTML = `<line x1="0" x2="100" y1="${y(t.empty)}" y2="${y(t.empty)}"/><polyline points="${points}"/>`
  }
  const look = () => {
    const rgba = bytesOf(model.get('_preview')), side = Math.sqrt(rgba.length / 4)
    wait.hidden = side > 0
    if (!side || side % 1) return
    preview.width = preview.height = side
    preview.getContext('2d').putImageData(new ImageData(new Uint8ClampedArray(rgba), side, side), 0, 0)
  }

  // The player: the same as everywhere in the book
  let player = null, shown = null
  const showPlayer = () => {
    const weights = bytesOf(model.get('_weights')), wanted = !running() && weights.length ? String([weights.length, ...weights.slice(0, 400), ...weights.slice(-400)]) : null
    if (wanted === shown) return
    player?.dispose?.()
    home.replaceChildren()
    player = null
    shown = wanted
    cage.hidden = !!wanted
    home.hidden = !wanted
    if (!wanted) return
    player = nca.mount(home, { model: weights.buffer })
  }
  off.push(() => player?.dispose?.())

  root.append(make('div', { className: 'sheet' },
    make('div', {}, make('h4', { textContent: 'Draw' }), stage, swatches, tools, sources, box),
    make('div', {}, make('h4', { textContent: 'Train' }), cage, home, make('div', { className: 'row' }, main, bar), curve, facts, word, keep)))
  on('change:_told', tell)
  on('change:_curve', draw)
  on('change:_preview', look)
  on('change:_weights', tell)
  read(); look(); tell()
  return () => off.forEach(f => f())
}

export default { render }
