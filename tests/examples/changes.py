"""The lines that a user changes in each stock script, old and new: at most three."""

from pathlib import Path

SCHEDULE = "warmup(0.05)+cosine"
_HERE = Path(__file__).parent

CHANGES = {
    "hf": {
        "    trainer = Trainer(": f'    trainer = annealed(Trainer, "{SCHEDULE}"OPTION)(',
        "from transformers import": "from robust_lr_hf import annealed\nfrom transformers import",
    },
    "lightning": {
        "        return optimizer": f'        return annealed(self, optimizer, "{SCHEDULE}"OPTION)',
        "import torch\n": "import torch\nfrom robust_lr_lightning import RobustLRCallback, annealed\n",
        "callbacks=[": "callbacks=[RobustLRCallback(), ",
    },
    "accelerate": {
        "OneCycleLR(optimizer, max_lr=args.lr, epochs=epochs, steps_per_epoch=len(loader))": "AcceleratedLR("
        f'accelerator, optimizer, "{SCHEDULE}", count_steps(accelerator, loader, epochs)OPTION)',
        "from torch.optim.lr_scheduler import OneCycleLR": "from robust_lr_hf import AcceleratedLR, count_steps",
    },
}


def stock_text(library):
    return (_HERE / f"{library}_stock.py").read_text()


def changed_text(library, option=""):
    """The script as the user changes it; an option of the schedule is no further line."""
    text = stock_text(library)
    for old, new in CHANGES[library].items():
        assert text.count(old) == 1, f"{library}: {old!r} is not one place"
        text = text.replace(old, new.replace("OPTION", f", {option}" if option else ""))
    return text
