// Neural cellular automata in the page. One module, no framework: `parse` reads a creature, `Engine` runs it on the graphics
// card (WebGL2, float32), `mount` puts it under the reader's hands. The step is the book's `dense_step`, cell by cell.

// ------------------------------------------------------------------------------------------------ reading a creature

const SCALE = 1 / 8                                            // of the Sobel and Laplacian kernels, as in `kernel_bank`
const KERNELS = ['identity', 'sobel_x', 'sobel_y', 'laplacian']
const MOST = { bytes: 4e6, header: 65536, channels: 64, hidden: 1024, side: 2048, cells: 1 << 20 }

const need = (ok, message) => { if (!ok) throw new Error(message) }
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
function stepShader(model, wanted, rows, inTexture) {
  const L = layersOf(model), { seen, code } = perception(model), groups = Math.ceil(model.hidden / 4)
  const stride = 1 + 4 * seen.length + 4 * L
  const think = model.hidden
    ? `for (int j = 0, o = 0; j < ${groups}; j++, o += ${stride}) {
      vec4 h = NET(o);
      ${seen.map((p, i) => `h += M(o + ${1 + 4 * i}) * ${p};`).join(' ')}
      h = max(h, 0.);
      ${wanted.map(l => `u${l} += M(o + ${1 + 4 * seen.length + 4 * l}) * h;`).join(' ')}
    }`
    : seen.map((p, i) => wanted.map(l => `u${l} += M(${4 * (i * L + l)}) * ${p};`).join(' ')).join('\n    ')
  const bias = rows - L
  return `${HEAD}
uniform usampler2D given; uniform bool isGiven;
uniform uint key; uniform float rate; uniform vec2 turn; uniform vec4 rest[${L}];
${inTexture ? 'uniform sampler2D net;\n#define NET(i) texelFetch(net, ivec2((i) & 1023, (i) >> 10), 0)' : `layout(std140) uniform Net { vec4 net[${rows}]; };\n#define NET(i) net[i]`}
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
    const gl = canvas.getContext('webgl2', CONTEXT)
    need(gl && !gl.isContextLost(), NO_WEBGL)
    need(gl.getExtension('EXT_color_buffer_float'), NO_FLOAT)
    need(whole(height, 1, MOST.side) && whole(width, 1, MOST.side) && height * width <= MOST.cells, `A world of ${height} by ${width} cells cannot be made.`)
    Object.assign(this, { gl, model, height, width, canvas, dice: dice >>> 0, steps: 0, strokes: 0, living: null, ring: ringOf(model), layers: layersOf(model) })
    this.#build()
    this.reset()
  }

  // -- making things

  #build() {
    const { gl, model } = this, all = range(this.layers), most = gl.getParameter(gl.MAX_DRAW_BUFFERS)
    this.made = []                                              // all that `dispose` takes away
    this.groups = range(Math.ceil(this.layers / most)).map(g => all.slice(g * most, (g + 1) * most))
    this.states = range(2).map(() => this.#stack())
    const weights = packWeights(model), inTexture = weights.byteLength > gl.getParameter(gl.MAX_UNIFORM_BLOCK_SIZE)
    this.net = inTexture ? this.#weightTexture(weights) : this.#weightBlock(weights)
    this.given = this.#texture(gl.TEXTURE_2D)
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.R8UI, this.width, this.height, 0, gl.RED_INTEGER, gl.UNSIGNED_BYTE, null)
    this.programs = {
      step: this.groups.map(g => this.#program(stepShader(model, g, weights.length / 4, inTexture))),
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

  #weightBlock(weights) {
    const { gl } = this, buffer = this.#keep(gl.createBuffer(), 'Buffer')
    gl.bindBuffer(gl.UNIFORM_BUFFER, buffer)
    gl.bufferData(gl.UNIFORM_BUFFER, weights, gl.STATIC_DRAW)
    return { bind: () => gl.bindBufferBase(gl.UNIFORM_BUFFER, 0, buffer) }
  }

  #weightTexture(weights) {                                     // for a network larger than a uniform block may be
    const { gl } = this, rows = Math.ceil(weights.length / 4096), full = new Float32Array(rows * 4096)
    full.set(weights)
    const texture = this.#texture(gl.TEXTURE_2D)
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA32F, 1024, rows, 0, gl.RGBA, gl.FLOAT, full)
    return { bind: () => { gl.activeTexture(gl.TEXTURE2); gl.bindTexture(gl.TEXTURE_2D, texture); gl.activeTexture(gl.TEXTURE0) } }
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
    this.net.bind()
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
