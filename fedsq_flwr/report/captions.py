"""The sentences of the page that depend on the run."""

from collections.abc import Mapping, Sequence

from fedsq_flwr.privacy.ledger import Epsilon
from fedsq_flwr.records.history import Diagnostics, Drop, Line, is_finite
from fedsq_flwr.records.summary import SiloSummary, Summary
from fedsq_flwr.report import numerals
from fedsq_flwr.report.measure_tables import NAMES
from fedsq_flwr.report.run import Run
from fedsq_flwr.settings.partition_file import REAL_SILOS, PartitionFile
from fedsq_flwr.settings.run import RunSettings
from fedsq_flwr.settings.silo import titled

SILOS_NAMED = 12  # in one sentence
SILOS_LISTED = 200  # each in a line of the table


def about_partition(settings: RunSettings) -> str:
    """Describe the partition of the settings in a few words."""
    return _kind(REAL_SILOS if settings.has_real_silos else settings.partition.name, settings.partition)


def _kind(name: str, parameters: object) -> str:
    alpha, classes, shards = (
        getattr(parameters, each, None) for each in ("alpha", "classes_per_silo", "shards_per_silo")
    )
    words = {
        "iid": "equal random shares",
        "natural": "natural groups",
        "file": "the partition of another run",
        REAL_SILOS: "real silos",
    }
    if alpha is not None:
        words["dirichlet"] = f"Dirichlet, alpha {alpha:g}"
        words["quantity"] = f"sizes by Dirichlet, alpha {alpha:g}"
    if classes is not None:
        words["pathological"] = f"{numerals.count(classes, 'class')} a silo"
    if shards is not None:
        words["shards"] = f"{numerals.count(shards, 'shard')} a silo"
    return words.get(name, name)


def about_validation(run: Run) -> str:
    """Explain validation figures of a server without data; else empty."""
    if not run.silos_validate:
        return ""
    return (
        "The server has no data: the validation figures are over all samples that the silos hold out, in the "
        "rounds in which they evaluate, and there is no test set."
    )


def about_stop(run: Run) -> str:
    """Say why a run that did what was asked has fewer rounds than it was asked for; else empty."""
    settings, stopped = run.settings, run.summary.stopped
    if stopped is None:
        return ""
    least = f" of at least {settings.stop_min_delta:g}" if settings.stop_min_delta else ""
    return (
        f"The run stopped after round {stopped} of {settings.rounds}: {numerals.count(settings.stop_after, 'round')} "
        f"without an improvement of {NAMES[settings.select_by]}{least}."
    )


def about_batch_norm(policy: str) -> str:
    """Explain the accuracies under local batch norm; empty under other policies."""
    if policy != "local":
        return ""
    return (
        "Batch norm is local: the server evaluates the averaged weights with the batch norm of the start, each silo "
        "with its own. The silos' figures are therefore the fair ones."
    )


def of_privacy(spent: Epsilon) -> str:
    """Say what an epsilon of the server's is about."""
    return f"unit {spent.unit}, delta {spent.delta:g}, by the server's noise"


def of_accuracy(run: Run) -> str:
    """Write the sentence under the figure of accuracies."""
    best = run.best_round
    by = run.settings.select_by
    chosen = (
        f"round {best} is the best on validation{'' if by == 'accuracy' else f' by {NAMES[by]}'}"
        if best is not None
        else "no round was measured"
    )
    band = ""
    if any(line.accuracies for line in run.rounds):
        band = "; the band runs from the worst to the best silo on their own held-out samples"
    sets = "on all samples that the silos hold out" if run.silos_validate else "on the validation and the test split"
    evaluated = "The averaged model" if run.one_model else "The mean over the silos' own models"
    return f"{evaluated} {sets}: {chosen}{band}."


def of_loss(run: Run) -> str:
    """Write the sentence under the figure of losses."""
    lost = sum(1 for line in run.rounds if not (is_finite(line.loss) and is_finite(line.train_loss)))
    why = "that the silos did not evaluate in" if run.silos_validate else "without a finite loss"
    gap = f"; {numerals.count(lost, 'round')} {why} left a gap" if lost else ""
    evaluated = "The averaged model's loss" if run.one_model else "The mean loss of the silos' own models"
    return f"{evaluated} on the validation split, and the mean of the silos' losses while they train{gap}."


def of_partition(partition: PartitionFile) -> str:
    """Write the sentence under the picture of the partition."""
    fullest = max(map(max, partition.counts))
    return (
        f"Samples of each class in each silo ({how_drawn(partition)}): the "
        f"stronger the colour, the more (up to {fullest:,}); the bars are the silos' sizes, {span(partition)}."
    )


def how_drawn(partition: PartitionFile) -> str:
    """Write the kind of partition, its parameter and its seed."""
    reused = "" if partition.file is None else "; of another run, reused"
    return f"{_kind(partition.name, partition)}, seed {partition.seed}{reused}"


def span(partition: PartitionFile) -> str:
    """Write how many samples silos have."""
    least, most = min(partition.sizes), max(partition.sizes)
    return f"{least:,} to {most:,} samples" if least < most else f"{most:,} samples"


def of_silos(summary: Summary) -> str:
    """Write the sentence under the figure of the silos' accuracies."""
    sizes = [silo.held_out for silo in summary.evaluated_silos if silo.held_out]
    grain = ""
    if sizes:
        span = f"{min(sizes)} to {max(sizes)}" if min(sizes) < max(sizes) else f"{min(sizes)}"
        grain = f"; with {span} samples each, a single sample moves a bar by up to {1 / min(sizes):.2f}"
    absent = [silo.title for silo in summary.per_silo if silo.accuracy is None]
    left_out = f"; not shown, since they hold no samples out or tell no figures: {_silos(absent)}" if absent else ""
    return f"The model of round {summary.rounds_to_best} on each silo's own held-out samples{grain}{left_out}."


def of_flips(diagnoses: Sequence[tuple[int, Diagnostics]], settings: RunSettings) -> str:
    """Write the sentences under the picture of the flipped gates."""
    number, last = diagnoses[-1]
    fixed = "the gates of the start" if settings.method.gates == "none" else "the fixed gates"
    pooled = ", and of max-pooling winners," if any(layer.pools for layer in last.layers) else ""
    return (
        f"Per cent of the averaged model's own ReLU signs{pooled} that differ from {fixed}, on "
        f"{last.images} validation images: {numerals.percent(last.flip_rate)} of all signs in round {number}. The "
        f"strongest colour is 50 %, as by chance. Bars: the share of {fixed} that is open; ticks: of the model's own."
    )


def of_averaging(diagnoses: Sequence[tuple[int, Diagnostics]]) -> str:
    """Write the sentences under the figure of the averaging gap."""
    number, last = diagnoses[-1]
    gap, spread = last.averaging.gap, last.averaging.spread
    far = f"{numerals.loss(gap)} over {numerals.loss(spread)} in round {number}"
    return (
        "Above: the distance between the averaged model's logits and the mean of the silos' logits, relative to the "
        f"spread of the silos' ({far}); 0 would be averaging without loss. Below: how far in weights the silos went "
        "from the model they were sent, and how far their mean did."
    )


def of_drops(drops: Sequence[Drop], names: Mapping[int, str]) -> str:
    """Count the replies that a round did not use, and name their silos, those with the same reason together."""
    silos: dict[tuple[str, bool], list[str]] = {}
    for drop in drops:
        silos.setdefault((drop.reason, drop.evaluating), []).append(f"{drop.silo}{titled(names.get(drop.silo))}")
    groups = (
        f"{_silos(names)}{' while evaluating' if evaluating else ''}: {reason}"
        for (reason, evaluating), names in silos.items()
    )
    return f"{numerals.count(len(drops), 'reply')} not used: {'; '.join(groups)}"


def answered(line: Line, silos: int) -> str:
    """Write the usable replies over the silos asked."""
    return f"{line.replies}/{line.sampled if line.sampled is not None else silos}"


def worst_silo(summary: Summary) -> SiloSummary | None:
    """Find the silo with the lowest accuracy on its own held-out samples."""
    return next(iter(summary.evaluated_silos), None)


def listed_silos(summary: Summary) -> Sequence[SiloSummary]:
    """Return the silos of the table: all by their numbers, or of very many those with the lowest accuracy."""
    return summary.per_silo if len(summary.per_silo) <= SILOS_LISTED else summary.evaluated_silos[:SILOS_LISTED]


def _silos(names: list[str]) -> str:
    """List all silos if they are few, else the first ones and how many more there are."""
    more = f" and {len(names) - SILOS_NAMED} more" if len(names) > SILOS_NAMED else ""
    return f"silo{'s' if len(names) > 1 else ''} {', '.join(names[:SILOS_NAMED])}{more}"
