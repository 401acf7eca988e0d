"Life against an oracle that shares no code with it: random rules, worlds and borders, RLE both ways, and bad input."
import re
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


@pytest.mark.parametrize("bad", ["", "B", "B3", "B3/S9", "B3/S-2", "B3,S23", "S23/3", "B3/S23/4", "B3/S2 3", "B³/S23", "b3/s23x", "٣/٢"])
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
    ("x = 1, y = 1, rule = B3/S23:K10*,10\no!", "rule: expected"), ("x = 3, y = 1, rule = B3/S23:T2,10\n3o!", "rule: expected a grid of 3×1 cells or more"),
    ("٣o!", "expected runs"), ("x = ٣, y = 1\n3o!", "expected 'x = 3"), ("x = 3, y = 1, x = 4\n3o!", "expected 'x = 3"), ("hello", "expected runs")])
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


# rules in every spelling

@pytest.mark.parametrize("text, want", [
    ("B36/S23", "B36/S23"), ("b36/s23", "B36/S23"), ("b36s23", "B36/S23"), ("S23/B36", "B36/S23"), ("s23b36", "B36/S23"), ("23/36", "B36/S23"),
    ("HighLife", "B36/S23"), ("high life", "B36/S23"), (" B36 / S23 ", "B36/S23"), ("B6336/S3322", "B36/S23"), ("/2", "B2/S"), ("B2/S", "B2/S"),
    ("Life", "B3/S23"), ("LIFE", "B3/S23"), ("Conway's Life", "B3/S23"), ("Day & Night", "B3678/S34678"), ("day and night", "B3678/S34678"),
    ("DayNight", "B3678/S34678"), ("Seeds", "B2/S"), ("2x2", "B36/S125"), ("3-4 Life", "B34/S34"), ("Life without death", "B3/S012345678"),
    ("diamoeba", "B35678/S5678"), ("Walled_Cities", "B45678/S2345"), ("Replicator", "B1357/S1357"), ("Coagulations", "B378/S235678"),
    ("B3/S23:T30,20", "B3/S23:T30,20"), ("23/3:p30,20", "B3/S23:P30,20"), ("Life:T30", "B3/S23:T30,30"), ("HighLife : t 30", None), ("B3/S23:T30, 20", "B3/S23:T30,20")])
def test_spellings_of_rules(text, want):
    if want is None:
        with pytest.raises(ValueError, match="^rule: expected a grid"): parse_rule(text)
    else: assert str(parse_rule(text)) == want and parse_rule(want) == parse_rule(text)


def test_every_name_is_read():
    for name, rule in RULES.items(): assert str(parse_rule(name)) == str(parse_rule(name.upper().replace(" ", "_"))) == rule


@pytest.mark.parametrize("kind, rules", {
    "Generations": ["345/2/4", "B2/S345/C4", "B2/S345/4", "/2/3", "g4b2s345", "B2/S/3"], "hexagons": ["B2/S34H", "34/2h"],
    "von Neumann": ["B2/S013V", "b2s013v"], "triangles": ["B4/S345L"], "non-totalistic": ["B3/S2-i34q", "B2ce/S", "2-i34q/3", "MAPARYXfhZo"],
    "Larger than Life": ["R5,C0,M1,S34..58,B34..45,NM"], "Margolus": ["MS,D0;8;4;3;2;5;9;7;1;6;10;11;12;13;14;15"],
    "one dimension": ["W30", "w110"], "more than two states": ["LifeHistory", "B3/S23Super", "WireWorld", "Brian's Brain", "Star Wars", "JvN29"],
    "take turns": ["B3/S23|B36/S23"], "8 neighbours": ["B9/S23", "29/3", "b3s9"], "other list is missing": ["B3", "S23"],
    "Klein bottle": ["B3/S23:K30*,20", "Life:k30,20*"], "cross-surface": ["B3/S23:C30,20"], "sphere": ["B3/S23:S30"],
    "shifted": ["B3/S23:T30+5,20", "B3/S23:T30,20-2"], "endless": ["B3/S23:T0,20", "B3/S23:P30,0"], "unknown grid": ["B3/S23:", "B3/S23:X3", "B3/S23:T٣", "Life:T3,4,5"],
    "digits from 0 to 8": ["Lifé", "unicorn", "B3/ſ23", "33", "B3/S23 x", "S23/3", "x" * 10**6, "B" + "9" * 10**6]}.items())
def test_rules_of_other_worlds_are_refused_by_name(kind, rules):
    for rule in rules:
        with pytest.raises(ValueError, match="^rule: expected") as e: parse_rule(rule)
        assert kind in str(e.value) and len(str(e.value)) < 300, rule


def test_rules_with_a_grid():
    world = (torch.rand(20, 30, generator=torch.Generator().manual_seed(0)) < 0.4).to(torch.uint8)
    torus, plane = parse_rule("B36/S23:T30,20"), parse_rule("B36/S23:P30,20")
    assert (torus.size, torus.wrap, plane.size, plane.wrap) == ((20, 30), True, (20, 30), False)
    assert len({torus, plane, parse_rule("B36/S23"), parse_rule(str(torus))}) == 3
    for rule, wrap in ((torus, True), (plane, False)):
        assert torch.equal(life_step(world, rule), life_step(world, "B36/S23", wrap))
        assert torch.equal(life_run(world, 3, str(rule)), life_run(world, 3, "B36/S23", wrap))
        for f in (life_step, lambda w, r: life_run(w, 0, r)):
            with pytest.raises(ValueError, match="world: expected 20×30 cells, the grid of B36/S23:.30,20, got 30×20"): f(world.T, rule)
        for f in (sparse_step, find_cycle):
            with pytest.raises(ValueError, match="rule: expected one for a plane without borders"): f({(0, 0)}, rule)
        assert to_rle(world, rule).startswith(f"x = 30, y = 20, rule = {rule}\n") and parse_rle(to_rle(world, rule))[1] == rule
        with pytest.raises(ValueError, match="rule: expected a grid of 20×30 cells or more"): to_rle(world.T, rule)
    with pytest.raises(ValueError, match="wrap: expected False for B36/S23:P30,20"): life_step(world, plane, wrap=True)
    glider, rule = parse_rle("x = 3, y = 3, rule = B3/S23:T8,8\nbo$2bo$3o!")
    home = place(glider, rule.size)
    assert torch.equal(life_run(home, 32, rule)[-1], home)


def test_rules_made_by_hand():
    rule = LifeRule({3}, [2, np.int64(3)])
    assert rule == parse_rule("B3/S23") and hash(rule) == hash(parse_rule("B3/S23")) and all(type(n) is int for n in rule.survive)
    for bad, why in (((3, {2}), "born"), (("3", "23"), "born"), (({3}, {9}), "survive"), (({-1}, {2}), "born"), (({3}, {2.0}), "survive"), (({True}, {2}), "born"),
                     (({3}, None), "survive"), (({3}, {2}, 8), "size"), (({3}, {2}, (0, 3)), "size"), (({3}, {2}, None, True), "wrap"), (({3}, {2}, (3, 3), "no"), "wrap")):
        with pytest.raises((TypeError, ValueError), match=f"^{why}: expected"): LifeRule(*bad)


# patterns in every format

GLIDER = [[0, 1, 0], [0, 0, 1], [1, 1, 1]]
HEADER = "x = 3, y = 3, rule = {}\nbo$2bo$3o!"
ROWS = ".O.\n..O\nOOO"
STARS = ".*.\n..*\n***"


@pytest.mark.parametrize("text, rule", [
    ("#r 23/36\nbo$2bo$3o!", "B36/S23"), ("#r B36/S23\nx = 3, y = 3\nbo$2bo$3o!", "B36/S23"), ("#r HighLife\nbo$2bo$3o!", "B36/S23"), ("#r23/36\nbo$2bo$3o!", "B36/S23"),
    ("#R 23/36\nbo$2bo$3o!", "B36/S23"), ("#R -1 -1\nbo$2bo$3o!", "B3/S23"), ("#random\n#P 1 2\nbo$2bo$3o!", "B3/S23"), ("#r\nbo$2bo$3o!", "B3/S23"),
    ("x = 3, y = 3\n#r b36s23\nbo$2bo$3o!", "B36/S23"), ("bo$2bo\n#r 23/36\n$3o!", "B36/S23"), ("bo$2bo$3o!\n#r 23/36", "B3/S23"),
    ("#r 23/36\n" + HEADER.format("B2/S"), "B2/S"), ("#r what I like\n" + HEADER.format("B2/S"), "B2/S"), ("#r 23/36\n#r 23/3\nbo$2bo$3o!", "B36/S23"),
    (HEADER.format("b36s23"), "B36/S23"), (HEADER.format("23/36"), "B36/S23"), (HEADER.format("S23/B36"), "B36/S23"), (HEADER.format("Day & Night"), "B3678/S34678"),
    (HEADER.format("B3/S23:T30,20"), "B3/S23:T30,20"), (HEADER.format("B3/S23:T30,20, step = 2"), "B3/S23:T30,20"), (HEADER.format(""), "B3/S23"),
    ("x=3,y=3,rule=B36/S23\nbo$2bo$3o!", "B36/S23"), ("X = 3 Y = 3 RULE = B36/S23\nbo$2bo$3o!", "B36/S23"), ("y = 3, x = 3, rule = seeds\nbo$2bo$3o!", "B2/S"),
    ("x = 3, y = 3,\nrule = B36/S23\nbo$2bo$3o!", "B36/S23"), ("  x = 3 ,  y = 3 , rule = B36/S23 , color = 1 \n\n bo$2bo$3o!", "B36/S23"), ("x = 3, y = 3,\nbo$2bo$3o!", "B3/S23"),
    ("\ufeff#N Glider\r\n#O me\r\n#c\r\nx = 3, y = 3\r\n\r\nbo$\r\n2b\r\n#C here, too\r\no$3o!\r\n", "B3/S23"), ("ï»¿bo$2bo$3o!", "B3/S23"), ("bo$2bo$3o!\rmore = !$", "B3/S23"),
    ("BO$2BO$3O!", "B3/S23"), (".A$..A$3A!", "B3/S23"), ("bA$2.o$3A!", "B3/S23"), ("#CXRLE Pos=-1,-1 Gen=4\nbo$2bo$3o!", "B3/S23"), ("#Life is short\nbo$2bo$3o!", "B3/S23")])
def test_dialects_of_rle(text, rule):
    for f in (parse_rle, parse_pattern):
        world, got = f(text)
        assert world.tolist() == GLIDER and world.dtype == torch.uint8 and str(got) == rule
    cells, got = parse_cells(text)
    assert cells == {(0, 1), (1, 2), (2, 0), (2, 1), (2, 2)} and str(got) == rule


@pytest.mark.parametrize("text, name, rule, at", [
    (ROWS, "plaintext", "B3/S23", (0, 0)), ("!Name: Glider\n!\n" + ROWS, "plaintext", "B3/S23", (0, 0)), ("\ufeff!Name\r\n" + STARS.replace("\n", "\r\n"), "plaintext", "B3/S23", (0, 0)),
    ("!Rule: B36/S23\n.O\n..O\nOOO\n\n", "plaintext", "B36/S23", (0, 0)), ("!\n\n\n.O\n..O\n3O", "plaintext", "B3/S23", (0, 0)), (ROWS.lower(), "plaintext", "B3/S23", (0, 0)),
    ("#Life 1.05\n#D Glider\n#N\n#P -1 -1\n" + STARS, "Life 1.05", "B3/S23", (-1, -1)), ("#Life 1.05\r\n#R 23/36\r\n#P 5 -7\r\n.*\r\n..*\r\n***\r\n", "Life 1.05", "B36/S23", (-7, 5)),
    ("#Life 1.05\n" + STARS, "Life 1.05", "B3/S23", (0, 0)), ("#P 1 0\n*\n\n.*\n#P 0 2\n***", "Life 1.05", "B3/S23", (0, 0)), ("#C mine\n#Life 1.04\n#R B36/S23\n#P 0 2\n***\n#P 1 0\n*\n.*", "Life 1.05", "B36/S23", (0, 0)),
    ("#Life 1.06\n0 -1\n1 0\n-1 1\n0 1\n1 1", "Life 1.06", "B3/S23", (-1, -1)), ("#Life 1.06\r\n1 2\r\n0\t2\r\n\r\n2  2\r\n2 1\r\n1 0\r\n", "Life 1.06", "B3/S23", (0, 0)),
    ("1 0\n2 1\n0 2\n1 2\n2 2", "Life 1.06", "B3/S23", (0, 0))])
def test_other_formats(text, name, rule, at):
    world, got = parse_pattern(text)
    assert world.tolist() == GLIDER and world.dtype == torch.uint8 and str(got) == rule
    assert parse_cells(text) == ({(y + at[0], x + at[1]) for y, x in ((0, 1), (1, 2), (2, 0), (2, 1), (2, 2))}, got)
    with pytest.raises(ValueError, match=f"^text: expected RLE, got {name}; `parse_pattern`"): parse_rle(text)


def test_rows_and_blocks():
    assert parse_pattern("!\n.O\n\n...\nO")[0].tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 0], [1, 0, 0]]
    assert parse_pattern("!\n2.3O.O")[0].tolist() == [[0, 0, 1, 1, 1, 0, 1]]
    assert parse_pattern("#Life 1.05\n#P -2 1\n**\n#P 1 0\n.*")[0].tolist() == [[0, 0, 0, 0, 1], [1, 1, 0, 0, 0]]
    assert parse_pattern("bo3$o!")[0].tolist() == [[0, 1], [0, 0], [0, 0], [1, 0]]


@pytest.mark.parametrize("text, why", [
    ("", "expected a pattern, got none"), ("#C only", "expected a pattern, got none"), ("!only", "plaintext without any"), ("#Life 1.05\n#N", "Life 1.05 without any"), ("#Life 1.06\n", "Life 1.06 without any"),
    ("#Life 1.05\n3o!", "as Life 1.05 has them, got '3o!'"), ("#Life 1.06\n0 a", "a place 'x y' in Life 1.06, got '0 a'"), ("#Life 1.06\n0 ٣", "a place"), ("#Life 1.05\n#P 1.5 2\n*", "got '1.5 2'"),
    ("!\n.O.\nabc", "as plaintext has them, got 'abc'"), ("#Life 1.07\n*", "unknown version"), ("[M2] (golly 4.2)\n$$..*$", "got Macrocell"), ("#MCell 4.00\n#L 3.A", "got MCell"),
    ("@RULE Foo", "got a rule file"), ("<!DOCTYPE html>", "got a web page"), ('{"cells": []}', "got JSON"), ("xq4_153", "got apgcode"),
    ("AC!", "'C'; this RLE has more than two states"), (".pA!", "'pA'; this RLE has more"), ("x = 2, y = 1, rule = WireWorld\nAC!", "more than two states"),
    ("#Life 1.05\n#R 345/2/4\n*", "Generations"), ("!rule: B2/S34H\nO", "hexagons"), ("#r B2/S013V\n3o!", "von Neumann"), (HEADER.format("B3/S23:K9*,9"), "Klein bottle")])
def test_patterns_refused_by_name(text, why):
    for f in (parse_pattern, parse_rle):
        with pytest.raises(ValueError, match="^(text|rule): ") as e: f(text)
        if f is parse_pattern: assert why in str(e.value)
        elif text not in ("", "#C only"): assert not re.search("cut off|0×0", str(e.value))


@given(st.text(alphabet="bo$!0123456789x=y, \n#.A*OPRLife-", max_size=40))
def test_any_text_is_read_or_refused(text):
    try: cells, rule = parse_cells(text)
    except ValueError as e: return None if str(e).startswith(("text:", "rule:")) else pytest.fail(str(e))
    assert all(type(y) is type(x) is int for y, x in cells)
    try: world, again = parse_pattern(text)
    except ValueError as e: assert "1 to 100 million" in str(e)
    else: assert world.sum() == len(cells) and rule == again


def test_wide_patterns_need_no_array():
    import tracemalloc
    wide = "x = 4000000, y = 4000000, rule = B36/S23\n3999999bo3999999$o!"
    tracemalloc.start()
    assert parse_cells(wide) == ({(0, 3999999), (3999999, 0)}, parse_rule("HighLife"))
    assert parse_cells("#Life 1.06\n0 0\n123456789012345678 -5")[0] == {(0, 0), (-5, 123456789012345678)}
    for f in (parse_rle, parse_pattern):
        with pytest.raises(ValueError, match="got 4000000×4000000; `parse_cells` reads it as a set of cells"): f(wide)
    for text in ("999999999o!", "x = 999999999999, y = 3\n999999999o$999999999o!", "!\n999999999O"):
        with pytest.raises(ValueError, match="^text: expected at most 2 million living cells, got"): parse_cells(text)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
    with pytest.raises(ValueError, match="got 3000000; `parse_pattern` reads them as a world"): parse_cells("3000000o!")
    assert parse_cells("!") == (set(), parse_rule("Life")) and len(parse_cells("2000o$" * 1000 + "!")[0]) == 2 * 10**6


@given(worlds(hi=20), digits, digits)
def test_all_formats_agree(world, born, survive):
    old = f"{''.join(map(str, survive))}/{''.join(map(str, born))}"
    rows = ["".join(".O"[v] for v in row) for row in world.tolist()]
    stars = "\n".join(rows).replace("O", "*")
    for text in (to_rle(world, old), "\n".join([f"!rule: {old}", *rows]), f"#Life 1.05\n#R {old}\n#P 0 0\n{stars}"):
        got, rule = parse_pattern(text)
        assert torch.equal(got, world) and rule == parse_rule(rule_text(born, survive)) and parse_cells(text) == (to_cells(world), rule)
    assert parse_cells("\n".join(["#Life 1.06", *(f"{x} {y}" for y, x in to_cells(world))]))[0] == to_cells(world)


@pytest.mark.parametrize("bad", [None, 3, b"3o!", ["3o!"]])
def test_texts_of_wrong_type(bad):
    for f in (parse_rle, parse_pattern, parse_cells):
        with pytest.raises(TypeError, match="^text: expected"): f(bad)


# what stands at the door

def test_numpy_integers_are_whole_numbers():
    world, cells = place(pattern("glider"), (np.int64(8), np.uint8(8)), at=(np.int32(1), torch.tensor(1))), to_cells(pattern("glider"))
    assert world.shape == (8, 8) and world[1, 2] == 1
    assert torch.equal(life_run(world, np.int64(4))[-1], world.roll((1, 1), (0, 1)))
    assert torch.equal(elementary_run(np.uint8(90), np.int16(3)), elementary_run(90, 3)) and elementary_table(np.uint8(255)).tolist() == [1] * 8
    assert find_cycle({(np.int8(y + 125), np.int8(x)) for y, x in cells}, limit=np.int64(4)) == (4, 1, 1)  # beyond 127 without a turn
    assert torch.equal(to_world(cells, np.array([3, 3]), at=np.array([0, 0])), pattern("glider"))
    assert torch.equal(life_step(world, wrap=np.bool_(True)), life_step(world, wrap=True))


GRID, NAN = torch.zeros(3, 3), float("nan")

@pytest.mark.parametrize("name, f, bads", [
    ("world", lambda v: life_step(v), [GRID + 0j, GRID.to_sparse(), GRID.to("meta"), GRID + NAN, None]), ("world", lambda v: count_neighbours(v), [GRID + 0j, 3]),
    ("world", lambda v: to_rle(v), [GRID + 0j, None]), ("world", lambda v: to_cells(v), [GRID[None], GRID + 0j]),
    ("wrap", lambda v: life_step(GRID, wrap=v), ["no", None, 2, 0.5, NAN]), ("wrap", lambda v: count_neighbours(GRID, v), ["circular", None]),
    ("wrap", lambda v: life_run(GRID, 0, wrap=v), ["no"]), ("wrap", lambda v: elementary_run(30, 0, wrap=v), ["no", None]),
    ("steps", lambda v: life_run(GRID, v), [-1, 1.0, True, NAN, None, "3", 1j, np.float64(2), np.bool_(True)]), ("steps", lambda v: elementary_run(30, v), [-1, 1.0, True, NAN, None]),
    ("rule", lambda v: life_run(GRID, 0, v), ["nonsense", None, 3]), ("rule", lambda v: find_cycle(set(), v, 0), ["nonsense", None, "B0/S"]),
    ("number", elementary_table, [True, NAN, 1j, -1, np.int64(256), [30]]), ("start", lambda v: elementary_run(30, 2, v), [[0, 1], 3, np.zeros(3), GRID, GRID[0] + 0j, GRID[0] + NAN, torch.zeros(0), torch.tensor(1)]),
    ("pattern", lambda v: place(v, (8, 8)), [None, [[1]], GRID + 0j, GRID + 2, torch.zeros(0, 3)]), ("name", pattern, [None, 3, [], "unicorn"]),
    ("size", lambda v: place(GRID, v), [8, None, (8,), (8, 8, 8), (8.0, 8), (NAN, 8), (-8, 8), (0, 8), "88", {8, 9}]), ("size", lambda v: to_world(set(), v), [8, None, (8.5, 8), (0, 8), (-1, 8)]),
    ("at", lambda v: place(GRID, (8, 8), v), [3, (1,), (1.5, 1), (NAN, 1), (None, 1), "11"]), ("at", lambda v: to_world(set(), (3, 3), v), [None, 3, (0.5, 0)]),
    ("cells", sparse_step, [None, [(0, 0)], {1}, {(0, 0.5)}, {(0, 0, 0)}, {"ab"}, {(NAN, 0)}, {(True, 0)}, {(0, None)}]), ("cells", lambda v: find_cycle(v, limit=0), [None, {(0, 0.5)}]),
    ("cells", lambda v: to_world(v, (3, 3)), [None, {(0, 0.5)}, 3]), ("limit", lambda v: find_cycle(set(), limit=v), [-1, 1.5, None, NAN, True])])
def test_bad_arguments_are_named(name, f, bads):
    for bad in bads:
        with pytest.raises((TypeError, ValueError), match=rf"^{name}: \w+") as e: f(bad)
        assert type(e.value) in (TypeError, ValueError)


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
