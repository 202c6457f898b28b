"""A class or function that a notebook says is the package's is the package's: the same syntax tree.

Such a cell has the tag `in-package:MODULE`. Docstrings, comments and type hints of the file do not count.
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


def tagged_cells():
    for path in sorted((ROOT / "notebooks").rglob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            for tag in cell["metadata"].get("tags", []):
                if tag.startswith("in-package:"):
                    yield pytest.param("".join(cell["source"]), tag.split(":")[1], id=f"{path.stem}-{cell['id']}")


@pytest.mark.parametrize(("code", "module"), list(tagged_cells()))
def test_the_notebook_has_the_code_of_the_package(code, module):
    package = definitions((ROOT / "yzlin" / f"{module}.py").read_text(encoding="utf-8"))
    typed = definitions(code)
    assert typed, "a tagged cell defines something"
    for name, tree in typed.items():
        assert tree == package[name], f"{name} differs from yzlin/{module}.py"


def test_the_comparison_can_fail():
    assert definitions("def f(x: int) -> int:\n    'doc'\n    return x + 1") == definitions("def f(x):\n    return x + 1")
    assert definitions("def f(x):\n    return x + 1") != definitions("def f(x):\n    return x + 2")
