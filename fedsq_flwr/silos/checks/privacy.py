"""Whether a silo with privacy settings would train in a run, and what the run would spend."""

from fedsq_flwr.apps.silo_service import privacy_of
from fedsq_flwr.assembly.model import training_settings
from fedsq_flwr.errors import DataError, PrivacyError
from fedsq_flwr.report.numerals import count
from fedsq_flwr.settings.run import RunSettings
from fedsq_flwr.settings.silo import SiloSettings
from fedsq_flwr.silos.checks.finding import Finding, fail, ok, warn

_NAME = "privacy"


def check_privacy(silo: SiloSettings, run: RunSettings, images: int) -> Finding | None:
    """Look at a run as the silo's privacy settings do; nothing is charged.

    Parameters
    ----------
    silo : SiloSettings
        The silo's own.
    run : RunSettings
        As they hold at the silo.
    images : int
        To train with.

    Returns
    -------
    Finding or None
        None for a silo without privacy settings.
    """
    if silo.privacy is None or (guard := privacy_of(silo.site())) is None:
        return None
    terms = guard.terms
    try:
        guard.check(run.batch_norm, run.executor.precision, run.silo_measures, images)
        mechanism, steps = guard.cost_of_round(images, training_settings(run))
        spent = guard.ledger.read().spent
        one, whole = (
            guard.ledger.would_be(terms.unit, mechanism, steps * rounds, terms.delta) for rounds in (1, run.rounds)
        )
    except (PrivacyError, DataError) as error:
        return fail(_NAME, error)
    told = (
        f"unit {terms.unit}: epsilon {spent.epsilon if spent else 0:.4g} of {terms.max_epsilon:g} is spent; "
        f"training makes it {one:.4g} after one round, {whole:.4g} after {count(run.rounds, 'round')}"
    )
    if not one <= terms.max_epsilon:
        return fail(
            _NAME, told, "the silo will refuse: agree with the server's operator on fewer steps or more noise"
        )
    if not whole <= terms.max_epsilon:
        return warn(_NAME, told, "the silo will refuse before the last round: agree on fewer rounds or more noise")
    return ok(_NAME, told)
