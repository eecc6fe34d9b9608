"""The npm package in a project of somebody else: types, bundler, browser."""

from __future__ import annotations

import subprocess
from pathlib import Path

from playwright.sync_api import expect

from sprat.browser.static import serving_folder
from sprat.delivery.hosts import page_headers
from sprat.workflow.bundle import bundle
from tests.browsers import launched

ROOT = Path(__file__).resolve().parents[1]
WEB = ROOT / "web"
TOOLS = WEB / "node_modules"
EXAMPLE = ROOT / "examples" / "doodles"
PAGE = """<!doctype html><title>t</title><p id="out"></p>
<script type="module" src="./main.ts"></script>
"""
SCRIPT = """import { load, type Picture, type Progress, type Result, SpratError } from "sprat-web";

async function main(): Promise<void> {
  const out = document.getElementById("out")!;
  try {
    const model = await load("./fish/manifest.json", {
      onProgress: ({ loaded, total }: Progress) => console.log(loaded / total),
    });
    const canvas = document.createElement("canvas");
    canvas.getContext("2d")!.fillRect(0, 0, 9, 9);
    const picture: Picture = canvas.getContext("2d")!.getImageData(0, 0, 9, 9);
    const result: Result = await model.run(picture);
    out.textContent = `${result.role} ${result.label}`;
  } catch (error) {
    out.textContent = error instanceof SpratError ? error.code : String(error);
  }
}

void main();
"""


def run(*command: str | Path, cwd: Path) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_is_packed_typed_built_and_answers(tmp_path: Path) -> None:
    packed = run("npm", "pack", "--silent", "--pack-destination", tmp_path, cwd=WEB).split()[-1]
    project = tmp_path / "project"
    (project / "public").mkdir(parents=True)
    (project / "index.html").write_text(PAGE)
    (project / "main.ts").write_text(SCRIPT)
    (project / "package.json").write_text('{"name": "page", "private": true, "type": "module"}')
    run("npm", "install", "--no-audit", "--no-fund", tmp_path / packed, cwd=project)
    for resolution in ("bundler", "nodenext"):
        module = "esnext" if resolution == "bundler" else "nodenext"
        run(
            *("node", TOOLS / "typescript" / "bin" / "tsc", "--noEmit", "--strict"),
            *("--target", "es2022", "--lib", "es2022,dom", "--types", ""),
            *("--module", module, "--moduleResolution", resolution, "main.ts"),
            cwd=project,
        )
    bundle(
        EXAMPLE / "doodles.onnx", project / "public" / "fish", data=EXAMPLE / "data", runtime="ort"
    )
    run("node", TOOLS / "vite" / "bin" / "vite.js", "build", "--base", "./", cwd=project)
    with serving_folder(project / "dist", page_headers(True)) as address, launched() as browser:
        page = browser.new_page()
        page.goto(f"{address}/")
        expect(page.locator("#out")).to_contain_text("fish")
