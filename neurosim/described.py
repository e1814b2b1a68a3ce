"""Models of data whose fields are described where they are declared: by the text below each, read when someone asks for it."""

from __future__ import annotations

import ast
import inspect
import textwrap
from itertools import pairwise

from pydantic import BaseModel, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema


class Described(BaseModel):
    """Base of models whose JSON schema has the texts below their fields as descriptions.

    Pydantic's ``use_attribute_docstrings`` gives the same schema, but reads the source of every class while it is made, which takes longer
    than all else about the class. Here nothing is read before a schema or :func:`descriptions` is asked for.
    """

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for name, text in descriptions(cls).items():
            if name in properties:
                properties[name].setdefault("description", text)
        return schema


def descriptions(model: type[BaseModel]) -> dict[str, str]:
    """The text below each field of a model, by name; a field without one is left out.

    A field that a class declares anew is described there or nowhere. A class whose source is not in a file, such as one that was typed at
    a prompt, describes nothing.
    """
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if own := model.model_fields.keys() & inspect.get_annotations(base).keys():
            texts = _texts(base)
            found = {name: text for name, text in found.items() if name not in own} | {name: texts[name] for name in texts if name in own}
    return found


def _texts(model: type) -> dict[str, str]:
    """The texts that stand right below the annotated names of a class."""
    try:
        (body,) = (node.body for node in ast.parse(textwrap.dedent(inspect.getsource(model))).body if isinstance(node, ast.ClassDef))
    except (OSError, TypeError, SyntaxError):  # no source, a class without a file, a text further left than the class
        return {}
    return {
        line.target.id: inspect.cleandoc(below.value.value)
        for line, below in pairwise(body)
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str)
    }
