"""Flask-Admin over a model and a folder of files."""

import os

from flask import Flask
from flask_admin import Admin
from flask_admin.contrib.fileadmin import FileAdmin
from flask_admin.contrib.sqla import ModelView
from sqlalchemy import Column, Integer, String, create_engine
from sqlalchemy.orm import declarative_base, scoped_session, sessionmaker

FOLDER = os.environ["FOLDER"]
Base = declarative_base()


class Animal(Base):
    __tablename__ = "animal"
    id = Column(Integer, primary_key=True)
    name = Column(String(50), unique=True)


engine = create_engine(f"sqlite:///{FOLDER}/zoo.db")
Base.metadata.create_all(engine)
session = scoped_session(sessionmaker(engine))


class AnimalView(ModelView):
    can_export = True
    column_searchable_list = ("name",)


app = Flask(__name__)
app.secret_key = "secret"
admin = Admin(app, name="Zoo")
admin.add_view(AnimalView(Animal, session))
admin.add_view(FileAdmin(FOLDER, name="Files"))


@app.teardown_appcontext
def remove(error: BaseException | None) -> None:
    session.remove()
