"""From Flower's run config to settings: once for each run and site, whatever threads ask."""

import threading

from fedsq_flwr import run_config
from fedsq_flwr.run_config import config_of
from fedsq_flwr.settings.silo import Site


def test_threads_that_ask_at_once_get_the_same_settings(monkeypatch):
    """Hydra's composition is not safe among threads: without turns, some of these would get its error."""
    run_config._composed.cache_clear()
    keys = [("", f"seed={number}") for number in range(4)]
    found: dict[int, list[int]] = {number: [] for number in range(8)}
    barrier = threading.Barrier(len(found))

    def ask(number: int) -> None:
        barrier.wait()
        found[number] = [config_of(key).seed for key in keys]

    threads = [threading.Thread(target=ask, args=(number,)) for number in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(seeds == [0, 1, 2, 3] for seeds in found.values())


def test_a_run_is_composed_once_for_each_site():
    run_config._composed.cache_clear()
    first = config_of(("", "seed=5"))
    assert config_of(("", "seed=5"), Site()) is first
    at_a_silo = config_of(("", "seed=5 executor=silos data=imagefolder"), Site(data_path="/data", device="cpu"))
    assert (at_a_silo.data.path, at_a_silo.executor.device) == ("/data", "cpu")
