"""The images of a rehearsal: a folder for the server, and one for each silo."""

from pathlib import Path

from fedsq_flwr.assembly.data import load_raw_task
from fedsq_flwr.data.folder_writing import write_folder
from fedsq_flwr.errors import DataError
from fedsq_flwr.settings.data import ImageFolderData
from fedsq_flwr.settings.run import RunSettings

SERVER = "server"


def lay_out_data(settings: RunSettings, workshop: Path) -> tuple[list[Path], RunSettings]:
    """Return each silo's folder of images, and settings by which a run uses folders.

    Folders that there are (``data=imagefolder``) are taken as they are: ``silo-0`` and so on in
    ``data.path``, and ``server`` if it is there. Any other data set is distributed as in a simulation, and
    written to ``workshop`` without loss.

    Raises
    ------
    DataError
        If a silo's folder is missing, or the images cannot be written.
    """
    if isinstance(settings.data, ImageFolderData):
        root = Path(settings.data.path or "").expanduser().absolute()
        folders = [root / silo_name(silo) for silo in range(settings.silos)]
        for folder in folders:
            if not folder.is_dir():
                raise DataError(f"{folder}: no such folder; a rehearsal needs one for each of {settings.silos} silos")
        server = root / SERVER
        return folders, settings.changed(data={"path": str(server) if server.is_dir() else None})
    task = load_raw_task(settings, settings.silos)
    folders = [workshop / silo_name(silo) / "data" for silo in range(settings.silos)]
    server = workshop / SERVER / "data"
    if not (settings.resume and server.is_dir()):  # a run that is resumed left them there
        for folder, train, held_out in zip(folders, task.train, task.held_out, strict=True):
            write_folder(folder, {"train": train, "validation": held_out}, task.class_names)
        write_folder(server, {"validation": task.validation, "test": task.test}, task.class_names)
    common = {name: getattr(settings.data, name) for name in ("augmentation", "held_out_fraction", "min_held_out")}
    written = ImageFolderData(path=str(server), classes=task.class_names, **common)
    return folders, settings.changed(data=written)


def silo_name(silo: int) -> str:
    """Return the name of a silo's folder."""
    return f"silo-{silo}"
