"""The images of a rehearsal: a folder for the server, and one for each silo."""

from pathlib import Path

from fedsq_flwr.assembly.task import load_raw_task
from fedsq_flwr.config import Config
from fedsq_flwr.config.override_strings import quoted
from fedsq_flwr.data.folder_writing import write_folder
from fedsq_flwr.errors import DataError

SERVER = "server"


def lay_out_data(config: Config, workshop: Path) -> tuple[list[Path], list[str]]:
    """Return each silo's folder of images, and the overrides by which a run uses folders.

    Folders that there are (``data.name=imagefolder``) are taken as they are: ``silo-0`` and so on in
    ``data.path``, and ``server`` if it is there. Any other data set is shared out as in a simulation, and
    written to ``workshop`` without loss.

    Raises
    ------
    DataError
        If a silo's folder is missing, or the images cannot be written.
    """
    if config.data.name == "imagefolder":
        root = Path(config.data.path or "").expanduser().absolute()
        folders = [root / silo_name(silo) for silo in range(config.silos)]
        for folder in folders:
            if not folder.is_dir():
                raise DataError(f"{folder}: no such folder; a rehearsal needs one for each of {config.silos} silos")
        server = root / SERVER
        return folders, [f"data.path={quoted(str(server)) if server.is_dir() else 'null'}"]
    task = load_raw_task(config, config.silos)
    folders = [workshop / silo_name(silo) / "data" for silo in range(config.silos)]
    server = workshop / SERVER / "data"
    if not (config.resume and server.is_dir()):  # a run that is resumed left them there
        for folder, train, held_out in zip(folders, task.train, task.held_out, strict=True):
            write_folder(folder, {"train": train, "validation": held_out}, task.class_names)
        write_folder(server, {"validation": task.validation, "test": task.test}, task.class_names)
    classes = ",".join(map(quoted, task.class_names))
    path = f"data.path={quoted(str(server))}"
    whole = ["data.revision=null", "data.limit=null", "data.test_limit=null"]
    return folders, ["data.name=imagefolder", path, f"data.classes=[{classes}]", *whole]


def silo_name(silo: int) -> str:
    """Return what a silo's folder is called."""
    return f"silo-{silo}"
