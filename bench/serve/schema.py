"""Send a server what its own OpenAPI document allows and forbids: `python -m bench.serve.schema BUNDLE`.

Schemathesis, in an environment of its own, makes the requests and holds each answer against the document: no error of
the server's, and status, type, headers and body as they are described. That a random body is accepted cannot be asked
of an address that takes pictures, so that this one check is left out.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

from bench.peers import python_of
from bench.serve.process import free_port, lightmeter, serving
from bench.serve.record import keep

_LEFT_OUT = "positive_data_acceptance"


def main() -> None:
    """Run it and keep the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--examples", type=int, default=100, help="for each address at most")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    tool = python_of("schemathesis").with_name("schemathesis")
    port = free_port()
    with serving(lightmeter(asked.bundle, port), port) as server, tempfile.TemporaryDirectory() as scratch:
        with urllib.request.urlopen(f"{server.url}/v1/models") as answer:
            model = json.load(answer)["models"][0]
        config = Path(scratch) / "schemathesis.toml"
        config.write_text(f'[parameters]\n"path.name" = "{model["name"]}"\n"path.number" = "{model["version"]}"\n')
        words = ["--config-file", str(config), "run", f"{server.url}/openapi.json", "--seed", str(asked.seed)]
        words += ["--max-examples", str(asked.examples), "--exclude-checks", _LEFT_OUT, "--continue-on-failure"]
        done = subprocess.run(
            [str(tool), *words, "--generation-database", "none", "--no-color"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=scratch,
            check=False,
        )
        alive, memory = server.alive, server.memory
    text = done.stdout.replace(scratch, "SCRATCH").replace(server.url, "http://SERVER")
    cases = re.search(r"(\d+) generated, (\d+) passed", text)
    folder = keep(
        "schema",
        f"python -m bench.serve.schema BUNDLE --examples {asked.examples} --seed {asked.seed}",
        {
            "cases": int(cases[1]) if cases else None,
            "passed": int(cases[2]) if cases else None,
            "left_out": _LEFT_OUT,
            "alive": alive,
            "memory_mib": round(memory, 1),
            "right": done.returncode == 0 and alive,
        },
    )
    (folder / "log.txt").write_text(text)
    sys.exit(0 if done.returncode == 0 and alive else 1)


if __name__ == "__main__":
    main()
