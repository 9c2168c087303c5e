"""The command line: what may be written after `python launch.py`, and the `generate` command.

Standard library only at import; `generate` brings in the core and never the app, because seconds to the first
picture count. Numbers are handed to Recipe as they were typed: it alone says what is allowed.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from studio.options import Options, from_environment, stop

if TYPE_CHECKING:
    from PIL import Image

    from core.pipeline import TextToImage
    from core.recipe import Recipe

# Options of `generate`: fields of Recipe by the same name, but for cfg, which is 1 + gamma.
TEXTS = {
    "negative": "what the picture should not show",
    "sampler": "how to move between two noise levels, such as dpmpp_2m or ddim",
    "schedule": "how noise grew in training (default: what the model says)",
    "spacing": "where the steps lie: leading, trailing, linspace, karras or exponential (default: the model's)",
    "end": "where the run ends (default: the sampler's)",
    "rng": "whose random numbers a seed means: nv or cpu",
    "tier": "how exact speed may be bought",
}
NUMBERS = {
    "steps": "sampler steps; some samplers call the network twice a step",
    "gamma": "guidance scale; gamma 6 is CFG scale 7",
    "cfg": "the same as CFG scale: 1 + gamma",
    "seed": "seed of the first picture, the next ones have seed + 1 and so on; -1 draws one",
    "batch": "how many pictures",
    "width": "width in pixels, a multiple of 8",
    "height": "height in pixels, a multiple of 8",
}

LEAST = 64  # megabytes of a quota: a few uploads


class Parser(argparse.ArgumentParser):
    """argparse with our manner of refusing: one line and exit code 2."""

    def error(self, message: str) -> NoReturn:
        stop(f"{message}; `python {self.prog} --help` lists what there is.")


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the command line; what stands behind `--` goes to pytest."""
    own, rest = (argv[: argv.index("--")], argv[argv.index("--") + 1 :]) if "--" in argv else (argv, [])
    if "generate" in own:
        own.remove("generate")
        args = generate_parser().parse_args(own)
        args.generate, args.test = True, False
        args.model, args.out = known(args.model), writable(Path(args.out).expanduser())
    else:
        args = app_parser().parse_args(own)
        args.generate, args.options = False, options(args)
    if rest and not args.test:
        stop(f"`--` hands arguments to the tests ({' '.join(rest)}); add --test, or leave them out.")
    args.rest = rest
    return args


def common(prog: str, about: str) -> Parser:
    """A parser with the options that the app and `generate` share."""
    parser = Parser(prog=prog, description=about, allow_abbrev=False)
    add = parser.add_argument
    add("--model", metavar="PATH", help="a diffusers folder or a .safetensors file (default: the embedded model)")
    add("--device", metavar="D", default="auto", help="auto, cpu, cuda, cuda:1 or mps (mps is untested; default: auto)")
    add("--dtype", metavar="T", default="auto", help="auto, fp32, bf16 or fp16 (default: auto)")
    add("--prediction", metavar="P", help="eps or v: what the network predicts, if its files do not say")
    add("--no-setup", action="store_true", help="never install anything")
    add("--pip-args", metavar="A", default="", help='for pip: --pip-args="--no-index --find-links wheels"')
    return parser


def app_parser() -> Parser:
    """The command line that starts the app or the tests, as `--help` shows it."""
    parser = common("launch.py", "Start Diffusion Studio in the browser.")
    parser.epilog = 'Without a browser: launch.py generate "a red apple" (launch.py generate --help tells more).'
    add = parser.add_argument
    add("--host", metavar="H", help="address to listen on (HOST; default 127.0.0.1, this machine only)")
    add("--port", metavar="P", help="port to listen on (PORT; default: the first free one from 7860)")
    add("--root-path", metavar="R", help="sub-path behind a reverse proxy, such as /studio (ROOT_PATH)")
    add("--share", action="store_true", help="a public link through Gradio's tunnel")
    add("--auth", metavar="USER:PASS", help="ask visitors for this name and password")
    add("--mcp", action="store_true", help="offer the named endpoints as MCP tools too")
    add("--inception", metavar="FILE", help="Inception-v3's weights, for FID in Evaluate (INCEPTION; default: own features)")
    add("--quota", metavar="MB", help="megabytes for what visitors upload and make (QUOTA; default: 2000, or half of what is free)")
    add("--test", action="store_true", help="run the tests; more for pytest after --")
    return parser


def generate_parser() -> Parser:
    """The command line of `generate`."""
    parser = common("launch.py generate", "Make pictures without a browser; prints the path of each.")
    add = parser.add_argument
    add("prompt", help="what the picture shows; quote it")
    add("--out", metavar="FILE", default="picture.png", help="the PNG to write (default: picture.png)")
    for name, text in TEXTS.items():
        add(f"--{name}", metavar="ID", default=argparse.SUPPRESS, help=text)
    scale = parser.add_mutually_exclusive_group()
    for name, text in NUMBERS.items():
        where = scale if name in ("gamma", "cfg") else parser
        where.add_argument(f"--{name}", metavar="N", type=number, default=argparse.SUPPRESS, help=text)
    add("--sigmas", metavar="N,N,...", default=argparse.SUPPRESS, help="levels of your own, noisiest first")
    add("--knob", metavar="NAME=N", action="append", default=[], help="a sampler's own knob, such as eta=0.5")
    return parser


def number(text: str) -> Any:
    """What was typed as int or float, or unchanged: Recipe refuses it with a sentence that names the field."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def options(args: argparse.Namespace) -> Options:
    """The arguments and the environment as Options, each checked before anything heavy is loaded."""
    port = args.port or from_environment("PORT", "GRADIO_SERVER_PORT")
    if port is not None and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        stop(f"the port is {port!r}; it must be a whole number from 1 to 65535.")
    user, colon, password = (args.auth or "").partition(":")
    if args.auth is not None and not (user and colon and password):
        stop("--auth needs a name and a password as USER:PASS, neither of them empty.")
    if args.auth and args.mcp:
        stop("--mcp asks nobody for the password of --auth, so that all tools would be open; leave one of them out.")
    quota = args.quota or from_environment("QUOTA")
    if quota is not None and not (quota.isascii() and quota.isdigit() and int(quota) >= LEAST):
        stop(f"--quota is {quota!r}; it must be a whole number of megabytes, {LEAST} or more.")
    root = (args.root_path or from_environment("ROOT_PATH", "GRADIO_ROOT_PATH") or "").strip("/")
    return Options(
        model=known(args.model),
        host=args.host or from_environment("HOST", "GRADIO_SERVER_NAME") or Options.host,
        port=None if port is None else int(port),
        root_path=f"/{root}" if root and "://" not in root else root,
        share=args.share,
        auth=(user, password) if args.auth else None,
        mcp=args.mcp,
        device=args.device,
        dtype=args.dtype,
        prediction=args.prediction,
        inception=known(args.inception or from_environment("INCEPTION"), "--inception", "Inception-v3's .safetensors file"),
        quota=None if quota is None else int(quota),
    )


def known(path: str | None, option: str = "--model", what: str = "a diffusers folder or a .safetensors file") -> str | None:
    """The path that an option gives, if there is something at it."""
    if path is None:
        return None
    given = Path(path).expanduser()
    try:
        if not given.exists():
            stop(f"there is no {option.strip('-')} at {path!r}; give {option} {what}.")
        if given.is_dir():
            next(given.iterdir(), None)
        elif not os.access(given, os.R_OK):
            raise PermissionError
    except PermissionError:
        stop(f"{option} {path!r} may not be read by this user; change its permissions, or copy it to a folder of your own.")
    return str(given)


def free(host: str, port: int | None) -> None:
    """Stop with one line where this address cannot be listened on."""
    try:
        info = socket.getaddrinfo(host, port or 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(*info[:3]) as probe:
            if sys.platform != "win32":  # a port that has just been left may be taken again, as the server does
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(info[4])
    except OSError as error:
        reason = error.strerror or str(error)
        stop(f"cannot listen on {host}{f' port {port}' if port else ''} ({reason}); choose another --host or --port.")


def run(args: argparse.Namespace) -> int:
    """Start the app, or make the pictures of `generate`; what a user can mend ends in one line and exit code 2.

    An app that is told to stop while it still loads has nothing to close, and has ended as it should.
    """
    try:
        if args.generate:
            return generate(args)
        free(args.options.host, args.options.port)
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # a container's stop is Ctrl-C: close, and exit with 0
        from studio.service.machine import own_temp_folder

        own_temp_folder()  # before gradio is imported, which remembers where files of programs by MCP go
        from studio.app import serve

        serve(args.options)
    except ModuleNotFoundError as error:
        stop(f"{error.name} is missing from this Python; run launch.py without --no-setup, or "
             "`python -m pip install -r requirements.txt`.")
    except ValueError as error:
        from core.errors import UserError  # only now: whatever imports core waits for torch

        if not isinstance(error, UserError):
            raise
        stop(str(error))
    except KeyboardInterrupt:
        if args.generate:
            raise
    return 0


def generate(args: argparse.Namespace) -> int:
    """Make the pictures of one recipe, with a progress bar on stderr and each written path on stdout."""
    from core.pipeline import load_pipeline
    from studio.formats.png import save_png

    try:
        recipe = recipe_of(args)
        pipe = load_pipeline(args.model, device=args.device, dtype=args.dtype, prediction=args.prediction)
        recipe = pipe.complete(recipe)
        images = painted(pipe, recipe)
        for index, image in enumerate(images):
            path = args.out if len(images) == 1 else args.out.with_stem(f"{args.out.stem}-{index + 1}")
            print(save_png(path, image, recipe, index, pipe.hash))
    except OSError as error:
        stop(f"{error.filename or args.out} cannot be used ({error.strerror or error}); choose another path.")
    return 0


def writable(out: Path) -> Path:
    """The path to write to, refused before minutes are spent on a picture that has nowhere to go."""
    if out.suffix.lower() != ".png":
        stop(f"--out is {str(out)!r}; the picture is written as PNG, so end the name in .png.")
    if not out.absolute().parent.is_dir():
        stop(f"there is no folder {str(out.absolute().parent)!r} to write to; make it first, or choose another --out.")
    if not os.access(out.absolute().parent, os.W_OK):
        stop(f"the folder {str(out.absolute().parent)!r} cannot be written to; choose another --out.")
    return out


def recipe_of(args: argparse.Namespace) -> Recipe:
    """The Recipe that the arguments of `generate` describe; what was not given is left to its defaults."""
    from core.recipe import Recipe, draw_seed

    given = vars(args)
    fields = {name: given[name] for name in ("prompt", *TEXTS, *NUMBERS) if name in given and name != "cfg"}
    if "cfg" in given:
        fields["gamma"] = round(given["cfg"] - 1, 10) if isinstance(given["cfg"], (int, float)) else given["cfg"]
    if "sigmas" in given:
        fields["sigmas"] = tuple(number(part) for part in given["sigmas"].split(","))
    if given.get("seed") == -1:
        fields["seed"] = draw_seed()
        print(f"seed {fields['seed']}", file=sys.stderr)
    knobs = [knob.partition("=") for knob in args.knob]
    if any(not equals for _, equals, _ in knobs):
        stop(f"--knob is {args.knob[0]!r}; write it as NAME=NUMBER, such as eta=0.5.")
    if knobs:
        fields["knobs"] = {name: number(value) for name, _, value in knobs}
    return Recipe(**fields)


def painted(pipe: TextToImage, recipe: Recipe) -> list[Image.Image]:
    """Run the recipe under a progress bar and return its pictures."""
    began, moves = time.perf_counter(), len(pipe.path(recipe))

    def show(done: int, nfe: int) -> None:
        bar = "━" * round(24 * done / moves)
        text = f"{bar:─<24} step {done}/{moves}, {nfe} network evaluations, {time.perf_counter() - began:.1f} s"
        print(f"\r{text} ", end="", file=sys.stderr, flush=True)

    for note in (*pipe.parts.notes, *pipe.notes(recipe)):
        print(note, file=sys.stderr)
    show(0, 0)
    try:
        for done, step in enumerate(pipe.run(recipe), 1):
            show(done, step.nfe)
        return pipe.pictures(step.x_next)
    finally:
        print(file=sys.stderr)
