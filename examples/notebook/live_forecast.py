# ---
# jupyter:
#   jupytext:
#     formats: py:percent,ipynb
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # From a CSV to a live forecast
#
# A table of hours becomes a small network, the network a served model, and the model's sessions take new hours as they
# come: a frame in, a frame out. It needs nothing but this checkout, and takes less than a minute on one core.

# %%
import atexit
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from ostinato import Client, ServiceUnreachable

root = next(folder for folder in [Path.cwd(), *Path.cwd().parents] if (folder / "examples").is_dir())
work = Path(tempfile.mkdtemp(prefix="live-forecast-"))
os.environ["BENTOML_DO_NOT_TRACK"] = "true"


def ostinato(*arguments: object) -> None:
    """As `ostinato ...` in a terminal."""
    done = subprocess.run(
        [sys.executable, "-m", "ostinato.cli", *map(str, arguments)], cwd=work, capture_output=True, text=True
    )
    print(done.stdout[-2000:])
    if done.returncode:
        raise RuntimeError(done.stderr)


# %% [markdown]
# ## The table
#
# A year of hours: fine dust and weather at Beijing. The last four weeks are kept for the live part.

# %%
hours = pd.read_csv(root / "examples/beijing_pm25/beijing_pm25_hourly.csv.xz").tail(24 * 365)
hours["at"] = pd.to_datetime(hours[["year", "month", "day", "hour"]])
columns = ["at", "pm2.5", "TEMP", "DEWP", "cbwd", "hour"]
known, live = hours[columns].iloc[: -24 * 28], hours[columns].iloc[-24 * 28 :]
known.to_csv(work / "hours.csv", index=False)
print(known.tail(3).to_string())

# %% [markdown]
# ## Training
#
# A recipe says which column to forecast, from which, and how large the network is. It answers the quantiles 0.1, 0.5
# and 0.9 of the next hour. Three weeks are held out for the choice of the best epoch, and three for the scores.

# %%
parts = {"validation_from": known["at"].iloc[-24 * 42], "test_from": known["at"].iloc[-24 * 21]}
recipe = f"""
name = "dust"
description = "PM2.5 in Beijing one hour ahead (ug/m3): a small GRU"

[data]
file = "hours.csv"
target = "pm2.5"
features = ["pm2.5", "TEMP", "DEWP", "cbwd", "hour"]
categorical = ["cbwd", "hour"]
time = ["at"]
validation_from = {parts["validation_from"]:%Y-%m-%d}
test_from = {parts["test_from"]:%Y-%m-%d}
season_steps = 24

[network]
cell = "gru"
hidden_size = 24
quantiles = [0.1, 0.5, 0.9]

[training]
loss = "pinball"
seed = 7
batch_size = 16
window_steps = 24
max_epochs = 10
learning_rate = 1e-2
"""
(work / "dust.toml").write_text(recipe)
ostinato("train", "dust.toml", "--output", "runs/dust")

# %% [markdown]
# ## Export, with the proof
#
# The network becomes an ONNX file and a manifest: proved against PyTorch, and that a session's answers do not depend on
# how its steps are cut, or on what else runs.

# %%
ostinato("export", "runs/dust", "--repository", "repository")

# %% [markdown]
# ## The service
#
# It runs in a process of its own, as it would in production; here its sessions are kept in memory.

# %%
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
command = [sys.executable, "-m", "ostinato.cli", "serve", "--repository", "repository", "--state", "memory://"]
with (work / "server.log").open("wb") as log:
    server = subprocess.Popen([*command, "--port", str(port)], cwd=work, stdout=log, stderr=subprocess.STDOUT)
atexit.register(server.terminate)  # wherever the notebook ends
client = Client(f"http://127.0.0.1:{port}")
while True:
    try:
        if any(model["status"] == "ready" for model in client.models()):
            break
    except ServiceUnreachable:
        pass
    if server.poll() is not None:
        raise RuntimeError((work / "server.log").read_text())
    time.sleep(0.1)
print(client.model("dust")["manifest"]["outputs"][0]["features"])

# %% [markdown]
# ## Hours come in
#
# `step_frame` takes a frame with a column of ids, each a session, and gives a frame of the same rows: what the model
# forecast of the hour after each. Columns are found by their names, words and missing values are taken as they are.
#
# The history brings the session up; then the hours of a week come one by one, as from a sensor.

# %%
first = pd.concat([known.tail(24 * 14), live.iloc[: 24 * 20]]).assign(station="aotizhongxin")
forecasts = [client.step_frame("dust", first, time="at")]
for _, hour in live.iloc[24 * 20 : 24 * 27].assign(station="aotizhongxin").iterrows():
    forecasts.append(client.step_frame("dust", hour.to_frame().T, time="at"))
one_ahead = pd.concat(forecasts, ignore_index=True)
print(one_ahead.tail(3).to_string())

# %% [markdown]
# ## Looking a day ahead
#
# `forecast_frame` feeds the forecasts back, and changes no session. What is known of the future, here the hour of the
# day, comes in a frame, too.

# %%
ahead = live.iloc[24 * 27 :][["at", "hour"]].assign(station="aotizhongxin")
day = client.forecast_frame("dust", ["aotizhongxin"], len(ahead), known_future=ahead, time="at")
print(day.head(3).to_string())

# %%
week = live.iloc[24 * 20 :]
shown = one_ahead.tail(24 * 7).assign(of=lambda frame: frame["at"] + pd.Timedelta(hours=1))
figure, axes = plt.subplots(figsize=(10, 4), layout="constrained")
axes.plot(week["at"], week["pm2.5"], color="#222222", label="PM2.5")
for frame, when, colour, label in ((shown, "of", "#4477aa", "an hour before"), (day, "at", "#c1440e", "a day ahead")):
    axes.plot(frame[when], frame["pm2.5_p50"], color=colour, linewidth=1, label=f"forecast {label}")
    axes.fill_between(frame[when], frame["pm2.5_p10"], frame["pm2.5_p90"], color=colour, alpha=0.2, linewidth=0)
axes.set_ylabel("ug/m3")
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# ## The promise
#
# What the live session answered is what one offline run of the whole sequence answers, to the bit.

# %%
everything = pd.concat([known.tail(24 * 14), live.iloc[: 24 * 27]]).assign(station="aotizhongxin")
offline = client.predict_frame("dust", everything, time="at")
outputs = ["pm2.5_p10", "pm2.5_p50", "pm2.5_p90"]
assert one_ahead[outputs].to_numpy().tobytes() == offline[outputs].to_numpy().tobytes()
truth = live["pm2.5"].to_numpy()[24 * 20 + 1 : 24 * 27]
made = one_ahead["pm2.5_p50"].to_numpy()[-24 * 7 : -1]
last = live["pm2.5"].ffill().to_numpy()[24 * 20 : 24 * 27 - 1]
for name, forecast in (("the network", made), ("persistence", last)):
    print(f"MAE of {name} over the week, an hour ahead: {np.nanmean(np.abs(forecast - truth)):.2f} ug/m3")
print(f"the same to the bit offline: {len(offline)} hours")

# %%
client.close()
server.terminate()
print("the server ended with", server.wait())
