"""The growing automaton in CAX (JAX), for benchmarks/bench.py: reads 'forward' or 'train' lines, answers in seconds."""
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from cax.core import ComplexSystem
from cax.core.perceive import ConvPerceive
from cax.core.update import NCAUpdate
from flax import nnx

BANK = np.array([[[0, 0, 0], [0, 1, 0], [0, 0, 0]], [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], [[-1, -2, -1], [0, 0, 0], [1, 2, 1]]])


class Growing(ComplexSystem):
    def __init__(self, rngs):
        self.perceive = ConvPerceive(16, 48, feature_group_count=16, rngs=rngs)
        bank = BANK / np.array([1, 8, 8])[:, None, None]
        self.perceive.conv.kernel[...] = jnp.asarray(np.tile(bank.transpose(1, 2, 0)[:, :, None], (1, 1, 1, 16)), jnp.float32)
        self.update = NCAUpdate(16, 48, (128,), cell_dropout_rate=0.5, rngs=rngs)
        self.update.layers[-1].kernel[...] *= 1e-3          # a creature at rest, as in bench.py

    def _step(self, state, input=None, *, sow=False): return self.update(state, self.perceive(state), input)


def loss(automaton, x, steps): return jnp.mean(automaton(x, num_steps=steps) ** 2)


def main(path, steps):
    x = jnp.asarray(np.load(path))                          # (B, H, W, C), alpha last
    automaton = Growing(nnx.Rngs(0))
    learned = nnx.DiffState(0, nnx.All(nnx.Param, nnx.PathContains("update")))
    gradient = nnx.jit(nnx.value_and_grad(loss, argnums=learned), static_argnums=2)
    work = {"forward": lambda: automaton(x, num_steps=steps), "train": lambda: gradient(automaton, x, steps)}
    print("ready", jax.default_backend(), flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        jax.block_until_ready(work[line.strip()]())
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__": main(sys.argv[1], int(sys.argv[2]))
