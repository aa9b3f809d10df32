"""The imports go one way: a module imports from its own room and from the rooms listed for it, and from no other."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# From the ground up: a module imports from its own room and from the rooms before it. A package stands for its modules
# that have no place of their own.
ROOMS = """
exceptions _checks _fingerprint _labels _lazy _page _paths _text _tolerance _version
grids schedules theory
trials divergence loss_curves _metrics
prior._law prior._valley prior.valley_prior prior._posterior prior._next_trial
search
journal readers._rows readers._names readers._states readers.runs readers.sqlite
readers._mixture readers._to_sweep readers._delimited readers._json_records readers._parquet readers._files
readers._columns readers._conditions readers._histories readers.table
runners linear
sweep.axes sweep.branches sweep.branching sweep._trunks
sweep.ledger sweep.plan sweep.progress sweep.results sweep.retries sweep.unused_axes sweep.usage
commands.task commands.report commands._template commands._process commands._outputs commands._scripts commands
readers
search.run search.progress
analysis.pruning_audit
analysis._pair_variances analysis._two_way analysis._selection analysis._bounds analysis.degradation analysis.profile
analysis._limits
analysis.recommendation analysis.comparison analysis.noise analysis._pairs
analysis._pair_figures
analysis._entry report.words report.answer report.tables report.text report.pair_words
analysis
report.branched_text
collection._covariates collection.sweeps collection._bound collection._clusters collection._excess collection._next_grid
collection.pooled collection.paired collection._analyzed report.pooled_text collection
prior
sweep
commands.job commands.__main__
report
doctor
cli
testing training __main__
"""
ORDER = {name: number for number, line in enumerate(ROOMS.strip().splitlines()) for name in line.split()}
HEAVY = (
    "torch",
    "optuna",
    "ray",
    "sklearn",
    "transformers",
    "accelerate",
    "lightning",
    "pandas",
    "matplotlib",
    "scipy",
)
PLUGINS = (
    "robust_lr_hf",
    "robust_lr_lightning",
    "robust_lr_optuna",
    "robust_lr_ray",
    "robust_lr_sklearn",
    "robust_lr_torch",
)
FRAMEWORKS = {"torch", "optuna", "ray", "sklearn", "transformers", "accelerate", "lightning", "pytorch_lightning"}
# What a plug-in may import, if it is not the framework of its own name.
OF_PLUGIN = {
    "robust_lr_hf": {"torch", "transformers", "accelerate"},
    "robust_lr_lightning": {"torch", "lightning", "pytorch_lightning"},
}
ON_TORCH = {"robust_lr_hf", "robust_lr_lightning"}  # the trainers of torch anneal by AnnealedLR
# What the plug-ins share with the core, and nobody else may rely on.
SHARED = (
    "robust_lr._checks",
    "robust_lr._fingerprint",
    "robust_lr._labels",
    "robust_lr._lazy",
    "robust_lr._metrics",
    "robust_lr._text",
    "robust_lr._tolerance",
    "robust_lr.linear._sgd",
    "robust_lr.report._charts",
)


class Import:
    """One import of `target` (a module or a name in one) by `module`, and whether importing `module` executes it."""

    def __init__(self, module: str, target: str, line: int, *, at_top: bool) -> None:
        self.module, self.target, self.line, self.at_top = module, target, line, at_top
        self.package = target.partition(".")[0]

    def __repr__(self) -> str:
        return f"{self.module}, line {self.line}: import of {self.target}"


def _read_modules() -> dict[str, tuple[Path, ast.Module]]:
    modules = {}
    for folder in (ROOT, ROOT / "integrations"):
        for path in folder.glob("robust_lr*/**/*.py"):
            parts = path.relative_to(folder).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            modules[name] = path, ast.parse(path.read_text(encoding="utf-8"))
    return modules


MODULES = _read_modules()


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def _imports(module: str) -> list[Import]:
    """Return the imports of a module; those under ``if TYPE_CHECKING`` and inside functions are not at the top."""
    path, tree = MODULES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found = []

    def visit(node: ast.AST, at_top: bool) -> None:
        if isinstance(node, ast.Import):
            found.extend(Import(module, alias.name, node.lineno, at_top=at_top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.rsplit(".", node.level - 1)[0] if node.level else ""
            source = ".".join(part for part in (base, node.module) if part)
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                found.append(Import(module, inner if inner in MODULES else source, node.lineno, at_top=at_top))
        else:
            inside = at_top and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for child in ast.iter_child_nodes(node):
                visit(child, inside and not _is_type_checking(node))

    visit(tree, True)
    return found


IMPORTS = {module: _imports(module) for module in MODULES}
CORE = sorted(name for name in MODULES if name.startswith("robust_lr.") or name == "robust_lr")


def _place(module: str) -> int | None:
    """Return the number of the room of a module of robust_lr: that of its own name, or that of its package."""
    name = module.removeprefix("robust_lr.")
    return ORDER.get(name, ORDER.get(name.partition(".")[0]))


@pytest.mark.parametrize("module", [name for name in CORE if name != "robust_lr"])
def test_imports_only_from_the_rooms_before_it(module):
    place = _place(module)
    assert place is not None, f"{module} has no room yet: enter it in ROOMS, as early as its imports allow"
    wrong = [
        i
        for i in IMPORTS[module]
        if i.package == "robust_lr" and i.target != "robust_lr" and (_place(i.target) or 0) > place
    ]
    assert not wrong, f"{module} imports from a room after its own: {wrong}"


def test_the_rooms_name_modules_that_exist():
    missing = [name for name in ORDER if f"robust_lr.{name}" not in MODULES]
    assert not missing, f"ROOMS names modules that are gone: {missing}"


def test_no_import_cycle():
    graph = {
        module: {i.target for i in imports if i.target in MODULES and i.target != module}
        for module, imports in IMPORTS.items()
    }
    graphlib.TopologicalSorter(graph).prepare()  # a CycleError names the modules


def test_the_core_imports_no_plugin_and_plugins_do_not_import_each_other():
    for module, imports in IMPORTS.items():
        own = module.partition(".")[0]
        base = {own, "robust_lr_torch"} if own in ON_TORCH else {own}
        wrong = [i for i in imports if i.package in PLUGINS and i.package not in base]
        assert not wrong, wrong


def test_the_plugins_have_the_core_for_a_base():
    for module, imports in IMPORTS.items():
        if module.startswith(PLUGINS):
            private = [
                i for i in imports if i.package == "robust_lr" and "._" in i.target and not i.target.startswith(SHARED)
            ]
            assert not private, f"a plug-in uses what others could use too: {private}"


def test_only_plugins_import_their_framework():
    for module, imports in IMPORTS.items():
        if module in CORE:
            forbidden = FRAMEWORKS - {"sklearn"}
        else:
            own = module.partition(".")[0]
            forbidden = FRAMEWORKS - OF_PLUGIN.get(own, {own.removeprefix("robust_lr_")})
        # The ranks of a trial on a cluster are ranks of torch.distributed; who has one rank each does without.
        late = {"torch"} if module.startswith("robust_lr_ray") else set()
        wrong = [i for i in imports if i.package in forbidden and not (i.package in late and not i.at_top)]
        assert not wrong, wrong


def test_nothing_heavy_is_imported_at_the_top_of_a_core_module():
    for module in CORE:
        wrong = [i for i in IMPORTS[module] if i.at_top and i.package in HEAVY]
        assert not wrong, f"import it inside the function that needs it: {wrong}"


def test_importing_robust_lr_loads_nothing_but_the_standard_library():
    code = "import sys; before = {*sys.modules}; import robust_lr; print(*sorted({*sys.modules} - before))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert loaded <= {"robust_lr", *sys.stdlib_module_names}, "names are imported when they are first used"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_every_module_says_what_it_is_for(module):
    path, tree = MODULES[module]
    assert ast.get_docstring(tree), f"{path.name} has no docstring"
