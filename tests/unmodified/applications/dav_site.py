"""wsgidav over a folder, for anybody."""

import os

from wsgidav.wsgidav_app import WsgiDAVApp

app = WsgiDAVApp(
    {
        "provider_mapping": {"/": os.environ["FOLDER"]},
        "simple_dc": {"user_mapping": {"*": True}},
        "logging": {"enable": False},
        "verbose": 1,
        "lock_storage": True,
        "property_manager": True,
    }
)
