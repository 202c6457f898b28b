"""A class or function that a notebook says is the package's is the package's: the same syntax tree.

Such a cell has the tag `in-package:MODULE`, or `part-of:MODULE.CLASS` where it holds some functions of a class. Docstrings,
comments and type hints of the file do not count.
"""

import ast
import json

import pytest

from yzlin import ROOT


class Bare(ast.NodeTransformer):
    """Takes away docstrings and type hints, which a lecture may leave out."""

    def visit_FunctionDef(self, node):
        self.generic_visit(node)
        node.returns = None
        return self.without_docstring(node)

    def visit_ClassDef(self, node):
        self.generic_visit(node)
        return self.without_docstring(node)

    def visit_arg(self, node):
        node.annotation = None
        return node

    @staticmethod
    def without_docstring(node):
        if ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        return node


def definitions(code: str) -> dict[str, str]:
    tree = Bare().visit(ast.parse(code))
    return {node.name: ast.dump(node) for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}


def methods(code: str, name: str | None = None) -> dict[str, str]:
    """The functions of the class `name`; without a name, those of all classes and those outside of classes."""
    tree = Bare().visit(ast.parse(code))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and name in (None, node.name)]
    bodies = [node.body for node in classes] + ([tree.body] if name is None else [])
    return {node.name: ast.dump(node) for body in bodies for node in body if isinstance(node, ast.FunctionDef)}


def tagged_cells(kind: str = "in-package:"):
    for path in sorted((ROOT / "notebooks").rglob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            for tag in cell["metadata"].get("tags", []):
                if tag.startswith(kind):
                    yield pytest.param("".join(cell["source"]), tag.split(":")[1], id=f"{path.stem}-{cell['id']}")


@pytest.mark.parametrize(("code", "module"), list(tagged_cells()))
def test_the_notebook_has_the_code_of_the_package(code, module):
    package = definitions((ROOT / "yzlin" / f"{module}.py").read_text(encoding="utf-8"))
    typed = definitions(code)
    assert typed, "a tagged cell defines something"
    for name, tree in typed.items():
        assert tree == package[name], f"{name} differs from yzlin/{module}.py"


@pytest.mark.parametrize(("code", "place"), list(tagged_cells("part-of:")))
def test_the_notebook_has_functions_of_the_class(code, place):
    module, name = place.split(".")
    package = methods((ROOT / "yzlin" / f"{module}.py").read_text(encoding="utf-8"), name)
    typed = methods(code)
    assert typed, "a tagged cell defines something"
    for function, tree in typed.items():
        assert tree == package[function], f"{name}.{function} differs from yzlin/{module}.py"


def test_the_four_cells_hold_the_whole_model_but_for_its_optimizer():
    typed = set().union(*(methods(cell.values[0]) for cell in tagged_cells("part-of:")))
    package = methods((ROOT / "yzlin" / "model.py").read_text(encoding="utf-8"), "yzlinGPT")
    assert set(package) - typed == {"configure_optimizers"}


def test_the_comparison_can_fail():
    assert definitions("def f(x: int) -> int:\n    'doc'\n    return x + 1") == definitions("def f(x):\n    return x + 1")
    assert definitions("def f(x):\n    return x + 1") != definitions("def f(x):\n    return x + 2")
