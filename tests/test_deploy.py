"""What `deploy/` holds is what its tools accept."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
SCRIPTS = Path(sysconfig.get_path("scripts"))


def run(*command: str) -> str:
    """What a tool says, which must end well."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_the_dockerfile_is_clean() -> None:
    assert run(str(SCRIPTS / "hadolint"), str(DEPLOY / "Dockerfile")) == ""


def test_the_linter_of_dockerfiles_looks(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM python\nRUN cd /tmp && sudo pip install lightmeter\n")
    with pytest.raises(AssertionError, match="DL3004"):
        run(str(SCRIPTS / "hadolint"), str(tmp_path / "Dockerfile"))


def test_the_manifest_fits_the_schema_of_kubernetes(tmp_path: Path) -> None:
    said = run(str(SCRIPTS / "kubernetes-validate"), "--strict", str(DEPLOY / "kubernetes.yaml"))
    assert said.count("passed") == 2
    wrong = (DEPLOY / "kubernetes.yaml").read_text().replace("replicas:", "replica:")
    (tmp_path / "wrong.yaml").write_text(wrong)
    with pytest.raises(AssertionError):
        run(str(SCRIPTS / "kubernetes-validate"), "--strict", str(tmp_path / "wrong.yaml"))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze, of Debian's systemd")
def test_the_unit_is_one_and_keeps_the_service_apart(tmp_path: Path) -> None:
    program = tmp_path / "lightmeter"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / "lightmeter.service"
    unit.write_text((DEPLOY / "lightmeter.service").read_text().replace("/opt/lightmeter/bin/lightmeter", str(program)))
    assert run("systemd-analyze", "verify", str(unit)) == ""
    # Out of 10, where services are wide open; 3 is a bound that ours keeps well.
    run("systemd-analyze", "security", "--offline=true", "--threshold=30", str(unit))
