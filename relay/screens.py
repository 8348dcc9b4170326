"""The screening that a configuration asks for: commands that only judge messages build nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from relay.errors import ConfigError, Fault
from screening import ruleset as rulesets
from screening.classify.classifier import Classifier
from screening.rule import RuleError
from screening.screen import Screen, Unscreened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay.config import Config
    from screening.screen import Scanner


def screener(config: Config, scanners: Sequence[Scanner] = ()) -> Screen:
    """Return the screening that this configuration asks for; ConfigError with every fault of its rules.

    Commands that look at files ask nobody outside: they hand in no `scanners`.
    """
    settings = config.screening
    try:
        ruleset = rulesets.load(
            extra=[config.path(path) for path in settings.rules],
            python_rules=settings.python_rules,
            scores=settings.scores,
            off=settings.off,
            shadow=settings.shadow,
            on=settings.on,
        )
    except RuleError as error:
        raise ConfigError([Fault("screening.rules", "rules", text) for text in error.faults]) from error
    try:
        classifier = Classifier.load(model_path(config))
    except (OSError, ValueError) as error:
        raise ConfigError([Fault("screening.model", str(model_path(config)), str(error))]) from error
    return Screen(ruleset, classifier, scanners, deadline_seconds=settings.deadline.total_seconds())


def serving_screen(config: Config, scanners: Sequence[Scanner]) -> Screen:
    """Return what messages are screened by: nothing where the operator switched it off."""
    return screener(config, scanners) if config.screening.enabled else Unscreened()


def model_path(config: Config) -> Path:
    """Return where `learn` keeps what it trained; while nothing is there the shipped model serves."""
    return config.path(config.screening.model or Path("classifier.model"))
