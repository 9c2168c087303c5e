"""The house rules of DESIGN.md, read from the syntax tree: which way imports go, and how long things may be."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted([*ROOT.glob("core/**/*.py"), *ROOT.glob("studio/**/*.py"), ROOT / "launch.py"])
TESTS = sorted(ROOT.glob("tests/**/*.py"))
CORE = [path for path in SOURCES if path.is_relative_to(ROOT / "core")]

# Every module may import what stands here for the longest prefix of its name, what lies inside that prefix, and LEAVES.
LEAVES = {"core.errors", "core.files", "core.pages"}  # these import nothing of ours but each other
# The studio is laid in layers: a package imports those before it, and core.
LAYERS = ("service", "formats", "figures", "widgets", "work", "handlers", "endpoints", "tabs")
MAY_IMPORT = {
    "core": {"core"},  # the public names
    "core.nets": set(),
    "core.schedules": set(),
    "core.noise": set(),
    "core.metrics": set(),
    "core.prediction": {"core.schedules"},
    "core.sampling": {"core.schedules", "core.prediction", "core.noise"},
    "core.samplers": {"core.schedules", "core.prediction", "core.noise", "core.sampling"},
    "core.guidance": {"core.schedules", "core.prediction"},
    "core.toy": {"core.schedules", "core.prediction"},
    "core.recipe": {"core.schedules", "core.sampling", "core.samplers"},
    "core.emphasis": {"core.nets"},
    "core.adherence": {"core.metrics"},
    "core.plane": set(),
    "core.latents": set(),
    "core.costs": {"core.nets"},
    "core.footprint": {"core.nets", "core.recipe", "core.sampling"},
    "core.judge": {"core.nets", "core.schedules"},
    "core.extras": {"core.nets", "core.schedules", "core.checkpoints", "core.judge", "core.metrics"},
    "core.tradeoff": {f"core.{name}" for name in ["schedules", "prediction", "noise", "sampling", "samplers", "toy", "recipe",
                                                  "metrics", "assumptions.line"]},
    "core.checkpoints": {"core.nets", "core.schedules"},  # what a scheduler config says becomes a Schedule
    "core.training": {"core.nets", "core.schedules", "core.prediction", "core.metrics"},
    "core.pipeline": {"core"},
    "core.observe": {"core"},
    "core.between": {"core"},
    "core.claims": {"core"},
    "core.assumptions": {"core"},
    "core.perfect": {"core"},
    "core.live": {"core"},
    "core.inside": {"core"},
    "core.contrast": {"core"},
    "core.evaluation": {"core"},
    "studio": set(),
    "studio.options": set(),
    "studio.command": {"core", "studio.options", "studio.formats", "studio.service", "studio.app"},
    "studio.crowd": {"studio.formats"},
    **{f"studio.{name}": {"core", *(f"studio.{below}" for below in LAYERS[:place])} for place, name in enumerate(LAYERS)},
    "studio.app": {"core", "studio"},
    "launch": {"studio.options", "studio.command"},
    **dict.fromkeys(LEAVES, frozenset()),
}
# What core may use of other people's packages: the first three anywhere, the rest where it stands.
ANYWHERE = {"torch", "numpy", "einops"}
ONLY_IN = {
    "core.recipe": {"pydantic", "pydantic_core"},
    "core.checkpoints": {"safetensors"},
    "core.nets.tokenizer": {"tokenizers"},
    "core.pipeline": {"PIL"},
    "core.training": {"safetensors", "tokenizers", "PIL", "accelerate", "resvg_py"},
}
LAUNCH_TIME = {"launch", "studio.options", "studio.command"}  # the standard library only, at import
PICKLES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def module_name(path: Path) -> str:
    """`core/nets/unet.py` is core.nets.unet."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


OURS = {module_name(path) for path in SOURCES}


def rule(module: str) -> str:
    """The longest prefix of a module's name that MAY_IMPORT speaks of."""
    parts = module.split(".")
    return next(name for size in range(len(parts), 0, -1) if (name := ".".join(parts[:size])) in MAY_IMPORT)


def within(module: str, prefix: str) -> bool:
    return module == prefix or module.startswith(prefix + ".")


def imports(path: Path, top_level: bool = False) -> set[str]:
    """The full names of what a file imports, relative ones resolved; top_level: only what importing it imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = module_name(path) if path.name == "__init__.py" else module_name(path).rpartition(".")[0]
    found: set[str] = set()
    for node in at_import(tree) if top_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                base = ".".join([*parents[: len(parents) - node.level + 1], *filter(None, [node.module])])
            found |= {name if (name := f"{base}.{alias.name}") in OURS else base for alias in node.names}
    return found


def at_import(tree: ast.Module) -> list[ast.stmt]:
    """The statements that run when a module is imported; what only a type checker reads is left out."""
    found: list[ast.stmt] = []
    for node in tree.body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.unparse(node.test):
            found += at_import(ast.Module([*node.body, *node.orelse], []))
        elif isinstance(node, ast.Try):
            found += at_import(ast.Module([*node.body, *[s for h in node.handlers for s in h.body], *node.orelse], []))
        elif not isinstance(node, ast.If):
            found.append(node)
    return found


def named(paths: list[Path]) -> list:
    return [pytest.param(path, id=str(path.relative_to(ROOT))) for path in paths]


@pytest.mark.parametrize("path", named(SOURCES))
def test_imports_go_one_way(path: Path) -> None:
    module, home = module_name(path), rule(module_name(path))
    ours = {name for name in imports(path) if name.split(".")[0] in ("core", "studio", "launch")}
    inside = {name for name in ours if within(name, home) and home not in ("core", "studio")}
    wrong = {name for name in ours - inside if not any(within(name, good) for good in MAY_IMPORT[home] | LEAVES)}
    assert not wrong, f"{module} may import {sorted(MAY_IMPORT[home])}, not {sorted(wrong)}"


@pytest.mark.parametrize("path", named([path for path in SOURCES if module_name(path).startswith("studio.tabs.")]))
def test_no_tab_imports_another_tab(path: Path) -> None:
    others = {name for name in imports(path) if name.startswith("studio.tabs.")}
    assert not others - {name for name in others if within(name, "studio.tabs.labs")}


@pytest.mark.parametrize("path", named(CORE))
def test_core_uses_few_packages_each_in_its_place(path: Path) -> None:
    allowed = ANYWHERE.union(*(names for home, names in ONLY_IN.items() if within(module_name(path), home)))
    used = {name.split(".")[0] for name in imports(path)} - set(sys.stdlib_module_names) - {"core"}
    assert not used - allowed


def test_training_runs_where_only_its_six_packages_are_installed() -> None:
    modules = [module_name(path) for path in CORE if module_name(path).startswith("core.training")]
    modules = [name for name in modules if not name.endswith("__main__")]
    absent = ["pydantic", "gradio", "matplotlib", "segno", "resvg_py", "accelerate", "scipy"]
    code = f"""
import importlib, sys
sys.modules.update(dict.fromkeys({absent}))
for name in {modules}:
    importlib.import_module(name)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", named([path for path in SOURCES if module_name(path) in LAUNCH_TIME]))
def test_the_command_line_needs_only_the_standard_library_at_import(path: Path) -> None:
    outside = {name for name in imports(path, top_level=True) if name.split(".")[0] not in sys.stdlib_module_names}
    assert outside <= LAUNCH_TIME


@pytest.mark.parametrize("path", named(CORE))
def test_core_does_not_print(path: Path) -> None:
    if module_name(path).endswith("__main__"):
        pytest.skip("a command line of its own")
    calls = (node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call))
    assert not [node.lineno for node in calls if isinstance(node.func, ast.Name) and node.func.id == "print"]


@pytest.mark.parametrize("path", named(SOURCES))
def test_no_pickle_is_ever_read(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert not {name.split(".")[0] for name in imports(path)} & PICKLES
    assert not calls & {"torch.load", "torch.jit.load", "torch.hub.load", "numpy.load", "eval", "exec"}
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg == "allow_pickle"
                and ast.unparse(node.value) != "False"]


@pytest.mark.parametrize("path", named([*SOURCES, *TESTS]))
def test_files_stay_within_400_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("path", named(SOURCES))
def test_functions_stay_within_60_lines(path: Path) -> None:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, functions)]
    assert not [f"{node.name}: {size}" for node in nodes if (size := node.end_lineno - node.lineno + 1) > 60]


@pytest.mark.parametrize("path", named(SOURCES))
def test_a_module_says_which_idea_lives_in_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not text.strip() or ast.get_docstring(ast.parse(text))


def test_the_top_level_holds_only_what_the_customer_fixed() -> None:
    names = {"pyproject.toml", "studio", "core", "assets", "tests", "launch.py", "README.md", "LICENSE", "CHANGELOG.md"}
    names |= {"CONTRIBUTING.md", "CITATION.cff", "CLAIMS.md", "Dockerfile"}
    made = {"build", "dist", "shared", "__pycache__"}
    extra = {path.name for path in ROOT.iterdir()} - names - made
    assert not {name for name in extra if not re.fullmatch(r"\..*|requirements.*\.txt|.*\.egg-info", name)}


def test_the_rules_would_notice_a_wrong_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "core" / "nets").mkdir(parents=True)
    bad = tmp_path / "core" / "nets" / "bad.py"
    bad.write_text("from ..pipeline import TextToImage\nimport gradio as gr\n")
    assert imports(bad) == {"core.pipeline", "gradio"}
    with pytest.raises(AssertionError, match=r"core\.pipeline"):
        test_imports_go_one_way(bad)
