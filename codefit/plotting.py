"""The common style of all plots, and the writing of figures."""

from pathlib import Path
from typing import Any

GREY, BLUE = "#7a8494", "#1f5fd0"

COLOURS = (
    GREY,
    BLUE,
    "#b3541e",
    "#6d3fb8",
    "#17692f",
)  # colours of the models, the base first

MARKERS = "osD^v"

STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that plots look the same on every machine
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlecolor": "#1c2128",
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#e3e6ea",
    "axes.edgecolor": "#8a919c",
    "axes.labelcolor": "#3c434d",
    "xtick.color": "#3c434d",
    "ytick.color": "#3c434d",
    "legend.frameon": False,
}


def new_figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=160, layout="constrained")


def style() -> Any:
    import matplotlib.style

    return matplotlib.style.context(["default", STYLE])  # independent of the user's matplotlibrc


def save(figure: Any, path: Path) -> None:
    figure.savefig(path, format="png", metadata={"Software": None})
