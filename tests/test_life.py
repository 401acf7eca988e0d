"Life against an oracle that shares no code with it: random rules, worlds and borders, RLE both ways, and bad input."
from math import comb

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from nca_tutorial.life import *

settings.register_profile("book", max_examples=60, deadline=None)
settings.load_profile("book")

digits = st.sets(st.integers(0, 8))


@st.composite
def worlds(draw, batch=False, lo=1, hi=9):
    h, w, seed = draw(st.integers(lo, hi)), draw(st.integers(lo, hi)), draw(st.integers(0, 2**32 - 1))
    shape = (draw(st.integers(1, 4)), h, w) if batch else (h, w)
    return torch.from_numpy((np.random.default_rng(seed).random(shape) < draw(st.sampled_from([0.1, 0.4, 0.8]))).astype(np.uint8))


def rule_text(born, survive): return f"B{''.join(map(str, sorted(born)))}/S{''.join(map(str, sorted(survive)))}"


def oracle(world, born, survive, wrap):
    "One step of one world, from the definition, with index arithmetic alone."
    h, w = world.shape
    new = np.zeros_like(world)
    for y in range(h):
        for x in range(w):
            n = 0
            for dy, dx in ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)):
                v, u = y + dy, x + dx
                if wrap: n += world[v % h, u % w]
                elif 0 <= v < h and 0 <= u < w: n += world[v, u]
            new[y, x] = n in (survive if world[y, x] else born)
    return new


@given(worlds(batch=True), digits, digits, st.booleans())
def test_step_is_the_definition(world, born, survive, wrap):
    want = np.stack([oracle(w, born, survive, wrap) for w in world.numpy()])
    got = life_step(world, rule_text(born, survive), wrap)
    assert got.dtype == torch.uint8
    np.testing.assert_array_equal(got.numpy(), want)
    for one, w in zip(got, world): assert torch.equal(one, life_step(w, rule_text(born, survive), wrap))


@given(worlds(), st.sampled_from([torch.bool, torch.int64, torch.float32, torch.float16]), st.booleans())
def test_dtype_is_kept_and_changes_nothing(world, dtype, wrap):
    got = life_step(world.to(dtype), wrap=wrap)
    assert got.dtype == dtype and torch.equal(got.to(torch.uint8), life_step(world, wrap=wrap))


@given(worlds(), digits, digits)
def test_input_is_left_alone(world, born, survive):
    before = world.clone()
    life_run(world, 3, rule_text(born, survive))
    assert torch.equal(world, before)


def test_strided_worlds():
    world = (torch.rand(40, 60, generator=torch.Generator().manual_seed(0)) < 0.4).to(torch.uint8)
    assert torch.equal(life_step(world.T), life_step(world.T.contiguous()))
    assert torch.equal(life_step(world[::2, ::3]), life_step(world[::2, ::3].clone()))


@given(worlds(lo=3), st.integers(0, 8), st.sets(st.integers(1, 8)), digits)
def test_plane_without_borders_is_a_large_world(world, steps, born, survive):
    rule, m = rule_text(born, survive), steps + 1
    cells = to_cells(world)
    for _ in range(steps): cells = sparse_step(cells, rule)
    size = (world.shape[0] + 2 * m, world.shape[1] + 2 * m)
    large = life_run(place(world, size, at=(m, m)), steps, rule)[-1]
    assert torch.equal(to_world(cells, size, at=(-m, -m)), large)
    assert len(cells) == large.sum()


@given(digits, digits)
def test_rule_strings_round_trip(born, survive):
    rule = parse_rule(rule_text(born, survive))
    assert (rule.born, rule.survive) == (born, survive) and parse_rule(str(rule)) == rule == parse_rule(rule)
    old = str(rule).split("/")[1][1:] + "/" + str(rule).split("/")[0][1:]
    assert parse_rule(old) == parse_rule(str(rule).lower()) == rule


@pytest.mark.parametrize("bad", ["", "B", "B3", "B3/S9", "B3/S-2", "B3,S23", "S23/B3", "B3/S23/4", "B3/S2 3", "B³/S23", "b3/s23x", "٣/٢"])
def test_bad_rules(bad):
    with pytest.raises(ValueError, match=r"rule: expected 'B3/S23'"): parse_rule(bad)


@pytest.mark.parametrize("bad", [None, 3, b"B3/S23", ["B3/S23"]])
def test_rules_of_wrong_type(bad):
    with pytest.raises(TypeError, match="rule: expected a string"): life_step(torch.zeros(2, 2), bad)


@pytest.mark.parametrize("bad", [
    torch.tensor([[0, 2]]), torch.tensor([[0, -1]]), torch.tensor([[0.5]]), torch.tensor([[float("nan")]]), torch.tensor([[float("inf")]]),
    torch.zeros(3), torch.zeros(1, 1, 3, 3), torch.zeros(0, 3), torch.zeros(2, 3, 0), torch.tensor(1)])
@pytest.mark.parametrize("f", [life_step, count_neighbours, lambda w: life_run(w, 0), to_rle, to_cells])
def test_bad_worlds(f, bad):
    with pytest.raises(ValueError, match="^world: expected"): f(bad)


@pytest.mark.parametrize("bad", [None, [[0, 1]], np.zeros((2, 2)), "bo$"])
def test_worlds_of_wrong_type(bad):
    with pytest.raises(TypeError, match="world: expected a torch tensor"): life_step(bad)


@pytest.mark.parametrize("bad", [-1, 1.5, "3", None])
def test_bad_steps(bad):
    with pytest.raises(ValueError, match="steps: expected a whole number"): life_run(torch.zeros(2, 2), bad)
    with pytest.raises(ValueError, match="steps: expected a whole number"): elementary_run(30, bad)


# RLE

@given(worlds(hi=80), digits, digits)
def test_rle_round_trip(world, born, survive):
    text = to_rle(world, rule_text(born, survive))
    assert max(map(len, text.splitlines()[1:])) <= 70
    back, rule = parse_rle(text)
    assert torch.equal(back, world) and str(rule) == rule_text(born, survive)


@given(worlds(hi=20), st.randoms(use_true_random=False))
def test_rle_survives_the_mail(world, random):
    "Other line breaks, blanks, comments, capital X and trailing text change nothing."
    header, *body = to_rle(world).splitlines()
    body = "".join(c + random.choice(["", "", " ", "\n", "\r\n", "\t"]) for c in "".join(body))
    back, _ = parse_rle(f"#C {{comment}}\r\n\n{header.replace('x =', 'X=')}  \r\n{body} and 3 words\n#more\n")
    assert torch.equal(back, world)


@given(worlds(hi=12))
def test_rle_without_header_is_the_smallest_box(world):
    body = to_rle(world).split("\n", 1)[1]
    if not world.any():
        with pytest.raises(ValueError, match="pattern of 1 to"): parse_rle(body)
        return
    back, rule = parse_rle(body)
    h, w = back.shape
    assert torch.equal(back, world[:h, :w]) and world[h:].sum() == world[:, w:].sum() == 0 and str(rule) == "B3/S23"


@given(st.text(alphabet="bo$!0123456789x=y, \n#.A", max_size=40))
def test_rle_of_noise_is_read_or_refused(text):
    try: world, _ = parse_rle(text)
    except ValueError as e: assert str(e).startswith(("text:", "rule:"))
    else: assert set(world.unique().tolist()) <= {0, 1}


@pytest.mark.parametrize("bad, why", [
    ("", "no '!'"), ("!", "got 0×0"), ("3o", "cut off"), ("3o$2q!", "got '2q'"), ("0o!", "got '0o'"), ("-1o!", "got '-'"),
    ("3!", "got '3'"), ("x = 3\n3o!", "expected 'x = 3, y = 3"), ("x = -3, y = 1\n3o!", "expected 'x = 3, y = 3"), ("x = 2, y = 1\n3o!", "promises 2×1"),
    ("x = 3, y = 1\no$o!", "promises 3×1"), ("x = 0, y = 0\n!", "got 0×0"), ("x = 99999, y = 99999\n!", "100 million"),
    ("9999999999999o!", "expected runs"), ("999999999$o!", "got"), ("x = 1, y = 1, rule = B9/S\no!", "digits from 0 to 8"),
    ("x = 1, y = 1, rule = B3/S23:T10,10\no!", "rule: expected")])
def test_bad_rle(bad, why):
    with pytest.raises(ValueError, match="^(text|rule): ") as e: parse_rle(bad)
    assert why in str(e.value)


def test_rle_of_wrong_type():
    with pytest.raises(TypeError, match="text: expected RLE, got bytes"): parse_rle(b"3o!")
    with pytest.raises(ValueError, match="world: expected one world"): to_rle(torch.zeros(2, 3, 3))


def test_every_pattern_is_packed_tightly():
    for name in PATTERNS:
        p = pattern(name)
        assert p[0].any() and p[-1].any() and p[:, 0].any() and p[:, -1].any(), name
        assert parse_rle(to_rle(p))[0].equal(p)
    for rule in RULES.values(): assert str(parse_rule(rule)) == rule


# what is published

def test_r_pentomino_in_a_grid_without_wrapping():
    "The grid is wide enough that no glider has reached its border; the chapter uses a plane without borders."
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    world = place(pattern("r_pentomino"), (620, 620))
    population = []
    for _ in range(1120):
        population.append(int(world.sum()))
        world = life_step(world)
    torch.set_num_threads(threads)
    assert not (world[0].any() or world[-1].any() or world[:, 0].any() or world[:, -1].any())
    assert population[1102] != 116 and set(population[1103:]) == {116}


def test_r_pentomino_can_be_rewound_to_1103_and_no_further():
    "From far in the future, move the six gliders straight back and leave the rest: that gives every world from 1103 on, and none before."
    def touch(cells):
        cells, groups = set(cells), []
        while cells:
            group = todo = [cells.pop()]
            for y, x in todo:
                near = {(y + a, x + b) for a in (-1, 0, 1) for b in (-1, 0, 1)} & cells
                cells -= near
                group += near
            groups.append(frozenset(group))
        return groups
    history = [to_cells(pattern("r_pentomino"))]
    for _ in range(1400): history.append(sparse_step(history[-1]))
    def rewound(t):
        end = t + 200
        now, cells = touch(history[end]), set()
        earlier = set(touch(history[end - 4]))
        for g in now:
            moves = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if frozenset((y - a, x - b) for y, x in g) in earlier]
            assert len(moves) == 1
            cells |= {(y - 50 * moves[0][0], x - 50 * moves[0][1]) for y, x in g}
        return cells
    assert [rewound(t) == history[t] for t in range(1097, 1113)] == [False] * 6 + [True] * 10


@pytest.mark.parametrize("flips", [(), (0,), (1,), (0, 1)])
def test_gliders_fly_all_four_ways(flips):
    down, right = (-1 if 0 in flips else 1), (-1 if 1 in flips else 1)
    assert find_cycle(to_cells(pattern("glider").flip(flips))) == (4, down, right)


def test_find_cycle_limits():
    cells = to_cells(pattern("pentadecathlon"))
    assert find_cycle(cells, limit=14) is None and find_cycle(cells, limit=15) == (15, 0, 0)
    assert find_cycle(cells, limit=0) is None and find_cycle(set()) is None
    assert find_cycle(to_cells(pattern("replicator")), "B36/S23", limit=40) is None


# one dimension

@given(st.integers(0, 255), st.integers(0, 12), st.lists(st.booleans(), min_size=1, max_size=12), st.booleans())
def test_elementary_is_the_definition(number, steps, start, wrap):
    row, want = [int(v) for v in start], []
    for _ in range(steps + 1):
        want.append(row)
        at = lambda i: row[i % len(row)] if wrap else row[i] if 0 <= i < len(row) else 0
        row = [int(format(number, "08b")[7 - int(f"{at(i - 1)}{at(i)}{at(i + 1)}", 2)]) for i in range(len(row))]
    assert elementary_run(number, steps, torch.tensor(start), wrap).tolist() == want


def test_rule_150_and_rule_90_by_formula():
    assert elementary_run(90, 0).tolist() == [[1]]
    rows = elementary_run(90, 100)
    assert rows[100].sum() == sum(comb(100, k) % 2 for k in range(101))
    a = (torch.rand(64, generator=torch.Generator().manual_seed(0)) < 0.5).long()
    assert torch.equal(elementary_run(150, 1, a, wrap=True)[1].long(), (a + a.roll(1) + a.roll(-1)) % 2)


@pytest.mark.parametrize("bad", [-1, 256, 1.0, "30", None])
def test_bad_numbers(bad):
    with pytest.raises(ValueError, match="number: expected a whole number from 0 to 255"): elementary_table(bad)


@pytest.mark.parametrize("bad", [torch.tensor([0, 2]), torch.zeros(2, 2), torch.zeros(0), torch.tensor([float("nan")])])
def test_bad_rows(bad):
    with pytest.raises(ValueError): elementary_run(30, 2, bad)


def test_place_refuses_what_does_not_fit():
    for at in ((-1, 0), (0, -1), (6, 0), (0, 6), (10**9, 0)):
        with pytest.raises(ValueError, match="do not fit into 8×8"): place(pattern("glider"), (8, 8), at=at)
    with pytest.raises(ValueError, match="do not fit"): place(pattern("glider"), (2, 2))
    with pytest.raises(ValueError, match="no pattern is called"): pattern("Glider")
    assert place(torch.ones(4, 2, 2), (5, 5), at=(3, 3)).shape == (4, 5, 5)
