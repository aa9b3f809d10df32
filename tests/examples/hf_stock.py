"""A training script in the style of transformers' own: HfArgumentParser, a tiny GPT-2 from its config, Trainer.

tests/examples/changes.py has the lines that a user changes.
"""

from pydoc_data.topics import topics

import torch
from torch.utils.data import Dataset
from transformers import GPT2Config, GPT2LMHeadModel, HfArgumentParser, Trainer, TrainingArguments, set_seed


class TextDataset(Dataset):
    def __init__(self, text, n_blocks, block_size=16):
        data = torch.tensor(list(text.encode("ascii", "replace")))
        self.blocks = data[: n_blocks * block_size].view(n_blocks, block_size)

    def __len__(self):
        return len(self.blocks)

    def __getitem__(self, i):
        return {"input_ids": self.blocks[i], "labels": self.blocks[i]}


def main():
    parser = HfArgumentParser(TrainingArguments)
    (training_args,) = parser.parse_args_into_dataclasses()
    set_seed(training_args.seed)

    config = GPT2Config(vocab_size=128, n_positions=16, n_embd=8, n_layer=1, n_head=2)
    model = GPT2LMHeadModel(config)

    trainer = Trainer(
        model=model,
        args=training_args,
        train_dataset=TextDataset(topics["assert"], n_blocks=40),
        eval_dataset=TextDataset(topics["while"], n_blocks=16),
    )
    trainer.train(resume_from_checkpoint=training_args.resume_from_checkpoint)
    trainer.evaluate()


if __name__ == "__main__":
    main()
