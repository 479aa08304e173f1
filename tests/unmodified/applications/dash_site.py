"""A Dash page with callbacks: a chain of two, one with state, one that fails."""

from dash import Dash, Input, Output, State, dcc, html
from dash.exceptions import PreventUpdate

page = Dash(__name__, title="A Dash page")
page.layout = html.Div(
    [
        dcc.Input(id="name", value=""),
        html.Button("go", id="go"),
        html.Div(id="greeting"),
        html.Div(id="length"),
        dcc.Graph(id="graph", figure={"data": [{"y": [1, 2, 3]}]}),
        dcc.Download(id="download"),
    ]
)


@page.callback(Output("greeting", "children"), Input("go", "n_clicks"), State("name", "value"))
def greet(clicks: int, name: str) -> str:
    if not clicks:
        raise PreventUpdate
    return f"hello {name}, for the {clicks}. time"


@page.callback(Output("length", "children"), Input("greeting", "children"))
def measure(greeting: str) -> int:
    return len(greeting)


@page.callback(Output("graph", "figure"), Input("length", "children"))
def draw(length: int) -> dict:
    return {"data": [{"y": [number * number for number in range(length)]}]}


app = page.server
