"""The modelling file of an exported folder has the code of yzlin/model.py: equal syntax trees. Its numbers: test_export.py."""

import ast

from test_same_code import definitions

from yzlin import ROOT
from yzlin.tools.html import ASSETS


def test_the_modelling_file_has_the_code_of_the_model():
    ours = definitions((ROOT / "yzlin" / "model.py").read_text(encoding="utf-8"))
    theirs = definitions((ASSETS / "modeling_yzlin.py").read_text(encoding="utf-8"))
    for name in ("RMSNorm", "FlashAttention", "MLP", "Block"):
        assert theirs[name] == ours[name], f"copy {name} from yzlin/model.py into yzlin/tools/assets/modeling_yzlin.py"
    for name in ("embed", "features"):
        theirs, ours = (
            method("YzlinForCausalLM", name, ASSETS / "modeling_yzlin.py"),
            method("yzlinGPT", name, ROOT / "yzlin" / "model.py"),
        )
        assert theirs == ours, f"copy yzlinGPT.{name} into YzlinForCausalLM"
    assert "yzlin." not in "".join(line for line in (ASSETS / "modeling_yzlin.py").open(encoding="utf-8") if "import" in line)


def method(name: str, wanted: str, path) -> str:
    """The syntax tree of one method, without docstring and type hints."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    (found,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    (code,) = (node for node in found.body if isinstance(node, ast.FunctionDef) and node.name == wanted)
    return definitions(ast.unparse(code))[wanted]
