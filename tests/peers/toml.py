"""Just enough TOML to write a configuration for a test."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

Tables = Mapping[str, Any]


def dumps(tables: Tables) -> str:
    """Tables of plain values, and arrays of such tables. JSON strings, numbers, booleans and arrays are TOML too."""
    lines: list[str] = []
    for name, table in tables.items():
        for entry in table if isinstance(table, list) else [table]:
            lines.append(f"[[{name}]]" if isinstance(table, list) else f"[{name}]")
            for key, value in entry.items():
                if isinstance(value, list) and value and isinstance(value[0], Mapping):
                    inline = ", ".join(
                        "{ " + ", ".join(f"{k} = {json.dumps(v)}" for k, v in item.items()) + " }" for item in value
                    )
                    lines.append(f"{key} = [{inline}]")
                else:
                    lines.append(f"{key} = {json.dumps(value)}")
            lines.append("")
    return "\n".join(lines)
