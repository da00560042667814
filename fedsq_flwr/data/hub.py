"""Published data sets from the Hugging Face hub, kept in the hub's own cache (``HF_HOME``)."""

import warnings

from fedsq_flwr.data.decoded import Decoded, Origin
from fedsq_flwr.data.parquet_files import decode_dataset, one_set_of_classes
from fedsq_flwr.data.published_facts import Published
from fedsq_flwr.errors import DataError


def hub_origin(name: str, facts: Published, revision: str) -> Origin:
    """Return the data set ``name`` at the commit ``revision`` of its repository.

    A commit never changes, so what was decoded of it once needs neither the hub nor its library again.
    """
    return Origin(lambda: f"hub {facts.repository}@{revision}", lambda: _read(name, facts, revision))


def _read(name: str, facts: Published, revision: str) -> Decoded:
    import datasets  # takes seconds to import

    try:
        with warnings.catch_warnings():  # about credentials that nobody needs here
            warnings.simplefilter("ignore")
            # Parquet files only: this version of the library runs no code of a repository, and is not asked to.
            loaded = datasets.load_dataset(facts.repository, revision=revision)
    except Exception as error:  # the library's, its clients' and pyarrow's have no common base
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"data.path=null: {facts.repository} of the Hugging Face hub cannot be had ({reason}); "
            f"give data.path=FOLDER with {name} as parquet files or in folders of its classes "
            "(docs/reference/data-sets.md)"
        ) from error
    found = {}
    for part, (split, *_) in facts.parts.items():
        if split not in loaded:
            raise DataError(f"{facts.repository}@{revision}: has no split {split}, but {', '.join(loaded)}")
        found[part] = decode_dataset(loaded[split], facts, f"{facts.repository}, {split}")
    return one_set_of_classes(found, facts.repository)
