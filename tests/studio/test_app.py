"""The page as a whole, as Gradio is told of it."""

from __future__ import annotations

import gradio as gr

from studio import app
from studio.service.engine import Engine


def test_no_event_whose_progress_is_hidden_has_a_widget_renewed_for_it(engine: Engine) -> None:
    demo = app.build(engine)
    hidden = [event for event in demo.config["dependencies"] if event["show_progress"] == "hidden"]
    told = {component for event in hidden for component in event["show_progress_on"]}
    assert len(hidden) > 100 and all(isinstance(demo.blocks[component], gr.State) for component in told)
