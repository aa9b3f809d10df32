"""A tiny GPT-2, made from its config, and text that Python ships."""

import gc
from contextlib import contextmanager
from pydoc_data.topics import topics

import torch
from transformers import GPT2Config, GPT2LMHeadModel, TrainingArguments

# What transformers and torch say of themselves while they train.
QUIET = [
    "ignore:.*'pin_memory' argument is set as true but no accelerator is found",
]


@contextmanager
def cheap_collections():
    """The Trainer collects garbage after each trial of a search, a second each time with these libraries in memory."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def blocks(topic, n_blocks):
    data = torch.tensor(list(topics[topic].encode("ascii", "replace")))[: n_blocks * 16].view(n_blocks, 16)
    return [{"input_ids": block, "labels": block} for block in data]


def tiny_model():
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=128, n_positions=16, n_embd=8, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0,
            loss_type="ForCausalLM",
        )
    )  # fmt: skip


def arguments(folder, **options):
    defaults = {
        "max_steps": 6,
        "learning_rate": 0.01,
        "per_device_train_batch_size": 4,
        "eval_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
    }
    return TrainingArguments(output_dir=str(folder), **{**defaults, **options})


def data():
    return {"train_dataset": blocks("assert", 40), "eval_dataset": blocks("while", 8)}
