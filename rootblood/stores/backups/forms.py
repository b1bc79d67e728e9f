"""Which program keeps the parts of a backup."""

import shutil

from rootblood.domain.backups import Form
from rootblood.settings import Settings
from rootblood.stores.backups.borg import BorgParts
from rootblood.stores.backups.directory import BackupDirectory
from rootblood.stores.backups.files import FileParts
from rootblood.stores.backups.keys import FILE_NAME
from rootblood.stores.backups.restic import ResticParts
from rootblood.stores.base import BackupParts


def choose_form(directory: BackupDirectory) -> Form:
    """That of the newest backup there is, with which the next can share; else the best that is installed."""
    if whole := directory.list():
        return whole[0].form
    return next((form for form in (Form.RESTIC, Form.BORG) if shutil.which(form.value)), Form.TAR)


def open_parts(form: Form, directory: BackupDirectory, settings: Settings) -> BackupParts:
    """What keeps parts in that form; nothing is run or read yet."""
    key_file = settings.backups.key_file or settings.keys_dir.absolute() / FILE_NAME
    match form:
        case Form.RESTIC:
            return ResticParts(directory, key_file)
        case Form.BORG:
            return BorgParts(directory, key_file)
        case Form.TAR:
            return FileParts(directory, settings.backups.min_free_bytes)
