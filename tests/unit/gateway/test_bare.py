"""Source text without comments and docstrings: the same program, line by line."""

import ast
from pathlib import Path

import pytest

import egress
from egress.gateway.bare import bare

PACKAGE = Path(egress.__file__).parent
SOURCES = [
    PACKAGE / "__init__.py",
    *sorted((PACKAGE / "wire").glob("*.py")),
    *sorted((PACKAGE / "gateway").glob("*.py")),
]


def program(source: str) -> str:
    """Return all statements but docstrings, with their places."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        if isinstance(node, kinds) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
            if hasattr(node, "end_lineno") and not node.body:
                node.end_lineno = node.end_col_offset = 0
    return ast.dump(tree, include_attributes=True)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_what_a_gateway_gets_is_the_same_program_on_the_same_lines(path: Path) -> None:
    source = path.read_text()
    assert program(bare(source)) == program(source)
    assert '"""Return' not in bare(source)


INSIDE = """\
x = "# no comment, \u00e9"  # but \u00e9 this
y = '''
# nor this
'''  # but this


def f():
    '''Gone, \u2026 on
    two lines.'''
    return '''stays'''
"""
LEFT = """\
x = "# no comment, \u00e9"
y = '''
# nor this
'''


def f():
    ""

    return '''stays'''
"""


def test_what_looks_like_a_comment_or_docstring_inside_a_text_stays() -> None:
    assert bare(INSIDE) == LEFT
