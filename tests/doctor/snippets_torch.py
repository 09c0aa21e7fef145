"""Scripts that fail in torch, by the name of their recording."""

TORCH = {
    "meta-tensor-copied": """
        import torch
        model = torch.nn.Sequential(torch.nn.Linear(8, 8, device="meta"))
        model.to("cpu")
    """,
    "meta-tensor-copied--item": """
        import torch
        with torch.device("meta"):
            loss = torch.nn.functional.mse_loss(torch.ones(3), torch.zeros(3))
        print(f"loss {loss.item():.3f}")
    """,
    "module-prefix": """
        import torch
        def build():
            return torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
        torch.save(torch.nn.DataParallel(build()).state_dict(), "model.pt")
        build().load_state_dict(torch.load("model.pt"))
    """,
    "compiled-prefix": """
        import torch
        model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 2))
        torch.save(torch.compile(model).state_dict(), "model.pt")
        model.load_state_dict(torch.load("model.pt"))
    """,
    "checkpoint-shape": """
        import torch
        saved = torch.nn.Sequential(torch.nn.Linear(16, 16), torch.nn.Linear(16, 1000)).state_dict()
        model = torch.nn.Sequential(torch.nn.Linear(16, 16), torch.nn.Linear(16, 10))
        model.load_state_dict(saved)
    """,
    "checkpoint-other-model": """
        import torch
        encoder = torch.nn.ModuleDict({"encoder": torch.nn.Linear(4, 4)})
        model = torch.nn.ModuleDict({"backbone": torch.nn.Linear(4, 4)})
        model.load_state_dict(encoder.state_dict())
    """,
    "module-init-order": """
        import torch
        class Net(torch.nn.Module):
            def __init__(self):
                self.linear = torch.nn.Linear(2, 2)
                super().__init__()
        Net()
    """,
    "target-dtype": """
        import torch
        model = torch.nn.Linear(4, 1)
        outputs = model(torch.randn(8, 4))[:, 0].sigmoid()
        loss = torch.nn.functional.binary_cross_entropy(outputs, torch.ones(8, dtype=torch.long))
        loss.backward()
    """,
    "target-dtype--cross-entropy": """
        import torch
        labels = torch.tensor([0.0, 1.0, 2.0, 1.0])
        print(torch.nn.functional.nll_loss(torch.randn(4, 3).log_softmax(1), labels))
    """,
    "label-out-of-range": """
        import torch
        loss = torch.nn.functional.cross_entropy(torch.randn(4, 10), torch.tensor([1, 4, 10, 3]))
    """,
    "token-out-of-range": """
        import torch
        embedding = torch.nn.Embedding(100, 8)
        embedding(torch.tensor([[5, 99, 100]]))
    """,
    "torch-without-cuda": """
        import torch
        model = torch.nn.Linear(2, 2).cuda()
    """,
    "cuda-weights-without-gpu": """
        import torch
        torch.serialization.register_package(0, lambda storage: "cuda:0", lambda storage, place: None)
        torch.save(torch.ones(3), "model.pt")
        torch.serialization._package_registry.pop(0)
        torch.load("model.pt")
    """,
    "loader-shared-memory": """
        import os, signal, torch
        class Photos(torch.utils.data.Dataset):
            def __len__(self):
                return 8
            def __getitem__(self, index):
                os.kill(os.getpid(), signal.SIGBUS)
        for batch in torch.utils.data.DataLoader(Photos(), num_workers=2):
            pass
    """,
    "loader-worker-killed": """
        import os, signal, torch
        class Photos(torch.utils.data.Dataset):
            def __len__(self):
                return 8
            def __getitem__(self, index):
                os.kill(os.getpid(), signal.SIGKILL)
        for batch in torch.utils.data.DataLoader(Photos(), num_workers=2):
            pass
    """,
    "too-many-open-files": """
        import resource, torch
        class Photos(torch.utils.data.Dataset):
            def __len__(self):
                return 4000
            def __getitem__(self, index):
                return torch.zeros(8)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        batches = list(torch.utils.data.DataLoader(Photos(), num_workers=2, batch_size=2))
    """,
    "collate-sizes": """
        import torch
        photos = [torch.zeros(3, 224, 224), torch.zeros(3, 224, 300)]
        for batch in torch.utils.data.DataLoader(photos, batch_size=2, num_workers=1):
            pass
    """,
    "collate-none": """
        import torch
        class Photos(torch.utils.data.Dataset):
            def __len__(self):
                return 4
            def __getitem__(self, index):
                return None if index == 2 else torch.zeros(3)
        for batch in torch.utils.data.DataLoader(Photos(), batch_size=4):
            pass
    """,
    "empty-data-set": """
        import torch
        photos = []
        loader = torch.utils.data.DataLoader(photos, batch_size=4, shuffle=True)
    """,
    "matmul-shapes": """
        import torch
        head = torch.nn.Linear(512, 10)
        head(torch.randn(8, 768))
    """,
    "convolution-channels": """
        import torch
        torch.nn.Conv2d(3, 8, 3)(torch.randn(1, 224, 224, 3))
    """,
    "mixed-dtypes": """
        import torch
        model = torch.nn.Linear(8, 8).bfloat16()
        model(torch.randn(2, 8))
    """,
    "mixed-dtypes--convolution": """
        import torch
        model = torch.nn.Conv2d(3, 8, 3).half()
        model(torch.randn(1, 3, 8, 8))
    """,
    "loss-without-gradient": """
        import torch
        model = torch.nn.Linear(2, 2)
        with torch.no_grad():
            loss = model(torch.randn(1, 2)).sum()
        loss.backward()
    """,
    "second-backward": """
        import torch
        x = torch.randn(3, requires_grad=True)
        loss = x.square().sum()
        loss.backward()
        loss.backward()
    """,
    "in-place-changed": """
        import torch
        x = torch.randn(3, requires_grad=True)
        y = x.exp()
        y += 1
        y.sum().backward()
    """,
    "in-place-changed--leaf": """
        import torch
        weight = torch.nn.Parameter(torch.zeros(3))
        weight += 1
    """,
    "numpy-of-gradient": """
        import torch
        features = torch.nn.Linear(2, 2)(torch.randn(1, 2))
        features.numpy()
    """,
    "weights-only": """
        import argparse, torch
        torch.save({"args": argparse.Namespace(lr=0.1), "model": {"w": torch.ones(2)}}, "checkpoint.pt")
        torch.load("checkpoint.pt")
    """,
    "lfs-pointer": """
        import torch
        with open("model.pt", "w") as file:
            file.write("version https://git-lfs.github.com/spec/v1\\noid sha256:4665\\nsize 605\\n")
        torch.load("model.pt", weights_only=False)
    """,
    "weights-truncated": """
        import torch
        torch.save(torch.ones(100_000), "model.pt")
        content = open("model.pt", "rb").read()
        open("model.pt", "wb").write(content[: len(content) // 2])
        torch.load("model.pt")
    """,
    "ddp-unused-parameters": """
        import torch
        class Net(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.used, self.spare = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
            def forward(self, x):
                return self.used(x)
        torch.distributed.init_process_group("gloo", init_method="file:///tmp/store-" + __import__("uuid").uuid4().hex,
                                             rank=0, world_size=1)
        model = torch.nn.parallel.DistributedDataParallel(Net())
        for _ in range(2):
            model(torch.randn(1, 2)).sum().backward()
    """,
    "port-in-use": """
        import socket, torch
        taken = socket.socket()
        taken.bind(("127.0.0.1", 29517))
        taken.listen()
        torch.distributed.init_process_group("gloo", init_method="tcp://127.0.0.1:29517", rank=0, world_size=1)
    """,
    "torchrun-variables": """
        import torch
        torch.distributed.init_process_group("gloo")
    """,
    "disk-full": """
        import torch
        with open("/dev/full", "wb") as file:
            file.write(bytes(1_000_000))
    """,
    "batch-norm-one-sample": """
        import torch
        model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4))
        model(torch.randn(1, 4))
    """,
    "view-of-strided": """
        import torch
        torch.randn(2, 3, 4).permute(0, 2, 1).view(2, 12)
    """,
    "cuda-home-missing": """
        from torch.utils.cpp_extension import CUDAExtension
        CUDAExtension("kernels", ["kernels.cu"])
    """,
    "compiler-missing": """
        import os
        os.environ["PATH"] = "/nowhere"
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = "cache"
        import torch
        torch.compile(lambda x: x.sin() + 1)(torch.randn(100))
    """,
    "main-guard-missing": """
        import multiprocessing
        multiprocessing.set_start_method("spawn", force=True)
        import torch
        for batch in torch.utils.data.DataLoader([torch.zeros(2)] * 4, num_workers=1):
            pass
    """,
    "spawn-needs-pickle": """
        import torch
        if __name__ == "__main__":
            loader = torch.utils.data.DataLoader([1, 2], collate_fn=lambda rows: rows, num_workers=1,
                                                 multiprocessing_context="spawn")
            next(iter(loader))
    """,
    "unscale-half-gradients": """
        import torch
        weight = torch.nn.Parameter(torch.ones(2, dtype=torch.float16))
        optimiser, scaler = torch.optim.SGD([weight], lr=0.1), torch.amp.GradScaler("cpu")
        scaler.scale(weight.sum()).backward()
        scaler.step(optimiser)
    """,
    "nan-probabilities": """
        import torch
        torch.multinomial(torch.full((4,), float("nan")), 1)
    """,
    "tensor-as-truth": """
        import torch
        loss = torch.zeros(3)
        if loss < 1:
            print("converged")
    """,
}
