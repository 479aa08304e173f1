"""Makes an empty Calibre library in a folder: `python calibre_library.py FOLDER`."""

import sys

from calibreweb.cps.db import Base, Library_Id
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

engine = create_engine(f"sqlite:///{sys.argv[1]}/metadata.db").execution_options(
    schema_translate_map={"calibre": None}  # calibre-web attaches it by that name
)
Base.metadata.create_all(engine)
with Session(engine) as session:
    session.add(Library_Id(uuid="6f2b1c52-8f0b-4d57-9d1e-0d5f1a3b7c11"))
    session.commit()
