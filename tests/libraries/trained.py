"""Networks as the libraries train them, for a moment, on one short series; and what each library then predicts.

The code around each network is that of docs/windows.md. This module is imported where the libraries are installed.
"""

from __future__ import annotations

import runpy
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import lightning
import numpy as np
import pandas as pd
import torch
from darts import TimeSeries
from darts.models import BlockRNNModel, RNNModel
from neuralforecast import NeuralForecast
from neuralforecast.models import GRU, LSTM, NHITS
from numpy.typing import NDArray
from pytorch_forecasting import RecurrentNetwork, TimeSeriesDataSet
from pytorch_forecasting.data import GroupNormalizer
from pytorch_forecasting.metrics import MAE
from torch import nn

from tests.docs.markdown import ROOT, read_blocks

LENGTH, HORIZON, NUM_STEPS = 24, 6, 200
QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "enable_checkpointing": False,
}


class Trained(NamedTuple):
    """A network to export; ``series [T, F]`` is streamed, and its last answer, or a forecast, is ``predicted``."""

    name: str
    module: nn.Module
    series: NDArray[np.float32]
    predicted: NDArray[np.float32]
    horizon: int = 0
    """Steps to forecast; 0 where the last answer is the whole horizon."""


def all_trained(folder: Path, only: Collection[str] = ()) -> Iterator[Trained]:
    """Every network that the page tells how to export, of all libraries where none are named."""
    steps, rng = np.arange(NUM_STEPS), np.random.default_rng(0)
    load = (100 + 20 * np.sin(steps / 5) + rng.standard_normal(NUM_STEPS)).astype(np.float32)
    libraries = {
        "lightning": from_lightning,
        "darts": from_darts,
        "neuralforecast": from_neuralforecast,
        "pytorch-forecasting": from_pytorch_forecasting,
    }
    for name in only or libraries:
        yield from libraries[name](load, folder)


def from_lightning(load: NDArray[np.float32], folder: Path) -> Iterator[Trained]:
    """A ``LightningModule`` around a network, and one with a ``forward``; each after its training."""

    class Layers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.head = nn.LSTM(1, 8, batch_first=True), nn.Linear(8, 1)

        def forward(self, x: torch.Tensor, state: Any = None) -> Any:
            hidden, state = self.layer(x, state)
            return self.head(hidden), state

    class Around(lightning.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model, self.loss = Layers(), nn.MSELoss()

        def training_step(self, batch: Any, _number: int) -> Any:
            return self.loss(self.model(batch[0])[0], batch[1])

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters())

    class WithForward(Around):
        def forward(self, x: torch.Tensor, state: Any = None) -> Any:
            return self.model(x, state)

    x = torch.as_tensor(load)[None, :, None] / 100
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x[:, :-1], x[:, 1:]))
    for name, trainer in {"lightning-around": Around(), "lightning-forward": WithForward()}.items():
        fitting = lightning.Trainer(max_steps=2, **QUIET)
        fitting.fit(trainer, data)
        fitting.save_checkpoint(folder / f"{name}.ckpt")
        again = type(trainer).load_from_checkpoint(folder / f"{name}.ckpt", weights_only=False).eval()
        with torch.no_grad():
            predicted = again.model(x)[0][0, -1].numpy()
        yield Trained(name, trainer, x[0].numpy(), predicted)


def from_darts(load: NDArray[np.float32], folder: Path) -> Iterator[Trained]:
    """Block networks with past covariates and with their own normalisation, and one with a state."""
    page = code("from_darts.py")
    other = np.cos(np.arange(NUM_STEPS) / 5).astype(np.float32)
    series, covariates = TimeSeries.from_values(load), TimeSeries.from_values(other)
    options = {"random_state": 0, "n_epochs": 1, "pl_trainer_kwargs": QUIET, "hidden_dim": 16}
    block = BlockRNNModel(LENGTH, HORIZON, model="LSTM", **options)
    block.fit(series, past_covariates=covariates)
    block.save(str(folder / "block.pt"))
    block = BlockRNNModel.load(str(folder / "block.pt"))
    predicted = block.predict(HORIZON, series=series, past_covariates=covariates).values()[:, 0]
    yield Trained("darts-block", page["block_rnn"](block, 2), np.stack([load, other], axis=-1), predicted)
    normalised = BlockRNNModel(LENGTH, HORIZON, model="GRU", use_reversible_instance_norm=True, **options)
    normalised.fit(series)
    predicted = normalised.predict(HORIZON, series=series).values()[:, 0]
    yield Trained("darts-normalised", page["block_rnn"](normalised, 1), load[:, None], predicted)
    stateful = RNNModel(LENGTH, training_length=30, model="LSTM", **options)
    stateful.fit(series)
    window = series[-LENGTH:]
    predicted = stateful.predict(HORIZON, series=window).values()[:, 0]
    yield Trained("darts-rnn", page["Recurrent"](stateful), load[-LENGTH:, None], predicted, HORIZON)


def from_neuralforecast(load: NDArray[np.float32], folder: Path) -> Iterator[Trained]:
    """Networks with each way to scale a window."""
    page = code("from_neuralforecast.py")
    times = pd.date_range("2020", periods=len(load), freq="h")
    table = pd.DataFrame({"unique_id": "load", "ds": times, "y": load})
    options = {"h": HORIZON, "input_size": LENGTH, "max_steps": 3} | QUIET
    small = [[16, 16]] * 3
    networks = [
        LSTM(scaler_type="robust", encoder_hidden_size=16, alias="robust", **options),
        GRU(scaler_type="standard", encoder_hidden_size=16, alias="standard", **options),
        NHITS(scaler_type="minmax", alias="minmax", mlp_units=small, **options),
        NHITS(scaler_type="identity", alias="identity", mlp_units=small, **options),
    ]
    forecaster = NeuralForecast(networks, freq="h")
    forecaster.fit(table)
    forecaster.save(str(folder / "neuralforecast"), overwrite=True)
    predicted = forecaster.predict()
    for network in NeuralForecast.load(str(folder / "neuralforecast")).models:
        wanted = predicted[network.alias].to_numpy()
        yield Trained(f"neuralforecast-{network.alias}", page["univariate"](network), load[:, None], wanted)


def from_pytorch_forecasting(load: NDArray[np.float32], folder: Path) -> Iterator[Trained]:
    """A recurrent network, whose horizon is a forecast."""
    table = pd.DataFrame({"series": "load", "step": np.arange(len(load)), "load": load})
    data = TimeSeriesDataSet(
        table,
        time_idx="step",
        target="load",
        group_ids=["series"],
        max_encoder_length=LENGTH,
        max_prediction_length=HORIZON,
        time_varying_unknown_reals=["load"],
        target_normalizer=GroupNormalizer(groups=["series"]),
    )
    network = RecurrentNetwork.from_dataset(data, cell_type="LSTM", hidden_size=16, loss=MAE())
    fitting = lightning.Trainer(max_steps=2, **QUIET)
    fitting.fit(network, data.to_dataloader(train=True, batch_size=16))
    fitting.save_checkpoint(folder / "recurrent.ckpt")
    network = RecurrentNetwork.load_from_checkpoint(folder / "recurrent.ckpt", weights_only=False).eval()
    last = TimeSeriesDataSet.from_dataset(data, table, predict=True).to_dataloader(train=False, batch_size=1)
    x, _ = next(iter(last))
    with torch.no_grad():
        predicted = network(x).prediction[0, :, 0].numpy()
    center, scale = x["target_scale"][0].tolist()
    module = code("from_pytorch_forecasting.py")["Recurrent"](network, center, scale)
    yield Trained("pytorch-forecasting", module, x["encoder_target"][0].numpy()[:, None], predicted, HORIZON)


def code(name: str) -> dict[str, Any]:
    """What the block of docs/windows.md defines that is to be saved as this file."""
    page = "docs/windows.md"
    blocks = read_blocks(page, (ROOT / page).read_text())
    [text] = [block.text for block in blocks if block.text.startswith(f"# {name}")]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_text(text)
        return runpy.run_path(str(path))
