"""Training data by rows: tensors, tuples and dicts of them, datasets and DataLoaders, as inputs and targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import TreeSpec, tree_flatten, tree_leaves, tree_map
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    TensorDataset,
    default_collate,
)

from robust_lr.exceptions import DataError


@dataclass(frozen=True, eq=False)
class Examples:
    """Rows of `columns`: a tuple whose last entry has the targets, a dict, or an object that rows index to such."""

    columns: Any
    is_shuffled: bool = True  # else batches take the rows in their order

    def __len__(self) -> int:
        return _lengths(self.columns)[0]

    def rows(self, rows: Tensor) -> Any:
        """Return these rows as a tuple or dict of tensors; `split` makes inputs and targets of it."""
        return _take(self.columns, rows)

    def batch(self, rows: Tensor, device: str | torch.device) -> tuple[Any, Any]:
        inputs, targets = split(self.rows(rows))
        return _moved(inputs, device), _moved(targets, device)

    def on(self, device: str | torch.device) -> Examples:
        return replace(self, columns=_moved(self.columns, device))

    @property
    def structure(self) -> TreeSpec:  # of `rows`
        return tree_flatten(self.rows(torch.zeros(1, dtype=torch.int64)))[1]

    @property
    def tensors(self) -> list[Tensor] | None:
        """The tensors that rows are taken from, in the order of the structure; None if not all are tensors."""
        leaves = tree_leaves(self.columns)
        return leaves if all(isinstance(leaf, Tensor) for leaf in leaves) else None


def split(batch: Any) -> tuple[Any, Any]:
    """Return inputs and targets of rows: a dict is both, for the loss takes from it what it needs."""
    if isinstance(batch, dict):
        return batch, batch
    *inputs, targets = batch
    return inputs[0] if len(inputs) == 1 else tuple(inputs), targets


def outputs_of(model: Callable[..., Any], inputs: Any) -> Any:
    if isinstance(inputs, dict):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)


def examples_of(name: str, data: Any) -> Examples:
    """Return checked data; a `DataLoader` gives its dataset, its `collate_fn`, and whether it shuffles."""
    if isinstance(data, Dataset) and not isinstance(data, IterableDataset):
        data = DataLoader(data, shuffle=len(data) > 0)  # type: ignore[arg-type]
    if isinstance(data, DataLoader):
        _check_loader(name, data)
        examples = Examples(_columns_of(data), isinstance(data.sampler, RandomSampler))
    else:
        examples = Examples(_plain(data))
    _check_rows(name, examples)
    return examples


@dataclass(frozen=True)
class _Items:
    """The items of a dataset, by rows, through a `collate_fn`."""

    dataset: Any
    collate: Callable[[list[Any]], Any]

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, rows: Tensor) -> Any:
        read = getattr(self.dataset, "__getitems__", None)  # many at once, as a DataLoader asks for them
        numbers = rows.tolist()
        return self.collate(read(numbers) if read else [self.dataset[i] for i in numbers])


def _columns_of(loader: DataLoader[Any]) -> Any:
    dataset, collate = loader.dataset, loader.collate_fn
    if type(dataset) is TensorDataset and collate is default_collate and len(dataset.tensors) > 1:
        return dataset.tensors
    return _Items(dataset, collate)


def _check_loader(name: str, loader: DataLoader[Any]) -> None:
    if isinstance(loader.dataset, IterableDataset):
        raise DataError(f"{name} must have rows, from which the seed chooses; an IterableDataset has none")
    if loader.batch_sampler is None:
        raise DataError(f"{name} must make batches; give the DataLoader a batch_size")
    sampler, makes_batches = loader.sampler, type(loader.batch_sampler) is BatchSampler
    draws_each_once = type(sampler) is SequentialSampler or (
        type(sampler) is RandomSampler and not sampler.replacement and sampler.num_samples == len(sampler.data_source)
    )
    if not (makes_batches and draws_each_once):
        own = type(sampler if makes_batches else loader.batch_sampler).__name__
        raise DataError(
            f"{name} chooses its rows by a {own}, but here the seed does; give a DataLoader with shuffle=True or False"
        )


def _check_rows(name: str, examples: Examples) -> None:
    columns = examples.columns
    if (isinstance(columns, tuple) and len(columns) < 2) or not isinstance(columns, _Items | dict | tuple):
        raise DataError(f"{name} must be a pair (inputs, targets), each with a length")
    try:
        lengths = _lengths(columns)
    except TypeError:
        raise DataError(f"{name} must be a pair (inputs, targets), each with a length") from None
    if len(set(lengths)) != 1 or lengths[0] == 0:
        found = " and ".join(map(str, lengths))
        raise DataError(f"{name} must have as many inputs as targets, and at least one; got {found}")
    batch = examples.rows(torch.zeros(1, dtype=torch.int64))
    if not (isinstance(batch, dict) or (isinstance(batch, tuple) and len(batch) > 1)):
        raise DataError(f"{name} must give batches (inputs, targets) or dicts, got {type(batch).__name__}")
    if not all(isinstance(leaf, Tensor) for leaf in tree_leaves(batch)):
        raise DataError(f"{name} must give tensors when indexed; make them of arrays with torch.as_tensor")


def _take(columns: Any, rows: Tensor) -> Any:
    if isinstance(columns, dict):
        return {key: _take(column, rows) for key, column in columns.items()}
    if isinstance(columns, tuple):
        return tuple(_take(column, rows) for column in columns)
    return _plain(columns[rows])


def _plain(columns: Any) -> Any:
    """Return tuples, lists and mappings as tuples and dicts, anything else as it is."""
    if isinstance(columns, Mapping):
        return {key: _plain(column) for key, column in columns.items()}
    return tuple(map(_plain, columns)) if isinstance(columns, tuple) or type(columns) is list else columns


def _lengths(columns: Any) -> list[int]:
    return [len(leaf) for leaf in tree_leaves(columns)]


def _moved(columns: Any, device: str | torch.device) -> Any:
    return tree_map(lambda leaf: leaf.to(device) if isinstance(leaf, Tensor) else leaf, columns)
