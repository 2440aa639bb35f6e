"""Speed and memory of a training step of the real models: images/s, share of the GPU's peak, GiB.

    python benchmarks/train.py [--cases v1-depth,v1-normal,v2-normal] [--modes eager,compiled] [--batch 4] [--steps 20]

Random pictures of 1024 x 768; forward, our losses, backward, clipping and AdamW in bfloat16 autocast. FLOPs are those
of matrix products and convolutions, counted by torch on the meta device (forward and backward, without what
checkpointing computes again); the peak is the data sheet's for dense bfloat16.
"""

import argparse
import json
import sys
import time

del sys.path[0]  # this folder, where `train` is this file and not the package

import torch  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from train.model import ARCHS, build_model, initialise, layout, normalise, spec_of  # noqa: E402
from train.objective import Labels, losses_of  # noqa: E402
from train.optim import PRESETS, make_optimizer, set_rate  # noqa: E402

CASES = {
    "v1-depth": ("sapiens_0.3b", "depth"),
    "v1-normal": ("sapiens_0.3b", "normal"),
    "v2-normal": ("sapiens2_0.4b", "normal"),
    "tiny-depth": ("tiny", "depth"),
}
#: Dense bfloat16 TFLOP/s by a part of the device's name.
PEAKS = {"H100": 989.4, "H200": 989.4, "A100": 312.0}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", default="v1-depth,v1-normal,v2-normal")
    parser.add_argument("--modes", default="eager,compiled")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--checkpointing", action="store_true")
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(f"device: {name}, torch {torch.__version__}, batch {arguments.batch}")
    for case in arguments.cases.split(","):
        for mode in arguments.modes.split(","):
            figures = measure(*CASES[case], mode, arguments, device, name)
            print(json.dumps({"case": case, "mode": mode, **figures}), flush=True)


def measure(arch: str, task: str, mode: str, arguments: argparse.Namespace, device: torch.device, name: str) -> dict:
    """One case, timed over the last steps."""
    spec = spec_of(arch, task)
    model = build_model(spec, task)
    initialise(model, 0)
    model.to(device, memory_format=layout(device)).train()
    model.backbone.checkpointing = arguments.checkpointing
    schedule = PRESETS["ours"]
    optimizer = make_optimizer(model, spec.layers, schedule)
    rgb, labels = random_batch(arguments.batch, spec.size, device)
    run = torch.compile(model) if mode == "compiled" else model
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    begun, first, seconds = time.perf_counter(), 0.0, []
    for step in range(arguments.steps):
        started = time.perf_counter()
        set_rate(optimizer, schedule, step, 1000)
        with torch.autocast(device.type, torch.bfloat16):
            prediction = run(normalise(rgb))
        losses = losses_of(task, "ours", prediction, labels)
        losses["loss"].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), schedule.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
        first = time.perf_counter() - begun if step == 0 else first
    step_s = sorted(seconds[arguments.steps // 2 :])[arguments.steps // 4]
    flops = step_flops(arch, task) * arguments.batch
    peak = next((p for part, p in PEAKS.items() if part in name), None)
    figures = {
        "images_per_s": round(arguments.batch / step_s, 2),
        "step_ms": round(1000 * step_s, 1),
        "tflop_per_image": round(flops / arguments.batch / 1e12, 3),
        "first_step_s": round(first, 1),
        "loss": round(float(losses["loss"].detach()), 4),
    }
    if peak:
        figures["mfu"] = round(flops / step_s / (peak * 1e12), 3)
        figures["gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 1)
        del model, optimizer, run
        torch.cuda.empty_cache()
    torch._dynamo.reset()
    return figures


def step_flops(arch: str, task: str) -> int:
    """Multiply-adds counted twice, forward and backward, for one picture."""
    spec = ARCHS[arch]
    with torch.device("meta"):
        model = build_model(spec, task)
        x = torch.empty(1, 3, *spec.size)
    with FlopCounterMode(display=False) as counter:
        prediction = model(x)
        (prediction[0] if isinstance(prediction, tuple) else prediction).sum().backward()
    return counter.get_total_flops()


def random_batch(batch: int, size: tuple[int, int], device: torch.device) -> tuple[torch.Tensor, Labels]:
    """Noise with an elliptic mask that covers half the picture."""
    g = torch.Generator().manual_seed(0)
    height, width = size
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    mask = (x**2 + y**2 < 0.64).expand(batch, 1, height, width)
    normal = torch.nn.functional.normalize(torch.randn(batch, 3, height, width, generator=g), dim=1)
    K = torch.tensor([[900.0, 0, width / 2 - 0.5], [0, 900, height / 2 - 0.5], [0, 0, 1]]).expand(batch, 3, 3)
    labels = Labels(
        mask=mask.to(device),
        depth=(2 + torch.rand(batch, 1, height, width, generator=g)).to(device),
        normal=normal.to(device),
        trust=torch.ones(batch, 1, height, width, device=device),
        K=K.to(device),
    )
    rgb = torch.randint(0, 256, (batch, 3, height, width), generator=g, dtype=torch.uint8)
    return rgb.to(device), labels


if __name__ == "__main__":
    main()
