// Neural cellular automata in the page. One module, no framework: `parse` reads a creature, `Engine` runs it on the graphics
// card (WebGL2, float32), `mount` puts it under the reader's hands. The step is the book's `dense_step`, cell by cell.

// ------------------------------------------------------------------------------------------------ reading a creature

const SCALE = 1 / 8                                            // of the Sobel and Laplacian kernels, as in `kernel_bank`
const KERNELS = ['identity', 'sobel_x', 'sobel_y', 'laplacian']
const MOST = { bytes: 4e6, header: 65536, channels: 64, hidden: 1024, side: 2048, cells: 1 << 20, state: 1 << 24, work: 5e10 }

class Said extends Error {}                                    // a sentence for the reader, not a fault of this program
const need = (ok, message) => { if (!ok) throw new Said(message) }
const sentence = e => e instanceof Said ? e.message : `This living picture cannot be shown here (${e?.message ?? 'nobody knows why'}).`
const brief = text => text.length > 60 ? `${text.slice(0, 60)}…` : text
const fits = (model, height, width) => model.channels * height * width <= MOST.state && shapesOf(model).reduce((sum, [, n]) => sum + n, 0) * height * width <= MOST.work
const whole = (n, least, most) => Number.isInteger(n) && n >= least && n <= most

// ArrayBuffer -> model. Nothing in the file is trusted: whatever is wrong with it is said in one sentence.
export function parse(buffer) {
  need(buffer instanceof ArrayBuffer && buffer.byteLength >= 12, 'This is no creature: the file is empty or far too short.')
  need(buffer.byteLength <= MOST.bytes, 'This is no creature: the file is far too large.')
  const view = new DataView(buffer), magic = String.fromCharCode(...new Uint8Array(buffer, 0, 4))
  need(magic === 'NCA1', 'This is no creature: the file does not begin with NCA1.')
  const length = view.getUint32(4, true), start = 8 + length
  need(length > 0 && length <= MOST.header && start % 4 === 0 && start < buffer.byteLength, 'This creature is damaged: its header does not fit into the file.')
  const model = readHeader(new Uint8Array(buffer, 8, length))
  const numbers = readFloats(view, start)
  const shapes = shapesOf(model), count = shapes.reduce((sum, [, n]) => sum + n, 0)
  need(numbers.length === count, `This creature is damaged: it holds ${numbers.length} numbers, its header promises ${count}.`)
  need(numbers.every(Number.isFinite), 'This creature is damaged: some of its numbers are not finite.')
  need(fits(model, ...model.size), 'This creature is too large for a page: fewer cells, channels or hidden units would do.')
  model.layers = {}
  let at = 0
  for (const [name, n] of shapes) model.layers[name] = numbers.subarray(at, at += n)
  return model
}

function readHeader(bytes) {
  let head
  try { head = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)) }
  catch { need(false, 'This creature is damaged: its header cannot be read.') }
  need(head && typeof head === 'object' && !Array.isArray(head), 'This creature is damaged: its header is no object.')
  const { channels, hidden, fire_rate, kernels, padding, alive_threshold, size, name = 'creature', kind = 'growing' } = head
  const bad = what => `This creature is damaged: ${what} in its header makes no sense.`
  need(whole(channels, 1, MOST.channels), bad('the number of channels'))
  need(whole(hidden, 0, MOST.hidden), bad('the size of the hidden layer'))
  need(typeof fire_rate === 'number' && fire_rate >= 0 && fire_rate <= 1, bad('the fire rate'))
  need(Array.isArray(kernels) && kernels.length && kernels.every(k => KERNELS.includes(k)) && new Set(kernels).size === kernels.length, bad('the list of kernels'))
  need(hidden || (kernels[0] === 'identity' && kernels.length > 1), bad('the list of kernels'))
  need(padding === 'zeros' || padding === 'wrap', bad('the padding'))
  need(alive_threshold === null || (Number.isFinite(alive_threshold) && channels >= 4), bad('the alive threshold'))
  need(Array.isArray(size) && size.length === 2 && size.every(n => whole(n, 1, MOST.side)) && size[0] * size[1] <= MOST.cells, bad('the size'))
  need(typeof name === 'string' && name.length <= 200, bad('the name'))
  need(kind === 'texture' ? channels >= 3 : kind === 'growing' && channels >= 4, bad('the kind'))
  return { channels, hidden, fire_rate, kernels, padding, alive_threshold, size, name, kind }
}

function readFloats(view, start) {                             // little endian on every machine
  const numbers = new Float32Array((view.byteLength - start) >> 2)
  need(numbers.length * 4 === view.byteLength - start, 'This creature is damaged: the file ends in the middle of a number.')
  for (let i = 0; i < numbers.length; i++) numbers[i] = view.getFloat32(start + 4 * i, true)
  return numbers
}

const shapesOf = ({ channels: c, hidden: h, kernels: { length: k } }) =>
  h ? [['w1', h * c * k], ['b1', h], ['w2', c * h], ['b2', c]] : [['w', 4 * c * c], ['b', c]]

// ------------------------------------------------------------------------------------------------ the shaders
// A state of C channels is a stack of ceil(C/4) RGBA float textures. A texel holds four channels, so all arithmetic is on
// vectors of four, and the weights are laid out as 4x4 matrices. With zero padding the textures have a ring of cells
// around them that nobody writes: neighbours can be read without asking where the world ends.

const layersOf = model => Math.ceil(model.channels / 4)
const range = n => [...Array(n).keys()]

const VERTEX = `#version 300 es
void main() { gl_Position = vec4(vec2(gl_VertexID % 2, gl_VertexID / 2) * 4. - 1., 0., 1.); }`

const HEAD = `#version 300 es
precision highp float; precision highp int; precision highp sampler2DArray; precision highp usampler2D;
uniform sampler2DArray state;
uniform ivec2 size;
uint scatter(uint n) { n ^= n >> 16; n *= 0x7feb352du; n ^= n >> 15; n *= 0x846ca68bu; return n ^ n >> 16; }
`

const outputs = layers => layers.map((l, i) => `layout(location = ${i}) out vec4 out${l};`).join('\n')

// Where the neighbours are: left, right, above, below the cell c
const around = model => `ivec2 c = ivec2(gl_FragCoord.xy);` + (model.padding === 'wrap'
  ? `int l = (c.x + size.x - 1) % size.x, r = (c.x + 1) % size.x, u = (c.y + size.y - 1) % size.y, d = (c.y + 1) % size.y;`
  : `int l = c.x - 1, r = c.x + 1, u = c.y - 1, d = c.y + 1;`)

const fetch9 = (name, layer, part = '') => [['l', 'u'], ['c.x', 'u'], ['r', 'u'], ['l', 'c.y'], ['r', 'c.y'], ['l', 'd'], ['c.x', 'd'], ['r', 'd']]
  .map(([x, y]) => `texelFetch(${name}, ivec3(${x}, ${y}, ${layer}), 0)${part}`)

// What a cell perceives, as GLSL: {vectors: names, code}. With a hidden layer every channel meets every kernel; without one,
// channel c meets the identity and one more kernel, and the absolute values of both are seen as well.
function perception(model) {
  const { kernels: ks, hidden } = model, has = k => ks.includes(k), code = [], seen = []
  const turned = has('sobel_x') && has('sobel_y')
  for (const l of range(layersOf(model))) {
    const n = range(8).map(i => `n${l}_${i}`)                   // 0 1 2 / 3 . 4 / 5 6 7
    code.push(fetch9('state', l).map((f, i) => `vec4 ${n[i]} = ${f};`).join(' '))
    code.push(`any = any || ${n.concat(`c${l}`).map(v => `${v} != vec4(0.)`).join(' || ')};`)
    if (has('sobel_x')) code.push(`vec4 dx${l} = ((${n[2]} - ${n[0]}) + 2. * (${n[4]} - ${n[3]}) + (${n[7]} - ${n[5]})) * ${SCALE};`)
    if (has('sobel_y')) code.push(`vec4 dy${l} = ((${n[5]} - ${n[0]}) + 2. * (${n[6]} - ${n[1]}) + (${n[7]} - ${n[2]})) * ${SCALE};`)
    if (has('laplacian')) code.push(`vec4 la${l} = ((${n[0]} + ${n[2]} + ${n[5]} + ${n[7]}) + 2. * (${n[1]} + ${n[3]} + ${n[4]} + ${n[6]}) - 12. * c${l}) * ${SCALE};`)
    if (turned) code.push(`{ vec4 x = dx${l}, y = dy${l}; dx${l} = turn.x * x - turn.y * y; dy${l} = turn.y * x + turn.x * y; }`)
    const name = k => ({ identity: 'c', sobel_x: 'dx', sobel_y: 'dy', laplacian: 'la' })[k] + l
    if (hidden) ks.forEach(k => seen.push(name(k)))
    else {
      const other = range(4).map(i => `${name(ks[1 + (4 * l + i) % (ks.length - 1)])}[${i}]`)
      code.push(`vec4 o${l} = vec4(${other.join(', ')}), ca${l} = abs(c${l}), oa${l} = abs(o${l});`)
      seen.push(`c${l}`, `o${l}`, `ca${l}`, `oa${l}`)
    }
  }
  return { seen, code: code.join('\n  ') }
}

// The weights in the order in which the shader reads them, as rows of four numbers: for every four hidden units a bias, a
// matrix for each perceived vector and one for each layer that is written; at the end the output bias. Lanes beyond the
// last channel or unit stay zero.
function packWeights(model) {
  const { channels: C, hidden: H, kernels: { length: K }, layers: w } = model, L = layersOf(model), rows = []
  const matrix = (at, gain) => { for (const j of range(4)) rows.push(range(4).map(i => gain(at + i, j))) }   // column j, row i
  if (H) for (const h of range(Math.ceil(H / 4))) {
    rows.push(range(4).map(i => w.b1[4 * h + i] ?? 0))
    for (const l of range(L)) for (const k of range(K)) matrix(4 * h, (i, j) => i < H && 4 * l + j < C ? w.w1[(i * C + 4 * l + j) * K + k] : 0)
    for (const l of range(L)) matrix(4 * l, (i, j) => i < C && 4 * h + j < H ? w.w2[i * H + 4 * h + j] : 0)
  }
  else for (const m of range(L)) for (const [first, step] of [[0, 0], [0, 1], [2 * C, 0], [2 * C, 1]]) for (const l of range(L))
    matrix(4 * l, (i, j) => i < C && 4 * m + j < C ? w.w[i * 4 * C + first + 2 * (4 * m + j) + step] : 0)
  const bias = w.b2 ?? w.b
  for (const l of range(L)) rows.push(range(4).map(i => bias[4 * l + i] ?? 0))
  return new Float32Array(rows.flat())
}

// What an update adds in empty space: the network's answer to nothing. It saves the network where nothing is.
function answerToNothing({ channels: C, hidden: H, layers: w }) {
  const rest = new Float32Array(4 * Math.ceil(C / 4))
  for (const c of range(C)) {
    let sum = (w.b2 ?? w.b)[c]
    for (const h of range(H)) sum += w.w2[c * H + h] * Math.max(w.b1[h], 0)
    rest[c] = sum
  }
  return rest
}

// Perceive, think, fire: the unmasked new state of the layers in `wanted`
function stepShader(model, wanted, rows) {
  const L = layersOf(model), { seen, code } = perception(model), groups = Math.ceil(model.hidden / 4)
  const stride = 1 + 4 * seen.length + 4 * L
  const unit = o => `{ vec4 h = NET(${o});
      ${seen.map((p, i) => `h += M(${o} + ${1 + 4 * i}) * ${p};`).join(' ')}
      h = max(h, 0.);
      ${wanted.map(l => `u${l} += M(${o} + ${1 + 4 * seen.length + 4 * l}) * h;`).join(' ')} }`
  const think = model.hidden
    ? `for (int j = 0, o = 0; j < ${groups}; j++, o += ${stride}) ${unit('o')}`
    : seen.map((p, i) => wanted.map(l => `u${l} += M(${4 * (i * L + l)}) * ${p};`).join(' ')).join('\n    ')
  const bias = rows - L
  return `${HEAD}
uniform usampler2D given; uniform bool isGiven;
uniform uint key; uniform float rate; uniform vec2 turn; uniform vec4 rest[${L}];
uniform sampler2D net;
#define NET(i) texelFetch(net, ivec2((i) & 1023, (i) >> 10), 0)
#define M(i) mat4(NET(i), NET((i) + 1), NET((i) + 2), NET((i) + 3))
${outputs(wanted)}
bool fires(ivec2 cell) {
  if (isGiven) return texelFetch(given, cell, 0).r != 0u;
  return float(scatter(uint(cell.y * size.x + cell.x) ^ key) >> 8) * ${2 ** -24} < rate;
}
void main() {
  ${around(model)}
  ${range(L).map(l => `vec4 c${l} = texelFetch(state, ivec3(c, ${l}), 0);`).join(' ')}
  ${wanted.map(l => `out${l} = c${l};`).join(' ')}
  if (!fires(c - ${ringOf(model)})) return;
  bool any = false;
  ${code}
  ${wanted.map(l => `vec4 u${l} = rest[${l}];`).join(' ')}
  if (any) {
    ${wanted.map(l => `u${l} = NET(${bias + l});`).join(' ')}
    ${think}
  }
  ${wanted.map(l => `out${l} += u${l};`).join(' ')}
}`
}

const ringOf = model => model.padding === 'zeros' ? 1 : 0

// Live or die: a cell keeps its numbers where the old state and the new one both have a mature cell in the 3x3 around it
const maskShader = (model, layers) => `${HEAD}
uniform sampler2DArray before; uniform float threshold;
${outputs(layers)}
void main() {
  ${around(model)}
  float old = texelFetch(before, ivec3(c, 0), 0).a, young = texelFetch(state, ivec3(c, 0), 0).a;
  ${fetch9('before', 0, '.a').map(f => `old = max(old, ${f});`).join('\n  ')}
  ${fetch9('state', 0, '.a').map(f => `young = max(young, ${f});`).join('\n  ')}
  bool living = old > threshold && young > threshold;
  ${layers.map(l => `out${l} = living ? texelFetch(state, ivec3(c, ${l}), 0) : vec4(0.);`).join('\n  ')}
}`

// The reader's hand: a stroke from a to b, as wide as the brush, of nothing (0), of a seed (1) or of noise (2)
const brushShader = (model, layers) => `${HEAD}
uniform vec2 a, b; uniform float radius; uniform int paint; uniform uint key;
${outputs(layers)}
float dice(int cell, int channel) { return float(scatter(scatter(uint(cell) ^ key) + uint(channel)) >> 8) * ${2 ** -24} - .5; }
vec4 fill(int cell, int layer) {
  if (paint == 0) return vec4(0.);
  if (paint == 1) return vec4(layer > 0, layer > 0, layer > 0, 1.) * vec4(lessThan(ivec4(0, 1, 2, 3) + 4 * layer, ivec4(${model.channels})));
  return vec4(lessThan(ivec4(0, 1, 2, 3) + 4 * layer, ivec4(${model.channels}))) * vec4(dice(cell, 4 * layer), dice(cell, 4 * layer + 1), dice(cell, 4 * layer + 2), dice(cell, 4 * layer + 3));
}
float reach(vec2 p) { vec2 ab = b - a; return distance(p, a + ab * clamp(dot(p - a, ab) / max(dot(ab, ab), 1e-9), 0., 1.)); }
void main() {
  ivec2 cell = ivec2(gl_FragCoord.xy) - ${ringOf(model)};
  vec2 p = vec2(cell), s = vec2(size);
  float near = reach(p);
  ${model.padding === 'wrap' ? 'for (int i = 0; i < 9; i++) near = min(near, reach(p + s * vec2(i % 3 - 1, i / 3 - 1)));' : ''}
  if (near > radius + 1e-3) discard;
  ${layers.map(l => `out${l} = fill(cell.y * size.x + cell.x, ${l});`).join(' ')}
}`

// The picture, or one channel: blue below zero, red above
const pictureShader = model => `${HEAD}
uniform vec2 canvas; uniform int channel; uniform vec3 below, above;
layout(location = 0) out vec4 colour;
void main() {
  ivec2 cell = ivec2(gl_FragCoord.xy / canvas * vec2(size));
  cell.y = size.y - 1 - cell.y;
  ivec3 at = ivec3(cell + ${ringOf(model)}, 0);
  if (channel >= 0) {
    float v = texelFetch(state, at + ivec3(0, 0, channel / 4), 0)[channel % 4], strength = min(abs(v), 1.);
    colour = vec4((v < 0. ? below : above) * strength, strength);
  } else {
    vec4 v = texelFetch(state, at, 0);
    ${model.kind === 'texture' ? 'colour = vec4(clamp(v.rgb + .5, 0., 1.), 1.);' : 'float alpha = clamp(v.a, 0., 1.); colour = vec4(clamp(v.rgb, 0., alpha), alpha);'}
  }
}`

// Is anybody alive? Drawn under an occlusion query, which answers later and holds nobody up.
const censusShader = model => `${HEAD}
uniform float threshold;
layout(location = 0) out vec4 colour;
void main() { if (texelFetch(state, ivec3(gl_FragCoord.xy, 0), 0).a <= threshold) discard; colour = vec4(0.); }`

// ------------------------------------------------------------------------------------------------ the engine

const CONTEXT = { alpha: true, premultipliedAlpha: true, antialias: false, depth: false, stencil: false, preserveDrawingBuffer: false }
const NO_WEBGL = 'This browser offers no WebGL2, which the living version needs.'
const NO_FLOAT = 'This graphics card cannot compute with float textures, which the living version needs.'
const hash = (a, b) => {                                        // as `scatter` in the shaders
  let n = (a + Math.imul(b, 0x9e3779b9)) >>> 0
  n ^= n >>> 16; n = Math.imul(n, 0x7feb352d); n ^= n >>> 15; n = Math.imul(n, 0x846ca68b)
  return (n ^ n >>> 16) >>> 0
}
let missing                                                     // asked once a page

export class Engine {
  static missing() {
    if (missing !== undefined) return missing
    const gl = document.createElement('canvas').getContext('webgl2', CONTEXT)
    missing = !gl ? NO_WEBGL : !gl.getExtension('EXT_color_buffer_float') ? NO_FLOAT : null
    gl?.getExtension('WEBGL_lose_context')?.loseContext()       // a page may hold only some sixteen contexts
    return missing
  }

  constructor(model, { height = model.size[0], width = model.size[1], canvas = document.createElement('canvas'), dice = Math.random() * 2 ** 32 } = {}) {
    need(whole(height, 1, MOST.side) && whole(width, 1, MOST.side) && height * width <= MOST.cells && fits(model, height, width), `A world of ${height} by ${width} cells cannot be made.`)
    const gl = canvas.getContext('webgl2', CONTEXT)             // only now: a page has few of them
    need(gl && !gl.isContextLost(), NO_WEBGL)
    need(gl.getExtension('EXT_color_buffer_float'), NO_FLOAT)
    Object.assign(this, { gl, model, height, width, canvas, dice: dice >>> 0, steps: 0, strokes: 0, living: null, ring: ringOf(model), layers: layersOf(model) })
    try { this.#build() } catch (e) { gl.getExtension('WEBGL_lose_context')?.loseContext(); throw e }
    this.reset()
  }

  // -- making things

  #build() {
    const { gl, model } = this, all = range(this.layers), most = gl.getParameter(gl.MAX_DRAW_BUFFERS)
    this.made = []                                              // all that `dispose` takes away
    this.groups = range(Math.ceil(this.layers / most)).map(g => all.slice(g * most, (g + 1) * most))
    this.states = range(2).map(() => this.#stack())
    const weights = packWeights(model)
    this.net = this.#weightTexture(weights)
    this.given = this.#texture(gl.TEXTURE_2D)
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.R8UI, this.width, this.height, 0, gl.RED_INTEGER, gl.UNSIGNED_BYTE, null)
    this.programs = {
      step: this.groups.map(g => this.#program(stepShader(model, g, weights.length / 4))),
      mask: this.groups.map(g => this.#program(maskShader(model, g))),
      brush: this.groups.map(g => this.#program(brushShader(model, g))),
      picture: this.#program(pictureShader(model)), census: this.#program(censusShader(model)),
    }
    const rest = answerToNothing(model)
    for (const p of this.programs.step) {
      gl.useProgram(p.program)
      gl.uniform4fv(p.at('rest'), rest)
      gl.uniform1f(p.at('rate'), model.fire_rate)
      gl.uniform1i(p.at('given'), 1)
      gl.uniform1i(p.at('net'), 2)
    }
    need(gl.checkFramebufferStatus(gl.FRAMEBUFFER) === gl.FRAMEBUFFER_COMPLETE, NO_FLOAT)
  }

  #keep(thing, kind) { this.made.push([kind, thing]); return thing }

  #texture(target) {
    const { gl } = this, texture = this.#keep(gl.createTexture(), 'Texture')
    gl.bindTexture(target, texture)
    for (const k of ['MIN_FILTER', 'MAG_FILTER']) gl.texParameteri(target, gl[`TEXTURE_${k}`], gl.NEAREST)
    return texture
  }

  #stack() {                                                    // one state: its textures, and what it takes to write them
    const { gl, ring } = this, texture = this.#texture(gl.TEXTURE_2D_ARRAY)
    gl.texStorage3D(gl.TEXTURE_2D_ARRAY, 1, gl.RGBA32F, this.width + 2 * ring, this.height + 2 * ring, this.layers)
    const frames = this.groups.map(group => this.#frame(texture, group))
    return { texture, frames, each: range(this.layers).map(l => this.#frame(texture, [l])) }
  }

  #frame(texture, layers) {
    const { gl } = this, frame = this.#keep(gl.createFramebuffer(), 'Framebuffer')
    gl.bindFramebuffer(gl.FRAMEBUFFER, frame)
    layers.forEach((l, i) => gl.framebufferTextureLayer(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0 + i, texture, 0, l))
    gl.drawBuffers(layers.map((_, i) => gl.COLOR_ATTACHMENT0 + i))
    return frame
  }

  #weightTexture(weights) {                                     // a uniform block would do as well; this is quicker without a card
    const { gl } = this, rows = Math.ceil(weights.length / 4096), full = new Float32Array(rows * 4096)
    full.set(weights)
    const texture = this.#texture(gl.TEXTURE_2D)
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA32F, 1024, rows, 0, gl.RGBA, gl.FLOAT, full)
    return texture
  }

  #program(fragment) {
    const { gl } = this, program = this.#keep(gl.createProgram(), 'Program')
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, fragment]]) {
      const shader = gl.createShader(kind)
      gl.shaderSource(shader, source)
      gl.compileShader(shader)
      gl.attachShader(program, shader)
      gl.deleteShader(shader)                                   // it lives as long as the program
    }
    gl.linkProgram(program)
    need(gl.getProgramParameter(program, gl.LINK_STATUS) || gl.isContextLost(), `The graphics card refused a program. ${gl.getProgramInfoLog(program) || ''}`)
    const places = new Map(), at = name => places.get(name) ?? (places.set(name, gl.getUniformLocation(program, name)), places.get(name))
    gl.useProgram(program)
    gl.uniform1i(at('state'), 0)
    gl.uniform1i(at('before'), 1)
    gl.uniform2i(at('size'), this.width, this.height)
    return { program, at }
  }

  // -- one step

  get state() { return this.states[0] }

  #pass(programs, from, to, set) {                              // one draw call, unless the card writes too few textures at once
    const { gl, ring } = this
    gl.bindTexture(gl.TEXTURE_2D_ARRAY, from.texture)
    gl.viewport(ring, ring, this.width, this.height)
    programs.forEach((p, i) => {
      gl.bindFramebuffer(gl.FRAMEBUFFER, to.frames[i])
      gl.useProgram(p.program)
      set(p.at)
      gl.drawArrays(gl.TRIANGLES, 0, 3)
    })
  }

  step(n = 1, { angle = 0, fire = null } = {}) {
    const { gl, model } = this, turn = angle * Math.PI / 180
    if (fire) this.#give(fire)
    gl.activeTexture(gl.TEXTURE2)
    gl.bindTexture(gl.TEXTURE_2D, this.net)
    gl.activeTexture(gl.TEXTURE0)
    for (let i = 0; i < n; i++) {
      const [now, next] = this.states, key = hash(this.dice, this.steps++)
      gl.activeTexture(gl.TEXTURE1)
      gl.bindTexture(gl.TEXTURE_2D, this.given)
      gl.activeTexture(gl.TEXTURE0)
      this.#pass(this.programs.step, now, next, at => {
        gl.uniform1i(at('isGiven'), fire ? 1 : 0)
        gl.uniform1ui(at('key'), key)
        gl.uniform2f(at('turn'), Math.cos(turn), Math.sin(turn))
      })
      if (model.alive_threshold === null) { this.states = [next, now]; continue }
      this.#mask(now, next)
    }
  }

  #mask(now, next) {                                            // reads both states, so it writes a third
    const { gl } = this
    this.spare ??= this.#stack()
    gl.activeTexture(gl.TEXTURE1)
    gl.bindTexture(gl.TEXTURE_2D_ARRAY, now.texture)
    gl.activeTexture(gl.TEXTURE0)
    this.#pass(this.programs.mask, next, this.spare, at => gl.uniform1f(at('threshold'), this.model.alive_threshold))
    this.states = [this.spare, next]
    this.spare = now
  }

  #give(fire) {
    const { gl, width, height } = this
    need(fire.length === width * height, `The firing mask has ${fire.length} cells; the world has ${width * height}.`)
    gl.activeTexture(gl.TEXTURE1)
    gl.bindTexture(gl.TEXTURE_2D, this.given)
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1)
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, width, height, gl.RED_INTEGER, gl.UNSIGNED_BYTE, fire)
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 4)
    gl.activeTexture(gl.TEXTURE0)
  }

  // -- the reader's hand; x counts columns and y rows, from the upper left cell

  #stroke(paint, x, y, radius, fromX = x, fromY = y) {
    const { gl } = this, key = hash(this.dice ^ 0x5bd1e995, this.strokes++)
    this.#pass(this.programs.brush, this.states[1], this.state, at => {
      gl.uniform2f(at('a'), fromX, fromY)
      gl.uniform2f(at('b'), x, y)
      gl.uniform1f(at('radius'), radius)
      gl.uniform1i(at('paint'), paint)
      gl.uniform1ui(at('key'), key)
    })
  }

  wound(x, y, radius = 6, fromX, fromY) { this.#stroke(0, x, y, radius, fromX, fromY) }

  seed(x = Math.floor(this.width / 2), y = Math.floor(this.height / 2)) {
    if (this.model.kind === 'texture') this.#stroke(2, x, y, 6)   // a texture has no seed: a spot of noise starts it
    else this.#stroke(1, Math.round(x), Math.round(y), 0)
  }

  #clear(x, y, width, height) {
    const { gl, ring } = this
    gl.enable(gl.SCISSOR_TEST)
    gl.scissor(x + ring, y + ring, width, height)
    for (const [i, group] of this.groups.entries()) {
      gl.bindFramebuffer(gl.FRAMEBUFFER, this.state.frames[i])
      group.forEach((_, j) => gl.clearBufferfv(gl.COLOR, j, [0, 0, 0, 0]))
    }
    gl.disable(gl.SCISSOR_TEST)
  }

  cut(side = 'right') {
    const { width: w, height: h } = this, x = w >> 1, y = h >> 1
    const half = { left: [0, 0, x, h], right: [x, 0, w - x, h], top: [0, 0, w, y], bottom: [0, y, w, h - y] }[side]
    need(half, `A side is left, right, top or bottom, not ${side}.`)
    this.#clear(...half)
  }

  reset() {
    this.steps = 0
    this.dice = hash(this.dice, 1)                              // other dice: no two lives are the same
    this.#clear(0, 0, this.width, this.height)
    if (this.model.kind === 'texture') this.#stroke(2, 0, 0, this.width + this.height)
    else this.seed()
  }

  // -- in and out

  read() {                                                      // waits for the graphics card: not for every frame
    const { gl, width, height, ring, model } = this, size = width * height
    const state = new Float32Array(model.channels * size), texels = new Float32Array(4 * size)
    for (const l of range(this.layers)) {
      gl.bindFramebuffer(gl.FRAMEBUFFER, this.state.each[l])
      gl.readPixels(ring, ring, width, height, gl.RGBA, gl.FLOAT, texels)
      for (let c = 0; c < 4 && 4 * l + c < model.channels; c++)
        for (let i = 0; i < size; i++) state[(4 * l + c) * size + i] = texels[4 * i + c]
    }
    return state
  }

  write(state) {
    const { gl, width, height, ring, model } = this, size = width * height, texels = new Float32Array(4 * size)
    need(state.length === model.channels * size, `The state has ${state.length} numbers; this world has ${model.channels * size}.`)
    gl.bindTexture(gl.TEXTURE_2D_ARRAY, this.state.texture)
    for (const l of range(this.layers)) {
      for (let c = 0; c < 4; c++)
        for (let i = 0; i < size; i++) texels[4 * i + c] = 4 * l + c < model.channels ? state[(4 * l + c) * size + i] : 0
      gl.texSubImage3D(gl.TEXTURE_2D_ARRAY, 0, ring, ring, l, width, height, 1, gl.RGBA, gl.FLOAT, texels)
    }
  }

  draw(channel = null) {
    const { gl, canvas, width, height } = this, { program, at } = this.programs.picture
    if (canvas.width < width || canvas.height < height || canvas.width % width) { canvas.width = width; canvas.height = height }
    gl.bindFramebuffer(gl.FRAMEBUFFER, null)
    gl.viewport(0, 0, canvas.width, canvas.height)
    gl.bindTexture(gl.TEXTURE_2D_ARRAY, this.state.texture)
    gl.useProgram(program)
    gl.uniform2f(at('canvas'), canvas.width, canvas.height)
    gl.uniform1i(at('channel'), channel ?? -1)
    gl.uniform3f(at('below'), 0x3b / 255, 0x7e / 255, 0xa1 / 255)
    gl.uniform3f(at('above'), 0xd9 / 255, 0x60 / 255, 0x3b / 255)
    gl.drawArrays(gl.TRIANGLES, 0, 3)
  }

  // Has the card done what it was asked? A frame that is not ready is waited for by leaving the next one out.
  busy() {
    const { gl } = this
    if (this.fence) {
      if (gl.getSyncParameter(this.fence, gl.SYNC_STATUS) !== gl.SIGNALED && !gl.isContextLost()) return true
      gl.deleteSync(this.fence)
    }
    this.fence = null
    return false
  }

  mark() { this.fence = this.gl.fenceSync(this.gl.SYNC_GPU_COMMANDS_COMPLETE, 0); this.gl.flush() }

  census() {                                                    // sets `living` to true or false, some frames later
    const { gl, query } = this
    if (this.model.alive_threshold === null) return
    if (query) {
      if (!gl.getQueryParameter(query, gl.QUERY_RESULT_AVAILABLE)) return
      this.living = !!gl.getQueryParameter(query, gl.QUERY_RESULT)
    }
    this.query = query ?? this.#keep(gl.createQuery(), 'Query')
    gl.beginQuery(gl.ANY_SAMPLES_PASSED, this.query)
    gl.colorMask(false, false, false, false)
    const scratch = { frames: [this.states[1].each[0]] }
    this.#pass([this.programs.census], this.state, scratch, at => gl.uniform1f(at('threshold'), this.model.alive_threshold))
    gl.colorMask(true, true, true, true)
    gl.endQuery(gl.ANY_SAMPLES_PASSED)
  }

  dispose() {                                                   // the canvas and its context stay usable
    for (const [kind, thing] of this.made) this.gl[`delete${kind}`](thing)
    this.made = []
  }
}

// ------------------------------------------------------------------------------------------------ the card around a living thing
// In a shadow root: the page's style and the card's leave each other alone, and what the page wrote into the element
// (a film, a sentence) stays there as the answer for browsers that cannot run it. Colours come from the book's variables.

const STYLE = `
:host { display: block; --i: var(--pst-color-text-base, var(--jp-ui-font-color1, #1f2430)); --soft-i: var(--pst-color-text-muted, var(--jp-ui-font-color2, #5f636e));
  --s: var(--nca-sheet, var(--sheet, var(--jp-layout-color0, #fffdf8))); --d: var(--nca-dish, var(--ground, var(--jp-layout-color1, #fbf7ef)));
  --l: var(--nca-line, var(--line, var(--jp-border-color2, #e6dbc4))); --go: var(--leaf, #2f7d5b); --on-go: #fff; margin: 1.6rem 0; }
@media (prefers-color-scheme: dark) { :host { --i: var(--pst-color-text-base, var(--jp-ui-font-color1, #e9e3d6)); --soft-i: var(--pst-color-text-muted, var(--jp-ui-font-color2, #a9aba6));
  --s: var(--nca-sheet, var(--sheet, var(--jp-layout-color0, #20252f))); --d: var(--nca-dish, var(--ground, var(--jp-layout-color1, #191d26))); --l: var(--nca-line, var(--line, var(--jp-border-color2, #363d4b))); } }
:host([hidden]), [hidden] { display: none !important; }
* { box-sizing: border-box; }
.card { max-width: var(--nca-width, 27rem); margin: 0 auto; color: var(--i); background: var(--s); border: 1px solid var(--l); border-radius: 16px; overflow: hidden; font: 500 .84rem/1.35 var(--pst-font-family-base, system-ui, sans-serif); box-shadow: 0 10px 30px -22px rgba(31, 36, 48, .55); }
.dish { position: relative; background: radial-gradient(circle at 50% 45%, var(--s), var(--d) 72%); overflow: hidden; display: flex; justify-content: center; }
canvas { display: block; width: 100%; height: auto; max-height: min(70vh, 40rem); object-fit: contain; image-rendering: pixelated; touch-action: none; cursor: crosshair; user-select: none; -webkit-user-select: none; -webkit-touch-callout: none; -webkit-tap-highlight-color: transparent; }
.frame { position: relative; flex: 0 1 var(--nca-world, 100%); line-height: 0; }
canvas:focus-visible { outline: 3px solid color-mix(in srgb, var(--amber, #e0a030) 80%, transparent); outline-offset: -3px; border-radius: 4px; }
canvas.by-hand:focus-visible { outline: none; }
.ring { position: absolute; border: 2px solid var(--coral, #d9603b); border-radius: 50%; transform: translate(-50%, -50%); pointer-events: none; opacity: 0; transition: opacity .15s; box-shadow: 0 0 0 1.5px rgba(255, 253, 248, .75); }
.ring.on { opacity: .9; }
.ring.dot { border-color: var(--go); }
.hint { position: absolute; left: 50%; bottom: .7rem; transform: translateX(-50%); margin: 0; padding: .42rem .95rem; border-radius: 99px; background: color-mix(in srgb, var(--i) 88%, transparent); color: var(--s); pointer-events: none; width: max-content; max-width: calc(100% - 1.5rem); text-align: center; text-wrap: balance; line-height: 1.3; transition: opacity .4s; }
.title, .legend { position: absolute; top: .5rem; margin: 0; padding: .12rem .55rem; border-radius: 99px; background: color-mix(in srgb, var(--s) 84%, transparent); color: var(--soft-i); pointer-events: none; }
.title { left: .5rem; font-style: italic; font-size: .92rem; }
.legend { right: .5rem; display: flex; gap: .4rem; align-items: center; font-size: .76rem; font-variant-numeric: tabular-nums; }
.legend i { width: 4.5rem; height: .5rem; border-radius: 9px; border: 1px solid var(--l); background: linear-gradient(90deg, #3b7ea1, transparent, #d9603b); }
.hint.off { opacity: 0; }
.hint svg { width: 1em; height: 1em; margin: 0 .4em -.12em 0; }
.bar { display: flex; gap: .15rem; padding: .5rem .45rem; border-top: 1px solid var(--l); }
.bar button { flex: 1 1 0; min-width: 0; padding: .36rem 0; overflow: hidden; }
.gap { flex: 0 0 1px; align-self: stretch; margin: .5rem .25rem; background: var(--l); }
.card { container-type: inline-size; }
@container (max-width: 345px) { .bar { gap: 0; padding: .5rem .2rem; } .bar button { flex: 1 1 auto; min-width: 36px; padding: .36rem .12rem; font-size: .68rem; letter-spacing: -.01em; } .bar .gap { margin: .5rem 1px; } .bar [data-do=pause] span, .bar [data-do=play] span { min-width: 2.5em; text-align: center; } }
@container (max-width: 285px) { .bar button { min-width: 0; } }
button, select { font: inherit; color: inherit; background: none; border: 1px solid transparent; border-radius: 10px; cursor: pointer; min-height: 2.5rem; }
button { display: inline-flex; flex-direction: column; align-items: center; justify-content: center; gap: .16rem; padding: .32rem .5rem; min-width: 3.35rem; font-size: .74rem; line-height: 1; transition: background .15s, border-color .15s; white-space: nowrap; }
button svg { width: 20px; height: 20px; }
svg { fill: none; stroke: currentColor; stroke-width: 1.7; stroke-linecap: round; stroke-linejoin: round; }
svg .full { fill: currentColor; stroke: none; }
button:hover { background: color-mix(in srgb, var(--go) 12%, transparent); }
button[aria-pressed=true], button[aria-checked=true] { background: color-mix(in srgb, var(--go) 17%, transparent); border-color: color-mix(in srgb, var(--go) 55%, transparent); }
button:focus-visible, select:focus-visible, input:focus-visible, a:focus-visible { outline: 3px solid color-mix(in srgb, var(--amber, #e0a030) 80%, transparent); outline-offset: 1px; }
button:disabled { opacity: .45; cursor: default; }
.more { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .55rem 1.3rem; padding: .75rem .95rem; border-top: 1px solid var(--l); }
.more.first { border-top: 1px solid var(--l); }
label { display: grid; grid-template-columns: 4.4rem 1fr auto; align-items: center; gap: .5rem; min-height: 2.2rem; }
label output { min-width: 2.4rem; text-align: right; color: var(--soft-i); font-variant-numeric: tabular-nums; }
label select { grid-column: 2 / -1; width: 100%; border-color: var(--l); padding: .2rem .5rem; background: var(--s); min-height: 2.2rem; }
option { color: #1f2430; background: #fffdf8; }
input[type=range] { width: 100%; min-width: 0; accent-color: var(--go); height: 1.6rem; margin: 0; cursor: pointer; }
.row { grid-column: 1 / -1; display: flex; flex-wrap: wrap; gap: .4rem; align-items: center; }
.row button { flex-direction: row; gap: .45rem; border-color: var(--l); padding: .3rem .8rem; min-height: 2.3rem; font-size: .8rem; }
.row a { color: var(--pst-color-link, var(--go)); }
.keys { grid-column: 1 / -1; margin: 0; color: var(--soft-i); font-size: .76rem; line-height: 1.5; }
.foot { display: flex; justify-content: space-between; gap: 1rem; padding: 0 .95rem .6rem; color: var(--soft-i); font-size: .78rem; min-height: 1.7rem; }
.foot p { margin: 0; }
.age { font-variant-numeric: tabular-nums; white-space: nowrap; }
.note { padding: 1rem 1.2rem; border-left: 4px solid var(--amber, #e0a030); line-height: 1.5; font-size: .9rem; }
.note p { margin: 0 0 .6rem; overflow-wrap: anywhere; }
.note img { max-width: 100%; image-rendering: pixelated; }
.lines::after { content: ""; position: absolute; inset: 0; pointer-events: none; opacity: .55; background: linear-gradient(var(--l) 1px, transparent 1px) 0 0 / 100% calc(100% / var(--rows)), linear-gradient(90deg, var(--l) 1px, transparent 1px) 0 0 / calc(100% / var(--cols)) 100%; }
.card:fullscreen { max-width: none; border: 0; border-radius: 0; display: flex; flex-direction: column; height: 100vh; overflow: auto; }
.card:fullscreen .dish { flex: 1 1 0; min-height: 12rem; align-items: center; }
.card:fullscreen .bar button { flex: 0 1 7rem; }
.card:fullscreen .bar { justify-content: center; }
.card:fullscreen .more { grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr)); }
.card:fullscreen .frame { flex: 0 0 auto; height: 100%; }
.card:fullscreen canvas { width: auto; height: 100%; max-width: 100vw; max-height: none; }
@media (pointer: coarse) { .frame { --nca-world: 86%; } }
@media (prefers-reduced-motion: reduce) { * { transition: none !important; } }
@media print { .bar, .more, .foot, .hint { display: none; } }`

const ICONS = {                                                 // drawn on 20 by 20
  wound: 'M5 16 10 4M9.5 16.5 14 6M3.5 9.5 6 4M14.5 16 16.5 11',
  plant: 'M10 17v-7M10 10C10 6.5 7.5 5 4 5c0 3.5 2 5 6 5ZM10 12c0-3 2-4.5 6-4.5 0 3.200-2 4.500-6 4.500Z',
  cut: 'M10 2.500v15M10 4H5.500A1.500 1.500 0 0 0 4 5.500v9A1.500 1.500 0 0 0 5.500 16H10M13 4h1M16 6v1M16 10v.5M16 14v.5M13 16h1',
  play: '*M6.500 3.600v12.800L16.500 10Z', pause: '*M5 4h3.500v12H5ZM11.500 4H15v12h-3.500Z',
  step: '*M4 4v12l7.500-6ZM13 4h3v12h-3Z', reset: 'M4 10a6 6 0 1 0 2-4.500M6.500 2.500 6 5.700l3.200.4',
  more: 'M3 6h7M14 6h3M3 14h3M10 14h7M12 4v4M8 12v4', film: '*M10 4a6 6 0 1 0 0 12 6 6 0 0 0 0-12Z', full: 'M3.500 7.500v-4h4M12.500 3.500h4v4M16.500 12.500v4h-4M7.500 16.500h-4v-4', shrink: 'M7.500 3.500v4h-4M16.500 7.500h-4v-4M12.500 16.500v-4h4M3.500 12.500h4v4', stop: '*M5 5h10v10H5Z',
  clear: 'M4 6h12M8 6V4h4v2M5.500 6l.8 10.500h7.400L14.500 6', random: '*M3 3h4v4H3ZM11 5h4v4h-4ZM5 11h4v4H5ZM13 13h4v4h-4Z', draw: 'M4 16l1-4L13.500 3.500l3 3L8 15l-4 1ZM11.500 5.500l3 3',
}

const h = (tag, props = {}, ...children) => {
  const e = document.createElement(tag)
  for (const [k, v] of Object.entries(props)) {
    if (k.startsWith('on')) e.addEventListener(k.slice(2), v)
    else if (v === true) e.setAttribute(k, '')
    else if (v !== false && v != null) e.setAttribute(k, v)
  }
  e.append(...children.filter(c => c != null))
  return e
}

const icon = name => {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg'), path = document.createElementNS(svg.namespaceURI, 'path'), d = ICONS[name]
  svg.setAttribute('viewBox', '0 0 20 20')
  svg.setAttribute('aria-hidden', 'true')
  path.setAttribute('d', d.replace('*', ''))
  if (d[0] === '*') path.setAttribute('class', 'full')
  svg.append(path)
  return svg
}

const button = (name, text, title, act, props = {}) => h('button', { type: 'button', title, 'data-do': name, onclick: act, ...props }, icon(name), h('span', {}, text))
const relabel = (b, name, text) => b.replaceChildren(icon(name), h('span', {}, text))
const slider = (name, text, { min, max, step = 1, value, show = String }, act) => {
  const out = h('output', {}, show(value)), input = h('input', { type: 'range', min, max, step, value, 'data-do': name, 'aria-label': text, 'aria-valuetext': show(value) })
  const set = v => { input.value = v; out.textContent = show(+v); input.setAttribute('aria-valuetext', show(+v)) }
  input.addEventListener('input', () => { set(input.value); act(+input.value) })
  return Object.assign(h('label', {}, h('span', {}, text), input, out), { set, input })
}
const choice = (name, text, options, value, act) => {
  const select = h('select', { 'data-do': name, 'aria-label': text, onchange: () => act(select.value) }, ...options.map(([v, t]) => h('option', { value: v, selected: v === value }, t)))
  return h('label', {}, h('span', {}, text), select)
}
const calm = () => matchMedia('(prefers-reduced-motion: reduce)').matches
const coarse = () => matchMedia('(pointer: coarse)').matches

const NO_PLACE = 'A living picture needs a div of its own.'

// What the player and the Life board have in common: a card with a dish, a pointer, a cursor, a clock that rests out of sight
class Card {
  constructor(element, { hint, label }) {
    if (typeof element.nca?.dispose === 'function') element.nca.dispose()   // who lived here before
    let root = element === document.body ? null : element.shadowRoot
    try { root ??= element !== document.body && element.attachShadow({ mode: 'open' }) } catch { /* a picture, a row of a table */ }
    need(root, NO_PLACE)
    this.element = element
    element.nca = this                                          // a handle for the page's own scripts
    this.paused = calm()
    this.visible = this.disposed = false
    this.cursor = null
    this.ring = h('div', { class: 'ring' })
    this.hint = h('p', { class: 'hint' }, hint)
    this.frame = h('div', { class: 'frame' }, this.ring)
    this.status = h('p', { role: 'status', 'aria-live': 'polite' })
    this.age = h('span', { class: 'age' })
    this.dish = h('div', { class: 'dish' }, this.frame, this.hint)
    this.bar = h('div', { class: 'bar', role: 'toolbar', 'aria-label': `Tools: ${label}` })
    this.foot = h('div', { class: 'foot' }, this.status, this.age)   // above what unfolds, so that an answer stays in view
    this.more = h('div', { class: 'more', hidden: true })
    this.card = h('div', { class: 'card', role: 'group', 'aria-label': label }, this.dish, this.bar, this.foot, this.more)
    root.replaceChildren(h('style', {}, STYLE), this.card)
    this.root = root
    this.aim = new AbortController()                            // ends every listener outside the card
    document.addEventListener('visibilitychange', () => this.tick(), { signal: this.aim.signal })
    document.addEventListener('fullscreenchange', () => this.#paintFull(), { signal: this.aim.signal })
    this.fullButton = button('full', 'Full screen', 'Full screen (F)', () => this.fullscreen())
    this.fullButton.hidden = !this.card.requestFullscreen
    this.sight = new IntersectionObserver(es => { this.visible = es.at(-1).isIntersecting; if (this.visible) this.wake?.(); else next(); this.tick() })
    this.sight.observe(element)
  }

  canvasFor(label) {                                            // a context that was given back cannot be had again: a new canvas
    const canvas = h('canvas', { tabindex: 0, role: 'application', 'aria-roledescription': 'living grid', 'aria-label': label })
    canvas.addEventListener('pointerdown', e => this.down(e))
    canvas.addEventListener('pointermove', e => this.move(e))
    for (const end of ['pointerup', 'pointercancel']) canvas.addEventListener(end, () => { this.stroke = null; this.lift?.() })
    canvas.addEventListener('pointerleave', () => this.ring.classList.remove('on'))
    canvas.addEventListener('keydown', e => this.key(e))
    canvas.addEventListener('blur', () => this.ring.classList.remove('on'))
    canvas.addEventListener('contextmenu', e => e.preventDefault())
    this.canvas?.remove()
    this.canvas = canvas
    this.frame.prepend(canvas)
    return canvas
  }

  cellAt(e) {
    const box = this.canvas.getBoundingClientRect(), [rows, cols] = this.extent()
    return { x: (e.clientX - box.left) / box.width * cols - .5, y: (e.clientY - box.top) / box.height * rows - .5 }
  }

  down(e) {
    if (e.button) return
    e.preventDefault()
    this.canvas.focus({ preventScroll: true })
    this.canvas.classList.add('by-hand')                        // who points needs no frame to see the focus
    this.canvas.setPointerCapture(e.pointerId)
    this.stroke = this.cellAt(e)
    this.point(this.stroke)
    this.touch(this.stroke, this.stroke, true)
  }

  move(e) {
    const at = this.cellAt(e)
    this.point(at)
    if (!this.stroke) return
    this.touch(at, this.stroke, false)
    this.stroke = at
  }

  point({ x, y }, size = this.reach()) {                        // the ring shows where, and how wide
    const [rows, cols] = this.extent()
    this.cursor = { x, y }
    Object.assign(this.ring.style, { left: `${(x + .5) / cols * 100}%`, top: `${(y + .5) / rows * 100}%`, width: `${size / cols * 100}%`, height: `${size / rows * 100}%` })
    this.ring.classList.add('on')
  }

  key(e) {
    this.canvas.classList.remove('by-hand')
    if (e.ctrlKey || e.metaKey || e.altKey) return
    const [rows, cols] = this.extent(), at = this.cursor ?? { x: cols >> 1, y: rows >> 1 }, far = e.shiftKey ? 8 : 1
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[e.key]
    if (way) {
      const clamp = (v, most) => Math.max(0, Math.min(most - 1, Math.round(v)))
      this.point({ x: clamp(at.x + way[0] * far, cols), y: clamp(at.y + way[1] * far, rows) })
    }
    else if (e.key === ' ' || e.key === 'Enter') { this.point(at); this.touch(at, at, true); this.lift?.() }
    else if (this.keys[e.key.toLowerCase()]) this.keys[e.key.toLowerCase()]()
    else return
    e.preventDefault()
  }

  say(text, seconds = 0) {                                      // 0: it stays until something else is said
    clearTimeout(this.hush)
    this.status.textContent = text
    if (seconds) this.hush = setTimeout(() => { this.status.textContent = '' }, seconds * 1000)
  }
  greet(text) { this.hint.textContent = text; this.hint.classList.toggle('off', !text) }
  tell(what, detail = {}) { this.element.dispatchEvent(new CustomEvent(what, { detail })) }

  // -- the clock: one request at a time, none while there is nothing to do

  running() { return (!this.paused || this.young > 0) && this.visible && !document.hidden && !this.disposed && !this.stopped && this.ready() }

  tick() {
    if (this.request || !this.running()) return
    this.last = performance.now()
    this.request = requestAnimationFrame(t => this.turn(t))
  }

  turn(now) {
    this.request = 0
    if (!this.running()) return
    this.request = requestAnimationFrame(t => this.turn(t))
    try { this.advance(now) } catch (e) { this.fail(e) }         // once, not once a frame
  }

  fail(e) { if (!this.disposed) this.excuse(sentence(e), this.options?.film) }

  pause() { this.paused = true; this.paintPlay(); this.tell('nca-change', { what: 'pause' }) }
  play() { this.paused = false; this.paintPlay(); this.tick(); this.tell('nca-change', { what: 'play' }) }
  toggle() { this.paused ? this.play() : this.pause() }
  paintPlay() {
    if (!this.playButton) return
    relabel(this.playButton, this.paused ? 'play' : 'pause', this.paused ? 'Play' : 'Pause')
    this.playButton.title = this.paused ? 'Let time pass (P)' : 'Stop the time (P)'
  }

  openMore() {
    this.more.hidden = !this.more.hidden
    this.moreButton.setAttribute('aria-expanded', String(!this.more.hidden))
  }

  fullscreen() { document.fullscreenElement ? document.exitFullscreen() : this.card.requestFullscreen?.().catch(() => this.say('This browser does not allow full screen here.')) }

  #paintFull() {
    const full = this.root.fullscreenElement === this.card
    relabel(this.fullButton, full ? 'shrink' : 'full', full ? 'Leave full screen' : 'Full screen')
  }

  excuse(text, film) {                                          // a message in its place, and what the page offers instead
    this.stopped = true
    const picture = film && !this.element.querySelector('img, video') ? h('img', { src: film, alt: 'A film of it' }) : null
    this.card.replaceChildren(h('div', { class: 'note', role: 'note' }, h('p', {}, text), picture, h('slot')))
    this.tell('nca-excuse', { text })
  }

  dispose() {
    this.disposed = true
    cancelAnimationFrame(this.request)
    clearTimeout(this.hush)
    this.aim.abort()
    this.sight.disconnect()
    this.root.replaceChildren(h('slot'))
  }
}

// ------------------------------------------------------------------------------------------------ the player

const SPEEDS = [3, 8, 15, 30, 60, 120, 240]                     // automaton steps a second
const BRIEF = 8                                                 // seconds that an answer to a touch is to be read
const GROWN = 100                                               // steps after which a creature stands still for readers who want no motion
const AT_ONCE = GROWN * 96 * 96                                 // cells times steps that it lives for them before they see it
const SLICES = [8, 256]                                         // steps of growing up between two frames: where they are slow, and at most
const FILM = 4                                                  // seconds
const speedAt = v => SPEEDS.reduce((best, s, i) => Math.abs(s - v) < Math.abs(SPEEDS[best] - v) ? i : best, 0)
const asModel = m => m instanceof ArrayBuffer ? parse(m) : ArrayBuffer.isView(m) ? parse(m.buffer.slice(m.byteOffset, m.byteOffset + m.byteLength)) : m
const words = name => name.replace(/[-_]+/g, ' ')

// Where a creature comes from when only its name is known: the folder `creatures` beside this file, with a list of what it holds
const lists = new Map()
async function listOf(base) {
  if (!lists.has(base)) lists.set(base, fetch(new URL('index.json', base)).then(r => r.ok ? r.json() : []).then(l => Array.isArray(l) ? l.filter(c => typeof c?.name === 'string') : []).catch(() => []))
  return lists.get(base)
}

async function fetchCreature(name, base) {
  const known = await listOf(base)
  need(known.some(c => c.name === name), `There is no creature called “${brief(name)}” here.`)   // no request that must fail
  const missed = () => need(false, 'The creature could not be fetched. Is there a connection?')
  const response = await fetch(new URL(`${encodeURIComponent(name)}.nca`, base)).catch(missed)
  need(response.ok, `The creature could not be fetched (${response.status}).`)
  need(+(response.headers.get('content-length') ?? 0) <= MOST.bytes, 'This is no creature: the file is far too large.')
  return parse(await response.arrayBuffer().catch(missed))
}

const awake = new Set(), MOST_AWAKE = 12, pace = { until: 0, slow: false }
const room = () => {                                            // for one more: if need be, one that is out of sight goes to sleep
  if (awake.size >= MOST_AWAKE) [...awake].find(p => !p.visible)?.sleep()
  return awake.size < MOST_AWAKE
}
const waiting = new Set(), next = () => setTimeout(() => [...waiting].find(p => p.visible && !p.disposed)?.wake())   // a place has become free, or may

class Player extends Card {
  constructor(element, options = {}) {
    const name = options.name ?? asModel(options.model)?.name ?? 'creature'
    super(element, { hint: '', label: `Living picture: ${words(name)}` })
    this.options = { base: options.model ? null : new URL('creatures/', import.meta.url).href, controls: true, ...options }   // a widget's module has no folder
    Object.assign(this, { name, angle: options.angle ?? 0, speed: options.speed ?? 30, young: 0, slice: SLICES[0], channel: null, tool: 'wound', engine: null, due: 0, patience: 2, asked: 0, stepped: 0, touched: false, kept: options.state ?? null, steps: 0 })
    this.keys = { p: () => this.toggle(), '.': () => this.stepOnce(), r: () => this.reset(), x: () => this.cut(), w: () => this.pick('wound'), s: () => this.pick('plant'), '[': () => this.setBrush(this.brush - 1), ']': () => this.setBrush(this.brush + 1), ',': () => this.turnTo(this.angle - 15), ';': () => this.turnTo(this.angle + 15), f: () => this.fullscreen() }
    this.awake = new Promise(done => { this.woke = done })       // the first engine
    this.near = new IntersectionObserver(es => es.at(-1).isIntersecting && this.wake(), { rootMargin: '200px' })
    this.far = new IntersectionObserver(es => es.at(-1).isIntersecting || this.sleep(), { rootMargin: '1500px' })
    this.frame.style.aspectRatio = '1'
    if (options.title) this.dish.append(h('p', { class: 'title' }, options.title))
    if (options.paused) this.paused = true
    const reason = Engine.missing()
    if (reason) { this.excuse(`${reason} ${element.childNodes.length || options.film ? 'Here is what it would show.' : ''}`, options.film); return }
    if (options.eager) this.wake()
    this.near.observe(element)
    this.far.observe(element)
  }

  // -- waking and sleeping: a browser keeps only some sixteen graphics contexts, so a player far away gives its own back

  async wake() {
    if (this.engine || this.waking || this.stopped || this.disposed) return
    this.waking = true
    try {
      const model = this.model ??= asModel(this.options.model) ?? await fetchCreature(this.name, this.options.base)
      if (!this.disposed) this.enter(model)
    } catch (e) { this.fail(e) }
    this.waking = false
  }

  enter(model) {                                                // others may have come while it was fetched
    waiting.delete(this)
    if (room()) { this.start(model); return }
    waiting.add(this)
    this.greet(`A page can hold ${MOST_AWAKE} living pictures at once. This one waits.`)
  }

  start(model) {
    const [height, width] = this.options.size ?? model.size, first = !this.playButton
    this.model = model
    this.frame.style.aspectRatio = `${width} / ${height}`
    if (this.brush === undefined) this.setBrush(this.options.brush ?? Math.min(width, height) / 14)
    const canvas = this.canvasFor(`${words(this.name)}, ${width} by ${height} cells. Arrow keys move, space uses the tool, P pauses.`)
    canvas.addEventListener('webglcontextlost', e => { e.preventDefault(); if (canvas === this.canvas) this.lost() })
    canvas.addEventListener('webglcontextrestored', () => canvas === this.canvas && this.restore())
    this.engine = new Engine(model, { height, width, canvas })
    awake.add(this)
    if (first) this.#controls()
    if (this.kept) { this.engine.write(this.kept); this.engine.steps = this.steps; this.kept = null }
    else this.prologue()
    this.#greeting()
    this.paint()
    this.tick()
    this.woke(this.engine)
  }

  prologue() {                                                  // how old it is when the reader comes: lived in slices, frame by frame, so that the page answers
    const { engine } = this, still = calm(), age = Math.max(still ? GROWN : 0, this.options.age ?? 0)
    const first = still ? Math.min(age, GROWN, Math.ceil(AT_ONCE / (engine.width * engine.height))) : 0
    engine.step(first, { angle: this.angle })
    Object.assign(this, { young: age - first, slice: SLICES[0] })
    if (this.young > GROWN) this.say(`Growing up to step ${age} …`)
  }

  #grown() {
    this.young = 0
    if (this.status.textContent.startsWith('Growing up')) this.say('')
  }

  #grow(now) {
    const { engine } = this, n = Math.min(this.young, this.slice)
    engine.step(n, { angle: this.angle })
    this.young -= n
    this.last = now
    if (!this.young) this.#grown()
    if (this.young && calm()) this.age.textContent = `step ${engine.steps}`   // no motion for those who want none
    else this.paint()
  }

  sleep() {
    if (!this.engine || this.film) return
    this.kept = this.engine.read()
    this.steps = this.engine.steps
    this.drop()
  }

  drop() {
    const gl = this.engine?.gl
    this.engine?.dispose()
    this.engine = null
    if (awake.delete(this)) next()
    gl?.getExtension('WEBGL_lose_context')?.loseContext()
  }

  lost() {                                                      // not by our own hand: the state is gone, so begin again
    if (!this.engine) return
    this.engine = null
    awake.delete(this)
    this.say('The graphics card was reset. Starting again …')
    clearTimeout(this.rescue)
    this.rescue = setTimeout(() => this.restore(), 1500)
  }

  restore() {
    clearTimeout(this.rescue)
    if (this.engine || this.disposed || this.stopped || !this.model || this.kept) return
    try { this.start(this.model) } catch (e) { this.fail(e) }
  }

  fail(e) {
    this.drop()
    super.fail(e)
  }

  pause() { this.#grown(); super.pause() }   // whoever stops the time stops the growing up

  // -- the controls

  #controls() {
    const { model, options } = this, growing = model.kind !== 'texture', turns = ['sobel_x', 'sobel_y'].every(k => model.kernels.includes(k))
    this.toolButtons = {
      wound: button('wound', growing ? 'Wound' : 'Erase', 'Drag to wound it (W)', () => this.pick('wound'), { 'aria-pressed': 'true' }),
      plant: button('plant', growing ? 'Plant' : 'Noise', growing ? 'Tap to plant a seed (S)' : 'Tap to make noise (S)', () => this.pick('plant'), { 'aria-pressed': 'false' }),
    }
    this.playButton = button('pause', 'Pause', '', () => this.toggle())
    this.moreButton = button('more', 'More', 'More controls', () => this.openMore(), { 'aria-expanded': 'false' })
    this.bar.append(...Object.values(this.toolButtons), h('span', { class: 'gap' }), button('cut', 'Cut', 'Cut it in half (X)', () => this.cut()),
      this.playButton, button('step', 'Step', 'One step (full stop)', () => this.stepOnce()), button('reset', 'Reset', 'From the start (R)', () => this.reset()), this.moreButton)
    this.brushSlider = slider('brush', 'Brush', { min: 1, max: 20, value: this.brush, show: v => `${2 * v + 1}` }, v => this.setBrush(v))
    this.speedSlider = slider('speed', 'Speed', { min: 0, max: SPEEDS.length - 1, value: speedAt(this.speed), show: i => `${SPEEDS[i]}/s` }, i => this.setSpeed(SPEEDS[i]))
    this.turnSlider = slider('turn', 'Turn', { min: -180, max: 180, step: 5, value: this.angle, show: v => `${v}°` }, v => this.turnTo(v))
    this.turnSlider.hidden = !turns
    const named = { brush: this.brushSlider, speed: this.speedSlider, turn: this.turnSlider }, front = (options.show ?? '').split(/\s+/).filter(n => named[n])
    if (front.length) this.foot.before(h('div', { class: 'more first' }, ...front.map(n => named[n])))
    this.more.append(...Object.keys(named).filter(n => !front.includes(n)).map(n => named[n]), this.#channelChoice())
    this.#creatureChoice()
    this.filmButton = button('film', 'Record', `Record a film of ${FILM} seconds`, () => this.film ? this.cutFilm() : this.record())
    this.filmLink = h('a', { hidden: true })
    this.filmButton.hidden = !('MediaRecorder' in window)
    this.more.append(h('div', { class: 'row' }, this.filmButton, this.fullButton, this.filmLink),
      h('p', { class: 'keys' }, 'Keys: arrows, space acts, W wound, S plant, X cut, P pause, R reset, [ ] size'))
    this.legend = h('p', { class: 'legend', role: 'img', 'aria-label': 'Colours: blue for numbers below 0, red above', hidden: true }, '−1', h('i'), '1')
    this.dish.append(this.legend)
    if (!options.controls) this.bar.hidden = true
    this.paintPlay()
  }

  #channelChoice() {
    const rest = range(this.model.channels).slice(this.model.kind === 'texture' ? 3 : 4).map(c => [String(c), `Hidden channel ${c}`])
    const options = [['', 'The picture'], ...(this.model.kind === 'texture' ? [] : [['3', 'Alpha: who is mature']]), ...rest]
    return this.channelLabel = choice('channel', 'Show', options, '', v => this.setChannel(v === '' ? null : +v))
  }

  async #creatureChoice() {
    const given = this.options.creatures ?? (this.options.model ? [] : await listOf(this.options.base))
    const all = given.map(c => typeof c === 'string' ? { name: c } : c).filter(c => !c.kind || c.kind === this.model.kind)
    if (all.length < 2) return
    this.more.prepend(choice('creature', 'Creature', all.map(c => [c.name, c.title ?? words(c.name)]), this.name, n => this.load(n, all.find(c => c.name === n)?.model)))
  }

  #greeting() {
    if (this.touched) { this.greet(''); return }
    const it = this.options.it ?? (/^(gecko|butterfly|mushroom)/.exec(this.name)?.[1] ?? ''), whom = it ? `the ${it}` : 'it'
    this.greet(this.options.hint ?? (this.paused ? 'Press Play. ' : '') + (this.model.kind === 'texture' ? 'Drag across it to rub a hole' : `Drag ${coarse() ? 'a finger ' : ''}across ${whom} to hurt it`))
  }

  extent() { return this.engine ? [this.engine.height, this.engine.width] : this.model?.size ?? [1, 1] }
  reach() { return this.tool === 'wound' ? 2 * this.brush + 1 : 2 }
  ready() { return !!this.engine }

  pick(tool) {
    this.tool = tool
    for (const [name, b] of Object.entries(this.toolButtons)) b.setAttribute('aria-pressed', String(name === tool))
    this.ring.classList.toggle('dot', tool === 'plant')
    if (this.ring.classList.contains('on')) this.point(this.cursor)
    this.say(tool === 'wound' ? 'Drag across the picture.' : this.model.kind === 'texture' ? 'Tap where noise shall be.' : 'Tap where a seed shall lie.')
  }

  // -- what can be done to it

  touch(at, from, first) {
    if (!this.engine) return
    if (this.tool === 'wound') this.wound(at.x, at.y, this.brush, from.x, from.y)
    else if (first) this.seed(at.x, at.y)
  }

  #done(what, text) {
    this.touched = true
    this.greet('')
    if (text) this.say(text, BRIEF)
    this.paint()
    this.tell('nca-change', { what })
  }

  wound(x, y, radius = this.brush, fromX, fromY) { this.engine?.wound(x, y, radius, fromX, fromY); this.#done('wound', this.paused ? 'A wound. Press Play.' : 'A wound. Watch it.') }
  seed(x, y) { this.engine?.seed(x, y); this.#done('seed', this.model?.kind === 'texture' ? 'A spot of noise.' : 'A seed: one living cell.') }
  cut(side = 'right') { this.engine?.cut(side); this.#done('cut', this.paused ? 'Cut in half. Press Play.' : 'Cut in half. Watch it.') }
  reset() { this.young = 0; this.engine?.reset(); this.#done('reset', this.model?.kind === 'texture' ? 'From the start: noise.' : `From the start: one cell${this.angle ? `, turned by ${this.angle}°` : ''}.`) }
  stepOnce() { if (!this.paused || this.young) this.pause(); this.engine?.step(1, { angle: this.angle }); this.paint(); this.tell('nca-step', { steps: this.engine?.steps }) }
  setBrush(v) { this.brush = Math.max(1, Math.min(20, Math.round(v) || 1)); this.brushSlider?.set(this.brush); if (this.cursor) this.point(this.cursor) }
  setSpeed(v) { this.speed = Math.max(.1, +v || 30); this.speedSlider?.set(speedAt(this.speed)); this.tell('nca-change', { what: 'speed' }) }
  setChannel(c) { this.channel = c; this.legend.hidden = c === null; this.paint() }
  setAngle(v) { this.angle = ((+v || 0) % 360 + 540) % 360 - 180 || 0; this.turnSlider?.set(this.angle); this.tell('nca-change', { what: 'angle' }) }
  turnTo(v) {
    this.setAngle(v)
    this.say(this.angle ? `Its cells sense a world turned by ${this.angle}°. Reset regrows it.` : 'Its cells sense the world as they were trained to.')
  }
  read() { return this.engine ? this.engine.read() : this.kept }
  write(state) { this.young = 0; if (this.engine) this.engine.write(state); else this.kept = state; this.#done('state') }

  async load(name, model) {                                     // another creature into the same card
    try { model = asModel(model) ?? await fetchCreature(name, this.options.base) }
    catch (e) { this.say(sentence(e)); return }
    this.drop()
    Object.assign(this, { name, channel: null, kept: null, due: 0 })
    this.legend.hidden = true
    try { this.start(model) } catch (e) { this.fail(e); return }
    const old = this.channelLabel
    old.replaceWith(this.#channelChoice())
    this.setAngle(0)
    this.say(`A new creature: ${words(name)}.${this.paused ? ' Press Play.' : ''}`)
    this.tell('nca-change', { what: 'creature', name })
  }

  // -- time

  advance(now) {
    const { engine } = this
    if (engine.busy() || !this.#turnToStep(now)) return           // the card is still at the last frame: never queue another
    if (this.young) this.#grow(now)
    else {
      this.due = Math.min(this.due + (now - this.last) / 1000 * this.speed, this.patience)
      this.last = now
      const n = Math.floor(this.due)
      if (!n) return
      this.due -= n
      engine.step(n, { angle: this.angle })
      this.paint()
    }
    engine.mark()
    this.asked = this.stepped = performance.now()
    this.#mind()
    this.tell('nca-step', { steps: engine.steps })
  }

  // Where steps are slow (no graphics card), all players together leave the page half of the time, and step in turn
  #turnToStep(now) {
    if (this.asked) {
      const cost = now - this.asked
      this.asked = 0
      this.patience = cost > 34 ? Math.max(1, this.patience / 2) : Math.min(16, this.patience + .25)
      this.slice = cost > 200 ? Math.max(SLICES[0], this.slice >> 1) : Math.min(SLICES[1], this.slice << 1)
      pace.slow = cost > 50
      if (pace.slow) pace.until = now + Math.min(cost, 500)
    }
    return now >= pace.until && !(pace.slow && [...awake].some(p => p !== this && p.running() && p.stepped < this.stepped))
  }

  #mind() {                                                     // twice a second or so: is anybody left?
    if (this.engine.steps % 16 > 3) return
    this.engine.census()
    if (this.engine.living === false && this.touched) this.greet('Nobody is left. Plant a seed, or reset.')
    if (this.engine.living && this.touched && this.hint.textContent.startsWith('Nobody')) this.greet('')
  }

  paint() {
    if (!this.engine) return
    this.engine.draw(this.channel)
    this.age.textContent = `step ${this.engine.steps}`
    this.film?.()
  }

  // -- a film of what happens, made on a canvas of its own: large squares on the colour of the dish

  record(seconds = FILM) {
    if (!this.engine || this.film) return
    const { width, height } = this.engine, scale = Math.max(1, Math.round(480 / Math.max(width, height)))
    const canvas = h('canvas', { width: width * scale, height: height * scale }), pen = canvas.getContext('2d')
    const kind = ['video/webm', 'video/mp4'].find(k => MediaRecorder.isTypeSupported(k))
    if (!kind || !canvas.captureStream) { this.say('This browser cannot record films.'); return }
    const recorder = new MediaRecorder(canvas.captureStream(30), { mimeType: kind, videoBitsPerSecond: 3e6 }), parts = []
    this.film = () => {
      pen.imageSmoothingEnabled = false
      pen.fillStyle = '#fbf7ef'
      pen.fillRect(0, 0, canvas.width, canvas.height)
      pen.drawImage(this.canvas, 0, 0, canvas.width, canvas.height)
    }
    recorder.ondataavailable = e => parts.push(e.data)
    recorder.onstop = () => this.#filmDone(new Blob(parts, { type: kind }))
    recorder.start()
    this.paint()
    const end = performance.now() + seconds * 1000, left = () => Math.max(0, Math.ceil((end - performance.now()) / 1000))
    const count = () => relabel(this.filmButton, 'stop', `Stop (${left()} s left)`)
    const clock = setInterval(() => left() ? count() : this.cutFilm(), 250)
    this.cutFilm = () => { clearInterval(clock); if (recorder.state !== 'inactive') recorder.stop() }
    count()
    this.say(this.paused ? 'Recording. Press Play, or it is a film of nothing.' : 'Recording …')
  }

  #filmDone(blob) {
    this.film = null
    relabel(this.filmButton, 'film', 'Record')
    if (this.filmLink.href) URL.revokeObjectURL(this.filmLink.href)
    const file = `${this.name}.${blob.type.includes('mp4') ? 'mp4' : 'webm'}`
    Object.assign(this.filmLink, { href: URL.createObjectURL(blob), download: file, textContent: `Save ${file} (${Math.ceil(blob.size / 1000)} kB)`, hidden: false })
    this.say('The film is ready.', BRIEF)
    this.tell('nca-change', { what: 'film', size: blob.size })
  }

  excuse(text, film) {
    super.excuse(text, film)
    this.near?.disconnect()
    this.far?.disconnect()
  }

  dispose() {
    this.near?.disconnect()
    this.far?.disconnect()
    clearTimeout(this.rescue)
    this.cutFilm?.()
    waiting.delete(this)
    this.drop()
    super.dispose()
  }
}

export const mount = (element, options, sign) => settled(Player, PLAYER, element, options, sign)

// ------------------------------------------------------------------------------------------------ Life, with a drawing board

const PATTERNS = {                                              // run-length encoded: b dead, o alive, $ next row
  'glider': 'bo$2bo$3o', 'spaceship': 'bo2bo$o$o3bo$4o', 'R-pentomino': 'b2o$2o$bo', 'pulsar': '2b3o3b3o2$o4bobo4bo$o4bobo4bo$o4bobo4bo$2b3o3b3o2$2b3o3b3o$o4bobo4bo$o4bobo4bo$o4bobo4bo2$2b3o3b3o',
  'Gosper gun': '24bo$22bobo$12b2o6b2o12b2o$11bo3bo4b2o12b2o$2o8bo5bo3b2o$2o8bo3bob2o4bobo$10bo5bo7bo$11bo3bo$12b2o', 'acorn': 'bo$3bo$2o2b3o',
}

const runs = text => {                                          // -> [[x, y], ...] of the living cells
  const cells = []
  let x = 0, y = 0
  for (const [, n, what] of text.matchAll(/(\d*)([bo$])/g)) for (let i = 0; i < (+n || 1); i++) {
    if (what === '$') { x = 0; y++ } else { if (what === 'o') cells.push([x, y]); x++ }
  }
  return cells
}

const INK = new Uint32Array(Uint8Array.of(0x2f, 0x7d, 0x5b, 255).buffer)[0]   // on any machine

class LifeBoard extends Card {
  constructor(element, { pattern = 'glider', rule = 'B3/S23', width = 60, height = 36, speed = 8, wrap = true, hint = 'Draw cells with a finger or the mouse', paused = null } = {}) {
    super(element, { hint, label: 'A board for the Game of Life' })
    const { born, stay } = ruleOf(rule)
    Object.assign(this, { width, height, speed, wrap, due: 0, born: [...born].map(Number), stay: [...stay].map(Number), generation: 0, cells: new Uint8Array(width * height) })
    if (paused !== null) this.paused = paused || this.paused
    this.keys = { p: () => this.toggle(), '.': () => this.stepOnce(), c: () => this.clear(), n: () => this.random(), f: () => this.fullscreen() }
    this.pen = this.canvasFor(`A board of ${width} by ${height} cells. Arrow keys move, space draws or wipes, P plays.`).getContext('2d')
    Object.assign(this.canvas, { width, height })
    this.frame.style.aspectRatio = `${width} / ${height}`
    this.frame.classList.add('lines')
    this.frame.style.setProperty('--cols', width)
    this.frame.style.setProperty('--rows', height)
    this.card.style.maxWidth = 'var(--nca-width, 36rem)'
    this.image = this.pen.createImageData(width, height)
    this.#controls(pattern)
    this.place(pattern)
    this.tick()
  }

  #controls(pattern) {
    this.playButton = button('play', 'Play', '', () => this.toggle())
    this.moreButton = button('more', 'More', 'More controls', () => this.openMore(), { 'aria-expanded': 'false' })
    this.bar.append(this.playButton, button('step', 'Step', 'One generation (full stop)', () => this.stepOnce()), button('clear', 'Clear', 'An empty board (C)', () => this.clear()),
      button('random', 'Random', 'A random soup (N)', () => this.random()), h('span', { class: 'gap' }), this.moreButton)
    this.wrapButton = button('reset', 'Edges meet', 'Does the left edge touch the right one?', () => this.setWrap(!this.wrap), { 'aria-pressed': String(this.wrap) })
    this.more.append(choice('pattern', 'Pattern', Object.keys(PATTERNS).map(n => [n, n]), pattern, n => this.place(n)),
      slider('speed', 'Speed', { min: 1, max: 60, value: this.speed, show: v => `${v}/s` }, v => { this.speed = v }),
      h('div', { class: 'row' }, this.wrapButton, this.fullButton), h('p', { class: 'keys' }, 'Keys on it: arrows move, space draws, P play, . step, C clear, N random, F full screen'))
    this.paintPlay()
  }

  extent() { return [this.height, this.width] }
  reach() { return 1.4 }
  ready() { return true }
  setWrap(on) { this.wrap = on; this.wrapButton.setAttribute('aria-pressed', String(on)) }

  place(name) {
    need(Object.hasOwn(PATTERNS, name), `There is no pattern called “${brief(String(name))}” here.`)
    const cells = runs(PATTERNS[name]), wide = Math.max(...cells.map(c => c[0])), tall = Math.max(...cells.map(c => c[1]))
    this.cells.fill(0)
    const gun = wide > 20, left = gun ? 2 : (this.width - wide) >> 1, top = gun ? 2 : (this.height - tall) >> 1
    const on = cells.map(([x, y]) => [left + x, top + y]).filter(([x, y]) => x >= 0 && y >= 0 && x < this.width && y < this.height)
    for (const [x, y] of on) this.cells[y * this.width + x] = 1
    this.#show(0, on.length < cells.length ? `The board is too small: a part of ${name} is missing.` : `On the board: ${name}.`)
  }

  clear() { this.cells.fill(0); this.#show(0, 'An empty board. Draw, then play.'); this.pause() }
  random() { for (let i = 0; i < this.cells.length; i++) this.cells[i] = Math.random() < .3 ? 1 : 0; this.#show(0, 'A random soup.') }

  touch({ x, y }, from, first) {
    const at = (x, y) => Math.max(0, Math.min(this.height - 1, Math.round(y))) * this.width + Math.max(0, Math.min(this.width - 1, Math.round(x)))
    if (first) this.ink = this.cells[at(x, y)] ? 0 : 1            // a stroke that starts on a living cell wipes
    const n = Math.ceil(Math.max(Math.abs(x - from.x), Math.abs(y - from.y))) || 1
    for (let i = 0; i <= n; i++) this.cells[at(from.x + (x - from.x) * i / n, from.y + (y - from.y) * i / n)] = this.ink
    this.held = true                                            // time stands still under the pen
    this.greet('')
    this.#show(this.generation, this.paused ? 'Press Play when you are done.' : '')
  }

  lift() { this.held = false }

  step() {
    const { width: w, height: h, cells, wrap } = this, next = new Uint8Array(w * h)
    const at = (x, y) => wrap ? cells[(y + h) % h * w + (x + w) % w] : x < 0 || y < 0 || x >= w || y >= h ? 0 : cells[y * w + x]
    for (let y = 0; y < h; y++) for (let x = 0; x < w; x++) {
      const n = at(x - 1, y - 1) + at(x, y - 1) + at(x + 1, y - 1) + at(x - 1, y) + at(x + 1, y) + at(x - 1, y + 1) + at(x, y + 1) + at(x + 1, y + 1)
      next[y * w + x] = (cells[y * w + x] ? this.stay : this.born).includes(n) ? 1 : 0
    }
    this.cells = next
    this.#show(this.generation + 1)
    this.tell('nca-step', { steps: this.generation })
  }

  stepOnce() { if (!this.paused) this.pause(); this.step() }

  advance(now) {
    this.due = Math.min(this.due + (now - this.last) / 1000 * this.speed, 2)
    this.last = now
    if (this.held) this.due = 0
    for (; this.due >= 1; this.due--) this.step()
  }

  #show(generation, text) {
    this.generation = generation
    const dots = new Uint32Array(this.image.data.buffer)
    for (let i = 0; i < dots.length; i++) dots[i] = this.cells[i] ? INK : 0
    this.pen.putImageData(this.image, 0, 0)
    this.age.textContent = `generation ${generation}`
    if (text !== undefined) this.say(text)
  }
}

export const mountLife = (element, options, sign) => settled(LifeBoard, LIFE, element, options, sign)

// ------------------------------------------------------------------------------------------------ in a page
// <div data-nca="gecko-regenerate" data-hint="…" data-show="turn" data-speed="30" data-brush="7" data-age="0" data-size="72 96" data-film="films/x.webp">
// <div data-life="glider" data-rule="B3/S23" data-width="60" data-height="36" data-wrap="no" data-paused>
// What an element may ask for is read here and nowhere else: `read` gives the value of an attribute (or of a script's option),
// or undefined where it is not what is `expected`.

const DECIMAL = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i        // no hexadecimal, no words, nothing empty
const FLAGS = new Map([[true, true], [false, false], ['', true], ['yes', true], ['true', true], ['no', false], ['false', false]])
const numeric = v => typeof v === 'number' ? v : typeof v === 'string' && DECIMAL.test(v.trim()) ? +v : NaN
const split = v => v.trim().split(/\s+/)
const within = (least, most, fine = Number.isFinite) => v => { const n = numeric(v); return fine(n) && n >= least && n <= most ? n : undefined }
const number = (least, most) => ({ expected: `a number from ${least} to ${most}`, read: within(least, most) })
const count = (least, most) => ({ expected: `a whole number from ${least} to ${most}`, read: within(least, most, Number.isInteger) })
const line = { expected: 'at most 200 characters', read: v => typeof v === 'string' && v.length <= 200 ? v : undefined }
const flag = { expected: 'yes or no', read: v => FLAGS.get(typeof v === 'string' ? v.trim().toLowerCase() : v) }
const address = (...schemes) => ({ expected: 'the address of a file or folder', read: v => {
  if (typeof v !== 'string' || !v.trim()) return undefined
  try { const url = new URL(v, document.baseURI); return schemes.includes(url.protocol) ? url.href : undefined } catch { return undefined }
} })
const ruleOf = v => {                                           // as `parse_rule` in chapter 1: B3/S23, or 23/3
  const text = typeof v === 'string' ? v.trim() : '', [, born, stay] = /^B([0-8]*)\/S([0-8]*)$/i.exec(text) ?? [], [, kept, made] = /^([0-8]*)\/([0-8]*)$/.exec(text) ?? []
  return born !== undefined ? { born, stay } : kept !== undefined ? { born: made, stay: kept } : undefined
}
const worldOf = v => {                                          // a script may ask for more than a page: the engine looks again
  const most = Array.isArray(v) ? MOST.side : WIDEST, sides = (Array.isArray(v) ? v : typeof v === 'string' ? split(v) : [v]).map(within(1, most, Number.isInteger))
  return (sides.length === 1 || sides.length === 2) && !sides.includes(undefined) ? [sides[0], sides[1] ?? sides[0]] : undefined
}

const WIDEST = 512, OLDEST = 100000, PARTS = ['brush', 'speed', 'turn']
const PLAYER = {
  name: { expected: 'the name of a creature', read: v => typeof v === 'string' && v.trim() ? v.trim() : undefined },
  hint: line, title: line, it: line, controls: flag, paused: flag, eager: flag,
  speed: number(.1, 1000), angle: number(-360, 360), brush: number(1, 20), age: count(0, OLDEST),
  size: { expected: `one or two whole numbers from 1 to ${WIDEST}`, read: worldOf },
  show: { expected: `some of ${PARTS.join(', ')}`, read: v => typeof v === 'string' && split(v).every(n => !n || PARTS.includes(n)) ? v : undefined },
  film: address('http:', 'https:', 'file:', 'data:', 'blob:'), base: address('http:', 'https:', 'file:'),
}
const LIFE = {
  pattern: { expected: `one of ${Object.keys(PATTERNS).join(', ')}`, read: v => typeof v === 'string' ? Object.hasOwn(PATTERNS, v.trim()) ? v.trim() : v.trim() ? undefined : 'glider' : undefined },
  rule: { expected: 'a rule such as B3/S23, with digits from 0 to 8', read: v => ruleOf(v) && v },
  hint: line, wrap: flag, paused: flag, speed: number(.1, 240), width: count(3, WIDEST), height: count(3, WIDEST),
}

function settle(kinds, options, sign = '') {                    // what is not in `kinds` is a script's own (a model, a state)
  const made = {}, called = key => sign + (sign && { name: 'nca', pattern: 'life' }[key] || key)
  for (const [key, value] of Object.entries(options ?? {})) {
    if (value === undefined) continue
    if (value === null || !Object.hasOwn(kinds, key)) { made[key] = value; continue }
    made[key] = kinds[key].read(value)
    const came = String(value).trim()
    need(made[key] !== undefined, `This living picture cannot be shown. ${called(key)}: got ${came ? `“${brief(came)}”` : 'nothing'}; expected ${kinds[key].expected}.`)
  }
  return made
}

// Whatever goes wrong with one element is said in its own place, as text, above what the page wrote into it
function settled(Kind, kinds, element, options, sign) {
  try { return new Kind(element, settle(kinds, options, sign)) }
  catch (e) { return refuse(element, sentence(e), PLAYER.film.read(options?.film)) }
}

function refuse(element, text, film) {
  try {
    const card = new Card(element, { hint: '', label: 'Living picture' })
    card.excuse(text, film)
    return card
  } catch {                                                     // an element that can hold no card, as a picture or a table
    const note = h('p', { role: 'note' }, text), none = { stopped: true, dispose: () => note.remove() }
    if (element.contains(document.body)) document.body.prepend(note)
    else element.after(note)
    return element.nca = none
  }
}

const asked = (element, kinds) => Object.fromEntries(Object.entries(element.dataset).filter(([key]) => Object.hasOwn(kinds, key)))

export function mountAll(root = document, base) {
  return [...root.querySelectorAll('[data-nca], [data-life]')].map(e => {
    const { nca: name, life: pattern } = e.dataset ?? {}
    if (!e.dataset) return refuse(e, NO_PLACE)
    if (name !== undefined && pattern !== undefined) return refuse(e, 'This living picture cannot be shown. data-nca and data-life: got both; expected one of them.')
    return name === undefined ? mountLife(e, { ...asked(e, LIFE), pattern }, 'data-') : mount(e, { ...asked(e, PLAYER), ...(base && { base }), name }, 'data-')
  })
}

// --- Jupyter --------------------------------------------------------------------------------------------------------
// The page's half of `Playground`: Python and the page pass the state back and forth. The first word of those bytes counts
// what Python did to it; a higher count than ours means that Python's state is the one that holds.

const REPORT = 500                                              // milliseconds between two reports to Python
const LOOKS = {
  light: { '--pst-color-text-base': '#1f2430', '--pst-color-text-muted': '#5f636e', '--nca-sheet': '#fffdf8', '--nca-dish': '#fbf7ef', '--nca-line': '#e6dbc4' },
  dark: { '--pst-color-text-base': '#e9e3d6', '--pst-color-text-muted': '#a9aba6', '--nca-sheet': '#20252f', '--nca-dish': '#191d26', '--nca-line': '#363d4b' },
}

// Jupyter, VS Code and Colab each say in a way of their own whether it is dark; the ground below us tells in all of them
export function followGround(root) {
  const media = matchMedia('(prefers-color-scheme: dark)'), numbers = e => getComputedStyle(e).backgroundColor.match(/[\d.]+/g)?.map(Number) ?? []
  const look = () => {
    let ground = root.parentElement, rgba = []
    for (; ground; ground = ground.parentElement) if ((rgba = numbers(ground)).length > 2 && (rgba[3] ?? 1) > .5) break
    const dark = ground ? .2126 * rgba[0] + .7152 * rgba[1] + .0722 * rgba[2] < 110 : media.matches
    root.classList.toggle('dark', dark)
    for (const [k, v] of Object.entries(LOOKS[dark ? 'dark' : 'light'])) root.style.setProperty(k, v)
  }
  const later = () => setTimeout(look, 60), seen = new MutationObserver(later)
  for (const e of [document.documentElement, document.body]) seen.observe(e, { attributes: true })
  media.addEventListener('change', later)
  look()
  requestAnimationFrame(look)                                   // once it hangs in the page
  return () => { seen.disconnect(); media.removeEventListener('change', later) }
}

export default () => {
  let holder = null                                             // of several views of one creature, the one that was touched last lives
  const render = ({ model, el }) => {
    const known = () => {
      const v = model.get('_cells'), b = v.buffer.slice(v.byteOffset, v.byteOffset + v.byteLength), head = new DataView(b)
      return { count: head.getUint32(0, true), steps: head.getUint32(4, true), state: new Float32Array(b, 8) }
    }
    const home = h('div', { style: 'margin: 6px 0; max-width: 29rem; --nca-width: none', 'data-lm-suppress-shortcuts': 'true' }), first = known(), off = []   // Lab's one-letter commands are not for us
    el.append(home)
    off.push(followGround(home))
    let count = first.count, timer = 0
    const player = mount(home, { model: model.get('weights'), state: first.state, size: model.get('_size') })
    if (player.stopped) return () => off.forEach(f => f())      // it has said why
    player.setSpeed(model.get('speed'))
    player.setAngle(model.get('angle'))
    player.steps = first.steps
    if (model.get('paused')) player.pause()

    const report = () => {
      clearTimeout(timer)
      timer = 0
      const state = holder === player && !player.disposed && player.read()
      if (!state) return
      const data = new DataView(new ArrayBuffer(8 + state.byteLength))
      data.setUint32(0, count, true)
      data.setUint32(4, player.engine?.steps ?? player.steps, true)
      new Float32Array(data.buffer, 8).set(state)
      const news = { _cells: data, paused: player.paused, speed: player.speed, angle: player.angle }
      for (const [k, v] of Object.entries(news)) if (model.get(k) !== v) model.set(k, v)
      try { model.save_changes() } catch { /* no Python at the other end any more */ }
    }
    const soon = () => { timer ||= setTimeout(report, REPORT) }
    const take = () => {                                        // Python's state becomes ours
      const now = known()
      count = now.count
      player.write(now.state)
      player.steps = now.steps
      if (player.engine) { player.engine.steps = now.steps; player.paint() }
    }
    const hold = () => {
      if (holder === player) return
      holder?.rest()
      holder = player
      take()
      if (model.get('paused') === player.paused) return
      model.get('paused') ? player.pause() : player.play()
    }
    player.rest = () => { report(); holder = null; player.pause() }
    home.addEventListener('nca-step', soon)
    home.addEventListener('nca-change', e => { if (e.detail.what === 'pause') report(); else if (e.detail.what !== 'state') soon() })
    home.addEventListener('pointerdown', hold, true)
    home.addEventListener('focusin', hold)
    const on = (name, f) => { model.on(`change:${name}`, f); off.push(() => model.off(`change:${name}`, f)) }
    on('_cells', () => { if (holder === player && known().count !== count) take() })
    on('paused', () => { if (holder === player && model.get('paused') !== player.paused) model.get('paused') ? player.pause() : player.play() })
    on('speed', () => { if (model.get('speed') !== player.speed) player.setSpeed(model.get('speed')) })
    on('angle', () => { if (model.get('angle') !== player.angle) player.setAngle(model.get('angle')) })
    holder?.rest()
    holder = player
    player.awake.then(() => { if (player.paused !== model.get('paused')) report() })   // a reader who wants no motion starts at rest
    return () => {
      report()
      off.forEach(f => f())
      clearTimeout(timer)
      player.dispose()
      if (holder === player) holder = null
    }
  }
  return { render }
}
