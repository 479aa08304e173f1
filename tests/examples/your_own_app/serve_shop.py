from flasknado import HTTPServer, WSGIContainer, serve


def build() -> HTTPServer:
    from shop import create_app
    from shop.native import routes

    return HTTPServer(WSGIContainer(create_app("Shop"), threads=16), handlers=routes)


if __name__ == "__main__":
    serve(build, workers=2)
