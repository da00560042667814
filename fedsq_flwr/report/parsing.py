"""From the objects in a run's files to records."""

from fedsq_flwr.report.diagnosis import parse_diagnosis
from fedsq_flwr.report.fields import Fields
from fedsq_flwr.report.records import Drop, Partition, PlainForm, Round, Settings, SiloResult, Summary

SUMMARY_SCHEMA = 1
#: Name of the executor of real silos, and of their partition: they have what they have.
REAL_SILOS = "silos"


def parse_round(fields: Fields) -> Round:
    """Read one line of the history; what only newer versions write may be absent."""
    drops = fields.objects("dropped") if "dropped" in fields else []
    silos = fields.inner("silo_accuracies") if "silo_accuracies" in fields else None
    return Round(
        round=fields.whole("round"),
        train_loss=fields.number("train_loss"),
        loss=fields.number("loss"),
        accuracy=fields.number("accuracy"),
        test_loss=fields.optional_number("test_loss"),
        test_accuracy=fields.number("test_accuracy"),
        seconds=fields.number("seconds"),
        train_seconds=fields.optional_number("train_seconds"),
        sampled=fields.optional_whole("sampled"),
        replies=fields.whole("replies"),
        dropped=tuple(_drop(drop) for drop in drops),
        silo_accuracies=_silo_accuracies(silos) if silos is not None else {},
        silo_mean=fields.optional_number("silo_accuracy_mean"),
        silo_worst=fields.optional_number("silo_accuracy_worst"),
        silo_std=fields.optional_number("silo_accuracy_std"),
        bytes_up=fields.optional_whole("bytes_up"),
        bytes_down=fields.optional_whole("bytes_down"),
        diagnosis=parse_diagnosis(fields.inner("diagnostics")) if "diagnostics" in fields else None,
    )


def parse_summary(fields: Fields) -> Summary:
    """Read what ``summary.json`` holds; another schema than the one known here is an error."""
    if fields.whole("schema") != SUMMARY_SCHEMA:
        raise fields.wrong("schema", f"{SUMMARY_SCHEMA}, the one this version reads")
    silos = (
        SiloResult(
            silo.whole("silo"),
            silo.optional_whole("train"),
            silo.optional_whole("held_out"),
            silo.optional_number("accuracy"),
        )
        for silo in fields.objects("per_silo")
    )
    versions = fields.inner("versions")
    return Summary(
        best_round=fields.optional_whole("rounds_to_best"),
        best_accuracy=fields.number("best_accuracy"),
        accuracy_auc=fields.number("accuracy_auc"),
        test_accuracy=fields.number("test_accuracy"),
        final_accuracy=fields.number("final_accuracy"),
        plain=_plain_form(fields),
        per_silo=tuple(silos),
        silo_mean=fields.optional_number("silo_accuracy_mean"),
        silo_worst=fields.optional_number("silo_accuracy_worst"),
        silo_std=fields.optional_number("silo_accuracy_std"),
        bytes_up=fields.optional_whole("bytes_up"),
        bytes_down=fields.optional_whole("bytes_down"),
        wall_seconds=fields.number("wall_seconds"),
        train_seconds=fields.number("train_seconds"),
        fingerprint=fields.text("fingerprint"),
        weights_sha256=fields.text("weights_sha256") if "weights_sha256" in fields else None,
        versions={name: versions.text(name) for name in versions.names()},
    )


def parse_partition(fields: Fields) -> Partition:
    """Read what ``partition.json`` holds, without the indices."""
    names = tuple(str(name) for name in fields.items("class_names"))
    counts = fields.table("counts")
    if not counts or not names or len(counts[0]) != len(names):
        raise fields.wrong("counts", f"a row a silo of {len(names)} numbers, one a class")
    held_out = fields.wholes("held_out")
    if len(held_out) != len(counts):
        raise fields.wrong("held_out", f"{len(counts)} numbers, one a silo")
    return Partition(
        name=fields.text("name"),
        alpha=fields.optional_number("alpha"),
        classes_per_silo=fields.optional_whole("classes_per_silo"),
        shards_per_silo=fields.optional_whole("shards_per_silo"),
        seed=fields.whole("seed"),
        file=fields.text("file") if "file" in fields else None,
        class_names=names,
        counts=counts,
        held_out=held_out,
        validation=fields.optional_whole("validation"),
        test=fields.optional_whole("test"),
    )


def parse_settings(fields: Fields, text: str) -> Settings:
    """Read the settings that the report names; `text` is the whole file."""
    partition = fields.inner("partition")
    method, data = fields.inner("method"), fields.inner("data")
    real = "executor" in fields and fields.inner("executor").text("name") == REAL_SILOS
    return Settings(
        experiment=fields.text("experiment"),
        method=method.text("name"),
        gates=method.text("gates"),
        data=data.text("name"),
        backbone=fields.inner("backbone").text("name"),
        partition=REAL_SILOS if real else partition.text("name"),
        alpha=None if real else partition.optional_number("alpha"),
        classes_per_silo=partition.optional_whole("classes_per_silo"),
        shards_per_silo=partition.optional_whole("shards_per_silo"),
        silos=fields.whole("silos"),
        rounds=fields.whole("rounds"),
        seed=fields.whole("seed"),
        learning_rate=fields.optional_number("learning_rate"),
        batch_norm=fields.text("batch_norm"),
        text=text,
        silos_validate=real and data.text("name") == "imagefolder" and "path" not in data,
        one_model="aggregation" not in method or method.text("aggregation") != "none",
    )


def _plain_form(fields: Fields) -> PlainForm | None:
    names = ("plain_best_accuracy", "plain_test_accuracy", "plain_final_validation_accuracy", "plain_final_accuracy")
    values = [value for value in map(fields.optional_number, names) if value is not None]
    return PlainForm(*values) if len(values) == len(names) else None


def _drop(fields: Fields) -> Drop:
    evaluating = "while" in fields and fields.text("while") == "evaluating"
    return Drop(fields.whole("silo"), fields.text("reason"), evaluating)


def _silo_accuracies(fields: Fields) -> dict[int, float]:
    """Read accuracies by silo; JSON has text keys only, so that the silos' numbers are texts there."""
    accuracies = {}
    for name in fields.names():
        accuracy = fields.number(name)
        if not name.isdecimal():
            raise fields.wrong(name, "under the number of a silo")
        if accuracy is not None:
            accuracies[int(name)] = accuracy
    return dict(sorted(accuracies.items()))
