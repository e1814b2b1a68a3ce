"""What holds the package together: which module may import which, and what importing may not do."""

from __future__ import annotations

import ast
import io
import json
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest

import neurosim as ns
from neurosim.citations import CITATIONS

PACKAGE = Path(ns.__file__).parent
ROOT = PACKAGE.parent

#: lowest first; a module imports from its own layer and from those below
LAYERS = (
    (
        "errors",
        "registry",
        "checks",
        "atomicfile",
        "assets",
        "citations",
        "yamltext",
        "yamlfile",
        "yamldump",
        "wording",
        "hdf5",
        "described",
    ),
    ("surrogate",),
    ("random", "ops", "clock"),
    ("encoding", "quantizers"),
    ("neurons", "norms", "activations", "losses"),
    ("hardware",),
    ("nn",),
    ("ei",),
    ("convert",),
    ("initialisers",),
    ("models", "datasets", "analysis", "plot", "catalogue"),
    ("sparsity",),
    ("config",),
    ("training",),
    ("sweep",),
    ("studies",),
    ("doctor", "cli", "__main__"),
)
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}

#: files that may have more than 300 lines, and why
LONG_FILES: dict[str, str] = {}

#: where torch's global generators may be touched, and why
GLOBAL_RANDOMNESS = {
    "initialisers/draws.py": "without a seed, first weights are drawn as torch's own are; training forks and seeds it around them",
    "analysis/signal_probe.py": "forks it around a model that is only looked at and may draw from it",
    "models/base.py": "torch's own initialisers draw from it; training forks and seeds it around them",
    "models/spiking_parts.py": "forks it around a neuron with weights that is only looked at",
    "training/build.py": "forks it and seeds the fork, for layers of torch that know no other source",
    "training/checkpoint.py": "saves and restores it, for a recipe of the user's that draws from it",
}

Module = tuple[str, ...]


def _files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def _module(path: Path) -> Module:
    """``neurosim/nn/analog.py`` is ``("nn", "analog")``; the package itself is ``()``."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def _modules() -> frozenset[Module]:
    return frozenset(_module(path) for path in _files())


def _imports(path: Path) -> Iterator[tuple[int, Module]]:
    """Line and target of every import of our own modules, inside functions and ``if TYPE_CHECKING`` too."""
    here = _module(path)
    package = here if path.name == "__init__.py" else here[:-1]
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            for item in node.names:
                if item.name.split(".")[0] == "neurosim":
                    yield node.lineno, tuple(item.name.split(".")[1:])
        elif isinstance(node, ast.ImportFrom):
            base = tuple((node.module or "").split(".")) if node.module else ()
            if node.level:
                base = ("neurosim", *package[: len(package) - node.level + 1], *base)
            if base[:1] == ("neurosim",):
                for item in node.names:
                    yield node.lineno, _target(base[1:], item.name)


def _target(base: Module, name: str) -> Module:
    """The module that ``from base import name`` needs: a submodule, or the base itself; for a public name of the package, its home."""
    if (*base, name) in _modules():
        return (*base, name)
    if base == () and name in ns._HOME:
        return tuple(ns._HOME[name].split(".")[1:])
    return base


def test_there_are_files_to_look_at() -> None:
    assert len(_files()) > 30


def test_every_module_has_a_layer() -> None:
    unknown = {module[0] for module in _modules() if module} - RANK.keys()
    assert not unknown, f"give {sorted(unknown)} a layer in LAYERS"


def test_imports_go_one_way() -> None:
    wrong = []
    for path in _files():
        here = _module(path)
        for line, target in _imports(path) if here else ():
            rank = RANK.get(here[0], 0)
            if target == () and rank < RANK["cli"] and not _only_version(path, line):
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports the whole package")
            elif target and RANK.get(target[0], 0) > rank:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports neurosim.{'.'.join(target)}, which is above it")
    assert not wrong, "\n".join(wrong)


def _only_version(path: Path, line: int) -> bool:
    nodes = (node for node in ast.walk(_tree(path)) if isinstance(node, ast.ImportFrom) and node.lineno == line)
    return all(item.name == "__version__" for node in nodes for item in node.names)


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {
        _module(path): {target for _, target in _imports(path) if target not in ((), _module(path))} for path in _files() if _module(path)
    }
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle
    assert set(graph) <= set(order)


def test_recipes_use_the_public_interface_only() -> None:
    recipes = sorted((ROOT / "training").glob("*.py"))
    assert recipes
    wrong = []
    for path in recipes:
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("neurosim."):
                wrong.append(f"{path.name}:{node.lineno} imports from {node.module}")
            if isinstance(node, ast.Import) and any(item.name.startswith("neurosim.") for item in node.names):
                wrong.append(f"{path.name}:{node.lineno} imports a module of the package")
            if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
                wrong.append(f"{path.name}:{node.lineno} uses {node.attr}")
    assert not wrong, "\n".join(wrong)


def test_no_file_is_long_without_a_reason() -> None:
    lengths = {path.relative_to(PACKAGE).as_posix(): len(path.read_text(encoding="utf-8").splitlines()) for path in _files()}
    assert not {name: length for name, length in lengths.items() if length > 300 and name not in LONG_FILES}
    assert all(lengths.get(name, 0) > 300 for name in LONG_FILES), "a file of LONG_FILES has become short: take it out"


@pytest.mark.parametrize(
    "registry",
    [
        "ACTIVATIONS",
        "INITIALISERS",
        "STAGES",
        "MODELS",
        "DATASETS",
        "METRICS",
        "NEURONS",
        "NORMS",
        "SURROGATES",
        "ENCODERS",
        "LOSSES",
        "REGULARIZERS",
    ],
)
def test_no_registry_is_empty_even_when_it_is_the_first_thing_asked_for(registry: str) -> None:
    assert int(_run(f"import neurosim; print(len(neurosim.{registry}))")) > 0


def test_the_registry_of_citations_is_not_empty() -> None:
    assert len(CITATIONS) > 0


def _sources() -> list[Path]:
    """Everything that ships or runs: the package and the recipes."""
    return [*_files(), *sorted((ROOT / "training").glob("*.py"))]


def test_every_error_that_is_made_is_raised() -> None:
    """``ConfigError("...")`` as a statement of its own does nothing at all."""
    lost = []
    for path in _sources():
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
                name = _dotted(node.value.func).rpartition(".")[2]
                if re.search(r"(Error|Exception|Warning|Interrupted|Exit)$", name):
                    lost.append(f"{path.relative_to(ROOT)}:{node.lineno} makes {name} and drops it")
    assert not lost, "\n".join(lost)


_ONE_TEXT = ("ValueError", "TypeError", "RuntimeError", "ConfigError", "ConversionError", "DataError", "CheckpointError", "RunError")


def test_messages_are_one_string() -> None:
    """``ValueError(f"...", f"...")`` shows the user a tuple."""
    wrong = []
    for path in _sources():
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and _dotted(node.exc.func) in _ONE_TEXT:
                texts = [argument for argument in node.exc.args if isinstance(argument, ast.JoinedStr) or _is_text(argument)]
                if len(texts) > 1:
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not wrong, "\n".join(wrong)


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


_DRAWS = re.compile(
    r"torch\.(cuda\.|mps\.|random\.)?(manual_seed|manual_seed_all|seed|initial_seed|get_rng_state|set_rng_state|fork_rng|default_generator)"
    r"|torch\.(rand|randn|randint|randperm|normal|bernoulli|multinomial|poisson|rand_like|randn_like|randint_like|binomial)"
    r"|torch\.random(\..*)?|(np|numpy)\.random\.(?!default_rng|Generator).*|(torch\.)?nn\.init\..*|random\.(seed|random|randint|shuffle|choice|gauss)"
    r"|.*\.(normal_|uniform_|bernoulli_|random_|exponential_|cauchy_|geometric_|log_normal_)"
)


def test_nothing_draws_from_a_global_generator() -> None:
    used: dict[str, list[str]] = {}
    for path in _files():
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.Attribute) and _DRAWS.fullmatch(name := _dotted(node)):
                used.setdefault(path.relative_to(PACKAGE).as_posix(), []).append(f"{path.relative_to(ROOT)}:{node.lineno} uses {name}")
            if isinstance(node, ast.Import) and any(item.name == "random" for item in node.names):
                used.setdefault(path.relative_to(PACKAGE).as_posix(), []).append(f"{path.relative_to(ROOT)}:{node.lineno} imports random")
    surprising = [line for name, lines in used.items() if name not in GLOBAL_RANDOMNESS for line in lines]
    assert not surprising, "\n".join(surprising)
    assert set(GLOBAL_RANDOMNESS) == set(used), "a file of GLOBAL_RANDOMNESS does not need it any more: take it out"


def _dotted(node: ast.expr) -> str:
    """``torch.nn.init`` of the expression; what is not a name is ``?``."""
    if isinstance(node, ast.Name):
        return node.id
    return f"{_dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else "?"


def test_only_the_command_line_prints() -> None:
    wrong = []
    for path in _files():
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.Call) and _dotted(node.func) in ("print", "sys.stdout.write") and _module(path) != ("cli", "output"):
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not wrong, "\n".join(wrong)


def _comments(path: Path) -> Iterator[tuple[int, str]]:
    source = path.read_text(encoding="utf-8")
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def test_every_exception_from_a_tool_says_why() -> None:
    """``# type: ignore[code]  # why`` and ``# noqa: CODE  # why``; never for everything, never without a reason."""
    wrong = []
    for path in (*_sources(), *sorted((ROOT / "tests").rglob("*.py")), *sorted((ROOT / "benchmarks").rglob("*.py"))):
        for line, comment in _comments(path):
            for mark in re.finditer(r"#\s*(type: ignore|noqa)(\[[\w-]+(, ?[\w-]+)*\]|: ?[A-Z]+\d+(, ?[A-Z]+\d+)*)?", comment):
                rest = comment[mark.end() :]
                reason = re.sub(r"#\s*(type: ignore|noqa)\S*( [A-Z]+\d+)?", "", rest).strip(" #")
                if mark[2] is None or len(reason) < 8:
                    wrong.append(f"{path.relative_to(ROOT)}:{line} {comment}")
    assert not wrong, "\n".join(wrong)


def _run(program: str) -> str:
    """What a fresh Python prints."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_package_imports_none_of_the_heavy_ones() -> None:
    heavy = "{'torch', 'numpy', 'pydantic', 'h5py', 'snntorch', 'norse', 'matplotlib', 'dask', 'torchvision'}"
    assert _run(f"import sys, neurosim; print(sorted(set(sys.modules) & {heavy}))").strip() == "[]"


#: every public name but those of figures, whose business matplotlib is
_ALL_NAMES = "import neurosim; [getattr(neurosim, name) for name in neurosim.__all__ if name != 'plot']"

_LOOK_AROUND = f"""
import json, sys, threading, torch
def state():
    return [torch.get_num_threads(), str(torch.get_default_dtype()), torch.is_grad_enabled(), torch.get_rng_state().tolist()]
before = state()
{_ALL_NAMES}
found = {{"modules": sorted(sys.modules), "gpu": torch.cuda.is_initialized(), "threads": threading.active_count()}}
print(json.dumps({{**found, "same": before == state()}}))
"""


@pytest.fixture(scope="module")
def afterwards() -> dict[str, Any]:
    """What a fresh Python looks like in which every public name was used."""
    found: dict[str, Any] = json.loads(_run(_LOOK_AROUND))
    return found


def test_using_every_public_name_imports_neither_matplotlib_nor_what_is_optional(afterwards: dict[str, Any]) -> None:
    assert "neurosim.sweep.run" in afterwards["modules"]
    heavy = {"snntorch", "norse", "matplotlib", "dask", "torchvision", "tensorboard", "jinja2", "pooch"}
    assert not heavy & set(afterwards["modules"])


def test_using_every_public_name_sets_up_no_gpu(afterwards: dict[str, Any]) -> None:
    assert afterwards["gpu"] is False


def test_using_every_public_name_starts_no_thread(afterwards: dict[str, Any]) -> None:
    assert afterwards["threads"] == 1


def test_using_every_public_name_leaves_torch_as_it_was(afterwards: dict[str, Any]) -> None:
    """Thread count, default type, gradient mode and the state of the global generator."""
    assert afterwards["same"] is True


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="only Linux tells how many threads the operating system sees")
def test_importing_the_package_starts_no_thread_that_python_does_not_know_of() -> None:
    assert _run("import os, neurosim; print(len(os.listdir('/proc/self/task')))").strip() == "1"


def test_using_every_public_name_takes_less_than_two_seconds_more_than_torch() -> None:
    """Processor time, not time on the clock, and the best of three: what else the machine does is not counted."""
    clock = "import time, torch; start = time.process_time(); {}; print(time.process_time() - start)"
    assert min(float(_run(clock.format(_ALL_NAMES))) for _ in range(3)) < 2.0
