"""Texts that other programs leave, as long and as wicked as a stranger can make them: read in time that grows with their length."""

import json
import time

import pytest

from studio.formats import foreign

LONG = 100_000
WICKED = ["[" * LONG, " " * LONG, " [" * LONG, "<lora:" * LONG, " <" * LONG]


def seconds(work):
    """The time that this thread computes; what else runs on the machine does not count."""
    begun = time.thread_time()
    work()
    return time.thread_time() - begun


@pytest.mark.parametrize("prompt", WICKED, ids=[repr(text[:3]) for text in WICKED])
def test_a_prompt_of_nothing_but_beginnings_is_read_in_a_moment(prompt):
    old_invoke = {"sd-metadata": json.dumps({"image": {"prompt": prompt}})}
    assert seconds(lambda: foreign.invokeai(old_invoke)) < 1
    assert seconds(lambda: foreign.without_networks(prompt)) < 1


def test_a_graph_with_very_many_links_is_walked_in_a_moment():
    sampler = {"class_type": "KSampler", "inputs": {"positive": ["2", 0]}}
    links = {str(i): ["none", 0] for i in range(3 * LONG)}
    graph = {"1": sampler, "2": {"class_type": "Join", "inputs": links}}
    assert seconds(lambda: foreign.comfyui({"prompt": json.dumps(graph)})) < 5


def test_brackets_are_the_negative_prompt_of_an_old_invokeai_and_go_with_the_space_before_them():
    prompt = "a cat   [blurred] on a mat [dark, small]"
    _, made, _ = foreign.invokeai({"sd-metadata": json.dumps({"image": {"prompt": prompt}})})
    assert (made["prompt"], made["negative"]) == ("a cat on a mat", "blurred dark, small")


def test_networks_go_with_the_space_before_them_and_are_named():
    assert foreign.without_networks("a cat  <lora:fur:0.8> <hypernet:x:1>, seated") == (
        "a cat, seated", ["<lora:fur:0.8>", "<hypernet:x:1>"])  # fmt: skip
