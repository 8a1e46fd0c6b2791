"""Write docs/config.schema.json, the JSON Schema of the configuration file; `--check` only compares it."""

import json
import sys
from pathlib import Path

from tidewire.server.config_reference import schema

FILE = Path(__file__).resolve().parent.parent / "docs" / "config.schema.json"


def main() -> None:
    written = json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
    if "--check" not in sys.argv:
        FILE.write_text(written, encoding="utf-8")
    elif not FILE.exists() or FILE.read_text(encoding="utf-8") != written:
        sys.exit(f"{FILE.name} does not match the sources any more; write it anew: python tools/config_schema.py")


if __name__ == "__main__":
    main()
