from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from neurosim.config import load_plugin, loaded_plugins
from neurosim.errors import ConfigError

MODEL = """\
from torch import nn
import neurosim as ns

@ns.MODELS.register("my_net")
class MyNet(nn.Module):
    def __init__(self, width: int, classes: int = 10) -> None:
        super().__init__()
        self.layer = nn.Linear(width, classes)
"""


def problem(path: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_plugin(path)
    (line,) = caught.value.problems
    return line


def run(code: str, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_plugin_adds_a_kind_that_configs_may_name(here: Path) -> None:
    Path("my_net.py").write_text(MODEL)
    code = (
        "from neurosim.config import *\n"
        "from neurosim.errors import ConfigError\n"
        "data = {'name': 'x', 'data': {'kind': 'digits'}, 'model': {'kind': 'my_net', 'width': 64}}\n"
        "try:\n"
        "    load_config(data)\n"
        "except ConfigError as error:\n"
        "    print(error)\n"
        "load_plugin('my_net.py')\n"
        "print(load_config(data).model.arguments)\n"
        "print('ModelConfig.my_net' in json_schema()['$defs'])\n"
        "try:\n"
        "    load_config(data, ['model.widht=3'])\n"
        "except ConfigError as error:\n"
        "    print(error)\n"
    )
    first, *rest = run(code).splitlines()
    assert first.startswith("config: model.kind: no model is named 'my_net'")
    assert rest == [
        "{'width': 64, 'classes': 10}",
        "True",
        "--set model.widht=3: model.widht: unknown key; did you mean 'width'?",
    ]


def test_a_config_cannot_name_a_plugin(here: Path) -> None:
    from neurosim.config import load_config

    Path("run.yaml").write_text("extends: base.yaml\nplugin: my_net.py\n")
    with pytest.raises(ConfigError, match=r"^run\.yaml:2: plugin: unknown key"):
        load_config("run.yaml")


def test_a_plugin_is_run_once(here: Path) -> None:
    Path("once.py").write_text("from pathlib import Path\nwith Path('log').open('a') as log:\n    log.write('x')\n")
    assert load_plugin("once.py") is load_plugin(here / "once.py")
    assert Path("log").read_text() == "x"
    assert here / "once.py" in loaded_plugins()


def test_two_plugins_of_one_name_are_two(here: Path) -> None:
    for folder in ("a", "b"):
        Path(folder).mkdir()
        Path(folder, "my.py").write_text(f"WHERE = {folder!r}")
    assert (load_plugin("a/my.py").WHERE, load_plugin("b/my.py").WHERE) == ("a", "b")


def test_what_a_plugin_defines_travels_to_a_process_that_has_loaded_it(here: Path) -> None:
    Path("my_types.py").write_text("class Thing:\n    def __init__(self, size):\n        self.size = size\n")
    Path("thing").write_bytes(pickle.dumps(load_plugin("my_types.py").Thing(5)))
    code = (
        "import pickle, sys\nfrom pathlib import Path\nfrom neurosim.config import load_plugin\n"
        "load_plugin(sys.argv[1])\nprint(pickle.loads(Path('thing').read_bytes()).size)\n"
    )
    assert run(code, str(here / "my_types.py")) == "5\n"


@pytest.mark.parametrize("name", ["none.py", "folder.py", "text.txt"])
def test_what_is_no_python_file_is_refused(here: Path, name: str) -> None:
    Path("folder.py").mkdir()
    Path("text.txt").touch()
    assert problem(name) == f"--plugin {name}: must be an existing Python file (.py)"


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("x = 1\ny = = 2\n", 2, "must be valid Python: invalid syntax"),
        ("def f():\n    return 1 / 0\n\nf()\n", 2, "the plugin failed with ZeroDivisionError: division by zero"),
        ("import json\n\njson.loads('{')\n", 3, "the plugin failed with JSONDecodeError: "),
        ("import no_such_thing\n", 1, "the plugin failed with ModuleNotFoundError: No module named 'no_such_thing'"),
        ("\nraise SystemExit(3)\n", 2, "the plugin failed with SystemExit: 3"),
        ("raise ValueError('two\\nlines')\n", 1, "the plugin failed with ValueError: two lines"),
        (
            "from neurosim.registry import Registry\nr = Registry('model')\nr.add('mlp', 1)\nr.add('mlp', 2)\n",
            4,
            "model: the name 'mlp' is already registered, to 1",
        ),
    ],
)
def test_a_plugin_that_fails_is_one_line_with_its_place(here: Path, text: str, line: int, reason: str) -> None:
    Path("bad.py").write_text(text)
    assert problem("bad.py").startswith(f"bad.py:{line}: {reason}")
    assert not any(path.name == "bad.py" for path in loaded_plugins())


def test_an_interrupt_is_no_fault_of_the_plugin(here: Path) -> None:
    Path("slow.py").write_text("raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load_plugin("slow.py")
    assert not any(path.name == "slow.py" for path in loaded_plugins())


def test_a_plugin_can_be_mended_and_loaded_again(here: Path) -> None:
    Path("mended.py").write_text("X = 1 / 0")
    problem("mended.py")
    Path("mended.py").write_text("X = 10")
    assert load_plugin("mended.py").X == 10
