"""The rules of the house that a linter cannot hold, each with its story, each proved to fail.

A rule reads one module's syntax tree and names its faults. The first tests run every rule over
every module of acron; the last ones show each rule a fault that it must find, and its honest twin
that it must let pass. The layers are import-linter's (see pyproject.toml), run here as well.
"""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Rule = Callable[["Module"], Iterator[str]]

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "acron").rglob("*.py"))

READS_TIME = {
    "datetime.date.today",
    "datetime.datetime.now",
    "datetime.datetime.today",
    "datetime.datetime.utcnow",
    "time.monotonic",
    "time.monotonic_ns",
    "time.perf_counter",
    "time.perf_counter_ns",
    "time.time",
    "time.time_ns",
}
MAY_READ_TIME = {"acron/clock.py"}
BLOCKS = {
    "input",
    "io.open",
    "open",
    "os.fsync",
    "os.system",
    "sqlite3.connect",
    "subprocess.Popen",
    "subprocess.call",
    "subprocess.check_call",
    "subprocess.check_output",
    "subprocess.run",
    "time.sleep",
    "urllib.request.urlopen",
}
ALL_ERRORS = {"BaseException", "Exception"}
MAX_FILE, MAX_FUNCTION = 420, 60


class Module:
    """One source file: its place in the tree, its text, and what its names stand for."""

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.lines = text.count("\n")
        self.tree = ast.parse(text)
        self.nodes = list(ast.walk(self.tree))
        self._names: dict[str, str] = {}
        for node in self.nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    top = alias.name.partition(".")[0]
                    self._names[alias.asname or top] = alias.name if alias.asname else top
            elif isinstance(node, ast.ImportFrom) and node.module is not None:
                for alias in node.names:
                    self._names[alias.asname or alias.name] = f"{node.module}.{alias.name}"

    def full_name(self, node: ast.AST) -> str:
        """The dotted name of an expression, imports followed; empty when it is no plain name."""
        if isinstance(node, ast.Name):
            return self._names.get(node.id, node.id)
        if isinstance(node, ast.Attribute) and (owner := self.full_name(node.value)):
            return f"{owner}.{node.attr}"
        return ""

    def called(self, nodes: list[ast.AST]) -> Iterator[tuple[ast.Call, str]]:
        for node in nodes:
            if isinstance(node, ast.Call):
                yield node, self.full_name(node.func)


def time_is_read_in_one_place(module: Module) -> Iterator[str]:
    """Virtual time, the clock-jump tests and "never twice" hang on one door to the clock."""
    if module.path in MAY_READ_TIME:
        return
    for node in module.nodes:
        name = module.full_name(node)
        if name in READS_TIME:
            yield f"{node.lineno}: {name}"  # type: ignore[attr-defined]


def stores_are_handed_now(module: Module) -> Iterator[str]:
    """A store with a clock of its own would disagree with the runtime about what is due."""
    if not module.path.startswith("acron/stores/"):
        return
    for node in module.nodes:
        if isinstance(node, ast.ImportFrom) and node.module == "acron.clock":
            yield f"{node.lineno}: imports the clock"


def nothing_blocks_the_loop(module: Module) -> Iterator[str]:
    """One blocking call in a coroutine delays every job of the program, and the host's own work."""
    for node in module.nodes:
        if isinstance(node, ast.AsyncFunctionDef):
            for call, name in module.called(list(_body_of(node))):
                if name in BLOCKS:
                    yield f"{call.lineno}: {name} in async def {node.name}"


def _body_of(function: ast.AsyncFunctionDef) -> Iterator[ast.AST]:
    """All nodes that run on the loop: plain functions and lambdas inside are for threads."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield node
            waiting.extend(ast.iter_child_nodes(node))


def no_fault_is_swallowed(module: Module) -> Iterator[str]:
    """A scheduler that dies silently is the fault we set out to end: what fails is told."""
    for node in module.nodes:
        if isinstance(node, ast.ExceptHandler) and all(_is_nothing(one) for one in node.body):
            yield f"{node.lineno}: an except that does nothing"
    for call, name in module.called(module.nodes):
        if name == "contextlib.suppress":
            for kind in {module.full_name(one) for one in call.args} & ALL_ERRORS:
                yield f"{call.lineno}: suppress({kind})"


def _is_nothing(node: ast.stmt) -> bool:
    return isinstance(node, ast.Pass) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    )


def only_the_command_line_prints(module: Module) -> Iterator[str]:
    """Embedded in somebody's program, standard output is theirs; we log, or raise an event."""
    if module.path.startswith("acron/cli/"):
        return
    for call, name in module.called(module.nodes):
        if name == "print":
            yield f"{call.lineno}: print"


def a_file_fits_in_a_head(module: Module) -> Iterator[str]:
    """One file is one thought; one that has outgrown a few screens holds several."""
    if module.lines > MAX_FILE:
        yield f"{module.lines} lines, more than {MAX_FILE}"


def a_function_fits_on_a_screen(module: Module) -> Iterator[str]:
    """What is seen whole can be judged whole."""
    for node in module.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION:
                yield f"{node.lineno}: {node.name} has {length} lines, more than {MAX_FUNCTION}"


def a_module_says_what_it_is_for(module: Module) -> Iterator[str]:
    """A newcomer reads the tree first; each file answers for itself in its first line."""
    if not ast.get_docstring(module.tree):
        yield "no docstring"


def nobody_inside_imports_the_front_door(module: Module) -> Iterator[str]:
    """The package root imports everything: behind ``from acron import Job`` any layer may hide."""
    if module.path == "acron/__main__.py" or module.path.startswith("acron/cli/"):
        return
    for node in module.nodes:
        if isinstance(node, ast.ImportFrom) and node.module == "acron":
            for alias in node.names:
                if not _is_module(f"acron/{alias.name}"):
                    yield f"{node.lineno}: from acron import {alias.name}"
        if isinstance(node, ast.ImportFrom) and node.level:
            yield f"{node.lineno}: a relative import hides the layer it names"


def _is_module(path: str) -> bool:
    return (ROOT / path).is_dir() or (ROOT / f"{path}.py").is_file()


RULES: tuple[Rule, ...] = (
    time_is_read_in_one_place,
    stores_are_handed_now,
    nothing_blocks_the_loop,
    no_fault_is_swallowed,
    only_the_command_line_prints,
    a_file_fits_in_a_head,
    a_function_fits_on_a_screen,
    a_module_says_what_it_is_for,
    nobody_inside_imports_the_front_door,
)


@pytest.fixture(scope="module")
def modules() -> list[Module]:
    """All of acron, parsed once for all rules."""
    return [Module(one.relative_to(ROOT).as_posix(), one.read_text()) for one in FILES]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_module_keeps(rule: Rule, modules: list[Module]) -> None:
    assert len(modules) > 10
    faults = [f"{module.path}:{fault}" for module in modules for fault in rule(module)]
    assert not faults, "\n".join([str(rule.__doc__), *faults])


FAULTS: dict[Rule, tuple[str, ...]] = {
    time_is_read_in_one_place: (
        "from datetime import datetime\nnow = datetime.now()",
        "import datetime as dt\nnow = dt.datetime.utcnow()",
        "from time import monotonic as tick\nage = tick()",
        "import time\nclock = time.perf_counter",
    ),
    stores_are_handed_now: ("# acron/stores/x.py\nfrom acron.clock import SystemClock",),
    nothing_blocks_the_loop: (
        "async def f():\n    open('x')",
        "import time\nasync def f():\n    if True:\n        time.sleep(1)",
        "from subprocess import run\nasync def f():\n    return [run(['ls']) for _ in 'ab']",
        "import sqlite3\nasync def f():\n    with sqlite3.connect('x') as db:\n        return db",
    ),
    no_fault_is_swallowed: (
        "try:\n    f()\nexcept ValueError:\n    pass",
        "try:\n    f()\nexcept:\n    '''never mind'''",
        "import contextlib\nwith contextlib.suppress(BaseException):\n    f()",
        "from contextlib import suppress as quiet\nwith quiet(KeyError, Exception):\n    f()",
    ),
    only_the_command_line_prints: ("print('hello')",),
    a_file_fits_in_a_head: ("x = 1\n" * (MAX_FILE + 1),),
    a_function_fits_on_a_screen: (
        "def f():\n" + "    x = 1\n" * MAX_FUNCTION,
        "class A:\n    async def f(self):\n" + "        x = 1\n" * MAX_FUNCTION,
    ),
    a_module_says_what_it_is_for: ("x = 1", "'''  '''"),
    nobody_inside_imports_the_front_door: (
        "from acron import Job",
        "from . import model",
        "from ..model import Job",
    ),
}

HONEST: dict[Rule, tuple[str, ...]] = {
    time_is_read_in_one_place: (
        "from datetime import datetime\nat = datetime.fromtimestamp(0)",
        "class C:\n    now = None\nnow = C.now",
        "# acron/clock.py\nimport time\nnow = time.monotonic()",
    ),
    stores_are_handed_now: (
        "# acron/app.py\nfrom acron.clock import SystemClock",
        "# acron/stores/x.py\nfrom acron.model import Job",
    ),
    nothing_blocks_the_loop: (
        "def f():\n    open('x')",
        "async def f():\n    def read():\n        return open('x')\n    return await offload(read)",
        "async def f():\n    return await offload(lambda: open('x'))",
        "async def f(store):\n    await store.open(1)",
    ),
    no_fault_is_swallowed: (
        "try:\n    f()\nexcept ValueError:\n    log.exception('f')",
        "from contextlib import suppress\nwith suppress(FileNotFoundError):\n    f()",
    ),
    only_the_command_line_prints: ("# acron/cli/x.py\nprint('hello')", "console.print('hello')"),
    a_file_fits_in_a_head: ("x = 1\n" * MAX_FILE,),
    a_function_fits_on_a_screen: ("def f():\n" + "    x = 1\n" * (MAX_FUNCTION - 1),),
    a_module_says_what_it_is_for: ("'''What is due.'''\nx = 1",),
    nobody_inside_imports_the_front_door: (
        "from acron import errors",
        "from acron.model import Job",
        "# acron/cli/x.py\nfrom acron import Acron",
    ),
}


def _snippets(table: dict[Rule, tuple[str, ...]]) -> list[tuple[Rule, str]]:
    return [(rule, text) for rule, texts in table.items() for text in texts]


def _found(rule: Rule, text: str) -> list[str]:
    first = text.partition("\n")[0]
    path = first.removeprefix("# ") if first.startswith("# acron/") else "acron/runtime/x.py"
    return list(rule(Module(path, text)))


def test_every_rule_has_its_proof() -> None:
    assert set(FAULTS) == set(HONEST) == set(RULES)
    assert all(rule.__doc__ for rule in RULES)


@pytest.mark.parametrize("rule,text", _snippets(FAULTS))
def test_a_rule_finds_the_fault(rule: Rule, text: str) -> None:
    assert _found(rule, text)


@pytest.mark.parametrize("rule,text", _snippets(HONEST))
def test_a_rule_lets_the_honest_twin_pass(rule: Rule, text: str) -> None:
    assert not _found(rule, text)


# --- layers, by import-linter -------------------------------------------------------------------


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    """The contracts of ``root``'s pyproject.toml, over ``root``'s acron."""
    code = "import sys; from importlinter.cli import lint_imports as f; sys.exit(f(no_cache=True))"
    return subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False
    )


def test_the_layers_hold() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What is said of a tree in which each of `BROKEN` is done."""
    root = tmp_path_factory.mktemp("broken")
    shutil.copy(ROOT / "pyproject.toml", root)
    shutil.copytree(ROOT / "acron", root / "acron", ignore=shutil.ignore_patterns("*.pyc"))
    for room in ("stores", "actions", "runtime", "adapters"):
        (root / "acron" / room / "bad.py").touch()
    for path, line, _ in BROKEN:
        with (root / "acron" / path).open("a") as file:
            file.write(f"\n{line}\n")
    done = lint_imports(root)
    assert done.returncode != 0
    return " ".join(done.stdout.split()) + done.stderr


BROKEN = (
    ("schedules/base.py", "import asyncio", "acron.schedules is not allowed to import asyncio"),
    (
        "schedules/base.py",
        "from acron.clock import Clock",
        "acron.schedules is not allowed to import acron.clock",
    ),
    ("model.py", "import acron.abc", "acron.model is not allowed to import acron.abc"),
    (
        "runtime/bad.py",
        "import acron.stores.bad",
        "acron.runtime is not allowed to import acron.stores",
    ),
    (
        "adapters/bad.py",
        "import acron.actions.bad",
        "acron.adapters is not allowed to import acron.actions",
    ),
    ("homeless.py", "", "not listed as layers: - acron.homeless"),
)


@pytest.mark.parametrize("path,line,told", BROKEN)
def test_a_broken_layer_is_told(broken: str, path: str, line: str, told: str) -> None:
    assert told in broken
