"""What makes the repository a Space, an image and a service: the front matter, the Dockerfile, the compose file."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.service.pages import free_port

yaml = pytest.importorskip("yaml")
ROOT = Path(__file__).parents[2]


def test_the_readme_begins_with_all_that_a_space_wants_to_know():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.startswith("---\n")
    about = yaml.safe_load(text.split("---\n")[1])
    assert about["sdk"] == "gradio" and about["python_version"] == "3.11" and about["license"] == "apache-2.0"
    assert (ROOT / about["app_file"]).is_file() and len(about["short_description"]) <= 60
    assert about["suggested_hardware"] == "cpu-basic" and "mcp-server" in about["tags"]
    pinned = re.search(r"^gradio(?:\[[^]]*\])?==(\S+)", (ROOT / "requirements.txt").read_text(), re.M)
    assert pinned and about["sdk_version"] == pinned[1]  # a Space would install another one beside it


def test_the_image_runs_as_a_user_without_rights_and_says_how_it_is():
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    words = [line.split()[0] for line in lines if line and not line.startswith(("#", " "))]
    assert words.index("USER") < words.index("ENTRYPOINT") and "HEALTHCHECK" in words
    entry = next(line for line in lines if line.startswith("ENTRYPOINT"))
    assert json.loads(entry.removeprefix("ENTRYPOINT")) == ["python", "launch.py", "--no-setup"]
    copied = [line.split()[1:-1] for line in lines if line.startswith("COPY")]
    assert all((ROOT / name).exists() for names in copied for name in names)
    assert not {"tests", ".data", ".git"} & {name for names in copied for name in names}


def test_the_health_check_finds_the_studio_where_it_is_and_fails_where_it_is_not(studio):
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", "")
    check = json.loads(re.search(r"^HEALTHCHECK .*?CMD\s+(\[.*\])$", text, re.M)[1])
    assert check[:2] == ["python", "-c"]
    port = httpx.URL(studio.url).port
    for name, healthy in ((str(port), True), (str(free_port()), False)):
        asked = subprocess.run([sys.executable, *check[1:]], env=os.environ | {"PORT": name}, capture_output=True, text=True)
        assert (asked.returncode == 0) is healthy and ("refused" in asked.stderr) is not healthy, asked.stderr


def test_the_compose_file_bounds_what_the_image_may_take():
    service = yaml.safe_load((ROOT / ".compose.yaml").read_text())["services"]["studio"]
    assert service["read_only"] and service["cap_drop"] == ["ALL"] and service["mem_limit"] and service["restart"]
    assert service["stop_grace_period"] == "10s"  # what the app needs at most
    assert all(volume.endswith(":ro") for volume in service["volumes"])


def test_the_page_for_teachers_names_commands_that_exist(capsys):
    from studio import command, crowd

    text = (ROOT / "assets" / "teachers.md").read_text(encoding="utf-8")
    launched = re.findall(r"^python launch\.py (.+)$", text, re.M)
    assert launched and all(command.parse(line.split()).options for line in launched)
    assert f"python -m {crowd.__name__} " in text
