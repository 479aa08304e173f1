"""What pgAdmin is told: where its data is, and to ask nothing of its user or of the network."""

import os

DATA_DIR = os.environ["FOLDER"] + "/pgadmin"
MASTER_PASSWORD_REQUIRED = False
UPGRADE_CHECK_ENABLED = False
