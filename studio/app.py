"""The app: its tabs in order, and how it is served."""

from __future__ import annotations

import os

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported: nothing is reported to anybody
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.pop("GRADIO_VIBE_MODE", None)  # lets visitors run code, by design

import sys
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder
from starlette.middleware import Middleware

from studio.endpoints import models
from studio.options import Options, stop
from studio.service.engine import MOST_WAITING, Engine
from studio.service.front import Front
from studio.service.limits import Limits
from studio.service.machine import more_files
from studio.service.quota import Quota, usual
from studio.tabs import denoise, guidance, labs, latents, prompt, samplers, schedules
from studio.widgets import controls, page
from studio.widgets.base import ASSETS
from studio.widgets.uploads import UploadsOnly

TABS = (
    ("Prompt", prompt.tab), ("Denoise", denoise.tab), ("Schedules", schedules.tab), ("Guidance", guidance.tab),
    ("Latents", latents.tab), ("Samplers", samplers.tab), ("Labs", labs.tab),
)  # fmt: skip
GRACE, TOLD = 3.0, 0.5  # seconds for the step that runs to end, and for pages to hear of it
# Where a Space's own proxy may stand: a visitor comes from the last address on the way that is none of these.
PROXIES = "127.0.0.0/8,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,fc00::/7"
FONT = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif"]  # what the machine has
MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]


def build(engine: Engine) -> gr.Blocks:
    """Every tab on one page."""
    with UploadsOnly(title="Diffusion Studio", analytics_enabled=False, delete_cache=(300, 3600)) as demo:
        head = page.head(engine.pipe.name, engine.pipe.parts.notes)
        settings = {}
        with gr.Tabs(elem_id="tabs", overflow_behavior="wrap") as tabs:
            for label, tab in TABS:
                with gr.Tab(label, id=label.lower()):
                    settings[label.lower()] = tab(engine, demo)
        page.connect(demo, engine, head, tabs, settings)
        gr.api(models.endpoint(engine), api_name="models")
        demo.unload(controls.leaving(engine))
        unshown(demo)
    demo.queue(api_open=False, max_size=128, default_concurrency_limit=MOST_WAITING, status_update_rate="auto")
    return demo


def unshown(demo: gr.Blocks) -> None:
    """Keep progress that is hidden from the widgets: else each that an event ever wrote to is renewed at all later events.

    Opening the page writes to all of them, so the page would be busy for a third of a second whatever is pressed.
    """
    nowhere = [gr.State()]
    for event in demo.fns.values():
        if event.show_progress == "hidden":
            event.show_progress_on = nowhere


def theme() -> gr.themes.Base:
    """Calm: one accent, much white, the system's own letters."""
    rem = [f"{pixels / 16}rem" for pixels in (9, 10, 12, 14, 16, 22, 26)]  # Gradio's own sizes, such that all grow together
    text = gr.themes.Size(*rem, name="text_rem")
    base = gr.themes.Base(primary_hue="indigo", neutral_hue="slate", font=FONT, font_mono=MONO, radius_size="lg", text_size=text)
    return base.set(body_text_color_subdued="*neutral_500")  # 4.8:1 on white; Gradio's own is 2.6:1


def profile(options: Options, kept: Collection[str] = ()) -> dict[str, Any]:
    """The arguments of launch: what is open, what is closed, and to whom; `kept`: files of the page itself, which stay."""
    folder = Path(get_upload_folder())
    most = options.quota * 10**6 if options.quota else usual(folder)
    return {
        "server_name": options.host, "server_port": options.port, "root_path": options.root_path or None,
        "share": options.share, "auth": options.auth, "mcp_server": options.mcp,
        "max_file_size": "15mb", "max_threads": 16, "state_session_capacity": 500, "enable_monitoring": False,
        "run_history": False, "footer_links": ["api", "gradio"], "show_error": False, "strict_cors": True,
        "ssr_mode": False, "pwa": False, "allowed_paths": [], "blocked_paths": closed(options),
        "theme": theme(), "head": page.SCRIPTS, "css_paths": sorted(ASSETS.glob("styles/*.css")),
        "app_kwargs": {"middleware": [Middleware(Limits), Middleware(Quota, folder, most, kept), Middleware(Front)]},
        "_frontend": False,  # else a busy machine, slower than 3 s with its first page, ends the studio
    }  # fmt: skip


def own_files(demo: gr.Blocks) -> set[str]:
    """Where the files lie that the page shows before anybody has done anything."""
    return {path for block in demo.blocks.values() if isinstance(block, gr.components.Component) for path in block.keep_in_cache}


def closed(options: Options) -> list[str]:
    """What is never served, whatever else is allowed: our own folder, and where the operator's files lie."""
    return [str(ASSETS), *(str(Path(path).resolve()) for path in (options.model, options.inception) if path)]


def serve(options: Options) -> None:
    """Load the model, open the page, and stay until interrupted; then everybody is told, and nothing is left behind."""
    from core import load_pipeline
    from core.checkpoints.inception import load_inception

    pipe = load_pipeline(options.model, device=options.device, dtype=options.dtype, prediction=options.prediction)
    for note in pipe.parts.notes:
        print(note, file=sys.stderr)
    inception = load_inception(options.inception, pipe.device) if options.inception else None
    engine = Engine(pipe, inception=inception, shared=options.shared)
    if "SPACE_ID" in os.environ:
        os.environ.setdefault("FORWARDED_ALLOW_IPS", PROXIES)
    more_files()
    demo = build(engine)
    try:
        demo.launch(**profile(options, own_files(demo)), prevent_thread_lock=True)
        if options.share and not demo.share_url:
            stop("no public link could be made (is there a network?); leave --share out to serve this machine alone.")
        while True:
            time.sleep(1)  # short, so that Ctrl-C is heard on every system
    except KeyboardInterrupt:
        print("Closing the studio …")
    finally:
        engine.close(GRACE)
        time.sleep(TOLD)
        demo.close(verbose=False)
