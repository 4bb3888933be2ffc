"""A search: optuna proposes the trials of a sweep, from what validation said of those before.

Nothing of a search is stored. Its sampler is seeded and is told results in the order in which it asked, so that the
same search proposes the same trials, and those that are finished answer at once.
"""

from collections.abc import Callable, Sequence
from typing import Any

from bonafide.project.errors import InputError

Cell = tuple[str, ...]


def distributions(overrides: Sequence[Any]) -> dict[str, Any]:
    """What may be proposed for each key: Hydra's `interval(a,b)`, `tag(log,interval(a,b))`, `a,b,c` or `range(...)`.

    The bounds of `int(interval(1,8))` are whole numbers, and so are its values.
    """
    try:
        import optuna.distributions as kinds
    except ModuleNotFoundError:
        raise OSError("--search needs optuna: pip install 'bonafide[search]'") from None
    found: dict[str, Any] = {}
    for override in overrides:
        key, value = override.get_key_element(), override.value()
        if override.is_interval_sweep():
            whole = isinstance(value.start, int) and isinstance(value.end, int)
            kind = kinds.IntDistribution if whole else kinds.FloatDistribution
            found[key] = kind(value.start, value.end, log="log" in value.tags)
        elif override.is_sweep_override():
            found[key] = kinds.CategoricalDistribution(tuple(override.sweep_string_iterator()))
    if not found:
        raise InputError("--search: nothing to search; for example --set-param 'train.dropout=interval(0.0,0.3)'")
    return found


def search(
    overrides: Sequence[Any],
    trials: int,
    batch: int,
    chooser: tuple[str, int],
    score: Callable[[list[Cell]], list[float | None]],
) -> None:
    """Propose `trials` cells of values, `batch` at once; `score` runs them and gives the mean that is to be improved.

    `chooser` is the direction ("max" or "min") and the seed. A cell that fails is None: the sampler learns nothing.
    """
    space = distributions(overrides)
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    fixed = [f"{o.get_key_element()}={o.get_value_element_as_str()}" for o in overrides if not o.is_sweep_override()]
    direction, seed = chooser
    towards = optuna.study.StudyDirection.MAXIMIZE if direction == "max" else optuna.study.StudyDirection.MINIMIZE
    study = optuna.create_study(direction=towards, sampler=optuna.samplers.TPESampler(seed=seed))
    for start in range(0, trials, batch):
        asked = [study.ask(space) for _ in range(min(batch, trials - start))]
        cells = [(*fixed, *(f"{key}={trial.params[key]}" for key in space)) for trial in asked]
        for trial, value in zip(asked, score(cells), strict=True):
            failed = optuna.trial.TrialState.FAIL if value is None else None
            study.tell(trial, value, state=failed)
