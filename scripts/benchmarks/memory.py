"""Peak memory of a training step beyond what is held before it: tensors of torch's CPU allocator, exactly."""

from collections.abc import Callable, Sequence

from torch.profiler import ProfilerActivity, profile

from scripts.benchmarks.networks import arms, build
from scripts.benchmarks.steps import sgd, step_of


def run(networks: Sequence[str], repeats: int, with_native: bool) -> None:  # noqa: ARG001 - nothing varies
    """Print the peak of a step of each arm; the cache's own rows, held before, are not in it."""
    print("| peak memory of a step | plain | naive | ours |\n|---|---|---|---|")
    for name in networks:
        found = arms(build(name), False)
        optimizer, peaks = sgd(found["plain"]), {}
        for label, arm in found.items():
            step = step_of(arm, name, optimizer)
            step()
            optimizer.zero_grad(set_to_none=True)  # or freeing the gradients of before would count against the peak
            peaks[label] = peak(step)
        naive, ours = (f"{peaks[label] / peaks['plain']:.2f}" for label in ("naive", "ours"))
        print(f"| {name} | {peaks['plain'] / 2**20:.1f} MiB | {naive} | {ours} |", flush=True)


def peak(step: Callable[[], None]) -> int:
    """Return the most bytes that tensors of ``step`` held at once."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    held = highest = 0
    events = profiler.profiler.kineto_results.events()  # type: ignore[union-attr]
    for event in sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        held += event.nbytes()
        highest = max(highest, held)
    return highest
