"""Scripts that fail in NumPy, OpenCV, transformers and other libraries, by the name of their recording."""

LIBRARIES = {
    "position-ids-key": """
        from transformers import CLIPTextConfig, CLIPTextModel
        import torch
        config = CLIPTextConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2)
        model = CLIPTextModel(config)
        state = model.state_dict()
        state["text_model.embeddings.position_ids"] = torch.arange(77)[None]
        model.load_state_dict(state)
    """,
    "checkpoint-shape--transformers": """
        from transformers import ViTConfig, ViTForImageClassification
        sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
        ViTForImageClassification(ViTConfig(num_labels=10, **sizes)).save_pretrained("vit")
        ViTForImageClassification.from_pretrained("vit", num_labels=3)
    """,
    "concatenate-arguments": """
        import numpy as np
        left, right = np.zeros((2, 3)), np.ones((2, 3))
        print(np.concatenate(left, right).shape)
    """,
    "array-read-only": """
        import numpy as np
        pixels = np.frombuffer(bytes(12), dtype=np.uint8).reshape(2, 2, 3)
        pixels[0, 0] = 255
    """,
    "array-read-only--in-place": """
        import numpy as np
        pixels = np.broadcast_to(np.uint8(3), (2, 2))
        pixels += 1
    """,
    "opencv-output-array": """
        import cv2
        import numpy as np
        image = np.frombuffer(bytes(300), dtype=np.uint8).reshape(10, 10, 3)
        cv2.rectangle(image, (1, 1), (5, 5), (0, 255, 0))
    """,
    "opencv-output-array--flipped": """
        import cv2
        import numpy as np
        image = np.zeros((10, 10, 3), np.uint8)[:, :, ::-1]
        cv2.circle(image, (4, 4), 2, (0, 255, 0))
    """,
    "opencv-filter-depth": """
        import cv2
        import numpy as np
        image = np.zeros((32, 32), np.float64)
        cv2.filter2D(image, cv2.CV_8U, np.ones((3, 3), np.float32))
    """,
    "opencv-filter-depth--blur": """
        import cv2
        import numpy as np
        labels = np.zeros((32, 32), np.int32)
        cv2.GaussianBlur(labels, (5, 5), 0)
    """,
    "opencv-colour-depth": """
        import cv2
        import numpy as np
        heat = np.random.default_rng(0).random((8, 8, 3))
        cv2.cvtColor(heat, cv2.COLOR_RGB2GRAY)
    """,
    "opencv-empty-image": """
        import cv2
        image = cv2.imread("photos/cat.jpg")
        gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    """,
    "opencv-empty-image--resize": """
        import cv2
        image = cv2.imread("photos/cat.jpg")
        small = cv2.resize(image, (224, 224))
    """,
    "opencv-five-removed": """
        import cv2
        net = cv2.dnn.readNetFromCaffe("deploy.prototxt", "res10_300x300_ssd.caffemodel")
    """,
    "opencv-five-removed--cascade": """
        import cv2
        faces = cv2.CascadeClassifier("haarcascade_frontalface_default.xml")
    """,
    "opencv-no-window": """
        import cv2
        import numpy as np
        cv2.imshow("result", np.zeros((8, 8, 3), np.uint8))
    """,
    "opencv-kernel-even": """
        import cv2
        import numpy as np
        cv2.medianBlur(np.zeros((8, 8), np.uint8), 4)
    """,
    "opencv-kernel-even--gaussian": """
        import cv2
        import numpy as np
        cv2.GaussianBlur(np.zeros((8, 8), np.uint8), (4, 4), 0)
    """,
    "opencv-float-coordinates": """
        import cv2
        import numpy as np
        image = np.zeros((64, 64, 3), np.uint8)
        box = np.array([3.5, 4.5, 20.0, 30.0])
        cv2.rectangle(image, (box[0], box[1]), (box[2], box[3]), (0, 255, 0))
    """,
    "mixed-dtypes--double": """
        import numpy as np
        import torch
        model = torch.nn.Linear(8, 8)
        model(torch.from_numpy(np.random.rand(2, 8)))
    """,
    "lfs-pointer--safetensors": """
        from safetensors.torch import load_file
        with open("model.safetensors", "w") as file:
            file.write("version https://git-lfs.github.com/spec/v1\\noid sha256:4665\\nsize 605\\n")
        load_file("model.safetensors")
    """,
    "weights-truncated--safetensors": """
        import torch
        from safetensors.torch import load_file, save_file
        save_file({"w": torch.ones(1000)}, "model.safetensors")
        content = open("model.safetensors", "rb").read()
        open("model.safetensors", "wb").write(content[:2000])
        load_file("model.safetensors")
    """,
    "safetensors-shared": """
        import torch
        from safetensors.torch import save_file
        embedding = torch.nn.Embedding(10, 4)
        head = torch.nn.Linear(4, 10, bias=False)
        head.weight = embedding.weight
        save_file({"embedding.weight": embedding.weight, "head.weight": head.weight}, "model.safetensors")
    """,
    "hub-unreachable": """
        import os
        os.environ["HF_HUB_OFFLINE"] = "1"
        from transformers import AutoModel
        AutoModel.from_pretrained("someone/never-downloaded")
    """,
    "hub-unreachable--snapshot": """
        from huggingface_hub import snapshot_download
        snapshot_download("someone/never-downloaded", local_files_only=True)
    """,
    "architecture-unknown": """
        import json
        from transformers import AutoModel
        __import__("os").mkdir("model")
        json.dump({"model_type": "qwen9_vl"}, open("model/config.json", "w"))
        AutoModel.from_pretrained("model")
    """,
    "name-gone": """
        from transformers import AdamW
    """,
    "torchvision-missing": """
        from transformers import Qwen2VLVideoProcessor
        Qwen2VLVideoProcessor()
    """,
    "flash-attention-missing": """
        from transformers import BertConfig, BertModel
        sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
        BertModel(BertConfig(attn_implementation="flash_attention_2", **sizes))
    """,
    "quantizer-missing": """
        from transformers import AutoModel, BertConfig, BertModel, BitsAndBytesConfig
        sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
        BertModel(BertConfig(**sizes)).save_pretrained("model")
        AutoModel.from_pretrained("model", quantization_config=BitsAndBytesConfig(load_in_4bit=True))
    """,
    "pillow-name-gone": """
        from PIL import Image
        Image.new("RGB", (8, 8)).resize((4, 4), Image.ANTIALIAS)
    """,
    "numpy-name-gone": """
        import numpy as np
        print(np.zeros(3, dtype=np.float))
    """,
    "numpy-name-gone--two": """
        import numpy as np
        print(np.float_(3))
    """,
    "image-broken": """
        import io
        import numpy as np
        from PIL import Image
        stream = io.BytesIO()
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(stream, "JPEG")
        Image.open(io.BytesIO(stream.getvalue()[:2000])).load()
    """,
    "image-broken--page": """
        import io
        from PIL import Image
        Image.open(io.BytesIO(b"<!DOCTYPE html><title>404</title>"))
    """,
    "lmdb-map-full": """
        import lmdb
        with lmdb.open("store", map_size=65536) as store, store.begin(write=True) as transaction:
            for number in range(1000):
                transaction.put(str(number).encode(), bytes(1000))
    """,
    "lmdb-opened-twice": """
        import lmdb
        first = lmdb.open("store")
        second = lmdb.open("store")
    """,
    "weights-file-missing": """
        from transformers import BertConfig, BertModel
        BertConfig(hidden_size=16, num_attention_heads=2).save_pretrained("model")
        BertModel.from_pretrained("model")
    """,
    "remote-code-refused": """
        import json, os
        from transformers import AutoModel
        os.mkdir("model")
        settings = {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModel": "own.Own"}}
        json.dump(settings, open("model/config.json", "w"))
        AutoModel.from_pretrained("model")
    """,
    "tokenizer-library-missing": """
        from transformers import SpeechT5Tokenizer
        SpeechT5Tokenizer("spm.model")
    """,
    "accelerate-too-old": """
        import torch
        from accelerate import Accelerator
        Accelerator(cpu=True, dispatch_batches=True)
    """,
    "image-size": """
        import torch
        from transformers import CLIPVisionConfig, CLIPVisionModel
        sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
        CLIPVisionModel(CLIPVisionConfig(**sizes))(torch.zeros(1, 3, 256, 256))
    """,
    "padding-token-missing": """
        from tokenizers import Tokenizer, models, pre_tokenizers
        from transformers import PreTrainedTokenizerFast
        words = Tokenizer(models.WordLevel({"a": 0, "cat": 1, "?": 2}, unk_token="?"))
        words.pre_tokenizer = pre_tokenizers.Whitespace()
        PreTrainedTokenizerFast(tokenizer_object=words)(["a cat", "cat"], padding=True)
    """,
    "image-tokens-mismatch": """
        import torch
        from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration
        sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
        vision = CLIPVisionConfig(image_size=28, patch_size=14, **sizes)
        text = LlamaConfig(vocab_size=64, **sizes)
        config = LlavaConfig(vision_config=vision, text_config=text, image_token_id=63, vision_feature_layer=-1)
        ids = torch.tensor([[1, 63, 5]])
        LlavaForConditionalGeneration(config)(input_ids=ids, pixel_values=torch.zeros(1, 3, 28, 28))
    """,
    "yaml-number-is-text": """
        import torch, yaml
        settings = yaml.safe_load("lr: 5e-4")
        torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=settings["lr"])
    """,
}
