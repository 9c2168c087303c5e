"""Programs at the endpoints through Gradio's own client: files go in and come out, numbers are told, and faults are sentences."""

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image


@pytest.fixture(scope="module")
def client(house):
    return Client(house.url, verbose=False)


def picture(path, *parts, mode="RGB", ground="red"):
    """A picture of 400 × 300 pixels with these (colour, box) in it, as a file."""
    image = Image.new(mode, (400, 300), ground)
    for color, box in parts:
        image.paste(color, box)
    image.save(path)
    return handle_file(path)


def test_a_program_gets_the_film_and_its_numbers(client):
    path, told = client.predict("a red apple", steps=4, seed=5, sampler="ddim", form="webp", api_name="/denoise")
    with Image.open(path) as image:
        assert image.format == "WEBP" and image.n_frames == 5
    assert told["state"] == "done" and told["nfe"] == 8 and len(told["frames"]) == 5
    assert all(frame["hand"]["error"] < 1e-6 for frame in told["frames"][:-1])
    assert [term["name"] for term in told["frames"][0]["hand"]["terms"]] == ["x0", "eps"]
    with pytest.raises(AppError, match=r"form is 'avi'; it must be one of gif, webp, mp4, sheet"):
        client.predict("a cat", form="avi", api_name="/denoise")


def test_a_program_gets_the_grid_of_a_sweep_and_its_numbers(client):
    path, told = client.predict(["red apple"], [0, 3], seeds=2, steps=2, api_name="/guidance_sweep")
    with Image.open(path) as image:
        assert image.size == (100 + 2 * 36, 2 * 36)  # the labels, and pictures of 32 pixels in a frame
    assert [one["cfg_scale"] for one in told["scales"]] == [1, 4] and told["nfe"] == 12 and told["state"] == "done"
    for bad, says in (({"gammas": [0, 99]}, "gamma is 99"), ({"gammas": []}, "0 scales"), ({"seeds": 1.5}, "batch is 1.5")):
        with pytest.raises(AppError, match=says):
            client.predict(**{"prompts": ["x"], "gammas": [1], "steps": 2} | bad, api_name="/guidance_sweep")


def test_a_program_encodes_a_file_and_decodes_what_comes(client, tmp_path):
    photo = picture(tmp_path / "photo.png", ("blue", (150, 100, 250, 200)))
    told = client.predict(image=photo, side=64, api_name="/encode")
    assert told["state"] == "done" and told["side"] == 64 and len(told["channels"]) == 4
    assert (len(told["latents"]), len(told["latents"][0]), len(told["latents"][0][0])) == (4, 32, 32)
    path, about = client.predict(latents=told["latents"], api_name="/decode")
    with Image.open(path) as decoded:
        assert decoded.size == (64, 64) == (about["width"], about["height"])
    (tmp_path / "bad.png").write_text("<svg onload=alert(1)>")
    with pytest.raises(AppError, match="cannot be read as a picture"):
        client.predict(image=handle_file(tmp_path / "bad.png"), side=0, api_name="/encode")
    for bad, says in (([[[1.0]]], "list of 4 channels"), ([[["x"]]] * 4, "list of 4 channels")):
        with pytest.raises(AppError, match=says):
            client.predict(latents=bad, api_name="/decode")
    with pytest.raises(AppError, match="side is 63; this model needs a multiple of 2"):
        client.predict(image=photo, side=63, api_name="/encode")


def test_a_program_starts_from_pictures_and_reads_recipes(client, tmp_path):
    photo = picture(tmp_path / "photo.png", ("blue", (150, 100, 250, 200)))
    mask = picture(tmp_path / "mask.png", (255, (200, 0, 400, 300)), mode="L", ground=0)
    path, told = client.predict("a green apple", steps=4, seed=5, strength=0.5, image=photo, mask=mask, api_name="/generate")
    assert told["nfe"] == 4 and told["recipe"]["image"] and told["recipe"]["mask"]
    read = client.predict(handle_file(path), api_name="/read_png")
    assert read["program"] == "Diffusion Studio" and read["understood"]["Prompt"] == "a green apple"
    assert read["recipe"]["seed"] == 5 and "hand in the same picture" in read["differs"][0]
    with pytest.raises(AppError, match="must be uploaded as a file"):
        client.predict({"path": "/etc/passwd"}, api_name="/read_png")


def test_a_program_races_samplers(client):
    told = client.predict(on="ring", samplers=["ddim", "heun"], steps=[10, 20, 40], api_name="/sampler_race")
    assert [point["nfe"] for point in told["points"]] == [10, 20, 20, 40, 40, 80]
    assert told["orders"]["heun"]["declared"] == 2 and told["orders"]["heun"]["measured"] > 1.5
    with pytest.raises(AppError, match="samplers is 'magic'"):
        client.predict(samplers=["magic"], api_name="/sampler_race")


def test_a_program_is_told_the_levels(client):
    told = client.predict(schedule="linear", spacing="trailing", steps=5, api_name="/schedule")
    assert [level["t"] for level in told["levels"]] == [999, 799, 599, 399, 199, -1]
    with pytest.raises(AppError, match="steps is 0"):
        client.predict(steps=0, api_name="/schedule")
