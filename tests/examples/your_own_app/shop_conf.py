wsgi_app = "shop:app"
handlers = "shop.native:routes"
workers = 2
max_body = 5 * 1024 * 1024
