"""Which embedding model replaces which: the built-in table, and tables in files."""

from __future__ import annotations

import json
from pathlib import Path
from types import MappingProxyType
from typing import Any, List, Mapping, Sequence, Tuple

from h2ogpte_migration.cli.values import read_text_file
from h2ogpte_migration.errors import UsageError
from h2ogpte_migration.ui.text import safe

BUILT_IN: Mapping[str, str] = MappingProxyType(
    {
        "BAAI/bge-m3": "h2oai/embeddinggemma-300m-qat-q8_0-unquantized",
        "BAAI/bge-large-en-v1.5": "mixedbread-ai/mxbai-embed-large-v1",
    }
)
EXAMPLE = '{"old/model": "new/model"}'


def load(path: Path) -> Mapping[str, str]:
    """The mapping in a JSON file: one object, from source model to target model.

    Raises:
        UsageError: with every mistake of the file, each naming the file.
    """
    try:
        # Pairs, because a plain dict would keep the last of two equal keys in silence.
        content = json.loads(read_text_file(path), object_pairs_hook=_Pairs)
    except json.JSONDecodeError as error:
        problem = f"is no JSON: {error.msg} in line {error.lineno}; write {EXAMPLE}"
        raise UsageError([_about(path, problem)]) from error
    except (ValueError, RecursionError) as error:
        raise UsageError([_about(path, str(error))]) from error
    if not isinstance(content, _Pairs):
        raise UsageError([_about(path, f"must hold one JSON object, such as {EXAMPLE}")])
    mistakes = _mistakes(content)
    if mistakes:
        raise UsageError([_about(path, mistake) for mistake in mistakes])
    return MappingProxyType(dict(content))


class _Pairs(List[Tuple[str, Any]]):
    """A JSON object as it was written."""


def _about(path: Path, problem: str) -> str:
    return f"--model-mappings-file: {safe(str(path))} {problem}"


def _mistakes(pairs: Sequence[Tuple[str, Any]]) -> List[str]:
    """What is wrong with the pairs of a mapping, in their order."""
    if not pairs:
        return ["maps no model at all"]
    mistakes = []
    seen = set()
    # The last of each, as ``dict`` has it; which one is meant is told as a mistake of its own.
    onwards = dict(pairs)
    for source, target in pairs:
        shown = _shown(source)
        if not _is_model(source):
            mistakes.append(f"has {shown} for a source model, which is no model's name")
        elif source in seen:
            mistakes.append(f"maps {shown} more than once")
        elif not isinstance(target, str) or not _is_model(target):
            mistakes.append(f"maps {shown} to something that is no model's name")
        elif source == target:
            mistakes.append(f"maps {shown} to itself")
        elif target in onwards:
            # A second run would take what the first one made for a source, and so on for ever.
            mistakes.append(
                f"maps {shown} to {_shown(target)}, and that to {_shown(onwards[target])}: each "
                "run would migrate once more; name the model that it is to end with"
            )
        seen.add(source)
    return mistakes


def _shown(value: object) -> str:
    return safe(json.dumps(value, ensure_ascii=False))


def _is_model(text: str) -> bool:
    """Whether the text can be a model's name: something to see, and nothing around it."""
    return bool(text) and text.isprintable() and text == text.strip()
