"""The function behind `/schedule`: the noise levels of a run for programs, and the schedule that they lie on."""

# No `from __future__ import annotations`: Gradio reads the types of the endpoint as objects.
from collections.abc import Callable
from typing import Any, Literal

from core.errors import UserError
from core.schedules import ENDS, SPACINGS, Schedule, make_path
from studio.figures import schedules as figures
from studio.widgets import controls
from studio.widgets.checks import one_of, real, whole

MOST_NSR = 1e9  # of a level of one's own: nothing but noise


def endpoint(own: Schedule, offset: int) -> Callable[..., Any]:
    """The function behind `/schedule`, its choices read from the registries."""

    def schedule(
        schedule: Literal[tuple(figures.known_schedules(own))] = "scaled_linear",  # type: ignore[valid-type]
        spacing: Literal[tuple(SPACINGS)] = "trailing",  # type: ignore[valid-type]
        steps: int = 20,
        end: Literal[tuple(ENDS)] = "clean",  # type: ignore[valid-type]
        zero_terminal_snr: bool = False,
        sigmas: list[float] | None = None,
    ) -> dict:
        """The noise levels that a run of a diffusion model visits, and the schedule that they lie on.

        Args:
            schedule: How noise grows in training.
            spacing: Where the steps lie on it.
            steps: How many times the sampler moves, 1 to 1000.
            end: clean ends at sigma 0, first at the cleanest level that was trained.
            zero_terminal_snr: Rescale the schedule so that nothing of the picture is left at its end.
            sigmas: Levels of one's own as sigma/alpha, the noisiest first, in place of spacing, steps and end.

        Returns:
            levels: each with t, alpha, sigma, nsr = sigma/alpha and lam = log(alpha/sigma); null stands for infinity.
            curves: beta, alpha_bar and lam at every hundredth time and the last.
        """
        try:
            made = figures.schedule_of(one_of("schedule", schedule, figures.known_schedules(own)), zero_terminal_snr, own)
            given = None if sigmas is None else figures.typed_sigmas(typed(sigmas))
            path = make_path(made, spacing, whole("steps", steps, 1, len(made)), end=end, offset=offset, sigmas=given)
        except Exception as error:
            raise controls.fault(error) from None
        times = [*range(0, len(made), 100), len(made) - 1]
        table = {"beta": made.beta, "alpha_bar": made.alpha_bar, "lam": -made.log_nsr}
        return {
            "schedule": made.name, "times": len(made), "levels": [figures.level_row(level) for level in path.levels],
            "curves": [{"t": t} | {name: float(values[t]) for name, values in table.items()} for t in times],
        }  # fmt: skip

    return schedule


def typed(sigmas: Any) -> str:
    """A list of levels from a program, as they would be typed; raises UserError."""
    if not isinstance(sigmas, list):
        raise UserError("sigmas must be a list of numbers that fall, such as [14.6, 5, 1, 0].")
    return ",".join(str(real("sigmas", sigma, 0, MOST_NSR)) for sigma in sigmas) or "none"
