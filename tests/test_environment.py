"The set-up says first what is missing, in one line, and takes the next best way where one fails"
import os, subprocess, sys

import pytest

from conftest import ROOT, script

browser = script('tools/browser.py')
environment = script('tools/environment.py')


def program(path, text):
    path.write_text(f'#!/bin/sh\n{text}\n')
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def bare(tmp_path, monkeypatch):
    "A user who is not root, on a machine with no browser, no apt and no way to Playwright's downloads; a folder that is all of PATH"
    for name in ('CHROMIUM', 'BROWSER', 'PLAYWRIGHT_DOWNLOAD_HOST'): monkeypatch.delenv(name, raising=False)
    programs = tmp_path/'bin'
    programs.mkdir()
    monkeypatch.setenv('PATH', str(programs))
    monkeypatch.setenv('PLAYWRIGHT_BROWSERS_PATH', str(tmp_path/'fetched'))
    monkeypatch.setattr(browser, 'APPS', ())
    monkeypatch.setattr(browser, 'is_root', lambda: False)
    monkeypatch.setattr(browser, 'fetchable', lambda seconds=3: False)
    return programs


unix = pytest.mark.skipif(os.name == 'nt', reason='programs are shell scripts here')


@unix
def test_a_browser_is_found_in_this_order(bare, tmp_path, monkeypatch):
    assert browser.find() is None
    build = tmp_path/'fetched'/'chromium-{}'/'chrome-linux64'
    for number in (99, 1200): os.makedirs(str(build).format(number))
    program(tmp_path/'fetched'/'chromium-99'/'chrome-linux64'/'chrome', 'exit 0')
    newest = program(tmp_path/'fetched'/'chromium-1200'/'chrome-linux64'/'chrome', 'exit 0')
    assert browser.find() == newest, 'the newest that Playwright has'
    program(bare/'chromium-browser', 'echo "install the snap"; exit 1')
    assert browser.find() == newest, 'a program that does not start is none'
    there = program(bare/'google-chrome', 'exit 0')
    assert browser.find() == there, 'before it, one that is installed'
    named = program(tmp_path/'brave', 'exit 0')
    monkeypatch.setenv('CHROMIUM', named)
    assert browser.find() == named, 'before all, the one that is named'
    monkeypatch.setenv('CHROMIUM', str(tmp_path/'nothing'))
    with pytest.raises(OSError, match="CHROMIUM: got '.*nothing'; expected a browser that starts"): browser.find()


@unix
def test_another_node_drives_playwright_where_its_own_does_not_start(bare, monkeypatch):
    monkeypatch.delenv('PLAYWRIGHT_NODEJS_PATH', raising=False)
    python, node = program(bare/'python', 'exit 127'), program(bare/'node', 'exit 0')
    browser.lend_node(python)
    assert os.environ.pop('PLAYWRIGHT_NODEJS_PATH') == node
    program(bare/'python', 'exit 0')
    browser.lend_node(python)
    assert 'PLAYWRIGHT_NODEJS_PATH' not in os.environ, 'its own will do'


def test_what_is_missing_is_said_in_one_line(bare, monkeypatch):
    with pytest.raises(SystemExit) as said: environment.ask(for_tests=True)
    words = str(said.value)
    assert '\n' not in words and all(w in words for w in ('apt install chromium', 'playwright install chromium', 'CHROMIUM=', 'BROWSER=0'))
    environment.ask(for_tests=False)                                # to read the book no browser is needed
    monkeypatch.setenv('BROWSER', '0')
    environment.ask(for_tests=True)


@unix
def test_a_user_is_told_within_seconds(bare, tmp_path, monkeypatch):
    "The real command, with nothing but what it stands on: before anything is installed, and before five seconds are over"
    code = 'import sys; sys.path.insert(0, "tools"); import browser, environment; browser.is_root = lambda: False; browser.APPS = (); environment.main(["--ask", "browser"])'
    spent = os.times().children_user
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, env={**os.environ, 'PLAYWRIGHT_DOWNLOAD_HOST': 'http://127.0.0.1:9'}, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith('nca_tutorial: the tests look at the pages with Chromium') and done.stderr.count('\n') == 1, done.stderr
    assert os.times().children_user - spent < 5


def test_root_gets_debians_packages(bare, monkeypatch):
    asked = []
    monkeypatch.setattr(browser, 'has_apt', lambda: True)
    monkeypatch.setattr(browser, 'apt', lambda *packages: asked.append(packages) or True)
    environment.ask(for_tests=True)
    assert asked == [('chromium', 'fonts-noto-color-emoji')]
    monkeypatch.setattr(browser, 'apt', lambda *packages: False)
    with pytest.raises(SystemExit, match='could not be installed: chromium .*BROWSER=0'): environment.ask(for_tests=True)


@pytest.fixture
def installs(tmp_path, monkeypatch):
    "Installers that are not run: give what each says, get the commands"
    monkeypatch.chdir(tmp_path)
    os.makedirs('.venv')
    commands, answers = [], {}
    def stream(cmd, log, say, env=None):
        way = next((w for w in ('uv', 'ci') if w in cmd[:5]), 'pip') if 'uv' not in cmd[-4:] or cmd[2] == 'uv' else 'get uv'
        commands.append(way)
        return answers.get(way, (0, ''))
    monkeypatch.setattr(environment, 'stream', stream)
    monkeypatch.setattr(environment, 'make_venv', lambda venv: None)
    monkeypatch.setattr(environment, 'uv_env', lambda venv: {})
    return commands, answers


def test_uv_installs(installs):
    environment.install()
    assert installs[0] == ['get uv', 'uv']


def test_pip_installs_where_uv_cannot(installs, capsys):
    commands, answers = installs
    answers['uv'] = 1, 'error: no such option'
    environment.install()
    assert commands == ['get uv', 'uv', 'pip'] and 'once more with pip' in capsys.readouterr().out
    commands.clear()
    answers['get uv'] = 1, 'ERROR: No matching distribution found for uv'
    environment.install()
    assert commands == ['get uv', 'pip']


@pytest.mark.parametrize('words', ['error: Failed to fetch: `https://a.b/torch.whl`\n Caused by: error sending request\n Caused by: dns error',
    'error: Failed to download `x`\n  Caused by: tunnel error: failed to create underlying connection', 'Caused by: error decoding response body',
    'npm error code ECONNRESET', 'WARNING: Retrying ... Connection reset by peer'])
def test_without_network_one_line(installs, words):
    commands, answers = installs
    answers['uv'] = 1, words
    with pytest.raises(SystemExit) as said: environment.install()
    assert str(said.value).startswith('nca_tutorial: no network: the packages could not be downloaded') and '\n' not in str(said.value)
    assert 'goes on from there' in str(said.value) and commands == ['get uv', 'uv']


@pytest.mark.parametrize('line, said', [('  Downloading torch-2.15-cp311.whl (539.1 MB)\n', 'downloading torch-2.15-cp311.whl (539.1 MB)'),
    ('Downloading torch (514.2MiB)\n', 'downloading torch (514.2 MB)'), ('Downloading six (11.0KiB)\n', None), ('Prepared 194 packages in 18.35s\n', 'prepared 194 packages in 18.35s'),
    ('Installing collected packages: a, b, c\n', 'installing 3 packages'), (' Downloaded torch\n', None)])
def test_news(line, said): assert environment.news(line) == said


@unix
def test_npm_is_the_systems_or_the_wheels(bare, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert environment.find_npm() is None
    os.makedirs('.venv/bin')
    program(tmp_path/'.venv'/'bin'/'npm', 'exit 0')
    assert environment.find_npm() == os.path.join('.venv', 'bin', 'npm')
    assert environment.find_npm() != program(bare/'npm', 'exit 0') and environment.find_npm() == str(bare/'npm')
