from flask import Flask

import config

app = Flask(__name__)
app.config.from_object("config")


@app.get("/")
def greet() -> str:
    return f"{config.GREETING}; {app.config['GREETING']}"
