"""The training loop: reads from top to bottom.

A run is a function of its settings: batches come from (seed, step), a saved state holds everything else, so a run that
is killed and resumed ends with the same bits as one that was not (same machine, same number of processes and threads).
Several processes: launch with `torchrun` or `accelerate launch`; DDP or FSDP2 by accelerate's configuration.
"""

from __future__ import annotations

import atexit
import gc
import math
import signal
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedType
from accelerate.state import AcceleratorState
from accelerate.utils import set_seed
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from visionsmith import checkpoint
from visionsmith.data.loader import loader, worker_errors
from visionsmith.data.sampler import RankBatches, batch_rows
from visionsmith.errors import ConfigError, VisionsmithError
from visionsmith.train.attention import quick_backward
from visionsmith.train.ema import Ema
from visionsmith.train.optim import learning_rate, make_optimizer, set_trainable, widen_scalars
from visionsmith.train.precision import has_bfloat16, settle_precision
from visionsmith.train.processes import on_cpu
from visionsmith.train.progress import TrainingProgress
from visionsmith.train.recipe import StageConfig, TrainConfig
from visionsmith.train.run_folder import RunFolder
from visionsmith.train.state import load_state, model_state, read_progress, save_state
from visionsmith.train.step import Stepper, backward
from visionsmith.train.task import Batch, Task

__all__ = ["Stopped", "fit"]


def fit(
    task: Task, config: TrainConfig, run: RunFolder, *, progress: bool = True, more_to_come: bool = False
) -> Path:
    """Train to the last step and write the finished checkpoint.

    Args:
        task: model, objective and data of a paper.
        config: how long, how large, how often.
        run: a started run folder; goes on from its newest undamaged state.
        progress: whether to show a bar.
        more_to_come: whether this process will train again, so that the communication of several processes stays open.

    Returns:
        The folder of the finished checkpoint.

    Raises:
        VisionsmithError: the loss is not finite, the data set is too small, the disk is full, ...
    """
    loop = _Loop(task, config, run, show=progress)
    stay_open = False
    try:
        with warnings.catch_warnings():
            # Under autocast a norm's weights stay float32 on purpose; torch says so once of each process.
            warnings.filterwarnings("ignore", message="Mismatch dtype between input and weight")
            finished = loop.run_all()
        stay_open = more_to_come
        return finished
    finally:
        loop.release(stay_open=stay_open)


class _Loop:
    def __init__(self, task: Task, config: TrainConfig, run: RunFolder, *, show: bool) -> None:
        config = settle_precision(config)
        precision = "no" if config.precision == "fp32" else config.precision
        if config.threads:
            torch.set_num_threads(config.threads)
        # Accelerate keeps the first run's precision for the whole process and refuses another.
        AcceleratorState._reset_state()
        self.accelerator = Accelerator(mixed_precision=precision, cpu=on_cpu())
        if precision == "fp16" and self.accelerator.device.type == "cpu":
            raise ConfigError("precision = 'fp16' needs a GPU", do="use precision=bf16 or fp32 on a CPU")
        if self.accelerator.distributed_type == DistributedType.FSDP and len(config.schedule) > 1:
            raise ConfigError(
                "FSDP shards the model once, so it takes one stage a run", do="train each stage in a run"
            )
        self.shapes = {name: tensor.shape for name, tensor in task.objective.state_dict().items()}
        if self.accelerator.distributed_type == DistributedType.FSDP:
            widen_scalars(task.objective)
        self.task, self.config, self.folder = task, config, run
        self.main = self.accelerator.is_main_process
        self.show = show and self.main
        self.step = 0
        self.seconds_before = 0.0
        self.stop_asked = False

    def run_all(self) -> Path:
        latest, passed_over = self.folder.latest_state()
        self.step = read_progress(latest)["step"] if latest else 0
        set_seed(self.config.seed)
        with (
            TrainingProgress(total=self.config.total_steps, start=self.step, show=self.show) as self.bar,
            self._graceful_stop(),
        ):
            for sentence in passed_over:
                self.bar.say(f"note: {sentence}")
            if self.config.precision == "bf16" and not has_bfloat16(self.accelerator.device):
                self.bar.say(
                    "note: this machine emulates bf16, many times slower than fp32; use precision=fp32"
                )
            self.started = time.monotonic()
            first_step = 0
            for stage in self.config.schedule:
                last_step = first_step + stage.steps
                if self.step < last_step or last_step == self.config.total_steps:
                    self._run_stage(stage, first_step, last_step, latest)
                    latest = None
                first_step = last_step
            finished = self._finish()
        self.accelerator.wait_for_everyone()
        return finished

    def _run_stage(self, stage: StageConfig, first_step: int, last_step: int, latest: Path | None) -> None:
        stepper = Stepper(self.task.objective)
        set_trainable(self.task.objective, stage)
        optimizer = make_optimizer(self.task.objective, stage.optim, half=self.config.precision == "bf16")
        self.accelerator.free_memory()
        self.model, self.optimizer = self.accelerator.prepare(stepper, optimizer)
        if first_step == 0 or latest is not None:
            self.ema = Ema(self.model, self.config.ema) if self.config.ema else None
        if latest is not None:
            within = first_step < self.step or (first_step == 0 and self.step == 0)
            inner = self.optimizer.optimizer if within else None
            content = load_state(latest, self.accelerator, self.model, inner, self.ema)
            self.seconds_before = content["seconds"]
            self.bar.say(
                f"resumed at step {self.step}: weights, optimiser, average and random state restored"
            )
        batches = iter(self._loader())
        while self.step < last_step:
            self._one_step(stage, first_step, batches)
            if self.step % self.config.save_every == 0 or self.step == last_step or self._must_stop():
                self._save()
            if self._must_stop() and self.step < self.config.total_steps:
                raise Stopped(self.folder.path, self.step)
            if (
                self.config.evaluate_every
                and self.step % self.config.evaluate_every == 0 < self.config.total_steps - self.step
            ):
                self._evaluate()

    def _loader(self) -> Any:
        accelerator = self.accelerator
        batches = RankBatches(
            self.task.plan,
            start_step=self.step,
            rank=accelerator.process_index,
            world=accelerator.num_processes,
            parts=self.config.accumulate,
        )
        pin = accelerator.device.type == "cuda"
        self.window, self.rows = _Window(), batch_rows(self.task.plan, self.step)
        return loader(self.task.dataset, batches, self.task.collate, workers=self.config.workers, pin=pin)

    def _one_step(self, stage: StageConfig, first_step: int, batches: Iterator[Batch]) -> None:
        config, accelerator = self.config, self.accelerator
        with self.window.waiting(), worker_errors():
            parts = [self._to_device(next(batches)) for _ in range(config.accumulate)]
        rate = learning_rate(stage.optim, self.step - first_step, stage.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.model.train()
        slow = config.precision == "bf16" and accelerator.device.type == "cpu"
        with quick_backward() if slow else nullcontext():
            losses = backward(accelerator, self.model, parts)
        norm = None
        if stage.optim.clip_norm is not None:
            norm = accelerator.clip_grad_norm_(self.model.parameters(), stage.optim.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.task.after_step is not None:
            self.task.after_step()
        if self.ema is not None:
            self.ema.update()
        self.step += 1
        self.window.add(losses, norm, next(self.rows))
        log_now = self.step % config.log_every == 0 or self.step == config.total_steps
        self.bar.advance(self._log(rate, stage.name) if log_now else None)

    def _to_device(self, batch: Batch) -> Batch:
        return {name: tensor.to(self.accelerator.device, non_blocking=True) for name, tensor in batch.items()}

    def _log(self, rate: float, stage: str) -> str:
        sums = self.accelerator.reduce(self.window.means(), reduction="mean")
        values = {name: float(value) for name, value in sums.items()}
        if not math.isfinite(values["loss"]):
            raise VisionsmithError(
                f"the loss is {values['loss']} at step {self.step}; the last saved state is kept",
                where=self.folder.path,
                do="lower the learning rate, or use precision=bf16 or fp32, and start again",
            )
        speed, waiting = self.window.speed()
        entry = {"step": self.step, "time": round(self._seconds(), 3), "stage": stage, **values, "lr": rate}
        entry |= {"samples_per_second": round(speed, 2), "data_share": round(waiting, 4)}
        if self.main:
            self.folder.log(entry)
            self._tensorboard(entry)
        self.window = _Window()
        return f"loss {values['loss']:.3f}  {speed:.0f}/s  data {waiting:.0%}"

    def _tensorboard(self, entry: Mapping[str, Any]) -> None:
        if not hasattr(self, "writer"):
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(str(self.folder.path / "tensorboard"))
        for name, value in entry.items():
            if isinstance(value, int | float) and name != "step":
                self.writer.add_scalar(name, value, entry["step"])

    def _seconds(self) -> float:
        """Time of the whole run, what was spent before a resume included."""
        return self.seconds_before + time.monotonic() - self.started

    def _save(self) -> None:
        progress = {"step": self.step, "seconds": self._seconds()}
        folder = self.folder.state_folder(self.step)
        save_state(folder, self.accelerator, self.model, self.optimizer.optimizer, self.ema, progress)
        if self.main:
            self.folder.prune(self.config.keep)
        self.accelerator.wait_for_everyone()

    def _evaluate(self) -> None:
        """Measure the model (its average, where there is one) without touching the random state of the training."""
        if self.task.evaluate is None:
            return
        waiting = self.window
        with torch.random.fork_rng(), self._showing():
            measured = dict(self.task.evaluate())
        if self.main:
            self.folder.log({"step": self.step, "time": round(self._seconds(), 3), "evaluate": measured})
            self._tensorboard({"step": self.step, **{f"evaluate/{k}": v for k, v in measured.items()}})
            first = "  ".join(f"{name} {value:.3f}" for name, value in list(measured.items())[:3])
            self.bar.say(f"step {self.step}: {first}")
        waiting.restart()

    @contextmanager
    def _showing(self) -> Iterator[None]:
        """The model as it is to be judged: averaged, whole on every process, in evaluation mode, without gradients."""
        with self.ema.applied() if self.ema is not None else nullcontext(), torch.no_grad():
            shards = [module for module in self.model.modules() if isinstance(module, FSDPModule)]
            for module in shards:
                module.unshard()
            self.model.eval()
            yield
            self.model.train()
            for module in shards:
                module.reshard()

    def _finish(self) -> Path:
        self._evaluate()
        with self.ema.applied() if self.ema is not None else nullcontext():
            state = model_state(self.model)
        with self._showing():
            picture = self.task.samples() if self.task.samples is not None else None
        if self.main:
            whole = {name.removeprefix("objective."): tensor for name, tensor in state.items()}
            export = self.task.export(
                {name: tensor.reshape(self.shapes[name]) for name, tensor in whole.items()}
            )
            checkpoint.write(
                self.folder.model,
                paper=self.task.paper,
                config=export.config,
                tensors=export.tensors,
                files={**export.files, **self.folder.story(self.task.about)},
            )
            if picture is not None:
                from visionsmith.image.io import write_image

                write_image(self.folder.path / "samples.png", picture)
        return self.folder.model

    def release(self, *, stay_open: bool = False) -> None:
        """Let go of the model, and unless it is to stay open close the communication while the interpreter is whole.

        A wrapped or sharded model keeps the threads of the process group alive, also when the group has been destroyed.
        Threads that are left when Python shuts down may end a finished process with SIGABRT (pytorch/pytorch#179291).
        """
        if self.accelerator.num_processes > 1:
            # Shards belong to the caller, who is gone by then.
            atexit.register(gc.collect)
        if hasattr(self, "writer"):
            self.writer.close()
        for name in ("model", "optimizer", "ema"):
            self.__dict__.pop(name, None)
        self.accelerator.free_memory()
        if not stay_open:
            self.accelerator.end_training()

    def _must_stop(self) -> bool:
        if self.accelerator.num_processes == 1:
            return self.stop_asked
        asked = torch.tensor(float(self.stop_asked), device=self.accelerator.device)
        return bool(self.accelerator.reduce(asked, reduction="sum") > 0)

    @contextmanager
    def _graceful_stop(self) -> Iterator[None]:
        """Ctrl-C or a termination request once: save and stop after the step; twice: stop at once."""

        def ask(number: int, frame: object) -> None:
            if self.stop_asked:
                raise KeyboardInterrupt
            self.stop_asked = True
            self.bar.say("stopping after this step; once more to stop at once")

        try:
            before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not the main thread: signals are somebody else's
            before = {}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class Stopped(VisionsmithError):
    """The user asked a run to stop, and its state is saved."""

    exit_code = 130

    def __init__(self, run: Path, step: int, do: str = "go on with --resume") -> None:
        super().__init__(f"stopped and saved at step {step}", where=run, do=do)
        self.run, self.step = run, step


class _Window:
    """Sums since the last line of the log; tensors stay on their device until they are read."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: Counter[str] = Counter()
        """Steps that had a value: where batches are of several kinds, not every step has every loss."""
        self.samples = 0
        self.waited = 0.0
        self.restart()

    def restart(self) -> None:
        self.began = time.monotonic()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        begin = time.monotonic()
        yield
        self.waited += time.monotonic() - begin

    def add(self, losses: Mapping[str, Tensor], norm: Tensor | None, samples: int) -> None:
        values = dict(losses) if norm is None else {**losses, "grad_norm": norm}
        for name, value in values.items():
            # The norm over sharded gradients is itself spread over the processes.
            value = (value.full_tensor() if isinstance(value, DTensor) else value).detach().float()
            self.sums[name] = self.sums[name] + value if name in self.sums else value
            self.counts[name] += 1
        self.samples += samples

    def means(self) -> dict[str, Tensor]:
        return {name: value / self.counts[name] for name, value in self.sums.items()}

    def speed(self) -> tuple[float, float]:
        """Samples a second over all processes, and the share of the time spent waiting for data."""
        elapsed = max(time.monotonic() - self.began, 1e-9)
        return self.samples / elapsed, min(1.0, self.waited / elapsed)
