"""The schema's revisions, the same for both databases, as Alembic keeps them.

Nothing in a worker imports Alembic, which takes its time.
"""

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection


def current(connection: Connection) -> str | None:
    """The database's revision; None when nobody has noted one there."""
    return MigrationContext.configure(connection).get_current_revision()


def newest() -> str:
    """The revision that this version makes."""
    return str(_scripts().get_current_head())


def is_known(revision: str) -> bool:
    """Whether it is one of ours up to the newest."""
    return revision in {script.revision for script in _scripts().walk_revisions()}


def upgrade(connection: Connection) -> None:
    """Bring the database to the newest revision, within the transaction that is under way."""
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "sidecar.recorder:migrations")
    config.set_main_option("path_separator", "os")
    return config
