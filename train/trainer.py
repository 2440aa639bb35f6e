"""The loop: batch, forward, losses, backward, clip, step, log. Read it from top to bottom.

Everything that is drawn (order, augmentation, dropout) is a function of the seed and the step, so that a run that was
killed goes on with the very losses it would have had.
"""

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from synth.errors import UserError
from synth.pipeline_stop import Stopped, stop_requests
from synth.store import Dataset, open_version
from train.augment_presets import PRESETS as AUGMENTS
from train.batch import Batch
from train.checkpoint import CheckpointError, load_weights, read_weights, save_weights
from train.config import TrainConfig
from train.data import Loader, find_plates, split_positions
from train.evaluate import evaluate, score, summarise
from train.examples import dataset_examples
from train.model import DenseModel, build_model, initialise, normalise, spec_of
from train.objective import Labels, losses_of, presets_of
from train.optim import PRESETS as SCHEDULES
from train.optim import Schedule, make_optimizer, schedule_of, set_rate
from train.panel import write_panel
from train.predict import Predictor
from train.process import Process, clip_gradients, share
from train.run_folder import LAST, add_line, begin_log, find_weights, open_run, tensorboard
from train.state import Average, Progress, load_state, save_state, whole_weights

#: Rows of a validation's picture.
_PICTURED = 8
Say = Callable[[str], None]
OnStep = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Plan:
    """What a config comes to: sizes, rates and steps."""

    size: tuple[int, int]
    layers: int
    schedule: Schedule
    steps: int


def train(
    config: TrainConfig,
    out: Path,
    process: Process,
    say: Say = lambda line: None,
    on_step: OnStep = lambda step, steps, note: None,
) -> Path | None:
    """Trains, or goes on where the run in `out` stands. Returns the best weights' file (None in helper processes).

    Raises UserError in one line; Stopped (a KeyboardInterrupt) after Ctrl-C or SIGTERM, once the state is saved.
    """
    dataset = open_version(config.data)
    positions = split_positions(dataset, "train")[: config.samples]
    plan = make_plan(config, len(positions) / (config.batch * config.accumulate * process.world))
    if process.main:
        open_run(out, config, dataset, process)
    process.gather(None)
    model = build_model(spec_of(config.arch, config.task), config.task)
    begin_weights(model, config, say)
    shared = share(model, config, process)
    optimizer = make_optimizer(model, plan.layers, plan.schedule)
    average = Average(model, config.ema)
    at = Progress()
    if (out / LAST).is_file():
        at = load_state(out / LAST, shared, optimizer, average, process)
        say(f"{out}: goes on after step {at.step} of {plan.steps}")
    if process.main:
        begin_log(out, at.step)
    loader = Loader(
        dataset, positions, config.batch, plan.size, AUGMENTS[config.augment], config.seed, config.threads,
        rank=process.rank, world=process.world, plates=find_plates(config.backgrounds),
    )  # fmt: skip
    say(f"{len(positions)} samples, {plan.steps} steps of {config.batch * config.accumulate * process.world}")
    run = _Run(config, plan, out, process, dataset, model, shared, optimizer, average, at, say)
    with stop_requests() as asked_to_stop:
        batches = loader.batches(at.step * config.accumulate)
        try:
            _loop(run, batches, asked_to_stop, on_step)
        finally:
            batches.close()
    run.finish()
    return find_weights(out) if process.main else None


@dataclass
class _Run:
    config: TrainConfig
    plan: Plan
    out: Path
    process: Process
    dataset: Dataset
    model: DenseModel
    shared: nn.Module
    optimizer: torch.optim.Optimizer
    average: Average
    at: Progress
    say: Say

    def save(self) -> None:
        save_state(self.out / LAST, self.shared, self.optimizer, self.average, self.at, self.process)

    def write_weights(self, stem: str) -> None:
        with self.average.applied():
            weights = whole_weights(self.shared)
        if self.process.main:
            plain = build_model(spec_of(self.config.arch, self.config.task), self.config.task)
            plain.load_state_dict(weights)
            save_weights(self.out / stem, plain, weights_facts(self.config, self.plan, self.dataset, self.at.step))

    def finish(self) -> None:
        self.write_weights("final")
        self.save()


def _loop(run: _Run, batches: Iterator[Batch], asked_to_stop: Callable[[], Stopped | None], on_step: OnStep) -> None:
    config, plan, at, process = run.config, run.plan, run.at, run.process
    run.shared.train()
    with tensorboard(run.out, at.step, process) as write:
        while at.step < plan.steps:
            started = time.monotonic()
            rate = set_rate(run.optimizer, plan.schedule, at.step, plan.steps)
            torch.manual_seed(_seed_of(config.seed, at.step, process.rank))
            for part in range(config.accumulate):
                batch = next(batches)
                with _gradients_wait(run.shared, part + 1 < config.accumulate):
                    losses = forward(run.shared, batch, config, process.device)
                    (losses["loss"] / config.accumulate).backward()
            norm = clip_gradients(run.shared.parameters(), plan.schedule.clip, process)
            run.optimizer.step()
            run.optimizer.zero_grad(set_to_none=True)
            run.average.update()
            at.step += 1

            every = (config.log_every, config.validate_every, config.save_every)
            if at.step == plan.steps or any(at.step % n == 0 for n in every):  # before anything is written of it
                _check_finite(norm, at.step, run.out)
            if at.step % config.log_every == 0 or at.step == plan.steps:
                facts = _logged(losses, norm, process)
                if process.main:
                    add_line(run.out, {"step": at.step, **facts, "lr": rate, "seconds": time.monotonic() - started})
                    write({f"train/{name}": value for name, value in facts.items()} | {"train/lr": rate}, at.step)
                    on_step(at.step, plan.steps, f"loss {facts['loss']:.4f}")
            if at.step % config.validate_every == 0 or at.step == plan.steps:
                _validate(run, write)
            if at.step % config.save_every == 0:
                run.save()
            if process.world == 1 or at.step % config.log_every == 0:  # processes agree on it, which costs time
                stopped = asked_to_stop()
                if any(process.gather(stopped is not None)):
                    _check_finite(norm, at.step, run.out)
                    run.save()
                    raise stopped or Stopped(signal.SIGTERM)


def forward(model: nn.Module, batch: Batch, config: TrainConfig, device: torch.device) -> dict[str, torch.Tensor]:
    """Losses of a batch by name, weighted, and their sum as `loss`."""
    half = config.precision == "bf16"
    moved = {name: tensor.to(device, non_blocking=True) for name, tensor in vars(batch).items() if name != "index"}
    rgb, labels = moved.pop("rgb"), Labels(**moved | {"trust": moved["trust"].float() / 255})
    with torch.autocast(device.type, torch.bfloat16, enabled=half):
        prediction = model(normalise(rgb))
    return losses_of(config.task, config.losses, prediction, labels)


def make_plan(config: TrainConfig, steps_per_epoch: float) -> Plan:
    """Checks the config's names and fills in what follows from the architecture. Raises UserError."""
    spec = spec_of(config.arch, config.task)
    for what, name, known in (
        ("losses", config.losses, presets_of(config.task)),
        ("augment", config.augment, list(AUGMENTS)),
        ("schedule", config.schedule, list(SCHEDULES)),
    ):
        if name not in known:
            raise UserError(f"{what} {name!r}: for {config.task} there are {', '.join(known)}")
    size = config.size or spec.size
    if config.task == "pointmap" and size != spec.size:
        raise UserError(
            f"size {size[0]}x{size[1]}: {config.arch}'s pointmap head works at {spec.size[0]}x{spec.size[1]} only"
        )
    given = {name: getattr(config, name) for name in ("lr", "layer_decay", "clip", "warmup")}
    schedule = replace(
        schedule_of(config.schedule, config.arch, config.task),
        **{name: v for name, v in given.items() if v is not None},
    )
    if schedule.matrix_lr is not None and config.parallel == "fsdp":
        raise UserError(f"schedule {config.schedule}: Muon needs whole matrices, and fsdp deals them out; use ddp")
    return Plan(size, spec.layers, schedule, config.steps or math.ceil(config.epochs * steps_per_epoch))


def begin_weights(model: DenseModel, config: TrainConfig, say: Say) -> None:
    """Fresh weights, then those of `config.init` over them, as far as it has any."""
    initialise(model, config.seed)
    if config.init is None:
        return
    weights = read_weights(Path(config.init))
    only_backbone = config.init_backbone or not weights.has_head
    try:
        changes = load_weights(model, weights, only_backbone)
    except CheckpointError as error:
        raise CheckpointError(f"{error}; --init-backbone takes its backbone only") from error
    taken = "backbone; the head begins afresh" if only_backbone else "backbone and head"
    say("; ".join([f"{config.init}: {taken}", *changes]))


def weights_facts(config: TrainConfig, plan: Plan, dataset: Dataset, step: int) -> dict:
    """What a file of weights says of itself."""
    return {
        "arch": config.arch, "task": config.task, "size": list(plan.size), "step": step, "losses": config.losses,
        "dataset_root": dataset.root,
    }  # fmt: skip


def _validate(run: _Run, write: Callable[[dict, int], None]) -> None:
    """Figures and pictures of split `val`; the best weights so far are kept."""
    config, process = run.config, run.process
    try:
        positions = split_positions(run.dataset, "val")[: config.validate_samples]
    except UserError as error:
        run.say(f"no validation: {error}")
        return
    mine = positions[process.rank :: process.world]
    mine = (
        mine if len(mine) == math.ceil(len(positions) / process.world) else [*mine, positions[0]]
    )  # same calls in all
    predictor = Predictor(run.shared, config.task, run.plan.size, process.device, config.precision == "bf16")
    with run.average.applied():
        rows = list(
            evaluate(lambda p: predictor.predict(p, config.batch), dataset_examples(run.dataset, mine), config.task)
        )
        shown = list(dataset_examples(run.dataset, positions[:_PICTURED]))
        maps = list(predictor.predict((example.rgb for example in shown), config.batch))
    by_name = {row.name: row for part in process.gather(rows) for row in part}
    if not by_name:
        return
    summary = summarise(list(by_name.values()))
    found = score(summary, config.task)
    best = found < run.at.best
    run.at.best = min(found, run.at.best)
    if process.main:
        figures = {f"{kind}.{name}": v for kind, e in summary["pooled"].items() for name, v in e.items()}
        add_line(run.out, {"step": run.at.step, "images": len(by_name), "best": best, **figures}, "validation.jsonl")
        write({f"val/{name}": v for name, v in figures.items() if isinstance(v, float)}, run.at.step)
        write_panel(run.out / "pictures" / f"{run.at.step:07d}.png", shown, maps)
        run.say(f"step {run.at.step}: validation {found:.4f}{' (best)' if best else ''}")
    if best:
        run.write_weights("best")
    run.shared.train()


def _check_finite(norm: torch.Tensor, step: int, out: Path) -> None:
    """The gradient's norm is the same in all processes; once it is not finite, no weight is. Raises UserError."""
    norm = float(norm)
    if not math.isfinite(norm):
        raise UserError(
            f"step {step}: the gradient's norm is {norm}; {out} still holds the last sound state: use another --out "
            f"with a lower --lr, and --init to begin from its weights"
        )


def _logged(losses: dict[str, torch.Tensor], norm: torch.Tensor, process: Process) -> dict[str, float]:
    """Means over processes, as plain numbers."""
    mine = {name: float(value.detach()) for name, value in losses.items()}
    parts = process.gather(mine)
    return {name: sum(part[name] for part in parts) / len(parts) for name in mine} | {"norm": float(norm)}


def _seed_of(seed: int, step: int, rank: int) -> int:
    """Of torch's generator for dropout in one step of one process."""
    return (seed * 1_000_003 + step) * 4096 + rank


@contextmanager
def _gradients_wait(model: nn.Module, wait: bool) -> Iterator[None]:
    """No exchange of gradients between processes until the last part of a step."""
    if wait and hasattr(model, "no_sync"):
        with model.no_sync():
            yield
        return
    if hasattr(model, "set_requires_gradient_sync"):
        model.set_requires_gradient_sync(not wait)
    yield
