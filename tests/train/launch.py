"""Runs the toy task from the command line: what the tests kill, resume, and start in several processes."""

from __future__ import annotations

import atexit
import json
import os
import signal
import sys
from pathlib import Path

from tests.train.toys import toy_config, toy_task
from visionsmith.train import loop
from visionsmith.train.run_folder import RunFolder


def main(folder: str, settings: str) -> None:
    options = json.loads(settings)
    kill_at = options.pop("kill_at", None)
    options.pop("expect", None)
    if options.pop("shard", False):
        _shard_on_cpu()
    config = toy_config(**options.pop("train", {}))
    run = RunFolder(Path(folder))
    task = toy_task(**options)
    if kill_at is not None:
        _kill_self(task, *kill_at)
    if int(os.environ.get("RANK", "0")) == 0:
        run.start(paper="toy", data=None, recipe=config, resume=True)
    expected = options_expected(settings)
    loop.fit(task, config, run, progress=False)
    from accelerate.state import AcceleratorState

    assert AcceleratorState().distributed_type.value == expected, AcceleratorState().distributed_type


def require_silence() -> None:
    """At exit: a thread of a process group that is still there may abort the process (known by name on Linux)."""
    names = [file.read_text().strip() for file in Path("/proc/self/task").glob("*/comm")]
    if left := [name for name in names if "gloo" in name]:
        print(f"threads outlive the run: {left}", file=sys.stderr, flush=True)
        os._exit(3)


def options_expected(settings: str) -> str:
    """How the processes were to work together: without this, two runs side by side would look like one of two."""
    return str(json.loads(settings).get("expect", "NO"))


def _shard_on_cpu() -> None:
    """FSDP2 as accelerate applies it on GPUs: accelerate itself offers it there only, torch on CPUs too."""
    from accelerate import Accelerator
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    from visionsmith.train.optim import make_optimizer, widen_scalars

    plain = Accelerator.prepare

    def prepare(self, model, optimizer):
        widen_scalars(model)
        fully_shard(model, mesh=init_device_mesh("cpu", (self.num_processes,)))
        return model, plain(self, make_optimizer(model, toy_config().optim))

    Accelerator.prepare = prepare


def _kill_self(task, step: int, moment: str) -> None:
    """SIGKILL after the given step: between steps, or in the middle of writing a state."""
    steps = 0
    before = task.after_step

    def after_step() -> None:
        nonlocal steps
        before()
        steps += 1
        if steps == step and moment == "step":
            os.kill(os.getpid(), signal.SIGKILL)

    task.after_step = after_step
    if moment == "save":
        from visionsmith import checkpoint

        write, files = checkpoint.write_synced, 0

        def die(path: Path, content: bytes) -> None:
            nonlocal files
            files += 1
            if files == step:
                path.write_bytes(content[: len(content) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            write(path, content)

        checkpoint.write_synced = die


if __name__ == "__main__":
    atexit.register(require_silence)
    main(*sys.argv[1:])
    if json.loads(sys.argv[2]).get("shard"):
        # torch's caches of sharded operations hold the process group to the very end, and with it its threads.
        os._exit(0)
